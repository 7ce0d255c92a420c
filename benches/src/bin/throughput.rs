//! The worker against the floor, under a ceiling and idle; and whether what must hold does.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use bench::allocations::allocations_per_job;
use bench::arena::{Arena, QueueKind};
use bench::bound::{Bound, print_bounds};
use bench::ceiling::{self, Ceiling, limited};
use bench::contestant::Contestant;
use bench::duel::{Case, duel};
use bench::forwarding::forwarding;
use bench::half_load::half_load;
use bench::idle::idle;
use bench::pinning::Split;
use bench::report::{CaseReport, Machine, Report, commit, write_json};
use bench::workload::Workload;
use bench::{growth, standards, table};
use clap::{Parser, ValueEnum};
use harness::process::find_binary;
use serde::de::DeserializeOwned;

/// Measures the worker against a bare pass-through of RabbitMQ and its client library, in turns.
#[derive(Parser, Debug)]
struct Arguments {
    /// Jobs preloaded for each run
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1_000..=5_000_000))]
    jobs: u64,
    /// Runs of each contestant
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,
    /// All parts, those too that take long
    #[arg(long, conflicts_with = "only")]
    all: bool,
    /// Only these parts, separated by commas
    #[arg(long, value_enum, value_name = "PARTS", value_delimiter = ',')]
    only: Vec<Part>,
    /// Worker and floor through the default exchange, too; always so beside rivals
    #[arg(long)]
    exchanges: bool,
    /// Programs in benches/rivals to measure beside, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    rivals: Vec<String>,
    /// Draw the part `growth` into this SVG file
    #[arg(long, value_name = "FILE", requires = "only")]
    picture: Option<PathBuf>,
    /// Write all figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The engine alone
    Engine,
    /// Worker and floor with the base workload
    Base,
    /// The worker with the journal on beside itself with the journal off
    Journal,
    /// Jobs at half of what the base came to
    HalfLoad,
    /// Under 40 requests in 2 s
    Ceiling,
    /// Start, memory and lone jobs
    Idle,
    /// Allocations a job
    Allocations,
    /// One factor at a time changed from the base case
    Factors,
    /// `amqp.lease` on and off, and jobs moved to their account's queue
    Leases,
    /// Fifteen intervals of 100 requests in 10 s
    HubspotCeiling,
    /// A million jobs queued
    Million,
    /// The cost of a job in 1 to 1,000 portals and in 1 to 100,000 lanes, engine and worker
    Growth,
}

const SHORT: [Part; 7] =
    [Part::Engine, Part::Base, Part::Journal, Part::HalfLoad, Part::Ceiling, Part::Idle, Part::Allocations];

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("throughput: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    // Before any thread is started, so that all of them stay off the contestants' cores.
    let cores = Split::make();
    tokio::runtime::Runtime::new()?.block_on(bench(arguments, cores))
}

async fn bench(arguments: Arguments, cores: Option<Split>) -> Result<()> {
    let wanted = |part: Part| match arguments.only.as_slice() {
        [] => arguments.all || SHORT.contains(&part),
        only => only.contains(&part),
    };
    let mut bounds = Vec::new();
    if wanted(Part::Engine) {
        bounds.extend(engine()?);
    }
    eprintln!("starting a throwaway RabbitMQ");
    let arena = Arena::start(cores).await?;
    let machine = Machine::here(arena.version().await?);
    let mut report = Report {
        commit: commit(),
        machine,
        rounds: arguments.rounds,
        cases: Vec::new(),
        limited: Vec::new(),
        idle: None,
        half_load: Vec::new(),
        forwarding: None,
        allocations_per_job: None,
        bounds: Vec::new(),
    };
    let mut contestants = vec![Contestant::PassThrough, Contestant::Worker];
    if arguments.exchanges || !arguments.rivals.is_empty() {
        contestants.extend([Contestant::PassThroughByQueue, Contestant::WorkerByQueue]);
    }
    contestants.extend(arguments.rivals.iter().cloned().map(Contestant::Rival));
    let mut cases = Vec::new();
    if wanted(Part::Base) {
        cases.push((Case::base(arguments.jobs), arguments.rounds));
    }
    if wanted(Part::Factors) {
        cases.extend(variations(arguments.jobs).into_iter().map(|case| (case, arguments.rounds)));
    }
    if wanted(Part::Million) {
        cases.push((Case { name: MILLION.to_owned(), ..Case::base(1_000_000) }, 1));
    }
    for (case, rounds) in cases {
        eprintln!("{}: {rounds} rounds", case.name);
        let standings = duel(&arena, &case, &contestants, rounds, table::print_run).await?;
        table::print_standings(&case, rounds, &standings);
        match case.name.as_str() {
            BASE => bounds.extend(standards::of_base(&standings)),
            MILLION => bounds.extend(standards::of_million(&standings)),
            _ => {}
        }
        report.cases.push(CaseReport { case, standings });
    }
    if arguments.only.contains(&Part::Growth) {
        let panels = growth(&arena, &arguments, &mut report).await?;
        println!("{}", growth::table(&panels));
        if let Some(file) = &arguments.picture {
            std::fs::write(file, growth::picture(&panels)).with_context(|| file.display().to_string())?;
        }
    }
    if wanted(Part::Journal) {
        let case = Case { name: "journal".to_owned(), associated: true, ..Case::base(arguments.jobs) };
        eprintln!("{}: {} rounds", case.name, arguments.rounds);
        let contestants = [Contestant::Worker, Contestant::Journaled, Contestant::JournaledInFile];
        let standings = duel(&arena, &case, &contestants, arguments.rounds, table::print_run).await?;
        table::print_standings(&case, arguments.rounds, &standings);
        bounds.extend(standards::of_journal(&standings));
        report.cases.push(CaseReport { case, standings });
    }
    if wanted(Part::Leases) {
        let case = Case { name: "amqp.lease".to_owned(), ..Case::base(arguments.jobs) };
        let contestants = [Contestant::WithoutLease, Contestant::Worker];
        let standings = duel(&arena, &case, &contestants, arguments.rounds, table::print_run).await?;
        table::print_standings(&case, arguments.rounds, &standings);
        bounds.extend(standards::of_lease(&standings));
        report.cases.push(CaseReport { case, standings });
        let forwarding = forwarding(&arena, arguments.jobs).await?;
        println!("\njobs moved to the queue of their account: {:.0} a second", forwarding.jobs_per_second);
        bounds.extend(standards::of_forwarding(&forwarding));
        report.forwarding = Some(forwarding);
    }
    if wanted(Part::HalfLoad) {
        let base = report.cases.iter().find(|of| of.case.name == BASE).and_then(|of| of.standings.get(1));
        let full = base.context("the half load is half of the base case's: ask for both")?.jobs_per_second.median;
        println!("\nat half of the worker's load");
        for contestant in [Contestant::PassThrough, Contestant::Worker] {
            let half = half_load(&arena, &contestant, full).await?;
            table::print_half_load(&half);
            report.half_load.push(half);
        }
    }
    let ceilings = [
        (Part::Ceiling, ceiling::packed(), Ceiling::SHORT),
        (Part::Ceiling, ceiling::long(Ceiling::SHORT), Ceiling::SHORT),
        (Part::HubspotCeiling, ceiling::long(Ceiling::HUBSPOT), Ceiling::HUBSPOT),
    ];
    for (_, workload, ceiling) in ceilings.into_iter().filter(|(part, ..)| wanted(*part)) {
        eprintln!("under a ceiling: {} jobs", workload.jobs);
        let limited = limited(&arena, workload, ceiling).await?;
        table::print_limited(&limited);
        bounds.extend(standards::of_limited(&limited));
        report.limited.push(limited);
    }
    if wanted(Part::Idle) {
        let idle = idle(&arena).await?;
        table::print_idle(&idle);
        bounds.extend(standards::of_idle(&idle));
        report.idle = Some(idle);
    }
    if wanted(Part::Allocations) {
        let allocations = allocations_per_job(&arena).await?;
        println!("\nallocations a job, the whole worker: {allocations:.1}");
        report.allocations_per_job = Some(allocations);
    }
    print_bounds(&bounds);
    report.bounds = bounds;
    if let Some(file) = arguments.json {
        write_json(&report, &file)?;
    }
    Ok(())
}

async fn growth(arena: &Arena, arguments: &Arguments, report: &mut Report) -> Result<Vec<growth::Panel>> {
    let engine: Vec<growth::EngineCase> = engine_figures("--growth")?;
    let mut of_worker = Vec::new();
    for case in growth::cases(arguments.jobs) {
        eprintln!("{}", case.name);
        let mut standings = duel(arena, &case, &[Contestant::Worker], arguments.rounds, table::print_run).await?;
        report.cases.push(CaseReport { case: case.clone(), standings: standings.clone() });
        of_worker.extend(standings.pop().map(|standing| (case, standing)));
    }
    Ok(vec![growth::of_engine(&engine), growth::of_worker(&of_worker)])
}

/// Runs the engine's own benchmark, which prints its figures, and takes its part of what must hold.
fn engine() -> Result<Vec<Bound>> {
    let report: serde_json::Value = engine_figures("--json")?;
    Ok(serde_json::from_value(report["bounds"].clone())?)
}

/// What it writes to the file that `flag` names.
fn engine_figures<T: DeserializeOwned>(flag: &str) -> Result<T> {
    let json = std::env::temp_dir().join(format!("association-archiver-engine-{}.json", std::process::id()));
    let status = Command::new(find_binary("engine", "ENGINE_BENCH_BIN")?).arg(flag).arg(&json).status()?;
    ensure!(status.success(), "the engine's benchmark failed");
    let text = std::fs::read_to_string(&json).with_context(|| json.display().to_string())?;
    std::fs::remove_file(&json)?;
    Ok(serde_json::from_str(&text)?)
}

const BASE: &str = "base";
const MILLION: &str = "a million queued";

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
