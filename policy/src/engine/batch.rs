//! A batch: the pairs that leave, or left, in one request.

use std::sync::Arc;

use slotmap::new_key_type;

use super::backlog::{LaneKey, NodeKey};
use super::clock::Tick;
use super::search::Trial;
use crate::contract::association::Pair;

new_key_type! {
    /// A batch in hand: on the wire, or waiting to go again.
    pub struct BatchKey;
}

/// See the module.
#[derive(Debug)]
pub struct Batch {
    pub lane: LaneKey,
    pub nodes: Vec<NodeKey>,
    /// What the request carried, in the order of `nodes`; empty until the batch is sent.
    pub wire: Arc<[Pair]>,
    /// How often the batch has failed for a transient reason.
    pub failures: u32,
    /// When the first request was sent that failed so.
    pub failing_since: Option<Tick>,
    /// Single pairs of it that were tried, to see whether the account is served at all.
    pub samples: u32,
    /// A single pair that fails though others are served: it is tried by itself, and says nothing of the account.
    pub stuck: bool,
    /// How often the tries of the batch were over where there is no broker to park it in.
    pub rounds: u32,
    /// Present if the batch is sent to find out which pair is at fault.
    pub trial: Option<Trial>,
}

impl Batch {
    /// A batch that has not been sent.
    pub fn new(lane: LaneKey, nodes: Vec<NodeKey>) -> Self {
        Self {
            lane,
            nodes,
            wire: Arc::new([]),
            failures: 0,
            failing_since: None,
            samples: 0,
            stuck: false,
            rounds: 0,
            trial: None,
        }
    }

    /// All pairs that this batch keeps in hand: its own, and those whose trial depends on its answer.
    pub fn all_nodes(&self) -> impl Iterator<Item = NodeKey> + '_ {
        let siblings = self.trial.as_ref().map(Trial::sibling_nodes).unwrap_or_default();
        self.nodes.iter().chain(siblings).copied()
    }
}
