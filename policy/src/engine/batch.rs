//! A batch: the pairs that leave, or left, in one request.

use std::sync::Arc;

use slotmap::new_key_type;

use super::backlog::{LaneKey, NodeKey};
use super::clock::Tick;
use super::command::Sealed;
use super::search::trial::Trial;
use super::verdict::LookAsked;
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
    /// When the first of these failures was known. If HubSpot named these pairs in it: when that request was sent.
    pub failing_since: Option<Tick>,
    /// Single pairs of it that were tried, to see whether the account is served at all.
    pub samples: u32,
    /// HubSpot named these pairs when a larger request with them failed.
    pub named: bool,
    /// It is a single pair that fails though others are served. It is sent by itself, and its failures say nothing of
    /// the account.
    pub stuck: bool,
    /// How many times all quick tries of the batch have failed and it stayed in hand all the same, instead of being
    /// parked with its jobs.
    pub rounds: u32,
    /// Present if the batch is sent to find out which pair is at fault, or whether the account is served at all.
    pub trial: Option<Trial>,
    /// Why it was formed, if it was given out to be recorded before its request.
    pub formed: Option<Sealed>,
    /// What a look has asked for.
    pub reading: Option<Reading>,
    /// The batch is to create, and its latest request was a look.
    pub looked_again: bool,
    /// Present if the batch is sent from the other side, by its `to` records.
    pub turned: Option<Turned>,
}

/// See [`Batch::turned`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Turned {
    /// How many answers have named some of its pairs. The batch goes on without those.
    pub refusals: u32,
}

/// What is to be expected of a batch that goes again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Prospect {
    /// It may well be archived now, or shows which of its pairs are at fault.
    Open,
    /// It is a single pair that is stuck, and will most likely fail again.
    Stuck,
}

impl Prospect {
    pub const ALL: [Self; 2] = [Self::Open, Self::Stuck];
}

/// How much a batch would tell in an outage, the most telling first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Worth {
    /// One pair of a batch that failed as a whole.
    Sample,
    /// A whole batch. `samples`: how many of its pairs were tried by themselves.
    Whole { samples: u32 },
    /// Some pairs of a batch that failed while others were served; they may be the good ones.
    Suspect,
}

/// The records that a look asks for.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Each once, in the order of their ids.
    pub records: Arc<[LookAsked]>,
    /// They are the `to` of the pairs, where their `from` would have had longer pages.
    pub reversed: bool,
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
            named: false,
            stuck: false,
            rounds: 0,
            trial: None,
            formed: None,
            reading: None,
            looked_again: false,
            turned: None,
        }
    }

    /// Its pairs failed in a larger batch, and are suspected of it: it is to be expected that this batch fails too.
    pub fn is_suspect(&self) -> bool {
        self.named || self.trial.as_ref().is_some_and(Trial::was_failing)
    }

    /// What is to be expected of it when it goes again.
    pub fn prospect(&self) -> Prospect {
        if self.stuck { Prospect::Stuck } else { Prospect::Open }
    }

    /// What its answer would say of the account in an outage; `None`: nothing. A single pair that has failed, or is
    /// known to be stuck, says nothing, nor does a batch of which all tries have failed.
    pub fn worth_in_outage(&self) -> Option<Worth> {
        let failed_alone = self.nodes.len() < 2 && self.failures > 0;
        match (self.is_suspect(), self.trial.is_some()) {
            _ if self.stuck || self.rounds > 0 => None,
            (true, _) => (self.failures == 0).then_some(Worth::Suspect),
            (false, true) => Some(Worth::Sample),
            (false, false) => (!failed_alone).then_some(Worth::Whole { samples: self.samples }),
        }
    }

    /// All pairs that this batch keeps in hand: its own, and those whose trial depends on its answer.
    pub fn all_nodes(&self) -> impl Iterator<Item = NodeKey> + '_ {
        let siblings = self.trial.as_ref().map(Trial::sibling_nodes).unwrap_or_default();
        self.nodes.iter().chain(siblings).copied()
    }
}
