//! A history in which nothing goes wrong but what a test puts into it.

use std::time::Duration;

use association_archiver::contract::association::Extent;
use association_archiver::contract::job::Ask;
use association_archiver::contract::object_type::ObjectType;
use association_archiver::engine::EnginePolicy;
use association_archiver::engine::account::AccountPolicy;
use association_archiver::engine::background::{BackgroundPolicy, Urgency};
use hubspot_simulator::behaviour::Behaviour;
use hubspot_simulator::refusal::BadRecords;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use smallvec::smallvec;

use crate::scenario::{JobSpec, Manners, Portal, Scenario, pair};

/// The settings' own defaults, one account, and this many jobs of one pair each, all of which are there at the start.
pub fn calm(jobs: usize) -> Scenario {
    Scenario {
        background: BackgroundPolicy::default(),
        seed: 1,
        epoch: Timestamp::from_second(1_795_000_000).unwrap(),
        policy: policy(),
        request_timeout: Duration::from_secs(110),
        grace: Duration::from_secs(30),
        prefetch: 10_000,
        portals: vec![portal()],
        jobs: (1..=jobs as u64).map(|from| job(from, 1)).collect(),
        upheavals: Vec::new(),
        rules: Vec::new(),
        behaviour: Behaviour { latency: Duration::from_millis(100), ..Behaviour::default() },
        api_version: "v4",
        way: Duration::from_millis(10),
        slowest_publish: Duration::from_millis(20),
        refused_publishes: 0.0,
        lateness: Duration::ZERO,
        calm_from: Duration::ZERO,
        ends_by: Duration::from_secs(72 * 3_600),
        refusals_are_made_up: false,
    }
}

/// A job for the association of a contact with a company.
pub fn job(from: u64, to: u64) -> JobSpec {
    JobSpec {
        urgency: Urgency::Live,
        at: Duration::ZERO,
        account: 0,
        from_type: ObjectType::parse("contacts").unwrap(),
        to_type: ObjectType::parse("companies").unwrap(),
        asks: smallvec![Ask { extent: Extent::Whole, pairs: smallvec![pair(from, to)], all_of: Vec::new() }],
        not_after: None,
    }
}

fn policy() -> EnginePolicy {
    EnginePolicy::default()
}

fn portal() -> Portal {
    Portal {
        id: 4_711,
        policy: AccountPolicy::default(),
        time_zone: TimeZone::UTC,
        daily_allowed: None,
        clock_behind: Duration::ZERO,
        allowed: 100,
        limits: Manners { secondly: None, count_refused: false, headers: true, retry_after: None },
        bad: BadRecords::default(),
        unknown_type: None,
    }
}
