//! What HubSpot does that it should not, and the shapes in which it says so.

use std::time::Duration;

use fastrand::Rng;
use hubspot_simulator::behaviour::{
    Behaviour, Caps, ContextForm, ContextShape, IdForm, Names, NotAssociated, Repeats, Success, TypeForm,
};
use hubspot_simulator::fault::{
    Body, Effect, Probability, ResetWhen, RetryAfter, Rule, Scripted, UnauthorizedKind, UnfinishedStatus, When,
};
use hubspot_simulator::limits::RetryAfterForm;
use hubspot_simulator::refusal::{BadMode, BadRecords, Failure};
use hubspot_simulator::reply::ThrottleStyle;
use hubspot_simulator::request::Kind;

use crate::scenario::{Scenario, choose};

/// The far side's manners, which hold from beginning to end.
pub fn behaviour(rng: &mut Rng, latency: Duration) -> Behaviour {
    Behaviour {
        success: *choose(rng, &[Success::NoContent, Success::Ok, Success::MultiStatus]),
        not_associated: *choose(rng, &[NotAssociated::Silent, NotAssociated::Reported]),
        caps: Caps {
            pairs: *choose(rng, &[None, None, None, Some(20)]),
            repeats: *choose(rng, &[Repeats::Refused, Repeats::Accepted]),
            ..Caps::default()
        },
        latency,
        jitter: latency,
        context: ContextShape {
            names: *choose(rng, &[Names::FromAndTo, Names::FromOnly]),
            ids: *choose(rng, &[IdForm::Strings, IdForm::Numbers]),
            types: *choose(rng, &[TypeForm::Singular, TypeForm::AsWritten]),
            form: *choose(rng, &[ContextForm::Map, ContextForm::Map, ContextForm::Text]),
        },
        ..Behaviour::default()
    }
}

/// Records that HubSpot refuses, or that make every request with them fail, in a third of the portals.
pub fn bad_records(rng: &mut Rng) -> BadRecords {
    let modes = [
        BadMode::PartialNamed,
        BadMode::PartialUnnamed,
        BadMode::RefusedNamed,
        BadMode::RefusedFirstNamed,
        BadMode::RefusedUnnamed,
    ];
    let mut bad = BadRecords { mode: *choose(rng, &modes), ..BadRecords::default() };
    if rng.u8(..3) == 0 {
        bad.ids = (0..rng.usize(1..6)).map(|_| rng.u64(1..=30)).collect();
    }
    if rng.u8(..3) == 0 {
        bad.failure = *choose(rng, &STUCK);
    }
    bad
}

/// What a record that is stuck makes of its requests: failures that pass elsewhere.
pub const STUCK: [Failure; 10] = [
    Failure::Status(408),
    Failure::Status(409),
    Failure::Status(423),
    Failure::Status(500),
    Failure::Status(502),
    Failure::Status(503),
    Failure::Status(504),
    Failure::Garbage,
    Failure::Cut,
    Failure::Reset,
];

/// Faults of single requests, for a time.
pub fn add(scenario: &mut Scenario, rng: &mut Rng) {
    let lasting = Duration::from_secs(*choose(rng, &[5, 60, 60, 600, 4_000]));
    scenario.calm_from = scenario.calm_from.max(lasting);
    for _ in 0..rng.usize(0..4) {
        let after = lasting.mul_f64(rng.f64() * 0.9);
        let until = (after + lasting.mul_f64(rng.f64())).min(lasting);
        let (then, made_up) = effect(rng, scenario.request_timeout);
        scenario.refusals_are_made_up |= made_up;
        let share = *choose(rng, &[0.05, 0.3, 1.0]);
        let when = When {
            portal: (scenario.portals.len() > 1).then(|| choose(rng, &scenario.portals).id),
            probability: Probability::try_from(share).unwrap_or_else(|why| unreachable!("{why}")),
            after: Some(after),
            until: Some(until),
            kind: kind(rng),
            ..When::default()
        };
        scenario.rules.push(Rule { when, then });
    }
}

/// Mostly the archive endpoints, at times those about tokens and accounts.
fn kind(rng: &mut Rng) -> Option<Kind> {
    match rng.u8(..10) {
        0 => Some(Kind::TokenRefresh),
        1 => Some(Kind::AccountInfo),
        _ => None,
    }
}

/// An effect, and whether it makes HubSpot refuse pairs that are good.
fn effect(rng: &mut Rng, request_timeout: Duration) -> (Effect, bool) {
    let kind = rng.u8(..14);
    let effect = match kind {
        0 | 1 => return answer(rng),
        2 => Effect::Latency(request_timeout.mul_f64(rng.f64() * 2.0)),
        3 => Effect::Stall { after_bytes: rng.usize(0..40), lasting: request_timeout.mul_f64(rng.f64() * 2.0) },
        4 => Effect::Cut { after_bytes: rng.usize(0..80) },
        5 => Effect::Reset(*choose(rng, &[ResetWhen::Unread, ResetWhen::Undone, ResetWhen::Done])),
        6 => Effect::Unfinished {
            status: *choose(
                rng,
                &[UnfinishedStatus::Canceled, UnfinishedStatus::Pending, UnfinishedStatus::Processing],
            ),
            done: rng.bool(),
        },
        7 => Effect::Miscount(rng.u64(0..3)),
        8 => Effect::Unauthorized(*choose(
            rng,
            &[UnauthorizedKind::Expired, UnauthorizedKind::Invalid, UnauthorizedKind::MalformedToken],
        )),
        9 => Effect::MissingScopes(vec!["crm.objects.contacts.write".to_owned()]),
        10 => Effect::Redirect { to: "https://elsewhere.example/".to_owned(), status: 307 },
        _ => Effect::Throttle {
            policy: (*choose(rng, &["TEN_SECONDLY_ROLLING", "SECONDLY", "DAILY", "NEW_POLICY"])).to_owned(),
            style: *choose(rng, &[ThrottleStyle::PolicyName, ThrottleStyle::Category]),
            retry_after: retry_after(rng),
        },
    };
    (effect, kind == 7)
}

/// Passing statuses, those an operator must mend, and those that blame the request.
fn answer(rng: &mut Rng) -> (Effect, bool) {
    const PASSING: [u16; 18] =
        [408, 409, 413, 414, 423, 425, 477, 500, 502, 503, 504, 521, 522, 523, 524, 525, 526, 599];
    const BY_OPERATOR: [u16; 6] = [302, 401, 403, 404, 405, 415];
    const BLAMING: [u16; 4] = [400, 402, 418, 451];
    let (status, made_up) = match rng.u8(..10) {
        0..6 => (*choose(rng, &PASSING), false),
        6..8 => (*choose(rng, &BY_OPERATOR), false),
        8 => (*choose(rng, &BLAMING), true),
        _ => (200, false),
    };
    let bodies = [Body::Usual, Body::Usual, Body::Empty, Body::Html, Body::TruncatedJson, Body::Filler(2_000)];
    let body = match status {
        // A success without any body would be believed.
        200 => choose(rng, &[Body::Html, Body::TruncatedJson, Body::Filler(100)]).clone(),
        _ => choose(rng, &bodies).clone(),
    };
    let scripted = Scripted {
        status,
        body,
        content_type: None,
        headers: std::collections::BTreeMap::new(),
        retry_after: retry_after(rng),
        done: rng.bool(),
    };
    (Effect::Answer(scripted), made_up)
}

fn retry_after(rng: &mut Rng) -> Option<RetryAfter> {
    let wait = Duration::from_millis(*choose(rng, &[0, 900, 7_000, 90_000, 700_000]));
    let form = *choose(rng, &[RetryAfterForm::Seconds, RetryAfterForm::Date]);
    (rng.u8(..3) == 0).then_some(RetryAfter { wait, form })
}
