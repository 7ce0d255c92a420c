//! What is still to happen, in the order of virtual time.

use std::collections::BTreeMap;
use std::time::Duration;

use association_archiver::contract::ids::AccountIndex;
use association_archiver::engine::command::{CallKey, IdentityReply, RefreshReply};
use association_archiver::engine::pause::Tier;
use association_archiver::engine::reply::Reply;
use fastrand::Rng;

use crate::far_side::Sending;
use crate::guards::Answer;
use crate::life::Publication;

/// Things that happen to the process, the broker or HubSpot at a moment known beforehand.
#[derive(Debug)]
pub enum Happening {
    /// A producer publishes this job.
    Produced(usize),
    /// The broker looks whether the consumer can take more.
    Delivery,
    /// A request reaches HubSpot.
    Arrival(Sending),
    /// The process hears what became of a request.
    Return { life: u32, call: CallKey, heard: Heard },
    /// What the process publishes reaches the broker.
    Stored { life: u32, generation: u32, publication: Publication },
    /// The broker's confirm reaches the process.
    Confirmed { life: u32, generation: u32, publication: u64, stored: bool },
    /// A publication that the broker refused is tried again.
    Republished { life: u32, publication: u64 },
    /// An acknowledgement reaches the broker.
    Acked { tag: u64 },
    /// A message has waited long enough in a delay queue.
    Due(Tier),
    /// One of the scenario's upheavals, by its index.
    Upheaval(usize),
    /// The operator answers an account's guard.
    GuardAnswered { account: AccountIndex, answer: Answer },
    /// A process starts.
    Start,
    /// The connection to the broker is back.
    Reconnected { life: u32 },
    /// The grace of a stopping process is over.
    GraceOver { life: u32 },
    /// The process sees that the credentials in their file are others than its own.
    CredentialsSeen { life: u32, account: AccountIndex },
}

/// What the process hears about a request.
#[derive(Clone, Debug)]
pub enum Heard {
    Batch(Reply),
    /// With the access token and the refresh token that were granted.
    Refresh(RefreshReply, Option<(String, String)>),
    Identity(IdentityReply),
}

/// Everything that is still to happen.
#[derive(Debug, Default)]
pub struct Agenda {
    due: BTreeMap<(Duration, u32, u64), Happening>,
    entered: u64,
}

impl Agenda {
    /// Things due at the same moment happen in an order drawn from `rng`.
    pub fn enter(&mut self, at: Duration, happening: Happening, rng: &mut Rng) {
        self.entered += 1;
        self.due.insert((at, rng.u32(..), self.entered), happening);
    }

    pub fn next_time(&self) -> Option<Duration> {
        self.due.first_key_value().map(|(&(at, ..), _)| at)
    }

    pub fn pop(&mut self) -> Option<Happening> {
        self.due.pop_first().map(|(_, happening)| happening)
    }
}
