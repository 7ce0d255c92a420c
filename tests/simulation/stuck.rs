//! A record that makes every request with it fail: its neighbours hardly notice.

use std::time::Duration;

use hubspot_simulator::refusal::{BadMode, Failure};

use crate::calm::{calm, job};
use crate::run::run;
use crate::trouble::STUCK;

/// How long all jobs without a stuck record take at most; without any such record it is less than a second.
const LATEST: Duration = Duration::from_secs(60);

#[test]
fn neighbours_of_a_stuck_record_are_done_within_a_minute() {
    for failure in STUCK {
        for mode in [BadMode::RefusedUnnamed, BadMode::RefusedNamed, BadMode::RefusedFirstNamed] {
            let mut scenario = calm(400);
            scenario.portals[0].bad.ids = [17, 250, 251].into_iter().collect();
            scenario.portals[0].bad.mode = mode;
            scenario.portals[0].bad.failure = failure;
            scenario.policy.retry.max_age = Duration::from_secs(3_600);
            // And while the stuck ones come back from the delay queues, again and again, others come.
            for late in 0..40 {
                let mut job = job(1_000 + late, 2);
                job.at = Duration::from_secs(60 * late);
                scenario.jobs.push(job);
            }
            let summary = run(&scenario, false).unwrap();
            assert!(summary.latest_neighbour <= LATEST, "{failure:?} {mode:?}: {summary:?}");
            assert!(summary.requests <= 400, "{failure:?} {mode:?}: {summary:?}");
        }
    }
}

#[test]
fn a_stuck_record_fails_alone_when_its_time_is_over() {
    let mut scenario = calm(100);
    scenario.portals[0].bad.ids = [57].into_iter().collect();
    scenario.portals[0].bad.mode = BadMode::RefusedUnnamed;
    scenario.portals[0].bad.failure = Failure::Status(500);
    let summary = run(&scenario, false).unwrap();
    // For a day it comes back every ten minutes, for one request each time.
    assert!(summary.lasted >= Duration::from_secs(86_400));
    assert!(summary.requests <= 250, "{summary:?}");
}
