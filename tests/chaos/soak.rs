//! Whether anything of the worker grows with time: `make soak MINUTES=30`.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::Worker;

use crate::marathon::number_from;
use crate::traffic::Pace;
use crate::trend::Trend;
use crate::upheaval::Upheaval;

const USUAL_MINUTES: u64 = 30;
/// This part of the time is for filling caches and the allocator's pools.
const WARM_UP: f64 = 0.25;
/// Between two samples, at least.
const EVERY: Duration = Duration::from_secs(2);
/// From fault to fault, so that there is a calm state to measure.
const CALM: Duration = Duration::from_secs(10);
const MIB: f64 = 1024.0 * 1024.0;

/// What is measured, and how much more of it at the end than after the warm-up is still no growth.
const MEASURES: [(&str, f64); 4] = [("RSS, MiB", 4.0), ("open files", 4.0), ("threads", 2.0), ("lag, jobs", 500.0)];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "half an hour of random faults"]
async fn nothing_grows_in_a_worker_that_runs_for_long() -> Result<()> {
    let seed = number_from("SEED")?.unwrap_or_else(|| fastrand::u64(..100_000));
    let lasting = Duration::from_secs(60 * number_from("MINUTES")?.unwrap_or(USUAL_MINUTES));
    eprintln!("seed {seed}, {} minutes", lasting.as_secs() / 60);
    let mut upheaval = Upheaval::begin(seed, Pace::Steady).await?;
    let (start, mut samples, mut explaining) = (Instant::now(), Vec::new(), 0);
    while start.elapsed() < lasting {
        let fault = upheaval.strike_around_the_worker().await.with_context(|| format!("seed {seed}"))?;
        explaining += u64::from(fault.explains_doubles());
        let calm = Instant::now() + CALM;
        while Instant::now() < calm {
            tokio::time::sleep(EVERY).await;
            samples.push((start.elapsed().as_secs_f64(), sample(&upheaval).await?));
        }
        upheaval.stage.gather().await?;
        if let Some((seconds, [rss, files, threads, lag])) = samples.last() {
            eprintln!(
                "{seconds:>6.0} s  {rss:>6.1} MiB  {files:>3} files  {threads:>3} threads  lag {lag:>5}  {fault:?}"
            );
        }
    }
    let grown = verdict(&samples, lasting);
    // The broker must outlive the stage that works on it.
    let Upheaval { broker: _broker, stage, .. } = upheaval;
    stage.conclude(0).await?.doubled_only_by(explaining).with_context(|| format!("seed {seed}"))?;
    ensure!(grown.is_empty(), "these grow: {}", grown.join("; "));
    Ok(())
}

async fn sample(upheaval: &Upheaval) -> Result<[f64; 4]> {
    let worker = &upheaval.stage.worker;
    let lag = upheaval.stage.published() as f64 - upheaval.stage.confirmed().await?;
    Ok([worker.rss_bytes()? as f64 / MIB, worker.open_files()? as f64, threads(worker)?, lag.max(0.0)])
}

fn threads(worker: &Worker) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{}/status", worker.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("Threads:")).context("/proc without threads")?;
    Ok(line.trim().parse()?)
}

/// Prints the table; names what grows.
fn verdict(samples: &[(f64, [f64; 4])], lasting: Duration) -> Vec<String> {
    let warm = lasting.as_secs_f64() * WARM_UP;
    let hours = lasting.as_secs_f64() * (1.0 - WARM_UP) / 3_600.0;
    let mut grown = Vec::new();
    eprintln!("{:<12} {:>9} {:>14} {:>12}", "", "mean", "slope an hour", "± (1 s.e.)");
    for (index, (name, tolerated)) in MEASURES.into_iter().enumerate() {
        let points: Vec<_> =
            samples.iter().filter(|(at, _)| *at > warm).map(|(at, values)| (*at, values[index])).collect();
        let Some(trend) = Trend::of(&points) else { continue };
        let rises = trend.rises(hours, tolerated);
        let word = if rises { "GROWS" } else { "level" };
        eprintln!("{name:<12} {:>9.1} {:>14.2} {:>12.2}  {word}", trend.mean, trend.slope, trend.error);
        if rises {
            grown.push(format!("{name}: {:+.2} an hour", trend.slope));
        }
    }
    grown
}
