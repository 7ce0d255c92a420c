//! The world without HTTP: what a request does and is answered.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use hubspot_simulator::account::Account;
use hubspot_simulator::association::Associations;
use hubspot_simulator::behaviour::{ContextForm, ContextShape, IdForm, Names, NotAssociated, Success, TypeForm};
use hubspot_simulator::limits::{DayBudget, Limits, RetryAfterForm, Window};
use hubspot_simulator::oauth::OAuth;
use hubspot_simulator::refusal::BadMode;
use hubspot_simulator::sighting::Violation;
use hubspot_simulator::{Answer, Ending, Lane, Request, Rule, World};
use jiff::Timestamp;
use serde_json::{Value, json};

const ARCHIVE: &str = "/crm/v4/associations/contacts/companies/batch/archive";
const TOKEN: &str = "Bearer anything";
const NOW: Duration = Duration::ZERO;

fn world() -> World {
    World::new(7, "2026-11-23T10:00:00Z".parse().unwrap())
}

fn contacts_companies() -> Lane {
    Lane::parse("contact", "0-2").unwrap()
}

/// One input for each `(from, [to])`.
fn inputs(pairs: &[(u64, &[u64])]) -> String {
    let input = |(from, tos): &(u64, &[u64])| {
        let to: Vec<Value> = tos.iter().map(|to| json!({"id": to.to_string()})).collect();
        json!({"from": {"id": from.to_string()}, "to": to})
    };
    json!({"inputs": pairs.iter().map(input).collect::<Vec<_>>()}).to_string()
}

fn post(world: &mut World, target: &str, body: &str, now: Duration) -> Answer {
    let answer = world.handle(&Request::post(target, TOKEN, body.as_bytes()), now);
    world.answered(&answer);
    answer
}

fn archive(world: &mut World, pairs: &[(u64, &[u64])]) -> Answer {
    post(world, ARCHIVE, &inputs(pairs), NOW)
}

fn body(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

fn times(world: &World, from: u64, to: u64) -> u32 {
    world.accounts[0].associations.times_archived(&contacts_companies(), from, to)
}

fn faults(world: &mut World, rules: Value) {
    let rules: Vec<Rule> = serde_json::from_value(rules).unwrap();
    world.faults.install(rules, NOW);
}

fn unlimited() -> World {
    let mut world = world();
    world.accounts[0].limits = Limits::none();
    world
}

#[test]
fn a_success_takes_the_form_it_is_told_to() {
    let mut world = world();
    let answer = archive(&mut world, &[(1, &[2, 3])]);
    assert_eq!((answer.status, answer.body.len(), answer.ending), (204, 0, Ending::Whole));
    for (success, status) in [(Success::Ok, 200), (Success::MultiStatus, 207)] {
        world.behaviour.success = success;
        let answer = archive(&mut world, &[(4, &[5])]);
        assert_eq!((answer.status, &body(&answer)["status"]), (status, &json!("COMPLETE")));
    }
    assert_eq!((times(&world, 1, 2), times(&world, 1, 3), times(&world, 4, 5)), (1, 1, 2));
    let state = world.state();
    assert_eq!((state.pairs_archived_total, state.pairs_archived_repeatedly), (4, Some(1)));
    assert_eq!((state.pairs_per_request.min, state.pairs_per_request.max), (1, 2));
    assert_eq!(state.accounts[0].repeated[0].to, "5");
}

#[test]
fn every_version_and_spelling_reaches_the_same_lane() {
    let mut world = world();
    for target in [
        "/crm/v4/associations/0-1/Companies/batch/archive",
        "/crm/associations/2026-03/CONTACT/company/batch/archive",
        "/crm/associations/2026-09/contacts/0-2/batch/archive",
    ] {
        assert_eq!(post(&mut world, target, &inputs(&[(1, &[2])]), NOW).status, 204, "{target}");
    }
    assert_eq!(times(&world, 1, 2), 3);
}

#[test]
fn a_rolling_window_is_kept_to_the_microsecond() {
    let mut world = world();
    world.accounts[0].limits.rolling = Some(Window::new(2, Duration::from_secs(10)));
    let at = Duration::from_micros;
    let status = |world: &mut World, now| post(world, ARCHIVE, &inputs(&[(1, &[2])]), now).status;
    assert_eq!(status(&mut world, at(0)), 204);
    assert_eq!(status(&mut world, at(5)), 204);
    assert_eq!(status(&mut world, at(9_999_999)), 429);
    assert_eq!(status(&mut world, at(10_000_000)), 204);
    assert_eq!(status(&mut world, at(10_000_004)), 429);
    assert_eq!(status(&mut world, at(10_000_005)), 204);
    let account = &world.state().accounts[0];
    assert_eq!((account.throttled, account.violations[&Violation::OverCeiling]), (2, 2));
    assert_eq!(account.max_requests_in_interval, 4, "what was refused arrived too");
}

#[test]
fn a_429_says_which_policy_and_when_to_come_back() {
    let mut world = world();
    let limits = &mut world.accounts[0].limits;
    limits.rolling = Some(Window::new(1, Duration::from_secs(10)));
    limits.retry_after = Some(RetryAfterForm::Seconds);
    archive(&mut world, &[(1, &[2])]);
    let answer = post(&mut world, ARCHIVE, &inputs(&[(1, &[2])]), Duration::from_millis(500));
    assert_eq!(body(&answer)["policyName"], "TEN_SECONDLY_ROLLING");
    assert_eq!(body(&answer)["message"], "You have reached your ten_secondly_rolling limit.");
    assert_eq!(answer.header("Retry-After"), Some("10"));
    assert_eq!(answer.header("X-HubSpot-RateLimit-Remaining"), Some("0"));
    assert_eq!(answer.header("X-HubSpot-RateLimit-Interval-Milliseconds"), Some("10000"));
    let limits = &mut world.accounts[0].limits;
    limits.retry_after = Some(RetryAfterForm::Date);
    limits.headers = false;
    let answer = post(&mut world, ARCHIVE, &inputs(&[(1, &[2])]), Duration::from_secs(1));
    assert_eq!(answer.header("retry-after"), Some("Mon, 23 Nov 2026 10:00:10 GMT"));
    assert_eq!(answer.header("x-hubspot-ratelimit-max"), None);
}

#[test]
fn a_spent_day_is_refused_until_midnight() {
    let mut world = unlimited();
    world.accounts[0].limits.daily = Some(DayBudget::new(1));
    assert_eq!(archive(&mut world, &[(1, &[2])]).header("x-hubspot-ratelimit-daily-remaining"), Some("0"));
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let answer = post(&mut world, ARCHIVE, &inputs(&[(1, &[2])]), hours(13));
    assert_eq!((answer.status, &body(&answer)["policyName"]), (429, &json!("DAILY")));
    assert_eq!(post(&mut world, ARCHIVE, &inputs(&[(1, &[2])]), hours(14)).status, 204);
}

#[test]
fn bad_records_with_207_spare_the_good_pairs() {
    for (mode, named) in [(BadMode::PartialNamed, true), (BadMode::PartialUnnamed, false)] {
        let mut world = world();
        world.accounts[0].bad_records.ids = [13, 99].into_iter().collect();
        world.accounts[0].bad_records.mode = mode;
        let answer = archive(&mut world, &[(1, &[2, 99]), (13, &[4]), (5, &[6])]);
        let body = body(&answer);
        assert_eq!((answer.status, &body["numErrors"]), (207, &json!(2)));
        let context = json!({"fromObjectId": ["1"], "toObjectId": ["99"], "fromObjectType": ["contact"], "toObjectType": ["company"]});
        assert_eq!(body["errors"][0].get("context"), named.then_some(&context));
        assert_eq!(body["errors"][1]["category"], "VALIDATION_ERROR");
        let archived = [times(&world, 1, 2), times(&world, 1, 99), times(&world, 13, 4), times(&world, 5, 6)];
        assert_eq!(archived, [1, 0, 0, 1]);
    }
}

#[test]
fn bad_records_with_400_archive_nothing() {
    for (mode, named) in [(BadMode::RefusedNamed, true), (BadMode::RefusedUnnamed, false)] {
        let mut world = world();
        let bad = &mut world.accounts[0].bad_records;
        bad.ids = [99].into_iter().collect();
        bad.mode = mode;
        bad.category = "OBJECT_NOT_FOUND".to_owned();
        let answer = archive(&mut world, &[(1, &[2, 99])]);
        let body = body(&answer);
        assert_eq!((answer.status, &body["category"]), (400, &json!("OBJECT_NOT_FOUND")));
        assert_eq!(body["errors"][0]["context"]["toObjectId"] == json!(["99"]), named);
        assert_eq!(times(&world, 1, 2), 0);
        assert_eq!(archive(&mut world, &[(1, &[2])]).status, 204);
    }
}

#[test]
fn a_context_takes_the_shape_it_is_told_to() {
    let mut world = world();
    world.accounts[0].bad_records.ids = [1].into_iter().collect();
    world.behaviour.context = ContextShape {
        names: Names::FromOnly,
        ids: IdForm::Numbers,
        types: TypeForm::AsWritten,
        form: ContextForm::Text,
    };
    let errors = body(&archive(&mut world, &[(1, &[2, 3])]))["errors"].clone();
    assert_eq!(errors.as_array().unwrap().len(), 1, "one for the record, not for each pair");
    let context: Value = serde_json::from_str(errors[0]["context"].as_str().unwrap()).unwrap();
    assert_eq!(context, json!({"fromObjectId": [1], "fromObjectType": ["contacts"], "toObjectType": ["companies"]}));
}

#[test]
fn a_pair_that_is_not_there_is_reported_only_when_told_to() {
    let mut world = world();
    world.accounts[0].associations = Associations::none();
    world.accounts[0].associations.create(&contacts_companies(), 1, 2, &[]);
    assert_eq!(archive(&mut world, &[(1, &[7])]).status, 204);
    world.behaviour.not_associated = NotAssociated::Reported;
    let answer = archive(&mut world, &[(1, &[2, 3])]);
    let body = body(&answer);
    assert_eq!((answer.status, &body["numErrors"]), (207, &json!(1)));
    assert_eq!(body["errors"][0]["subCategory"], "crm.associations.NO_ASSOCIATIONS_FOUND");
    assert_eq!(body["errors"][0]["message"], "No company is associated with contact 1.");
    assert!(!world.accounts[0].associations.exists(&contacts_companies(), 1, 2));
}

#[test]
fn broken_caps_are_noted_and_refused() {
    let mut world = unlimited();
    world.behaviour.caps.pairs = Some(150);
    let many: Vec<(u64, &[u64])> = (1..=101).map(|from| (from, [1].as_slice())).collect();
    let wide: Vec<u64> = (1..=151).collect();
    for (pairs, status, violation) in [
        (many.as_slice(), 400, Violation::TooManyFrom),
        (&[(1, wide.as_slice())], 413, Violation::TooManyPairs),
        (&[(1, &[2]), (1, &[3])], 400, Violation::RepeatedFrom),
        (&[(1, &[2, 2])], 400, Violation::RepeatedPair),
        (&[(1, &[])], 204, Violation::EmptyTo),
        (&[], 400, Violation::EmptyInputs),
    ] {
        assert_eq!(archive(&mut world, pairs).status, status, "{violation:?}");
        assert_eq!(world.state().violations.get(&violation), Some(&1), "{violation:?}");
    }
    assert_eq!(world.state().pairs_archived_total, 0);
}

#[test]
fn a_wrong_shape_is_refused_or_silently_ignored() {
    let mut world = world();
    let ignored = r#"{"inputs":[{"from":{"id":"1"},"to":{"id":"2"}}]}"#;
    assert_eq!(body(&post(&mut world, ARCHIVE, ignored, NOW))["status"], "COMPLETE");
    for garbage in ["", "{", r#"{"inputs":[{"from":{"id":"x"},"to":[]}]}"#] {
        let answer = post(&mut world, ARCHIVE, garbage, NOW);
        assert_eq!((answer.status, body(&answer).get("category")), (400, None));
    }
    assert_eq!((world.state().pairs_archived_total, world.state().violations[&Violation::Malformed]), (0, 4));
}

#[test]
fn unknown_types_paths_and_methods_are_told_apart() {
    let mut world = world();
    world.accounts[0].unknown_types = [hubspot_simulator::ObjectType::parse("p_ghosts").unwrap()].into();
    for from in ["pets", "p_ghosts"] {
        let target = format!("/crm/v4/associations/{from}/contacts/batch/archive");
        let answer = post(&mut world, &target, &inputs(&[(1, &[2])]), NOW);
        assert_eq!(answer.status, 400);
        assert_eq!(body(&answer)["message"], format!("Unable to infer object type from: {from}"));
        assert_eq!(body(&answer).get("category"), None);
    }
    assert_eq!(post(&mut world, "/crm/v5/associations/a/b/batch/archive", "{}", NOW).status, 404);
    let get = Request { method: "GET", ..Request::post(ARCHIVE, TOKEN, b"") };
    assert_eq!(world.handle(&get, NOW).status, 405);
    let text = Request { content_type: Some("text/plain"), ..Request::post(ARCHIVE, TOKEN, b"{\"inputs\":[]}") };
    assert_eq!(world.handle(&text, NOW).status, 415);
}

#[test]
fn tokens_scopes_and_limits_belong_to_their_account() {
    let mut lacking = Account::new(1).with_token("one");
    lacking.missing_scopes.insert(
        hubspot_simulator::ObjectType::parse("companies").unwrap(),
        vec!["crm.objects.companies.write".to_owned()],
    );
    let mut world = World::with_accounts(1, Timestamp::UNIX_EPOCH, vec![lacking, Account::new(2).with_token("two")]);
    let mut status = |token: &str| {
        let text = inputs(&[(1, &[2])]);
        let answer = world.handle(&Request::post(ARCHIVE, token, text.as_bytes()), NOW);
        world.answered(&answer);
        (answer.status, body_or_null(&answer))
    };
    let (code, refused) = status("Bearer one");
    assert_eq!(code, 403);
    let scopes = &refused["errors"][0]["context"]["requiredGranularScopes"];
    assert_eq!(scopes, &json!(["crm.objects.companies.write"]));
    assert_eq!(status("Bearer two").0, 204);
    let (code, refused) = status("Bearer three");
    assert_eq!((code, &refused["category"]), (401, &json!("INVALID_AUTHENTICATION")));
    let state = world.state();
    assert_eq!(state.accounts.iter().map(|account| account.requests).collect::<Vec<_>>(), [1, 1, 1]);
    assert_eq!(state.accounts[2].portal_id, None);
}

fn body_or_null(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

#[test]
fn an_oauth_token_is_fetched_expires_and_is_fetched_again() {
    let mut oauth = OAuth::new("app", "secret", "first");
    oauth.rotate = true;
    let mut world =
        World::with_accounts(1, Timestamp::UNIX_EPOCH, vec![Account { oauth: Some(oauth), ..Account::new(9) }]);
    let refresh = |world: &mut World, token: &str, now| {
        let form = format!("grant_type=refresh_token&client_id=app&client_secret=secret&refresh_token={token}");
        post(world, "/oauth/2026-03/token", &form, now)
    };
    let grant = body(&refresh(&mut world, "first", NOW));
    assert_eq!((&grant["hub_id"], &grant["expires_in"]), (&json!(9), &json!(1800)));
    let bearer = format!("Bearer {}", grant["access_token"].as_str().unwrap());
    let text = inputs(&[(1, &[2])]);
    let request = Request::post(ARCHIVE, &bearer, text.as_bytes());
    assert_eq!(world.handle(&request, Duration::from_secs(1799)).status, 204);
    let expired = world.handle(&request, Duration::from_secs(1800));
    assert_eq!((expired.status, &body(&expired)["category"]), (401, &json!("EXPIRED_AUTHENTICATION")));
    let spent = refresh(&mut world, "first", Duration::from_secs(1800));
    assert_eq!((spent.status, &body(&spent)["status"]), (400, &json!("BAD_REFRESH_TOKEN")));
    let next = grant["refresh_token"].as_str().unwrap();
    assert_eq!(refresh(&mut world, next, Duration::from_secs(1800)).status, 200);
    assert_eq!(world.state().accounts[0].token_refreshes, 2);
}

#[test]
fn an_account_tells_who_it_is() {
    let mut world = world();
    world.accounts[0].time_zone = jiff::tz::TimeZone::get("America/New_York").unwrap();
    let request = Request { method: "GET", ..Request::post("/account-info/v3/details", TOKEN, b"") };
    let details = body(&world.handle(&request, NOW));
    assert_eq!((&details["portalId"], &details["timeZone"]), (&json!(4711), &json!("America/New_York")));
    assert_eq!(details["utcOffset"], "-05:00");
    let info = post(&mut world, "/oauth/v2/private-apps/get/access-token-info", r#"{"tokenKey":"anything"}"#, NOW);
    assert_eq!(body(&info)["hubId"], 4711);
    let known = post(&mut world, "/oauth/2026-03/token/introspect", "token=anything", NOW);
    assert_eq!(body(&known)["active"], true);
}

#[test]
fn rules_strike_the_requests_they_name() {
    let mut world = unlimited();
    faults(
        &mut world,
        json!([
            {"when": {"from": "deals"}, "then": {"answer": {"status": 404}}},
            {"when": {"requests": [2, 3]}, "then": {"answer": {"status": 500}}},
            {"when": {"pairsOver": 2}, "then": {"answer": {"status": 413}}},
            {"when": {"after": "10s", "until": "20s"}, "then": {"answer": {"status": 503}}},
            {"when": {"kind": "token-refresh"}, "then": {"answer": {"status": 502}}},
        ]),
    );
    let statuses: Vec<u16> = (0..4).map(|_| archive(&mut world, &[(1, &[2])]).status).collect();
    assert_eq!(statuses, [204, 500, 500, 204]);
    assert_eq!(archive(&mut world, &[(1, &[2, 3, 4])]).status, 413);
    assert_eq!(post(&mut world, "/crm/v4/associations/deals/contacts/batch/archive", "{}", NOW).status, 404);
    let mut at = |seconds| post(&mut world, ARCHIVE, &inputs(&[(1, &[2])]), Duration::from_secs(seconds)).status;
    assert_eq!([at(9), at(10), at(19), at(20)], [204, 503, 503, 204]);
    assert_eq!(post(&mut world, "/oauth/v1/token", "grant_type=refresh_token", NOW).status, 502);
}

#[test]
fn chance_strikes_its_share_and_the_same_again_from_the_same_seed() {
    let run = || {
        let mut world = unlimited();
        faults(&mut world, json!([{"when": {"probability": 0.25}, "then": {"reset": "undone"}}]));
        (0..2000).map(|_| archive(&mut world, &[(1, &[2])]).ending == Ending::Reset).collect::<Vec<_>>()
    };
    let struck = run();
    assert_eq!(struck, run());
    let share = struck.iter().filter(|&&struck| struck).count();
    assert!((400..600).contains(&share), "{share} of 2000");
}

#[test]
fn each_fault_does_what_it_says() {
    let archived_by = |then: Value| {
        let mut world = unlimited();
        world.behaviour.success = Success::Ok;
        faults(&mut world, json!([{"then": then}]));
        let answer = archive(&mut world, &[(1, &[2])]);
        (answer, times(&world, 1, 2))
    };
    for (then, status, archived) in [
        (json!({"answer": {"status": 502, "done": true}}), 502, 1),
        (json!({"answer": {"status": 524, "body": "empty"}}), 524, 0),
        (json!({"answer": {"status": 477, "retryAfter": {"in": "1h"}}}), 477, 0),
        (json!({"latency": "5s"}), 200, 1),
        (json!({"stall": {"afterBytes": 3, "lasting": "5s"}}), 200, 1),
        (json!({"cut": {"afterBytes": 3}}), 200, 1),
        (json!({"reset": "unread"}), 0, 0),
        (json!({"reset": "undone"}), 0, 0),
        (json!({"reset": "done"}), 0, 1),
        (json!("nothing-done"), 200, 0),
        (json!({"unfinished": {"status": "PENDING"}}), 200, 0),
        (json!({"unfinished": {"status": "PROCESSING", "done": true}}), 200, 1),
        (json!({"miscount": 5}), 200, 1),
        (json!({"unauthorized": "malformed-token"}), 401, 0),
        (json!({"missing-scopes": ["a.b"]}), 403, 0),
        (json!({"throttle": {"policy": "SECONDLY"}}), 429, 0),
        (json!({"redirect": {"to": "https://elsewhere.example/"}}), 307, 0),
    ] {
        let (answer, done) = archived_by(then.clone());
        assert_eq!((answer.status, done), (status, archived), "{then}");
    }
}

#[test]
fn made_up_answers_have_the_bodies_and_headers_asked_for() {
    let answered = |scripted: Value| {
        let mut world = unlimited();
        faults(&mut world, json!([{"then": {"answer": scripted}}]));
        archive(&mut world, &[(1, &[2])])
    };
    let page = answered(json!({"status": 503}));
    assert!(page.body.starts_with(b"<html>") && page.header("content-type").unwrap().starts_with("text/html"));
    let cut = answered(json!({"status": 500, "body": "truncated-json"}));
    assert!(serde_json::from_slice::<Value>(&cut.body).is_err() && cut.body.starts_with(b"{"));
    let large = answered(json!({"status": 200, "body": {"filler": 1_000_000}}));
    assert_eq!(large.body.len(), 1_000_000);
    let odd = answered(
        json!({"status": 200, "body": {"text": "hm"}, "contentType": "image/png", "headers": {"cf-ray": "8"}}),
    );
    assert_eq!((odd.header("content-type"), odd.header("cf-ray")), (Some("image/png"), Some("8")));
    let moved = answered(json!({"status": 477, "retryAfter": {"in": "90s", "form": "date"}}));
    assert_eq!(moved.header("retry-after"), Some("Mon, 23 Nov 2026 10:01:30 GMT"));
}

#[test]
fn rules_that_make_no_sense_are_refused() {
    for rule in [
        json!({"when": {"probability": 2.0}, "then": "nothing-done"}),
        json!({"when": {"from": "pets"}, "then": "nothing-done"}),
        json!({"when": {"form": "contacts"}, "then": "nothing-done"}),
        json!({"when": {}}),
        json!({"then": {"explode": 1}}),
    ] {
        assert!(serde_json::from_value::<Rule>(rule.clone()).is_err(), "{rule}");
    }
}

#[test]
fn the_readmes_examples_are_understood() {
    let blocks: Vec<&str> = include_str!("../README.md").split("```json\n").skip(1).collect();
    let [settings, rules] = [0, 1].map(|index| blocks[index].split("```").next().unwrap());
    let mut world = world();
    serde_json::from_str::<hubspot_simulator::Settings>(settings).unwrap().apply(&mut world);
    assert_eq!(world.accounts.iter().map(|account| account.portal_id).collect::<Vec<_>>(), [4711, 4712]);
    assert_eq!(serde_json::from_str::<Vec<Rule>>(rules).unwrap().len(), 5);
    let effects = include_str!("../README.md").split('`').filter(|text| text.starts_with("{\"") && text.ends_with('}'));
    let bodies = |text: &&str| !text.contains('…');
    for effect in effects.filter(bodies).filter(|text| !text.contains("filler")) {
        serde_json::from_str::<hubspot_simulator::Effect>(effect).expect(effect);
    }
}

#[test]
fn in_flight_lasts_until_the_answer() {
    let mut world = world();
    let text = inputs(&[(1, &[2])]);
    let request = Request::post(ARCHIVE, TOKEN, text.as_bytes());
    let answers = [world.handle(&request, NOW), world.handle(&request, NOW)];
    answers.iter().for_each(|answer| world.answered(answer));
    archive(&mut world, &[(1, &[2])]);
    assert_eq!((world.in_flight.most, world.in_flight.now), (2, 0));
    assert_eq!(world.arrivals.iter().count(), 3);
}
