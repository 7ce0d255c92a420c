//! What a person reads.

use crate::ceiling::Limited;
use crate::duel::{Case, Standing};
use crate::echo::Latency;
use crate::half_load::HalfLoad;
use crate::idle::Idle;
use crate::lone::{LoneJobs, Turns};
use crate::measure::Sample;
use crate::spread::Spread;

/// One run, as it ends.
pub fn print_run(contestant: &str, sample: &Sample) {
    let Sample {
        seconds,
        jobs_per_second,
        cpu_micros_per_job,
        broker_cpu_micros_per_job,
        switches_per_job,
        peak_rss_mb,
    } = sample;
    eprintln!(
        "  {contestant:<22} {seconds:6.2} s {jobs_per_second:>9.0} jobs/s {cpu_micros_per_job:>7.1} µs \
         (broker {broker_cpu_micros_per_job:.1} µs) {switches_per_job:>5.2} waits {peak_rss_mb:>6.1} MB"
    );
}

/// Medians with their spread, and each contestant's ratio to the first of its round.
pub fn print_standings(case: &Case, rounds: usize, standings: &[Standing]) {
    let workload = &case.workload;
    println!(
        "\n{}: {} jobs, {} pairs a job, {} lanes, {} portals, {:?} queues, latency {}; medians of {rounds} [min–max]",
        case.name, workload.jobs, workload.pairs_per_job, workload.lanes, workload.portals, case.queues, case.latency
    );
    println!(
        "  {:<29} {:>28} {:>22} {:>22} {:>18} {:>20} {:>10}",
        "", "jobs/s", "CPU µs a job", "broker's CPU µs a job", "waits a job", "peak RSS MB", "requests"
    );
    for standing in standings {
        println!(
            "  {:<29} {:>28} {:>22} {:>22} {:>18} {:>20} {:>10.0}",
            standing.contestant,
            spread(&standing.jobs_per_second, 0),
            spread(&standing.cpu_micros_per_job, 1),
            spread(&standing.broker_cpu_micros_per_job, 1),
            spread(&standing.switches_per_job, 2),
            spread(&standing.peak_rss_mb, 0),
            standing.requests.median
        );
    }
    let Some((first, others)) = standings.split_first() else { return };
    for other in others {
        println!(
            "  {:<29} {:>28} {:>22} {:>22} {:>18} {:>20}",
            format!("{} ÷ floor", other.contestant),
            spread(&other.ratio_to(first, |sample| sample.jobs_per_second), 2),
            spread(&other.ratio_to(first, |sample| sample.cpu_micros_per_job), 2),
            spread(&other.ratio_to(first, |sample| sample.broker_cpu_micros_per_job), 2),
            spread(&other.ratio_to(first, |sample| sample.switches_per_job), 2),
            spread(&other.ratio_to(first, |sample| sample.peak_rss_mb), 2)
        );
    }
    println!("  fewest requests possible: {}", workload.fewest_requests());
}

pub fn print_idle(idle: &Idle) {
    println!("\nwith next to nothing to do");
    println!("  start to first request      {:>28} ms, the broker being there", spread(&idle.start_up_ms, 0));
    println!("  RSS, idle                   {:>8.1} MB", idle.idle_rss_mb);
    println!("  program                     {:>8.1} MB as built here", idle.binary_mb);
    for LoneJobs { linger_ms, far_side_ms, latency, .. } in &idle.lone.worker {
        print_turns(&format!("linger {linger_ms} ms, HubSpot {far_side_ms:.1} ms"), latency);
    }
    print_turns("bare pass-through", &idle.lone.floor);
}

fn print_turns(what: &str, Turns { turns, jobs_a_turn, p50_ms, p99_ms }: &Turns) {
    let (p50, p99) = (spread(p50_ms, 1), spread(p99_ms, 1));
    println!("  a lone job, {what}: p50 {p50} ms, p99 {p99} ms, {turns} turns of {jobs_a_turn}");
}

pub fn print_half_load(half: &HalfLoad) {
    print_latency(&format!("{} at {:.0} jobs/s", half.contestant, half.jobs_per_second), &half.latency);
}

fn print_latency(what: &str, latency: &Latency) {
    let Latency { jobs, p50_ms, p99_ms, most_ms } = latency;
    println!(
        "  publish to outcome, {what}: p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms, most {most_ms:.1} ms of {jobs} jobs"
    );
}

pub fn print_limited(limited: &Limited) {
    let Limited {
        workload,
        ceiling_requests,
        interval_seconds,
        intervals,
        share_of_ceiling,
        answered_429,
        requests,
        fewest_requests,
        pairs_per_request,
        most_in_an_interval,
        seconds,
    } = limited;
    println!(
        "\nceiling {ceiling_requests} requests in {interval_seconds} s: {} jobs, {} for each record",
        workload.jobs, workload.jobs_per_from
    );
    if *intervals > 0 {
        println!(
            "  share of the ceiling used   {:>8.1} %   over {intervals} whole intervals",
            share_of_ceiling * 100.0
        );
    }
    println!(
        "  answered 429                {answered_429:>8}     at most {most_in_an_interval} requests in any interval"
    );
    println!(
        "  requests ÷ fewest           {:>8.2}     {requests} for {fewest_requests}",
        *requests as f64 / *fewest_requests as f64
    );
    println!("  pairs a request             {pairs_per_request:>8.0}");
    println!("  seconds                     {seconds:>8.1}");
}

fn spread(spread: &Spread, decimals: usize) -> String {
    let Spread { median, min, max } = spread;
    format!("{median:.decimals$} [{min:.decimals$}–{max:.decimals$}]")
}
