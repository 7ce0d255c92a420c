//! The worker against the floor: how many jobs a second, at what cost, and how well it uses a ceiling.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use bench::arena::{Arena, QueueKind};
use bench::ceiling;
use bench::contestant::Contestant;
use bench::duel::{Case, duel};
use bench::report::{CaseReport, Machine, Report, commit};
use bench::table;
use bench::workload::Workload;
use clap::Parser;

/// Measures the worker against a bare pass-through of RabbitMQ and its client library, in turns.
#[derive(Parser, Debug)]
struct Arguments {
    /// Jobs preloaded for each run
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1_000..=5_000_000))]
    jobs: u64,
    /// Runs of each contestant
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,
    /// Also one factor at a time changed from the base case
    #[arg(long)]
    all: bool,
    /// Programs in benches/rivals to measure beside, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    rivals: Vec<String>,
    /// Leave out the runs under a ceiling
    #[arg(long)]
    no_ceiling: bool,
    /// Write all figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match bench(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("throughput: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn bench(arguments: Arguments) -> Result<()> {
    eprintln!("starting a throwaway RabbitMQ");
    let arena = Arena::start().await?;
    let machine = Machine::here(arena.version().await?);
    let mut report =
        Report { commit: commit(), machine, rounds: arguments.rounds, cases: Vec::new(), limited: Vec::new() };

    let mut contestants = vec![Contestant::PassThrough, Contestant::Worker];
    contestants.extend(arguments.rivals.into_iter().map(Contestant::Rival));
    let mut cases = vec![Case::base(arguments.jobs)];
    if arguments.all {
        cases.extend(variations(arguments.jobs));
    }
    for case in cases {
        eprintln!("{}: {} rounds", case.name, arguments.rounds);
        let standings = duel(&arena, &case, &contestants, arguments.rounds, table::print_run).await?;
        table::print_standings(&case, arguments.rounds, &standings);
        report.cases.push(CaseReport { case, standings });
    }
    if !arguments.no_ceiling {
        for workload in [ceiling::packed(), ceiling::long()] {
            eprintln!("under a ceiling: {} jobs", workload.jobs);
            let limited = ceiling::limited(&arena, workload).await?;
            table::print_limited(&limited);
            report.limited.push(limited);
        }
    }
    if let Some(file) = arguments.json {
        report.write(&file)?;
    }
    Ok(())
}

/// One factor at a time. Where a job has many pairs there are fewer jobs, so that no run takes longer than the base.
fn variations(jobs: u64) -> Vec<Case> {
    let base = Case::base(jobs);
    let of = |name: &str, workload: Workload| Case { name: name.to_owned(), workload, ..base.clone() };
    let plain = base.workload;
    vec![
        of("10 pairs a job", Workload { pairs_per_job: 10, jobs: jobs / 2, ..plain }),
        of("1,000 pairs a job", Workload { pairs_per_job: 1_000, jobs: jobs / 100, ..plain }),
        of("1 lane", Workload { lanes: 1, ..plain }),
        of("100 lanes", Workload { lanes: 100, ..plain }),
        of("100 portals", Workload { portals: 100, ..plain }),
        of("half of them duplicates", Workload { copies: 2, ..plain }),
        Case { name: "classic queues".to_owned(), queues: QueueKind::Classic, ..base.clone() },
        Case { name: "latency 50 ms".to_owned(), latency: "50ms", ..base.clone() },
        Case { name: "latency 300 ms".to_owned(), latency: "300ms", ..base },
    ]
}
