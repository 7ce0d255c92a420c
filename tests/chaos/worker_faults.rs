//! The worker dies.

use std::time::Duration;

use anyhow::Result;
use harness::Broker;
use tokio::time::sleep;

use crate::stage::{SOON, Stage};

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_at_random_times_loses_nothing() -> Result<()> {
    const KILLS: u64 = 6;
    let vhost = Broker::shared().await?.vhost("worker-killed").await?;
    let mut stage = Stage::open(&vhost.uri).await?;
    for _ in 0..KILLS {
        stage.worker.ready(SOON).await?;
        sleep(Duration::from_millis(fastrand::u64(0..700))).await;
        stage.worker.kill9().await?;
        stage.start_again()?;
    }
    stage.conclude(3_000).await?.doubled_only_by(KILLS)
}
