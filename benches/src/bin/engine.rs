//! The engine by itself: what a pair costs to admit, to send and to settle, however many are held in however many lanes.

use std::alloc::System;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bench::bound::{Bound, print_bounds};
use bench::growth::{LANES, PORTALS};
use bench::pinning;
use bench::report::{commit, write_json};
use bench::spread::Spread;
use bench::steady::{Load, Spent, Steady};
use clap::Parser;
use serde::Serialize;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Held by the case that all others of one lane are compared with.
const REFERENCE: usize = 1_000;
const MOST: usize = 1_000_000;
/// Lanes are compared with requests that even the smallest of them fills.
const SMALL_REQUEST: usize = 10;

/// Measures the engine alone, with as many pairs coming in as leave.
#[derive(Parser, Debug)]
struct Arguments {
    /// Turns of each case
    #[arg(long, value_name = "N", default_value_t = 9)]
    rounds: usize,
    /// Pairs in each turn
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    pairs: u64,
    /// Count instructions too, with valgrind
    #[arg(long)]
    instructions: bool,
    /// Write all figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only measure how a pair's cost grows with portals and lanes, and write it to this file
    #[arg(long, value_name = "FILE", hide = true)]
    growth: Option<PathBuf>,
    /// Only hold 10,000 pairs and turn over this many: what valgrind looks at
    #[arg(long, value_name = "PAIRS", hide = true)]
    churn: Option<u64>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    load: Load,
    nanos_per_pair: Spread,
    admit_nanos: Spread,
    form_nanos: Spread,
    settle_nanos: Spread,
    pairs_per_request: f64,
    allocations_per_pair: f64,
    bytes_held_per_pair: f64,
    #[serde(skip)]
    samples: Vec<f64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct EngineReport {
    commit: Option<String>,
    rounds: usize,
    cases: Vec<Figures>,
    instructions_per_pair: Option<f64>,
    bounds: Vec<Bound>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("engine: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    if let Some(pairs) = arguments.churn {
        Steady::untimed(Load { held: 10_000, lanes: 1, portals: 1, pairs_per_request: 1_000 })?.turn_over(pairs)?;
        return Ok(());
    }
    pinning::stay_on_one_core();
    if let Some(file) = &arguments.growth {
        return write_json(&growth(arguments.rounds, arguments.pairs)?, file);
    }
    let by_held =
        [10, REFERENCE, 10_000, MOST].map(|held| Load { held, lanes: 1, portals: 1, pairs_per_request: 1_000 });
    let by_lanes =
        [1, 1_000, 100_000].map(|lanes| Load { held: MOST, lanes, portals: 1, pairs_per_request: SMALL_REQUEST });
    let loads: Vec<Load> = by_held.into_iter().chain(by_lanes).collect();
    let cases = measure(&loads, arguments.rounds, arguments.pairs)?;
    print_cases(&cases, arguments.rounds);
    let instructions_per_pair = match arguments.instructions {
        true => Some(instructions_per_pair(&std::env::current_exe()?)?),
        false => None,
    };
    if let Some(instructions) = instructions_per_pair {
        println!("  instructions a pair, 10,000 held: {instructions:.0} (callgrind)");
    }
    let bounds = bounds(&cases);
    print_bounds(&bounds);
    if let Some(file) = &arguments.json {
        let report = EngineReport { commit: commit(), rounds: arguments.rounds, cases, instructions_per_pair, bounds };
        write_json(&report, file)?;
    }
    Ok(())
}

/// One after the other, since a million pairs of each would not fit together.
fn growth(rounds: usize, pairs: u64) -> Result<Vec<Figures>> {
    let of_portals = PORTALS.map(|portals| (portals as usize, portals));
    let of_lanes = LANES.map(|lanes| (lanes, 1));
    let loads = of_portals.into_iter().chain(of_lanes);
    let cases: Result<Vec<_>> = loads
        .map(|(lanes, portals)| {
            let load = Load { held: MOST, lanes, portals, pairs_per_request: SMALL_REQUEST };
            measure(&[load], rounds, pairs)
        })
        .collect();
    Ok(cases?.concat())
}

/// All loads stay in hand and take turns, so that what else the machine does falls on each alike.
fn measure(loads: &[Load], rounds: usize, pairs: u64) -> Result<Vec<Figures>> {
    let mut running = Vec::new();
    for &load in loads {
        eprintln!("holding {} pairs in {} lanes", load.held, load.lanes);
        let region = Region::new(ALLOCATOR);
        let steady = Steady::new(load)?;
        let change = region.change();
        running.push((steady, change.bytes_allocated.saturating_sub(change.bytes_deallocated)));
    }
    let mut spent: Vec<Vec<(Spent, usize)>> = vec![Vec::new(); loads.len()];
    for _ in 0..rounds {
        for ((steady, _), spent) in running.iter_mut().zip(&mut spent) {
            let region = Region::new(ALLOCATOR);
            let turn = steady.turn_over(pairs)?;
            spent.push((turn, region.change().allocations));
        }
    }
    let figures = loads.iter().zip(&running).zip(&spent);
    Ok(figures.map(|((&load, &(_, bytes)), spent)| figures_of(load, bytes, spent)).collect())
}

fn figures_of(load: Load, bytes: usize, turns: &[(Spent, usize)]) -> Figures {
    let per_pair = |of: fn(&Spent) -> Duration| -> Vec<f64> {
        turns.iter().map(|(spent, _)| of(spent).as_secs_f64() * 1e9 / spent.pairs as f64).collect()
    };
    let pairs: u64 = turns.iter().map(|(spent, _)| spent.pairs).sum();
    let requests: u64 = turns.iter().map(|(spent, _)| spent.requests).sum();
    let allocations: usize = turns.iter().map(|(_, allocations)| allocations).sum();
    let samples = per_pair(Spent::total);
    Figures {
        load,
        nanos_per_pair: Spread::of(samples.iter().copied()),
        admit_nanos: Spread::of(per_pair(|spent| spent.admit)),
        form_nanos: Spread::of(per_pair(|spent| spent.form)),
        settle_nanos: Spread::of(per_pair(|spent| spent.settle)),
        pairs_per_request: pairs as f64 / requests as f64,
        allocations_per_pair: allocations as f64 / pairs as f64,
        bytes_held_per_pair: bytes as f64 / load.held as f64,
        samples,
    }
}

fn print_cases(cases: &[Figures], rounds: usize) {
    println!("\nthe engine alone, jobs of one pair, eight a record; CPU ns a pair, medians of {rounds} [min–max]");
    println!(
        "  {:>9} {:>7} {:>7} {:>18} {:>7} {:>7} {:>7} {:>12} {:>11}",
        "held", "lanes", "a req.", "ns a pair", "admit", "form", "settle", "allocations", "bytes held"
    );
    for case in cases {
        let Spread { median, min, max } = case.nanos_per_pair;
        println!(
            "  {:>9} {:>7} {:>7.0} {:>18} {:>7.0} {:>7.0} {:>7.0} {:>12.2} {:>11.0}",
            case.load.held,
            case.load.lanes,
            case.pairs_per_request,
            format!("{median:.0} [{min:.0}–{max:.0}]"),
            case.admit_nanos.median,
            case.form_nanos.median,
            case.settle_nanos.median,
            case.allocations_per_pair,
            case.bytes_held_per_pair
        );
    }
}

fn bounds(cases: &[Figures]) -> Vec<Bound> {
    let of = |wanted: fn(&Load) -> bool| cases.iter().find(|case| wanted(&case.load));
    let ratio = |large: &Figures, small: &Figures| {
        Spread::of(large.samples.iter().zip(&small.samples).map(|(large, small)| large / small)).median
    };
    let held = of(|load| load.held == MOST && load.pairs_per_request != SMALL_REQUEST)
        .zip(of(|load| load.held == REFERENCE))
        .map(|(large, small)| Bound::at_most("engine, a pair at 1,000,000 held ÷ at 1,000", ratio(large, small), 1.5));
    let in_one = of(|load| load.lanes == 1 && load.pairs_per_request == SMALL_REQUEST);
    let lanes = [
        ("engine, a pair in 1,000 lanes ÷ in one", of(|load| load.lanes == 1_000)),
        ("engine, a pair in 100,000 lanes ÷ in one", of(|load| load.lanes == 100_000)),
    ];
    let lanes = lanes.into_iter().filter_map(|(figure, of_lanes)| {
        of_lanes.zip(in_one).map(|(large, small)| Bound::at_most(figure, ratio(large, small), 1.5))
    });
    held.into_iter().chain(lanes).collect()
}

/// Instructions of two runs of different length, so that start and filling fall out.
fn instructions_per_pair(program: &Path) -> Result<f64> {
    const PAIRS: [u64; 2] = [20_000, 120_000];
    let counted = PAIRS.map(|pairs| instructions(program, pairs));
    let [short, long] = counted;
    Ok((long? - short?) as f64 / (PAIRS[1] - PAIRS[0]) as f64)
}

fn instructions(program: &Path, pairs: u64) -> Result<u64> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
    let output = command.args(["--churn", &pairs.to_string()]).output().context("valgrind cannot be started")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        bail!("valgrind: {said}");
    }
    let collected = said.lines().find_map(|line| line.split_once("Collected :")).map(|(_, count)| count.trim());
    Ok(collected.with_context(|| format!("valgrind counted nothing: {said}"))?.parse()?)
}
