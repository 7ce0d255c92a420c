//! Every row of the table, for answers that say nothing of single records.

use super::*;
use crate::contract::text::TEXT_MAX_BYTES;

#[test]
fn a_success_without_a_body_is_complete_whatever_its_code() {
    for status in 200..300 {
        assert_eq!(judge_text(status, "", &three()), Judgement::Archived, "{status}");
        assert_eq!(judge_text(status, " \r\n", &three()), Judgement::Archived, "{status}");
    }
}

#[test]
fn a_success_with_a_body_is_complete_if_the_body_says_so() {
    for body in [
        json!({}),
        json!({"status": "COMPLETE", "results": [], "startedAt": "x", "completedAt": "y"}),
        json!({"status": "complete", "numErrors": 0, "errors": []}),
        json!({"status": null, "numErrors": null, "errors": null}),
        json!({"status": "COMPLETE", "numErrors": "0"}),
        json!({"results": [{"unknown": ["shape"]}]}),
    ] {
        for status in [200, 201, 204, 207] {
            assert_eq!(judge_json(status, &body, &three()), Judgement::Archived, "{status} {body}");
        }
    }
}

#[test]
fn a_success_that_is_not_complete_is_sent_again() {
    for status in ["PENDING", "PROCESSING", "CANCELED"] {
        let body = json!({"status": status, "results": [], "numErrors": 0});
        assert_eq!(cause(&judge_json(200, &body, &three())), Transient::Unfinished, "{status}");
    }
}

#[test]
fn a_success_that_cannot_be_read_is_sent_again() {
    let deep = "[".repeat(100_000);
    for body in [
        "<html>sign in</html>",
        "{\"status\":\"COMPLETE\"",
        "null",
        "[]",
        "\"COMPLETE\"",
        "{\"status\":\"DONE\"}",
        "{\"status\":true}",
        "{\"message\":\"\\ud800\"}",
        "\0",
        &deep,
    ] {
        let judgement = judge_text(200, body.to_owned(), &three());
        assert_eq!(cause(&judgement), Transient::Garbage, "{body:.40}");
    }
    let cut_off = |bytes: &'static [u8]| {
        let body = Body::CutOff(Bytes::from_static(bytes));
        judge(&Reply::Answer(Answer { status: 200, headers: Headers::default(), body }), &three())
    };
    assert_eq!(cause(&cut_off(b"")), Transient::Garbage);
    assert_eq!(cause(&cut_off(b"{\"status\":\"COMPLETE\"}")), Transient::Garbage);
}

#[test]
fn an_error_in_a_success_is_judged_by_its_category() {
    let error = |category: &str| json!({"status": "error", "category": category, "message": "m"});
    let judged = |body: &Value| judge_json(200, body, &three());

    assert!(matches!(judged(&error("RATE_LIMITS")), Judgement::Throttled(_)));
    assert!(matches!(judged(&json!({"status": "error", "errorType": "RATE_LIMIT"})), Judgement::Throttled(_)));
    assert!(matches!(judged(&json!({"errorType": "RATE_LIMIT"})), Judgement::Throttled(_)));
    assert!(matches!(judged(&json!({"policyName": "HOURLY", "errorType": "NEW"})), Judgement::Throttled(_)));
    assert!(matches!(judged(&error("EXPIRED_AUTHENTICATION")), Judgement::PauseAccount(_)));
    assert!(matches!(judged(&error("MISSING_SCOPES")), Judgement::PauseLane(_)));
    assert!(matches!(judged(&error("VALIDATION_ERROR")), Judgement::Suspect(_)));
    assert!(matches!(judged(&json!({"category": "VALIDATION_ERROR"})), Judgement::Suspect(_)));
    assert!(matches!(judged(&json!({"status": "error"})), Judgement::Suspect(_)));
    assert_eq!(cause(&judged(&error("INTERNAL_ERROR"))), Transient::ServerError);
    assert_eq!(cause(&judged(&error("CONFLICT"))), Transient::NotNow);
}

#[test]
fn passing_statuses_are_sent_again() {
    for (status, expected) in [
        (500, Transient::ServerError),
        (501, Transient::ServerError),
        (502, Transient::ServerError),
        (503, Transient::ServerError),
        (504, Transient::TimedOut),
        (521, Transient::ServerError),
        (522, Transient::EdgeConnection),
        (523, Transient::ServerError),
        (524, Transient::TimedOut),
        (525, Transient::EdgeConnection),
        (526, Transient::EdgeConnection),
        (599, Transient::ServerError),
        (408, Transient::NotNow),
        (409, Transient::NotNow),
        (425, Transient::NotNow),
        (413, Transient::TooLarge),
        (414, Transient::TooLarge),
        (423, Transient::Locked),
        (0, Transient::Garbage),
        (101, Transient::Garbage),
        (600, Transient::Garbage),
        (u16::MAX, Transient::Garbage),
    ] {
        for body in ["", "<html></html>", "{\"status\":\"error\",\"category\":\"VALIDATION_ERROR\"}"] {
            assert_eq!(cause(&judge_text(status, body, &three())), expected, "{status} {body}");
        }
    }
}

#[test]
fn what_is_too_large_or_too_slow_asks_for_a_smaller_request() {
    let smaller: Vec<_> = Transient::ALL.into_iter().filter(|cause| cause.wants_smaller()).collect();
    assert_eq!(smaller, [Transient::TimedOut, Transient::TooLarge, Transient::AnswerTooLarge]);
}

#[test]
fn a_refusal_of_the_number_of_inputs_asks_for_a_smaller_request() {
    let says = |message: &str| {
        let body = serde_json::json!({"status": "error", "category": "VALIDATION_ERROR", "message": message});
        judge_text(400, body.to_string(), &three())
    };
    for message in [
        "The maximum number of inputs supported in a batch request is 2. Received 3.",
        "Batch size of 3 exceeds the limit of 2",
        "inputs: must have at most 1 entries",
        "Too many inputs: no more than 2",
    ] {
        assert_eq!(cause(&says(message)), Transient::TooLarge, "{message}");
    }
    // What this request keeps, or what is not about the request's size, is for the search of bad pairs.
    for message in
        ["inputs: must have at most 3 entries", "the record has reached its limit of 2 labels", "a bad input"]
    {
        let judgement = says(message);
        assert!(!matches!(judgement, Judgement::Again(_)), "{message}: {judgement:?}");
    }
}

#[test]
fn a_lock_waits_two_seconds_and_longer_if_asked() {
    let now = "2026-12-01T00:00:00Z".parse().unwrap();
    let wait = |status, retry_after| {
        let headers = Headers { retry_after, ..Headers::default() };
        let reply = Reply::Answer(Answer { headers, ..answer(status, "") });
        let Judgement::Again(again) = judge(&reply, &three()) else { panic!("{status}") };
        again.least_wait(now)
    };
    assert_eq!(wait(423, None), Duration::from_secs(2));
    assert_eq!(wait(423, Some(RetryAfter::Seconds(1))), Duration::from_secs(2));
    assert_eq!(wait(423, Some(RetryAfter::Seconds(5))), Duration::from_secs(5));
    assert_eq!(wait(503, None), Duration::ZERO);
    assert_eq!(wait(503, Some(RetryAfter::Seconds(5))), Duration::from_secs(5));
}

#[test]
fn silence_is_sent_again() {
    for (silence, expected) in [
        (Silence::Refused("closed".into()), Transient::Unreachable),
        (Silence::Tls("expired".into()), Transient::Tls),
        (Silence::TimedOut, Transient::TimedOut),
        (Silence::Reset, Transient::Reset),
    ] {
        assert_eq!(cause(&judge(&Reply::Silence(silence), &three())), expected);
    }
}

#[test]
fn a_throttle_names_its_limit() {
    let body = |policy: Value, message: &str| json!({"status": "error", "errorType": "RATE_LIMIT", "policyName": policy, "message": message});
    for (body, expected) in [
        (body(json!("TEN_SECONDLY_ROLLING"), "You have reached your ten_secondly_rolling limit."), Policy::TenSecondly),
        (body(json!("SECONDLY"), ""), Policy::Secondly),
        (body(json!("DAILY"), "You have reached your daily limit."), Policy::Daily),
        (body(json!("MINUTELY"), ""), Policy::Unknown),
        (body(json!(7), ""), Policy::Unknown),
        (json!({"message": "You have reached your secondly limit."}), Policy::Secondly),
        (json!({"message": "You have reached your daily limit."}), Policy::Daily),
        (body(json!("NEW_NAME"), "You have reached your Daily Limit of 250000 calls."), Policy::Daily),
        (json!({"message": "You have reached your ten_secondly_rolling limit."}), Policy::TenSecondly),
        (json!("slow down"), Policy::Unknown),
    ] {
        let headers = Headers { retry_after: Some(RetryAfter::Seconds(3)), ..Headers::default() };
        let reply = Reply::Answer(Answer { headers, ..answer(429, body.to_string()) });
        let Judgement::Throttled(throttled) = judge(&reply, &three()) else { panic!("{body}") };
        assert_eq!(throttled.policy, expected, "{body}");
        assert_eq!(throttled.retry_after, Some(RetryAfter::Seconds(3)));
        assert_eq!(throttled.refusal.http_status, Some(429));
    }
}

#[test]
fn a_refused_token_pauses_the_account() {
    for (category, expected) in [
        ("EXPIRED_AUTHENTICATION", AccountPauseKind::TokenExpired),
        ("INVALID_AUTHENTICATION", AccountPauseKind::TokenInvalid),
        ("BANNED", AccountPauseKind::TokenRefused),
    ] {
        let body = json!({"status": "error", "category": category, "message": "m"});
        assert_eq!(account_pause(&judge_json(401, &body, &three())), expected);
    }
    assert_eq!(account_pause(&judge_text(401, "<html>", &three())), AccountPauseKind::TokenRefused);
}

#[test]
fn a_proxy_that_wants_a_password_pauses_the_account_and_says_where_to_put_it() {
    for body in ["", "<html></html>", "{\"category\":\"VALIDATION_ERROR\",\"context\":{\"fromObjectId\":[\"101\"]}}"] {
        let judgement = judge_text(407, body, &three());
        assert_eq!(account_pause(&judgement), AccountPauseKind::ProxyRefused, "{body}");
        let Judgement::PauseAccount(pause) = judgement else { panic!("{body}") };
        assert!(pause.refusal.message.contains("HTTPS_PROXY"), "{}", pause.refusal.message);
    }
}

#[test]
fn a_portal_that_moves_pauses_the_account_for_as_long_as_it_says() {
    let moving = |retry_after| {
        let headers = Headers { retry_after, ..Headers::default() };
        account_pause(&judge(&Reply::Answer(Answer { headers, ..answer(477, "") }), &three()))
    };
    let day = Some(RetryAfter::Seconds(86_400));
    assert_eq!(moving(day), AccountPauseKind::Moving(day));
    assert_eq!(moving(None), AccountPauseKind::Moving(None));
}

#[test]
fn missing_scopes_pause_the_lane_and_are_named_once_each() {
    let body = json!({
        "status": "error", "category": "MISSING_SCOPES", "message": "m", "correlationId": "c",
        "errors": [
            {"message": "All are required.", "context": {"requiredGranularScopes": ["crm.a.write", "crm.b.write"]}},
            {"message": "One is.", "context": {"requiredGranularScopes": ["crm.a.write", 7], "requiredScopes": "old"}},
        ]
    });
    let Judgement::PauseLane(pause) = judge_json(403, &body, &three()) else { panic!("the lane is not paused") };
    let scopes = ["crm.a.write", "crm.b.write", "old"].map(Box::from).into();
    assert_eq!(pause.kind, LanePauseKind::MissingScopes(scopes));
    assert_eq!(pause.refusal.source, Source::Worker(WorkerCategory::AccountRefused));
    assert_eq!(pause.refusal.correlation_id.as_deref(), Some("c"));
}

#[test]
fn scopes_are_bounded_in_number_and_length() {
    let scopes: Vec<_> = (0..1_000).map(|n| format!("{n}-{}", "s".repeat(500))).collect();
    let body = json!({"category": "MISSING_SCOPES", "context": {"requiredScopes": scopes}});
    let Judgement::PauseLane(pause) = judge_json(403, &body, &three()) else { panic!("the lane is not paused") };
    let LanePauseKind::MissingScopes(kept) = pause.kind else { panic!("{pause:?}") };
    assert_eq!(kept.len(), LanePauseKind::MAX_SCOPES);
    assert!(kept.iter().all(|scope| scope.len() == TEXT_MAX_BYTES));
}

#[test]
fn what_is_wrong_with_the_path_pauses_the_lane() {
    for (status, expected) in [
        (300, LanePauseKind::Redirected),
        (301, LanePauseKind::Redirected),
        (304, LanePauseKind::Redirected),
        (308, LanePauseKind::Redirected),
        (403, LanePauseKind::Forbidden),
        (404, LanePauseKind::NotFound),
        (405, LanePauseKind::MethodNotAllowed),
        (415, LanePauseKind::UnsupportedMedia),
    ] {
        for body in ["", "<html></html>", "{\"status\":\"error\",\"message\":\"resource not found\"}"] {
            let judgement = judge_text(status, body, &three());
            let Judgement::PauseLane(pause) = judgement else { panic!("{status} {body}: {judgement:?}") };
            assert_eq!(pause.kind, expected, "{status} {body}");
        }
    }
}

#[test]
fn a_not_found_that_names_no_record_is_about_the_path() {
    for body in [
        json!({"category": "OBJECT_NOT_FOUND", "message": "m"}),
        json!({"category": "OBJECT_NOT_FOUND", "context": {"id": ["batch-archive"]}}),
        json!({"category": "VALIDATION_ERROR", "context": {"fromObjectId": ["101"]}}),
    ] {
        let judgement = judge_json(404, &body, &three());
        let Judgement::PauseLane(pause) = judgement else { panic!("{body}: {judgement:?}") };
        assert_eq!(pause.kind, LanePauseKind::NotFound, "{body}");
    }
}

#[test]
fn only_an_object_type_that_does_not_exist_refuses_the_lane() {
    let message = "Unable to infer object type from: unicorns";
    for status in [200, 400] {
        let body = json!({"status": "error", "message": message, "correlationId": "c"});
        let Judgement::LaneRefused(refusal) = judge_json(status, &body, &three()) else { panic!("{status}") };
        assert_eq!((refusal.source.category(), &*refusal.message), (Refusal::NO_CATEGORY, message));
        assert_eq!((refusal.http_status, refusal.retryable), (Some(status), false));
    }
    let other = json!({"status": "error", "message": message, "category": "VALIDATION_ERROR"});
    assert!(matches!(judge_json(400, &other, &three()), Judgement::Suspect(_)));
    assert!(matches!(judge_json(400, &json!({"message": "internal error"}), &three()), Judgement::Suspect(_)));
    let elsewhere = json!({"status": "error", "message": message});
    assert!(matches!(judge_json(422, &elsewhere, &three()), Judgement::Suspect(_)));
}

#[test]
fn every_other_refusal_that_names_nothing_is_isolated_down_to_one_pair() {
    let rows = [401, 403, 404, 405, 407, 408, 409, 413, 414, 415, 423, 425, 429, 477];
    for status in (400..500).filter(|status| !rows.contains(status)) {
        for body in ["", "<html></html>", "{\"status\":\"error\",\"message\":\"m\",\"category\":\"VALIDATION_ERROR\"}"]
        {
            assert!(matches!(judge_text(status, body, &three()), Judgement::Suspect(_)), "{status} {body}");
            let alone = judge_text(status, body, &pairs([(101, 901)]));
            assert_eq!(letters(&alone), "R", "{status} {body}");
            assert_eq!(refusal_of(&alone, 0).http_status, Some(status));
        }
    }
}

#[test]
fn a_refusal_about_the_account_is_not_isolated() {
    let judged = |category: &str| judge_json(400, &json!({"status": "error", "category": category}), &three());
    assert!(matches!(judged("RATE_LIMITS"), Judgement::Throttled(_)));
    assert!(matches!(judged("INVALID_AUTHENTICATION"), Judgement::PauseAccount(_)));
    assert!(matches!(judged("MISSING_SCOPES"), Judgement::PauseLane(_)));
}

#[test]
fn the_correlation_id_is_the_bodys_else_the_headers() {
    let judged = |body: &str| {
        let headers = Headers { correlation_id: Some("header".into()), ..Headers::default() };
        let reply = Reply::Answer(Answer { headers, ..answer(500, body.to_owned()) });
        let Judgement::Again(again) = judge(&reply, &three()) else { panic!("not to be sent again") };
        again.refusal.correlation_id.clone().map(String::from)
    };
    assert_eq!(judged("{\"correlationId\":\"body\"}").as_deref(), Some("body"));
    assert_eq!(judged("<html>").as_deref(), Some("header"));
}

fn account_pause(judgement: &Judgement) -> AccountPauseKind {
    let Judgement::PauseAccount(pause) = judgement else { panic!("the account is not paused: {judgement:?}") };
    assert_eq!(pause.refusal.source, Source::Worker(WorkerCategory::AccountRefused));
    pause.kind
}
