//! Replies to `batch/read`: what is seen, and what is never taken for "nothing is there".

use std::num::NonZeroU64;
use std::sync::Arc;

use super::*;
use crate::contract::association::{AssociationType, Label, LabelCategory};

const PLAIN: Label = Label { category: LabelCategory::HubspotDefined, type_id: NonZeroU64::new(279).unwrap() };
const BUYER: Label = Label { category: LabelCategory::UserDefined, type_id: NonZeroU64::new(37).unwrap() };

#[test]
fn an_answer_is_read_whatever_its_order_and_however_ids_are_written() {
    let plain = json!({"category": "HUBSPOT_DEFINED", "typeId": 279, "label": null});
    let buyer = json!({"category": "USER_DEFINED", "typeId": "37", "label": "Buyer"});
    let body = json!({"status": "COMPLETE", "results": [
        {"from": {"id": "3"}, "to": [{"toObjectId": "18446744073709551615", "associationTypes": [buyer, plain]}]},
        {"from": {"id": 1}, "to": [
            {"toObjectId": 9002, "associationTypes": [plain, buyer]},
            {"toObjectId": 9001, "associationTypes": [plain]},
        ], "paging": {"next": {"after": "cursor", "link": "https://…"}}},
        {"from": {"id": "2"}, "to": []},
    ]});
    let seen = views(200, &body, &[1, 2, 3]);
    let both = types(&[(PLAIN, None), (BUYER, Some("Buyer"))]);
    assert_eq!(seen[0].found, [found(9001, &types(&[(PLAIN, None)])), found(9002, &both)]);
    assert_eq!(seen[0].next.as_deref(), Some("cursor"));
    assert_eq!(seen[1], RecordView::default());
    assert_eq!(seen[2], RecordView { found: vec![found(u64::MAX, &both)], next: None });
    // Equal lists are one list.
    let of = |view: &RecordView| view.found.last().unwrap().types.clone().unwrap();
    assert!(Arc::ptr_eq(&of(&seen[0]), &of(&seen[2])));
}

#[test]
fn a_record_that_hubspot_says_has_none_has_none() {
    let error = |id: u64| {
        json!({"status": "error", "category": "OBJECT_NOT_FOUND",
        "subCategory": "crm.associations.NO_ASSOCIATIONS_FOUND", "context": {"fromObjectId": [id.to_string()]}})
    };
    let shown = json!({"from": {"id": "2"}, "to": [{"toObjectId": 9, "associationTypes": []}]});
    let body = json!({"status": "COMPLETE", "results": [shown], "numErrors": 2, "errors": [error(1), error(3)]});
    let seen = views(207, &body, &[1, 2, 3]);
    assert_eq!([&seen[0], &seen[2]], [&RecordView::default(); 2]);
    assert_eq!(seen[1].found, [found(9, &types(&[]))]);

    // Of one record also as the refusal of the whole request.
    let body = json!({"status": "error", "category": "OBJECT_NOT_FOUND", "errors": [error(1)]});
    assert_eq!(views(404, &body, &[1]), [RecordView::default()]);
    // What is shown is there, whatever else is said.
    let body = json!({"status": "COMPLETE", "results": [{"from": {"id": "2"}, "to": [{"toObjectId": 9}]}],
        "numErrors": 1, "errors": [error(2)]});
    assert_eq!(views(207, &body, &[2])[0].found, [Found { to: id(9), types: None }]);
}

#[test]
fn one_of_several_that_has_nothing_is_found_by_asking_for_fewer() {
    let error = json!({"subCategory": "crm.associations.NO_ASSOCIATIONS_FOUND", "context": "fromObjectId=[1]"});
    let shown = json!({"from": {"id": "2"}, "to": []});
    let body = json!({"status": "COMPLETE", "results": [shown], "numErrors": 1, "errors": [error]});
    assert_eq!(marks(207, &body, &[1, 2, 3]), "SVS");
    let body = json!({"status": "COMPLETE", "results": [], "numErrors": 1, "errors": [error]});
    assert_eq!(views(207, &body, &[1]), [RecordView::default()]);
    let body = json!({"status": "COMPLETE", "results": [], "numErrors": 2, "errors": [error]});
    assert_eq!(marks(207, &body, &[1]), "R", "the other error may be about it");
}

#[test]
fn silence_is_no_proof_that_nothing_is_there() {
    let shown = json!({"from": {"id": "2"}, "to": []});
    for errors in [json!([]), json!(null)] {
        let body = json!({"status": "COMPLETE", "results": [shown], "errors": errors});
        assert_eq!(marks(200, &body, &[1, 2, 3]), "GVG");
    }
    // An answer that can be read is no sign of an outage.
    let Err(Judgement::Again(again)) = look(200, r#"{"status":"COMPLETE","results":[]}"#, &[1]) else { panic!() };
    assert!(!again.cause.is_failure_of_account());
    for body in [
        json!({}),
        json!({"status": "COMPLETE"}),
        json!({"status": "COMPLETE", "results": []}),
        json!({"status": "COMPLETE", "results": null}),
        json!({"status": "COMPLETE", "results": "none"}),
        json!({"status": "PENDING", "results": [shown]}),
        json!({"status": "PROCESSING", "results": [shown]}),
        json!({"status": "CANCELED", "results": [shown]}),
    ] {
        assert!(matches!(look(200, body.to_string(), &[1, 2]), Err(Judgement::Again(_))), "{body}");
    }
    for text in ["", "[]", "<html>", r#"{"results":["#] {
        assert!(matches!(look(200, text, &[1]), Err(Judgement::Again(_))), "{text}");
    }
    // Errors that are counted and not described may be of any record that is not shown.
    let body = json!({"status": "COMPLETE", "results": [shown], "numErrors": 2});
    assert_eq!(marks(207, &body, &[1, 2, 3]), "SVS");
}

#[test]
fn what_answers_another_question_is_no_answer() {
    let shown = |id: u64| json!({"from": {"id": id}, "to": []});
    for results in [json!([shown(1), shown(7)]), json!([shown(1), {"to": []}]), json!([shown(1), 5])] {
        let body = json!({"status": "COMPLETE", "results": results});
        let Err(Judgement::Again(again)) = look(200, body.to_string(), &[1]) else { panic!("{body}") };
        assert_eq!(again.cause, Transient::Garbage);
    }
}

#[test]
fn one_result_that_cannot_be_read_spoils_no_other() {
    for broken in [
        json!({"from": {"id": "1"}}),
        json!({"from": {"id": "1"}, "to": "none"}),
        json!({"from": {"id": "1"}, "to": [{"associationTypes": []}]}),
        json!({"from": {"id": "1"}, "to": [{"toObjectId": -5}]}),
        json!({"from": {"id": "1"}, "to": [], "paging": "more"}),
        json!({"from": {"id": "1"}, "to": [], "paging": {"next": {"link": "somewhere"}}}),
        json!({"from": {"id": "1"}, "to": [], "paging": {"next": {"after": ""}}}),
        json!({"from": {"id": "1"}, "to": [], "paging": {"next": {"after": "x".repeat(5_000)}}}),
    ] {
        let body = json!({"status": "COMPLETE", "results": [broken, {"from": {"id": "2"}, "to": []}]});
        assert_eq!(marks(200, &body, &[1, 2]), "GV", "{body}");
        let half = json!({"from": {"id": "1"}, "to": []});
        let body = json!({"status": "COMPLETE", "results": [half, broken, {"from": {"id": "2"}, "to": []}]});
        assert_eq!(marks(200, &body, &[1, 2]), "GV", "{body}");
    }
    // Nor is it excused by an error.
    let body = json!({"status": "COMPLETE", "results": [{"from": {"id": "1"}}], "numErrors": 1, "errors": [
        {"category": "OBJECT_NOT_FOUND", "subCategory": "NO_ASSOCIATIONS_FOUND", "context": {"fromObjectId": ["1"]}}]});
    assert!(matches!(look(207, body.to_string(), &[1]), Err(Judgement::Again(_))));
}

#[test]
fn a_page_that_leads_to_itself_is_not_read_for_ever() {
    let body = json!({"results": [{"from": {"id": "1"}, "to": [], "paging": {"next": {"after": "here"}}}]}).to_string();
    let asked = |after: &str| [LookAsked { from: id(1), after: Some(after.into()) }];
    let reply = Reply::Answer(answer(200, body));
    assert!(matches!(judge_look(&reply, &asked("here")), Err(Judgement::Again(_))));
    assert!(judge_look(&reply, &asked("before")).is_ok());
}

#[test]
fn two_results_about_one_record_are_one() {
    let types_of = |ids: &[u64]| -> Vec<Value> {
        ids.iter().map(|id| json!({"category": "USER_DEFINED", "typeId": id})).collect()
    };
    let result = |to: u64, ids: &[u64], after: Option<&str>| {
        json!({"from": {"id": "1"}, "to": [{"toObjectId": to, "associationTypes": types_of(ids)}],
            "paging": after.map(|after| json!({"next": {"after": after}}))})
    };
    let body = json!({"results": [result(9, &[37], None), result(8, &[37], Some("x")), result(9, &[38, 37], None)]});
    let [view] = views(200, &body, &[1]).try_into().unwrap();
    let to: Vec<_> = view.found.iter().map(|found| (found.to, found.types.as_ref().unwrap().len())).collect();
    assert_eq!(to, [(id(8), 1), (id(9), 2)]);
    assert_eq!(view.next.as_deref(), Some("x"));

    let body = json!({"results": [result(9, &[37], Some("y")), result(8, &[37], Some("x"))]});
    assert!(matches!(look(200, body.to_string(), &[1]), Err(Judgement::Again(_))), "which page is next?");
}

#[test]
fn types_that_cannot_be_named_are_not_left_out() {
    let plain = json!({"category": "HUBSPOT_DEFINED", "typeId": 279, "label": null});
    for types in [
        json!([plain, {"category": "NEXT_YEARS_CATEGORY", "typeId": 5}]),
        json!([plain, {"category": "USER_DEFINED", "typeId": 0}]),
        json!([plain, 7]),
        json!("all"),
        json!(null),
    ] {
        let body = json!({"results": [{"from": {"id": "1"}, "to": [{"toObjectId": 9, "associationTypes": types}]}]});
        assert_eq!(views(200, &body, &[1])[0].found, [Found { to: id(9), types: None }], "{body}");
    }
    // One type twice is one; its name, of any length, is cut.
    let named = json!({"category": "USER_DEFINED", "typeId": 37, "label": "é".repeat(200)});
    let unnamed = json!({"category": "USER_DEFINED", "typeId": 37, "label": null});
    let body = json!({"results": [
        {"from": {"id": "1"}, "to": [{"toObjectId": 9, "associationTypes": [unnamed, named, unnamed]}]}]});
    let name = "é".repeat(64);
    assert_eq!(views(200, &body, &[1])[0].found, [found(9, &types(&[(BUYER, Some(&name))]))]);
}

#[test]
fn a_record_that_is_refused_is_the_only_one() {
    let error = json!({"category": "VALIDATION_ERROR", "subCategory": "crm.associations.INVALID_IDENTIFIER",
        "message": "no id", "context": {"fromObjectId": ["1"], "toObjectId": ["2"]}});
    let shown = json!({"from": {"id": "2"}, "to": []});
    let body = json!({"status": "COMPLETE", "results": [shown], "numErrors": 1, "errors": [error]});
    assert_eq!(marks(207, &body, &[1, 2]), "RV", "and the other end in its words is nobody's");
    let body = json!({"status": "error", "category": "VALIDATION_ERROR", "errors": [error]});
    assert_eq!(marks(400, &body, &[1, 2, 3]), "RUU");
    assert!(matches!(look(400, "", &[1, 2]), Err(Judgement::Suspect(_))));
    assert_eq!(marks(400, &json!({}), &[1]), "R");
    // A passing error is that of its record only.
    let error = json!({"category": "CONFLICT", "context": {"fromObjectId": ["1"]}});
    let body = json!({"status": "COMPLETE", "results": [shown], "numErrors": 1, "errors": [error]});
    assert_eq!(marks(207, &body, &[1, 2]), "GV");
}

#[test]
fn an_answer_too_large_to_be_read_asks_for_fewer_records() {
    let body = Body::TooLarge(Bytes::from_static(br#"{"status":"COMPLETE","results":["#));
    let reply = Reply::Answer(Answer { status: 200, headers: Headers::default(), body });
    let Err(Judgement::Again(again)) = judge_look(&reply, &asked(&[1, 2])) else { panic!() };
    assert_eq!(again.cause, Transient::AnswerTooLarge);
    assert!(again.cause.wants_smaller());
    assert!(
        again.refusal.message.contains("what the record is associated with is unknown"),
        "{}",
        again.refusal.message
    );
}

fn asked(froms: &[u64]) -> Vec<LookAsked> {
    froms.iter().map(|&from| LookAsked { from: id(from), after: None }).collect()
}

fn look(status: u16, body: impl Into<Bytes>, froms: &[u64]) -> Result<Vec<RecordVerdict>, Judgement> {
    judge_look(&Reply::Answer(answer(status, body)), &asked(froms))
}

fn each(status: u16, body: &Value, froms: &[u64]) -> Vec<RecordVerdict> {
    let judged = look(status, body.to_string(), froms);
    let Ok(verdicts) = judged else { panic!("not a verdict for each record: {judged:?}") };
    verdicts
}

fn views(status: u16, body: &Value, froms: &[u64]) -> Vec<RecordView> {
    let view = |verdict| {
        let RecordVerdict::Seen(view) = verdict else { panic!("not seen: {verdict:?}") };
        view
    };
    each(status, body, froms).into_iter().map(view).collect()
}

/// One letter a record: `V` for a view, the others as for pairs.
fn marks(status: u16, body: &Value, froms: &[u64]) -> String {
    let letter = |verdict: &RecordVerdict| match verdict {
        RecordVerdict::Seen(_) => 'V',
        RecordVerdict::Refused(_) => 'R',
        RecordVerdict::Suspect(_) => 'S',
        RecordVerdict::Again(_) => 'G',
        RecordVerdict::Untouched => 'U',
    };
    each(status, body, froms).iter().map(letter).collect()
}

fn types(types: &[(Label, Option<&str>)]) -> Arc<[AssociationType]> {
    types.iter().map(|&(label, name)| AssociationType { label, name: name.map(Arc::from) }).collect()
}

fn found(to: u64, types: &Arc<[AssociationType]>) -> Found {
    Found { to: id(to), types: Some(Arc::clone(types)) }
}
