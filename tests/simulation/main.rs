//! The whole policy in virtual time: the engine, HubSpot as a struct, a model of the broker, and everything that can go
//! wrong between them, drawn from a seed.
//!
//! `SEEDS=100000 cargo test --release --test simulation -- --nocapture` runs as many; `SEED=123` replays one and
//! prints what happens in it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod agenda;
mod broker;
mod ceilings;
mod far_side;
mod life;
mod outside;
mod promises;
mod run;
mod scenario;
mod trace;
mod trouble;
mod upheaval;
mod verity;

use run::run;
use scenario::Scenario;

#[test]
fn a_seed_replays_exactly() {
    for seed in 0..20 {
        let scenario = Scenario::of(seed);
        assert_eq!(run(&scenario, false), run(&Scenario::of(seed), false), "seed {seed}");
    }
}

#[test]
fn every_promise_is_kept_whatever_goes_wrong() {
    let one = std::env::var("SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    if let Some(seed) = one {
        let scenario = Scenario::of(seed);
        println!("{scenario:#?}");
        println!("{:#?}", run(&scenario, true));
        return;
    }
    let seeds = std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse::<u64>().ok()).unwrap_or(2_000);
    let began = std::time::Instant::now();
    let mut broken = 0;
    let mut requests = 0;
    for seed in 0..seeds {
        let one = std::time::Instant::now();
        let scenario = Scenario::of(seed);
        let told = std::panic::catch_unwind(|| run(&scenario, false));
        match told {
            Ok(Ok(summary)) => requests += summary.requests,
            Ok(Err(what)) => {
                println!("{seed}: {}", what.0);
                broken += 1;
            }
            Err(_) => {
                println!("{seed}: panic");
                broken += 1;
            }
        }
        if one.elapsed().as_millis() > 1000 {
            println!("{seed} took {:?}", one.elapsed());
        }
    }
    println!("{:?} {requests} requests", began.elapsed());
    assert_eq!(broken, 0);
}
