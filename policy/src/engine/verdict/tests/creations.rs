//! Replies to `batch/create` and `batch/associate/default`: only what HubSpot reports is created.

use super::*;

#[test]
fn what_is_reported_is_created() {
    for status in [200, 201, 207] {
        let body = json!({"status": "COMPLETE", "results": [by_ids(102, 902), by_ids(101, 901), by_ids(103, 903)]});
        assert_eq!(types(status, &body, &three()), Judgement::Archived, "{status}");
        let both = [by_ends(103, 903), by_ends(903, 103), by_ends(101, 901), by_ends(901, 101), by_ends(102, 902)];
        let body = json!({"status": "COMPLETE", "results": both});
        assert_eq!(default(status, &body, &three()), Judgement::Archived, "{status}");
    }
}

#[test]
fn a_success_that_reports_nothing_created_nothing_that_is_known() {
    for body in [json!({}), json!({"status": "COMPLETE", "results": []}), json!({"status": "PENDING"})] {
        assert!(matches!(types(201, &body, &three()), Judgement::Again(_)), "{body}");
        assert!(matches!(default(200, &body, &three()), Judgement::Again(_)), "{body}");
    }
    for body in ["", "<html>"] {
        let reply = Reply::Answer(answer(204, body));
        assert!(matches!(judge_creation(&reply, &three(), Creation::Types), Judgement::Again(_)), "{body}");
    }
    let body = json!({"status": "COMPLETE", "results": [by_ids(102, 902), by_ids(999, 999), "odd"]});
    assert_eq!(letters(&types(201, &body, &three())), "GAG");
}

#[test]
fn an_unknown_type_refuses_the_pairs_that_have_it() {
    let error = json!({"category": "VALIDATION_ERROR", "subCategory": "crm.associations.INVALID_ASSOCIATION_TYPE",
        "message": "no such type", "context": {"fromObjectId": ["101"], "toObjectId": ["901"]}});
    let body = json!({"status": "COMPLETE", "results": [by_ids(102, 902), by_ids(103, 903)], "numErrors": 1,
        "errors": [error]});
    let judgement = types(207, &body, &three());
    assert_eq!(letters(&judgement), "RAA");
    let sub_category = refusal_of(&judgement, 0).sub_category;
    assert_eq!(sub_category.as_deref(), Some("crm.associations.INVALID_ASSOCIATION_TYPE"));

    let body = json!({"status": "error", "category": "VALIDATION_ERROR", "errors": [error]});
    assert_eq!(letters(&types(400, &body, &three())), "RUU");
    let body = json!({"status": "error", "category": "VALIDATION_ERROR", "message": "INVALID_ASSOCIATION_TYPE"});
    assert!(matches!(types(400, &body, &three()), Judgement::Suspect(_)));
    assert_eq!(letters(&types(400, &body, &pairs([(1, 2)]))), "R");
}

#[test]
fn a_canceled_creation_is_searched_for_the_type_at_fault() {
    let body = json!({"status": "CANCELED", "results": []});
    assert!(matches!(types(201, &body, &three()), Judgement::Suspect(_)));
    let alone = types(201, &body, &pairs([(1, 2)]));
    assert_eq!(letters(&alone), "R");
    assert!(refusal_of(&alone, 0).message.contains("association type"));
    // An archive or a look has no types that could be wrong.
    assert_eq!(cause(&judge_json(200, &body, &three())), Transient::Unfinished);
}

#[test]
fn errors_inside_a_success_are_errors() {
    let error = json!({"category": "OBJECT_NOT_FOUND", "message": "no contact", "context": {"fromObjectId": ["101"]}});
    let done = [by_ends(102, 902), by_ends(103, 903)];
    let body = json!({"status": "COMPLETE", "results": done, "numErrors": 1, "errors": [error]});
    assert_eq!(letters(&default(200, &body, &three())), "RAA");
    // An error that names nothing may mean what is not reported, and nothing else.
    let body = json!({"status": "COMPLETE", "results": done, "numErrors": 1, "errors": [{"message": "one failed"}]});
    assert_eq!(letters(&default(200, &body, &three())), "SAA");
}

#[test]
fn nothing_there_is_no_success_for_who_creates() {
    let error = json!({"category": "OBJECT_NOT_FOUND", "subCategory": "crm.associations.NO_ASSOCIATIONS_FOUND",
        "context": {"fromObjectId": ["1"]}});
    let body = json!({"status": "COMPLETE", "results": [], "numErrors": 1, "errors": [error]});
    assert_eq!(letters(&types(207, &body, &pairs([(1, 2)]))), "R");
    let body = json!({"status": "error", "category": "OBJECT_NOT_FOUND", "errors": [error]});
    assert_eq!(letters(&types(404, &body, &pairs([(1, 2)]))), "R");
}

#[test]
fn the_report_of_a_mirrored_pair_is_not_taken_for_the_pairs_own() {
    // Contact 1 with company 2, and contact 2 with company 1: the second is missing.
    let both = pairs([(1, 2), (2, 1)]);
    let body = json!({"status": "COMPLETE", "results": [by_ends(1, 2), by_ends(2, 1)]});
    assert!(matches!(default(200, &body, &both), Judgement::Again(_)));
    let body = json!({"results": [by_ends(1, 2), by_ends(2, 1), by_ends(2, 1), by_ends(1, 2)]});
    assert_eq!(default(200, &body, &both), Judgement::Archived);
    // A record with the same number at the other end has no other mirror.
    let body = json!({"results": [by_ends(5, 5)]});
    assert_eq!(default(200, &body, &pairs([(5, 5)])), Judgement::Archived);
    let body = json!({"status": "COMPLETE", "results": [by_ids(1, 2), by_ids(2, 1)]});
    assert_eq!(types(201, &body, &both), Judgement::Archived);
}

fn types(status: u16, body: &Value, pairs: &[Pair]) -> Judgement {
    judge_creation(&Reply::Answer(answer(status, body.to_string())), pairs, Creation::Types)
}

fn default(status: u16, body: &Value, pairs: &[Pair]) -> Judgement {
    judge_creation(&Reply::Answer(answer(status, body.to_string())), pairs, Creation::Default)
}

/// A result of `batch/create`.
fn by_ids(from: u64, to: u64) -> Value {
    json!({"fromObjectTypeId": "0-1", "fromObjectId": from, "toObjectTypeId": "0-2", "toObjectId": to, "labels": []})
}

/// A result of `batch/associate/default`.
fn by_ends(from: u64, to: u64) -> Value {
    json!({"from": {"id": from.to_string()}, "to": {"id": to.to_string()},
        "associationSpec": {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 279}})
}
