//! Several RabbitMQ nodes on loopback that form one cluster.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::broker::{Broker, Options};
use crate::deadline::eventually;
use crate::family::Family;

const FORMING_LIMIT: Duration = Duration::from_secs(60);

/// The nodes are [`Broker`]s: any of them can be killed, frozen and restarted by itself.
#[derive(Debug)]
pub struct Cluster {
    pub nodes: Vec<Broker>,
}

impl Cluster {
    /// Starts `size` nodes together and waits until each speaks AMQP and all see each other (some 20 s for three).
    pub async fn start(size: usize) -> Result<Self> {
        let names: Vec<String> = (1..=size).map(|number| format!("node{number}")).collect();
        let mut conf = String::from(
            "cluster_formation.peer_discovery_backend = classic_config\ncluster_partition_handling = pause_minority\n",
        );
        for (number, name) in (1..).zip(&names) {
            writeln!(conf, "cluster_formation.classic_config.nodes.{number} = {name}@localhost")?;
        }
        let options = Options::default().conf(&conf);
        let family = Arc::new(Family::start()?);
        let nodes = names.iter().map(|name| Broker::prepare(Arc::clone(&family), name, &options, None));
        let cluster = Self { nodes: nodes.collect::<Result<_>>()? };
        for node in &cluster.nodes {
            node.launch()?;
        }
        for node in &cluster.nodes {
            node.ready().await?;
        }
        cluster.complete().await?;
        Ok(cluster)
    }

    /// Waits until the first node counts every node as running.
    async fn complete(&self) -> Result<()> {
        let Some(first) = self.nodes.first() else { return Ok(()) };
        eventually(FORMING_LIMIT, "the nodes to form one cluster", async || {
            let status: Value = serde_json::from_str(&first.ctl(&["cluster_status", "--formatter", "json"]).await?)?;
            let running = status["running_nodes"].as_array().context("cluster_status without running_nodes")?;
            Ok((running.len() == self.nodes.len()).then_some(()))
        })
        .await
    }
}
