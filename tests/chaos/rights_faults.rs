//! The broker's operator takes the worker's rights away and gives them back.

use anyhow::Result;
use harness::{Broker, Rights};

use crate::stage::{RECOVERY, Stage, hubspot, settings};

#[tokio::test(flavor = "multi_thread")]
async fn revoked_credentials_stop_the_worker_until_they_are_back() -> Result<()> {
    let broker = Broker::shared().await?;
    let vhost = broker.vhost("revoked").await?;
    broker.add_user("revoked", "password", &vhost.name, Rights::ALL).await?;
    let simulator = hubspot().await?;
    let settings = settings(&broker.uri_as("revoked", "password", &vhost.name), &simulator);
    let stage = Stage::open_with(&vhost.uri, simulator, settings).await?;
    stage.flows(300).await?;
    // Deleting a user also closes its connections.
    broker.delete_user("revoked").await?;
    stage.unready("refuses the user or password").await?;
    broker.add_user("revoked", "password", &vhost.name, Rights::ALL).await?;
    stage.worker.ready(RECOVERY).await?;
    stage.flows(300).await?;
    stage.conclude(2_000).await?.doubled_only_by(1)
}
