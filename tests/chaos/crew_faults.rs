//! Several workers share one quota while they are killed, frozen, cut off and stopped, and the broker's nodes die.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use harness::{Broker, Cluster};
use tokio::time::sleep;

use crate::crew::{Crew, Fault, Place, Quota};
use crate::marathon::number_from;
use crate::nodes::disturbed;
use crate::stage::ANSWERED;

/// HubSpot's own ceiling.
const TEN_A_SECOND: Quota = Quota { requests: 100, interval: Duration::from_secs(10), slack: 4 };
/// The same pace in intervals that a short case has several of.
const SHORT: Quota = Quota { requests: 20, interval: Duration::from_secs(2), slack: 4 };
/// Jobs of a full request.
const FULL: u64 = 100;

/// One fault of each of four kinds.
#[tokio::test(flavor = "multi_thread")]
async fn three_workers_lose_nothing_and_keep_the_ceiling() -> Result<()> {
    let node = disturbed().await?;
    let vhost = node.vhost("crew").await?;
    let place = Place { address: node.address(), uri: vhost.uri };
    let mut crew = Crew::muster(&vec![place; 3], SHORT, 4_000).await?;
    let mut rng = Rng::new();
    for fault in [Fault::HolderKilled, Fault::HolderFrozen, Fault::LineCut, Fault::RollingUpdate] {
        crew.strike(fault, &[], &mut rng).await.with_context(|| format!("{fault:?}"))?;
    }
    let ending = crew.conclude(ANSWERED).await?;
    eprintln!("{ending}");
    ensure!(ending.throttled == 0, "{ending}");
    Ok(())
}

/// `JOBS` is how many jobs must have been answered before it ends, `SEED` repeats the faults in their order.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a quarter of an hour"]
async fn three_workers_on_a_cluster_whose_leaders_die_lose_nothing() -> Result<()> {
    let seed = number_from("SEED")?.unwrap_or_else(|| fastrand::u64(..100_000));
    let wanted = number_from("JOBS")?.unwrap_or(500_000);
    eprintln!("seed {seed}");
    let cluster = Cluster::start(3).await?;
    let nodes: Vec<&Broker> = cluster.nodes.iter().collect();
    let places: Vec<Place> = nodes.iter().map(|node| Place::on(node)).collect();
    let mut crew = Crew::muster(&places, TEN_A_SECOND, 30_000).await?;
    let mut rng = Rng::with_seed(seed);
    let (begun, mut faults, mut shares) = (Instant::now(), Vec::new(), Vec::new());
    while crew.ledger.answered() < wanted {
        if faults.is_empty() {
            faults.extend(Fault::OF_WORKERS);
            faults.extend([Fault::LeaderKilled; 2]);
            rng.shuffle(&mut faults);
        }
        let fault = faults.pop().context("no fault is left")?;
        let since = Instant::now();
        crew.strike(fault, &nodes, &mut rng).await.with_context(|| format!("seed {seed}, {fault:?}"))?;
        let over = since.elapsed();
        let share = crew.share_of_ceiling(2).await?;
        shares.push(share);
        let (at, answered) = (begun.elapsed().as_secs(), crew.ledger.answered());
        eprintln!(
            "{at:>4} s  {fault:?} was over after {over:.1?}, {share:.3} of the ceiling then, {answered} answered"
        );
    }
    let used = shares.iter().sum::<f64>() / shares.len() as f64;
    eprintln!("{} faults, {used:.3} of the ceiling used between them", shares.len());
    let ending = crew.conclude(ANSWERED).await.with_context(|| format!("seed {seed}"))?;
    eprintln!("{ending}");
    ensure!(ending.throttled == 0 && used >= 0.95, "seed {seed}: {used:.3} of the ceiling, {ending}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "ten minutes"]
async fn two_workers_keep_hubspots_ceiling_through_five_kills() -> Result<()> {
    const LASTING: Duration = Duration::from_secs(600);
    const KILLS: u32 = 5;
    let node = disturbed().await?;
    let vhost = node.vhost("crew-of-two").await?;
    let place = Place { address: node.address(), uri: vhost.uri };
    let mut crew = Crew::muster(&vec![place; 2], TEN_A_SECOND, 30_000).await?;
    let begun = Instant::now();
    for kill in 1..=KILLS {
        // At a random time of its share of the ten minutes.
        let at = LASTING / KILLS * (kill - 1) + (LASTING / KILLS).mul_f64(fastrand::f64());
        sleep(at.saturating_sub(begun.elapsed())).await;
        eprintln!("{:>4} s  the holder is killed", begun.elapsed().as_secs());
        crew.kill_holder().await?;
    }
    sleep(LASTING.saturating_sub(begun.elapsed())).await;
    let ending = crew.conclude(ANSWERED).await?;
    let requests = ending.requests as f64 / (ending.published.div_ceil(FULL)) as f64;
    eprintln!("{ending}, {requests:.3} of one worker's requests");
    ensure!(ending.throttled == 0, "{ending}");
    ensure!(requests <= 1.05, "{requests} of one worker's requests");
    Ok(())
}
