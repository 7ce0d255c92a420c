//! Errors that name records, and how surely they mean a pair.

use super::*;

#[test]
fn the_named_pair_is_refused_and_the_others_are_archived() {
    for context in [
        json!({"fromObjectId": ["102"]}),
        json!({"fromObjectId": [102]}),
        json!({"fromObjectId": "102", "fromObjectType": ["contact"], "toObjectType": ["company"]}),
        json!({"fromObjectId": ["102"], "toObjectId": ["902"]}),
        json!({"toObjectId": [" 902 "]}),
        json!([{"toObjectId": 902}]),
        json!({"from": {"id": "102"}, "to": {"id": 902}}),
        json!({"ids": ["102"]}),
        json!({"id": 902}),
        json!({"objectId": ["102", "777"]}),
        json!({"fromObjectIds": ["102", "102", "garbage", null, {}, [102]]}),
    ] {
        let body = multi(json!([entry("VALIDATION_ERROR", context.clone())]));
        for status in [200, 207] {
            assert_eq!(letters(&judge_json(status, &body, &three())), "ARA", "{status} {context}");
        }
    }
}

#[test]
fn a_refusal_carries_hubspots_words() {
    let error = json!({"status": "error", "category": "VALIDATION_ERROR", "message": "bad label",
        "subCategory": "crm.associations.INVALID_IDENTIFIER", "context": {"fromObjectId": ["101"]}});
    let refusal = refusal_of(&judge_json(207, &multi(json!([error])), &three()), 0);

    assert_eq!(refusal.source, Source::Hubspot { category: "VALIDATION_ERROR".into() });
    assert_eq!(refusal.sub_category.as_deref(), Some("crm.associations.INVALID_IDENTIFIER"));
    assert_eq!(&*refusal.message, "bad label");
    assert_eq!((refusal.http_status, refusal.retryable), (Some(207), false));

    let mut as_in_the_schema = entry("VALIDATION_ERROR", json!({"fromObjectId": ["101"]}));
    as_in_the_schema["subCategory"] = json!({"level": 3, "name": "INVALID_IDENTIFIER"});
    let refusal = refusal_of(&judge_json(207, &multi(json!([as_in_the_schema])), &three()), 0);
    assert_eq!(refusal.sub_category.as_deref(), Some("INVALID_IDENTIFIER"));
}

#[test]
fn a_refused_batch_leaves_the_pairs_it_does_not_name_untouched() {
    assert_eq!(refused("VALIDATION_ERROR", json!({"fromObjectId": ["102"]}), &three()), "URU");
    assert_eq!(refused("OBJECT_NOT_FOUND", json!({"ids": ["101", "902"]}), &three()), "RRU");
    let body = entry("OBJECT_NOT_FOUND", json!({"fromObjectId": ["103"]}));
    assert_eq!(letters(&judge_json(404, &body, &three())), "UUR");
    assert_eq!(letters(&judge_json(200, &body, &three())), "UUR");
}

#[test]
fn details_name_records_as_their_error_does() {
    let body = json!({"status": "error", "category": "VALIDATION_ERROR", "message": "Invalid input", "errors": [
        {"message": "first", "code": "X", "in": "body", "context": {"fromObjectId": ["101"]}},
        {"message": "third", "subCategory": "S", "context": {"toObjectId": ["903"]}},
        {"message": "says nothing"},
    ]});
    let judgement = judge_json(400, &body, &three());
    assert_eq!(letters(&judgement), "RUR");
    assert_eq!(&*refusal_of(&judgement, 0).message, "first");
    assert_eq!(refusal_of(&judgement, 2).source.category(), "VALIDATION_ERROR");
    assert_eq!(refusal_of(&judgement, 2).sub_category.as_deref(), Some("S"));

    let nested = multi(json!([{"category": "VALIDATION_ERROR", "errors": body["errors"]}]));
    assert_eq!(letters(&judge_json(207, &nested, &three())), "RAR");
}

#[test]
fn a_detail_stands_between_the_records_its_error_names() {
    let crossed = pairs([(101, 901), (101, 902), (202, 902)]);
    let error = |whole: Value, detail: Value| json!({"category": "VALIDATION_ERROR", "context": whole, "errors": [{"message": "m", "context": detail}]});
    let (from, to) = (json!({"fromObjectId": ["101"]}), json!({"toObjectId": ["902"]}));
    assert_eq!(letters(&judge_json(400, &error(from.clone(), to.clone()), &crossed)), "SRU");
    assert_eq!(letters(&judge_json(400, &error(to, from), &crossed)), "URS");
}

#[test]
fn a_record_named_twice_is_one_record() {
    let two = &three()[..2];
    assert_eq!(partial("VALIDATION_ERROR", json!({"fromObjectId": ["101"], "ids": ["901"]}), two), "RA");
}

#[test]
fn a_missing_record_fails_all_its_pairs() {
    assert_eq!(partial("OBJECT_NOT_FOUND", json!({"fromObjectId": ["101"]}), &fan()), "RRRA");
    let shared_to = pairs([(101, 900), (102, 900), (103, 901)]);
    assert_eq!(partial("OBJECT_NOT_FOUND", json!({"toObjectId": ["900"]}), &shared_to), "RRA");
    assert_eq!(partial("OBJECT_NOT_FOUND", json!({"ids": ["101", "102", "103"]}), &three()), "RRR");
}

#[test]
fn any_other_error_about_a_record_with_several_pairs_makes_them_suspect() {
    assert_eq!(partial("VALIDATION_ERROR", json!({"fromObjectId": ["101"]}), &fan()), "SSSA");
    assert_eq!(refused("VALIDATION_ERROR", json!({"fromObjectId": ["101"]}), &fan()), "SSSU");
    let shared_to = pairs([(101, 900), (102, 900), (103, 901)]);
    assert_eq!(partial("VALIDATION_ERROR", json!({"toObjectId": ["900"]}), &shared_to), "SSA");
}

#[test]
fn both_sides_of_one_pair_are_enough() {
    assert_eq!(partial("VALIDATION_ERROR", json!({"fromObjectId": ["101"], "toObjectId": ["902"]}), &fan()), "ARAA");
    let some = json!({"fromObjectId": ["101", "101"], "toObjectId": ["903", "901"]});
    assert_eq!(partial("VALIDATION_ERROR", some, &fan()), "RARA");
    let repeated = json!({"fromObjectId": ["101", "101"], "toObjectId": ["902"]});
    assert_eq!(partial("VALIDATION_ERROR", repeated, &fan()), "ARAA");
}

#[test]
fn an_error_that_may_only_repeat_its_input_accuses_nobody_surely() {
    let whole_input = json!({"fromObjectId": ["101"], "toObjectId": ["901", "902", "903"]});
    assert_eq!(partial("OBJECT_NOT_FOUND", whole_input, &fan()), "SSSA");
    let whole_request = json!({"fromObjectId": ["101", "102", "103"]});
    assert_eq!(partial("VALIDATION_ERROR", whole_request.clone(), &three()), "SSS");
    let judgement = judge_json(400, &entry("VALIDATION_ERROR", whole_request), &three());
    assert!(matches!(judgement, Judgement::Suspect(_)), "{judgement:?}");
}

#[test]
fn several_records_on_both_sides_do_not_say_which_belong_together() {
    let square = pairs([(101, 901), (101, 902), (102, 901), (102, 902), (103, 903)]);
    let context = json!({"fromObjectId": ["101", "102"], "toObjectId": ["901", "902"]});
    assert_eq!(partial("VALIDATION_ERROR", context.clone(), &square), "SSSSA");
    assert_eq!(partial("VALIDATION_ERROR", context, &pairs([(101, 901), (103, 903)])), "RA");
}

#[test]
fn an_id_on_both_sides_is_unclear() {
    let chain = pairs([(1, 2), (2, 3), (4, 5)]);
    assert_eq!(partial("OBJECT_NOT_FOUND", json!({"ids": ["2"]}), &chain), "SSA");
    let body = json!({"subCategory": "crm.associations.NO_ASSOCIATIONS_FOUND", "context": {"ids": ["2"]}});
    let judgement = judge_json(400, &body, &chain);
    assert!(matches!(judgement, Judgement::Suspect(_)), "an excuse may mean either: {judgement:?}");
    assert_eq!(judge_json(400, &body, &pairs([(2, 2)])), Judgement::Archived);
}

#[test]
fn nothing_there_counts_as_archived_wherever_it_stands() {
    let context = json!({"fromObjectId": ["101"], "fromObjectType": ["contact"], "toObjectType": ["company"]});
    for sub_category in [
        json!("crm.associations.NO_ASSOCIATIONS_FOUND"),
        json!("NO_ASSOCIATIONS_FOUND"),
        json!({"name": "crm.associations.NO_ASSOCIATIONS_FOUND"}),
        json!({"category": "crm.associations", "name": "NO_ASSOCIATIONS_FOUND"}),
    ] {
        let mut error = entry("OBJECT_NOT_FOUND", context.clone());
        error["subCategory"] = sub_category.clone();
        assert_eq!(judge_json(207, &multi(json!([error])), &fan()), Judgement::Archived, "{sub_category}");
        for status in [400, 404] {
            assert_eq!(letters(&judge_json(status, &error, &fan())), "AAAU", "{status} {sub_category}");
            assert_eq!(judge_json(status, &error, &fan()[..3]), Judgement::Archived, "{status} {sub_category}");
        }
    }
}

#[test]
fn nothing_there_without_a_name_excuses_only_a_pair_that_is_alone() {
    let error = json!({"category": "OBJECT_NOT_FOUND", "subCategory": "crm.associations.NO_ASSOCIATIONS_FOUND"});
    assert_eq!(judge_json(207, &multi(json!([error])), &three()), Judgement::Archived);
    for status in [400, 404] {
        assert!(matches!(judge_json(status, &error, &three()), Judgement::Suspect(_)), "{status}");
        assert_eq!(judge_json(status, &error, &three()[..1]), Judgement::Archived, "{status}");
    }
}

#[test]
fn nothing_there_in_the_details_only() {
    let detail = json!({"message": "m", "subCategory": "crm.associations.NO_ASSOCIATIONS_FOUND"});
    let error = json!({"category": "OBJECT_NOT_FOUND", "context": {"fromObjectId": ["101"]}, "errors": [detail]});
    assert_eq!(judge_json(207, &multi(json!([error])), &three()), Judgement::Archived);

    let stranger = json!({"subCategory": "crm.associations.INVALID_IDENTIFIER", "context": {"fromObjectId": ["777"]}});
    let accused = json!({"subCategory": "crm.associations.NO_ASSOCIATIONS_FOUND", "errors": [stranger]});
    assert_eq!(letters(&judge_json(207, &multi(json!([accused])), &three())), "SSS");

    let mut mixed = error;
    mixed["errors"] =
        json!([mixed["errors"][0], {"message": "m", "subCategory": "crm.associations.INVALID_IDENTIFIER"}]);
    assert_eq!(letters(&judge_json(207, &multi(json!([mixed])), &three())), "RAA");
}

#[test]
fn a_subcategory_that_only_resembles_it_is_a_refusal() {
    let mut error = entry("OBJECT_NOT_FOUND", json!({"fromObjectId": ["101"]}));
    error["subCategory"] = json!("crm.associations.NOT_NO_ASSOCIATIONS_FOUND");
    assert_eq!(letters(&judge_json(207, &multi(json!([error])), &three())), "RAA");
}

#[test]
fn one_pair_gets_one_verdict_and_the_first_refusal_wins() {
    let context = json!({"fromObjectId": ["101"]});
    let mut nothing_there = entry("OBJECT_NOT_FOUND", context.clone());
    nothing_there["subCategory"] = json!("crm.associations.NO_ASSOCIATIONS_FOUND");
    let errors = json!([nothing_there, entry("FIRST", context.clone()), entry("SECOND", context)]);
    let judgement = judge_json(207, &multi(errors), &three());
    assert_eq!(letters(&judgement), "RAA");
    assert_eq!(refusal_of(&judgement, 0).source.category(), "FIRST");
}

#[test]
fn errors_that_name_nothing_of_the_request_make_the_rest_suspect() {
    for context in [
        json!({}),
        json!(null),
        json!("101"),
        json!(["101"]),
        json!({"fromObjectId": ["777"]}),
        json!({"fromObjectId": ["101"], "toObjectId": ["902"]}),
    ] {
        assert_eq!(partial("VALIDATION_ERROR", context.clone(), &three()), "SSS", "{context}");
        let judgement = judge_json(400, &entry("VALIDATION_ERROR", context.clone()), &three());
        assert!(matches!(judgement, Judgement::Suspect(_)), "{context}: {judgement:?}");
    }
    let named = entry("VALIDATION_ERROR", json!({"fromObjectId": ["102"]}));
    let errors = json!([named, entry("VALIDATION_ERROR", json!({}))]);
    assert_eq!(letters(&judge_json(207, &multi(errors), &three())), "SRS");
}

#[test]
fn a_pair_that_was_alone_is_the_one_that_is_meant() {
    let alone = pairs([(101, 901)]);
    assert_eq!(partial("VALIDATION_ERROR", json!({}), &alone), "R");
    assert_eq!(partial("VALIDATION_ERROR", json!({"fromObjectId": ["777"]}), &alone), "R");
    assert_eq!(letters(&judge_json(207, &json!({"numErrors": 1}), &alone)), "R");
    let itself = pairs([(101, 101)]);
    assert_eq!(partial("VALIDATION_ERROR", json!({"ids": ["101"]}), &itself), "R");
}

#[test]
fn a_count_that_exceeds_the_errors_makes_the_rest_suspect() {
    let error = entry("VALIDATION_ERROR", json!({"fromObjectId": ["102"]}));
    for (count, expected) in
        [(json!(0), "ARA"), (json!(1), "ARA"), (json!(2), "SRS"), (json!("2"), "SRS"), (json!(u64::MAX), "SRS")]
    {
        let body = json!({"status": "COMPLETE", "numErrors": count, "errors": [error]});
        assert_eq!(letters(&judge_json(207, &body, &three())), expected, "{count}");
    }
    for count in [json!(1), json!("many"), json!(-1), json!(true), json!([])] {
        let body = json!({"status": "COMPLETE", "numErrors": count});
        assert_eq!(letters(&judge_json(200, &body, &three())), "SSS", "{count}");
    }
}

#[test]
fn errors_of_an_odd_shape_are_still_errors() {
    for errors in [
        json!("boom"),
        json!({"message": "boom"}),
        json!([null]),
        json!([7]),
        json!(["boom", []]),
        json!(""),
        json!(false),
    ] {
        let body = json!({"status": "COMPLETE", "errors": errors});
        let judgement = judge_json(200, &body, &three());
        assert_eq!(letters(&judgement), "SSS", "{errors}");
        assert!(!refusal_of(&judgement, 0).message.is_empty(), "{errors}");
    }
    let single = json!({"status": "COMPLETE", "errors": entry("VALIDATION_ERROR", json!({"fromObjectId": 101}))});
    assert_eq!(letters(&judge_json(200, &single, &three())), "RAA");
}

#[test]
fn a_passing_entry_is_sent_again_and_refuses_nobody() {
    for category in ["RATE_LIMITS", "CONFLICT", "INTERNAL_ERROR", "MISSING_SCOPES"] {
        let named = entry(category, json!({"fromObjectId": ["101"]}));
        let judgement = judge_json(207, &multi(json!([named])), &three());
        assert_eq!(letters(&judgement), "GAA", "{category}");
        assert_eq!(refusal_of(&judgement, 0).source, Source::Worker(WorkerCategory::RetriesExhausted));
        assert_eq!(partial(category, json!({}), &three()), "GGG", "{category}");
    }
    let status_decides = refused("CONFLICT", json!({"fromObjectId": ["101"]}), &three());
    assert_eq!(status_decides, "RUU", "a 400 does not pass");
    let mixed = json!([entry("CONFLICT", json!({"fromObjectId": ["101"]})), entry("VALIDATION_ERROR", json!({}))]);
    assert_eq!(letters(&judge_json(207, &multi(mixed), &three())), "GSS");
}

#[test]
fn a_record_named_by_a_failure_that_passes_is_taken_out_and_sent_again_by_itself() {
    let passing = [408, 409, 413, 423, 425, 500, 502, 503, 504, 522, 524, 599];
    let named = entry("CONFLICT", json!({"fromObjectId": ["102"]}));
    let unfinished = json!({"status": "CANCELED", "errors": [named]});
    let answers = passing.map(|status| (status, named.clone()));
    for (status, body) in answers.into_iter().chain([(200, unfinished)]) {
        let judgement = judge_json(status, &body, &three());
        assert_eq!(letters(&judgement), "UGU", "{status}");
        let refusal = refusal_of(&judgement, 1);
        assert_eq!(refusal.source, Source::Worker(WorkerCategory::RetriesExhausted), "{status}");
        assert!(refusal.message.contains("why"), "{}", refusal.message);
        assert!(matches!(judge_json(status, &body, &three()[1..2]), Judgement::Again(_)), "{status}: it is alone");
    }
}

#[test]
fn a_record_named_by_a_lock_waits_as_long_as_the_lock() {
    let Judgement::Each(verdicts) = judge_json(423, &entry("LOCKED", json!({"ids": ["101"]})), &three()) else {
        panic!("no verdict for each pair")
    };
    let PairVerdict::Again(again) = &verdicts[0] else { panic!("{verdicts:?}") };
    assert_eq!(
        (again.cause, again.least_wait(jiff::Timestamp::UNIX_EPOCH)),
        (Transient::Locked, Transient::LOCKED_WAIT)
    );
}

#[test]
fn a_failure_that_passes_and_names_nobody_or_everybody_is_about_the_whole_batch() {
    for context in [json!({}), json!({"fromObjectId": ["777"]}), json!({"fromObjectId": ["101", "102", "103"]})] {
        for status in [409, 423, 500, 503] {
            let judgement = judge_json(status, &entry("CONFLICT", context.clone()), &three());
            assert!(matches!(judgement, Judgement::Again(_)), "{status} {context}: {judgement:?}");
        }
    }
    let several = judge_json(409, &entry("CONFLICT", json!({"fromObjectId": ["101"]})), &fan());
    assert_eq!(letters(&several), "GGGU", "any pair of the record may be the one");
}

#[test]
fn more_errors_than_are_read_excuse_nobody() {
    let mut errors = vec![entry("VALIDATION_ERROR", json!({"fromObjectId": ["777"]})); body::MAX_CHARGES];
    errors.push(entry("VALIDATION_ERROR", json!({"fromObjectId": ["101"]})));
    assert_eq!(letters(&judge_json(207, &multi(json!(errors)), &three())), "SSS");

    let excuse = json!({"message": "m", "context": {"fromObjectId": ["102"]}});
    let crowd = json!({"category": "VALIDATION_ERROR", "subCategory": "crm.associations.NO_ASSOCIATIONS_FOUND",
        "errors": vec![excuse; body::MAX_CHARGES]});
    assert_eq!(letters(&judge_json(207, &multi(json!([crowd])), &three())), "SSS");
}

#[test]
fn ids_are_compared_as_numbers_of_64_bits() {
    let largest = pairs([(u64::MAX, 1), (u64::MAX - 1, 2)]);
    for spelled in [json!("18446744073709551615"), json!(u64::MAX)] {
        assert_eq!(partial("VALIDATION_ERROR", json!({"fromObjectId": [spelled]}), &largest), "RA");
    }
    for spelled in [json!("0101"), json!(101.5), json!("101.0"), json!(-101), json!(1e30), json!("")] {
        assert_eq!(partial("VALIDATION_ERROR", json!({"fromObjectId": [spelled]}), &three()), "SSS", "{spelled}");
    }
}

/// One `from` with three `to`, and another pair beside them.
fn fan() -> Vec<Pair> {
    pairs([(101, 901), (101, 902), (101, 903), (202, 904)])
}

fn entry(category: &str, context: Value) -> Value {
    json!({"status": "error", "category": category, "message": "why", "context": context})
}

fn multi(errors: Value) -> Value {
    let count = errors.as_array().map_or(1, Vec::len);
    json!({"status": "COMPLETE", "results": [], "numErrors": count, "errors": errors})
}

/// The letters of a batch that HubSpot worked through, with one error of this context.
fn partial(category: &str, context: Value, pairs: &[Pair]) -> String {
    letters(&judge_json(207, &multi(json!([entry(category, context)])), pairs))
}

/// The letters of a batch that HubSpot refused as a whole.
fn refused(category: &str, context: Value, pairs: &[Pair]) -> String {
    letters(&judge_json(400, &entry(category, context), pairs))
}

#[test]
fn an_excuse_that_several_share_does_not_hold_beside_an_error_that_names_nothing() {
    let two_of_one = pairs([(101, 901), (101, 902)]);
    let excuse = |context: Value| {
        json!({"status": "error", "category": "OBJECT_NOT_FOUND", "context": context,
            "subCategory": "crm.associations.NO_ASSOCIATIONS_FOUND"})
    };
    let nameless = json!({"status": "error", "category": "VALIDATION_ERROR", "message": "bad"});
    let shared = multi(json!([excuse(json!({"fromObjectId": ["101"]})), nameless.clone()]));
    assert_eq!(letters(&judge_json(207, &shared, &two_of_one)), "SS");
    let alone = multi(json!([excuse(json!({"fromObjectId": ["101"], "toObjectId": ["901"]})), nameless]));
    assert_eq!(letters(&judge_json(207, &alone, &two_of_one)), "AS");
}
