//! What must hold of each part's figures.

use crate::bound::Bound;
use crate::ceiling::Limited;
use crate::contestant::Contestant;
use crate::duel::Standing;
use crate::forwarding::Forwarding;
use crate::idle::Idle;

/// Fewer whole intervals say little about the share of a ceiling.
const ENOUGH_INTERVALS: u64 = 15;

/// Rivals by name, with the most CPU a job and the fewest jobs a second that the worker may have beside each. Those that
/// publish the whole message are named with [`WHOLE`].
const RIVALS: [(&str, f64, f64); 4] =
    [("node", 0.5, 1.25), ("go", 1.0, 1.0), ("node-outcome", 0.5, 1.25), ("go-outcome", 1.0, 1.0)];

/// Rivals whose messages have all the properties that the contract asks of an outcome, which cost the broker and them.
const WHOLE: &str = "-outcome";

/// The worker beside the floor; and beside the rivals that took part, each through the exchange that costs it least.
pub fn of_base(standings: &[Standing]) -> Vec<Bound> {
    let named = |contestant: &Contestant| standings.iter().find(|one| one.contestant == contestant.name());
    let (Some(floor), Some(worker)) = (named(&Contestant::PassThrough), named(&Contestant::Worker)) else {
        return Vec::new();
    };
    let mut bounds = vec![
        Bound::at_least("jobs/s, worker ÷ bare pass-through", speed(worker, floor), 0.85),
        Bound::at_most("CPU a job, worker ÷ bare pass-through", cost(worker, floor), 1.4),
    ];
    let worker = named(&Contestant::WorkerByQueue).unwrap_or(worker);
    let rival = |name: &str| named(&Contestant::Rival(name.to_owned()));
    for (name, most_cost, least_speed) in RIVALS {
        if let Some(rival) = rival(name) {
            bounds.push(Bound::at_most(&format!("CPU a job, worker ÷ {name}"), cost(worker, rival), most_cost));
            bounds.push(Bound::at_least(&format!("jobs/s, worker ÷ {name}"), speed(worker, rival), least_speed));
        }
    }
    let ours = [Contestant::PassThrough, Contestant::Worker, Contestant::PassThroughByQueue, Contestant::WorkerByQueue];
    let (whole, short): (Vec<_>, Vec<_>) = standings
        .iter()
        .filter(|one| ours.iter().all(|own| own.name() != one.contestant))
        .partition(|rival| rival.contestant.ends_with(WHOLE));
    for (rivals, said) in [(short, "the cheapest rival"), (whole, "the cheapest rival with the same message")] {
        let brokers =
            rivals.iter().map(|rival| worker.ratio_to(rival, |sample| sample.broker_cpu_micros_per_job).median);
        if let Some(ratio) = brokers.reduce(f64::max) {
            bounds.push(Bound::at_most(&format!("broker's CPU a job, worker ÷ {said}"), ratio, 1.1));
        }
    }
    bounds
}

fn speed(worker: &Standing, other: &Standing) -> f64 {
    worker.ratio_to(other, |sample| sample.jobs_per_second).median
}

fn cost(worker: &Standing, other: &Standing) -> f64 {
    worker.ratio_to(other, |sample| sample.cpu_micros_per_job).median
}

/// With the journal off, then in a stream, then in a file: each request is looked at and recorded before it leaves.
pub fn of_journal(standings: &[Standing]) -> Vec<Bound> {
    let [off, on, ..] = standings else { return Vec::new() };
    vec![Bound::at_least("jobs/s, with the journal on ÷ off", speed(on, off), 0.8)]
}

/// The worker beside one without a lease, which comes first.
pub fn of_lease(standings: &[Standing]) -> Vec<Bound> {
    let [without, with, ..] = standings else { return Vec::new() };
    let speed = with.ratio_to(without, |sample| sample.jobs_per_second).median;
    vec![Bound::at_least("jobs/s, amqp.lease on ÷ off", speed, 0.98)]
}

pub fn of_forwarding(forwarding: &Forwarding) -> Vec<Bound> {
    vec![Bound::at_least("jobs/s, moved to the queue of their account", forwarding.jobs_per_second, 10_000.0)]
}

pub fn of_million(standings: &[Standing]) -> Vec<Bound> {
    let worker = standings.iter().find(|standing| standing.contestant == Contestant::Worker.name());
    worker
        .map(|worker| Bound::at_most("peak RSS with 1,000,000 jobs queued, MB", worker.peak_rss_mb.max, 64.0))
        .into_iter()
        .collect()
}

pub fn of_limited(limited: &Limited) -> Vec<Bound> {
    let under = format!("under {} requests in {} s", limited.ceiling_requests, limited.interval_seconds);
    let requests = limited.requests as f64 / limited.fewest_requests as f64;
    let mut bounds = vec![
        Bound::at_most(&format!("requests ÷ fewest possible, {under}"), requests, 1.01),
        Bound::at_most(&format!("answers 429, {under}"), limited.answered_429 as f64, 0.0),
    ];
    if limited.intervals >= ENOUGH_INTERVALS {
        bounds.push(Bound::at_least(&format!("share of the ceiling used, {under}"), limited.share_of_ceiling, 0.98));
    }
    bounds
}

pub fn of_idle(idle: &Idle) -> Vec<Bound> {
    let mut bounds = vec![
        Bound::at_most("start to first request, ms", idle.start_up_ms.median, 300.0),
        Bound::at_most("RSS, idle, MB", idle.idle_rss_mb, 15.0),
    ];
    for lone in &idle.lone.worker {
        let figure = format!("a lone job's p99, linger {} ms, HubSpot {:.1} ms", lone.linger_ms, lone.far_side_ms);
        bounds.push(Bound::at_most(&figure, lone.latency.p99_ms.median, lone.allowed_ms));
    }
    bounds
}
