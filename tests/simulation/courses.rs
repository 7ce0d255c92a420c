//! Jobs of all courses together: dry runs, restores, all associations of a record, and archives with and without a look
//! before them. HubSpot's world has associations with labels here, and tells what became of them.
//!
//! `COURSE_SEEDS=100000 cargo test --test simulation courses` runs as many; `COURSE_SEED=123` replays one and prints it.

mod errand;
mod journal;
mod run;
mod truth;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::promises::Broken;
use crate::seeds::number;

/// Seeds that `cargo test` runs.
const SEEDS: u64 = 100;

#[test]
fn jobs_of_all_courses_do_what_they_say_and_nothing_else() {
    if let Some(seed) = number("COURSE_SEED") {
        let told = run::run(seed, true);
        assert!(told.is_ok(), "seed {seed} breaks a promise: {told:?}");
        return;
    }
    let seeds = number("COURSE_SEEDS").unwrap_or(SEEDS);
    let mut totals = run::Totals::default();
    let mut broken = Vec::new();
    for seed in number("FIRST_SEED").unwrap_or(0)..seeds {
        match attempt(seed) {
            Ok(told) => totals.add(told),
            Err(Broken(what)) => broken.push((seed, what)),
        }
    }
    println!("{seeds} seeds: {totals:?}");
    for (seed, what) in &broken {
        println!("COURSE_SEED={seed}: {what}");
    }
    assert!(broken.is_empty(), "{} seeds break a promise", broken.len());
    assert!(seeds < SEEDS || totals.has_everything(), "something never happened: {totals:?}");
}

/// A panic in the engine is a promise broken.
fn attempt(seed: u64) -> Result<run::Totals, Broken> {
    catch_unwind(AssertUnwindSafe(|| run::run(seed, false))).unwrap_or_else(|panic| {
        let told = panic.downcast_ref::<String>().cloned();
        let told = told.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        Err(Broken(format!("panic: {}", told.unwrap_or_default())))
    })
}
