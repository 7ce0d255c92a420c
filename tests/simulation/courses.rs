//! Jobs of all courses together: dry runs, restores, all associations of a record, and archives with and without a look
//! before them. HubSpot's world has associations with labels here, and tells what became of them.
//!
//! `SEEDS=100000 cargo test --test simulation courses` runs as many; `COURSE_SEED=123` replays one and prints it.

mod errand;
mod journal;
mod proofs;
mod run;
mod scene;
mod truth;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use scene::Scene;

use crate::promises::Broken;
use crate::seeds::{number, try_all};

/// Seeds that `cargo test` runs.
const SEEDS: u64 = 100;

/// Seeds far behind these that broke a promise once, one of each kind. They are always tried.
const FOUND: [u64; 11] = [8_624, 12_668, 15_341, 16_564, 59_623, 66_250, 67_889, 75_926, 78_980, 85_128, 87_728];

#[test]
fn jobs_of_all_courses_do_what_they_say_and_nothing_else() {
    if let Some(seed) = number("COURSE_SEED") {
        let told = run::run(Scene::of(seed), true);
        assert!(told.is_ok(), "seed {seed} breaks a promise: {told:?}");
        return;
    }
    let first = number("FIRST_SEED").unwrap_or(0);
    let seeds = number("SEEDS").unwrap_or(SEEDS);
    let mut totals = run::Totals::default();
    let mut broken = try_all(first..first + seeds, attempt, |_, told| totals.add(told));
    broken.extend(FOUND.into_iter().filter_map(|seed| Some((seed, attempt(seed).err()?))));
    println!("{seeds} seeds: {totals:?}");
    for (seed, Broken(what)) in &broken {
        println!("COURSE_SEED={seed}: {what}");
    }
    assert!(broken.is_empty(), "{} seeds break a promise", broken.len());
    assert!(seeds < SEEDS || totals.has_everything(), "something never happened: {totals:?}");
}

/// Proofs come beside what is still to be archived: they take no time from it worth mentioning, and none of them waits until
/// its job must be parked and starts again.
#[test]
fn a_backlog_is_archived_as_fast_with_its_proofs_beside_it() {
    for longest_hold in [490, 60].map(Duration::from_secs) {
        let [plain, proven] =
            [false, true].map(|verify| run::run(Scene::backlog(longest_hold, verify), false).unwrap());
        let jobs = Scene::backlog(longest_hold, true).errands.len() as u64;
        assert_eq!((plain.verified, proven.verified), (0, jobs));
        assert!(proven.hours <= plain.hours * 1.4 + 30.0 / 3_600.0, "{proven:?} takes longer than {plain:?}");
        let most = plain.changes + plain.changes / 10;
        assert!(proven.changes <= most, "{} removals, {} without proofs", proven.changes, plain.changes);
        assert!(proven.looks * 4 <= proven.changes, "{} readings for {} removals", proven.looks, proven.changes);
    }
}

/// A panic in the engine is a promise broken.
fn attempt(seed: u64) -> Result<run::Totals, Broken> {
    catch_unwind(AssertUnwindSafe(|| run::run(Scene::of(seed), false))).unwrap_or_else(|panic| {
        let told = panic.downcast_ref::<String>().cloned();
        let told = told.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        Err(Broken(format!("panic: {}", told.unwrap_or_default())))
    })
}
