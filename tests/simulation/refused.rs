//! A thousand lanes that HubSpot refuses: a lane that it serves has nine tenths of the ceiling beside them.

use std::time::Duration;

use association_archiver::contract::object_type::ObjectType;
use hubspot_simulator::fault::{Body, Effect, Rule, Scripted, When};

use crate::calm::{calm, job};
use crate::run::run;
use crate::scenario::JobSpec;

/// Each of an object type of its own.
const LANES: u64 = 1_000;

/// By then each lane has had its first answer, at ten requests a second.
const ALL_ARE_PAUSED: Duration = Duration::from_secs(150);

/// Requests for the lane that is served; they take 40 seconds alone.
const SERVED: u64 = 400;

const ALONE: Duration = Duration::from_secs(SERVED / 10);

/// The refusals end then.
const MENDED: Duration = Duration::from_secs(400);

fn of_type(number: u64, from: u64, at: Duration) -> JobSpec {
    JobSpec { from_type: ObjectType::parse(&format!("2-{number}")).unwrap(), at, ..job(from, 1) }
}

fn answered(status: u16, body: Body) -> Effect {
    let headers = std::collections::BTreeMap::new();
    Effect::Answer(Scripted { status, body, content_type: None, headers, retry_after: None, done: false })
}

#[test]
fn a_lane_has_nine_tenths_of_the_ceiling_beside_a_thousand_refused_ones() {
    let scopes = Effect::MissingScopes(vec!["crm.objects.custom.write".to_owned()]);
    for refusal in [scopes, answered(404, Body::Html)] {
        let mut scenario = calm(0);
        // A job each request.
        scenario.policy.caps.from = 1;
        scenario.jobs = (1..=LANES).map(|lane| of_type(lane, 1, Duration::ZERO)).collect();
        scenario.jobs.extend((1..=SERVED).map(|from| of_type(LANES + 1, from, ALL_ARE_PAUSED)));
        let refused = (1..=LANES).map(|lane| Rule {
            when: When {
                from: hubspot_simulator::ObjectType::parse(&format!("2-{lane}")),
                until: Some(MENDED),
                ..When::default()
            },
            then: refusal.clone(),
        });
        scenario.rules = refused.collect();
        let summary = run(&scenario, false).unwrap();
        let served = summary.answered[LANES as usize..].iter().copied().map(Option::unwrap).max().unwrap();
        let took = served - ALL_ARE_PAUSED;
        assert!(took.mul_f64(0.9) <= ALONE + Duration::from_secs(1), "{took:?} instead of {ALONE:?}: {refusal:?}");
        let refused = summary.answered[..LANES as usize].iter().copied().map(Option::unwrap).min().unwrap();
        assert!(refused >= MENDED, "a lane was served at {refused:?}: {refusal:?}");
    }
}
