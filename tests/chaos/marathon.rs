//! Faults of every kind at random for as long as asked: `make chaos MINUTES=10 SEED=7`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::traffic::Pace;
use crate::upheaval::Upheaval;

const USUAL_MINUTES: u64 = 3;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes of random faults"]
async fn random_faults_for_minutes_lose_nothing() -> Result<()> {
    let seed = number_from("SEED")?.unwrap_or_else(|| fastrand::u64(..100_000));
    let lasting = Duration::from_secs(60 * number_from("MINUTES")?.unwrap_or(USUAL_MINUTES));
    eprintln!("seed {seed}");
    let mut upheaval = Upheaval::begin(seed, Pace::Flood).await?;
    let start = Instant::now();
    let (mut faults, mut explaining, mut by_kind) = (0, 0, BTreeMap::<_, u64>::new());
    while start.elapsed() < lasting {
        let fault = upheaval.strike().await.with_context(|| format!("seed {seed}, fault {faults}"))?;
        faults += 1;
        explaining += u64::from(fault.explains_doubles());
        *by_kind.entry(format!("{fault:?}")).or_default() += 1;
        eprintln!("{:>4} s  {faults:>4}  {fault:?}", start.elapsed().as_secs());
        upheaval.stage.gather().await?;
    }
    eprintln!("{faults} faults: {by_kind:?}");
    // The broker must outlive the stage that works on it.
    let Upheaval { broker: _broker, stage, .. } = upheaval;
    stage.conclude(0).await?.doubled_only_by(explaining).with_context(|| format!("seed {seed}"))
}

/// A whole number from the environment.
pub fn number_from(variable: &str) -> Result<Option<u64>> {
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty());
    text.map(|text| text.parse().with_context(|| format!("{variable}={text} is no whole number"))).transpose()
}
