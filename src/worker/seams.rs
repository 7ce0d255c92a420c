//! What goes through the channels between the loop and the world.
//!
//! `D` is a delivery: whatever must come back with a job's answer so that it can be given. The loop keeps it and
//! never looks into it.

use std::time::Duration;

use jiff::Timestamp;

use crate::contract::ids::AccountIndex;
use crate::engine::clock::Now;
use crate::engine::command::{ArchiveCall, CallKey, IdentityReply, NewJob, Parked, RefreshReply, Settled};
use crate::engine::reply::Reply;

/// Into the loop, from where jobs come.
#[derive(Debug)]
pub enum Arrival<D> {
    /// Valid jobs of configured accounts.
    Jobs { generation: u32, jobs: Vec<(NewJob, D)> },
    /// All deliveries up to this generation are void: they will be delivered again.
    Lost { generation: u32 },
    /// The jobs in hand take too much memory: hand back unstarted ones until at most so many bytes are held.
    Overfull { keep_bytes: usize },
}

/// Out of the loop, to where answers go.
#[derive(Debug)]
pub enum Departure<D> {
    Settled {
        delivery: D,
        settled: Settled,
        completed: Timestamp,
    },
    Parked {
        delivery: D,
        parked: Parked,
    },
    HandedBack {
        delivery: D,
    },
    /// The delivery was void, and so nothing is answered.
    Forgotten {
        delivery: D,
    },
}

/// Out of the loop, to HubSpot.
#[derive(Clone, Debug)]
pub enum Errand {
    Archive(ArchiveCall),
    Refresh { call: CallKey, account: AccountIndex },
    Identify { call: CallKey, account: AccountIndex },
    RereadCredentials { account: AccountIndex },
}

/// Into the loop, from HubSpot.
#[derive(Debug)]
pub enum Return {
    Archived(Box<Archived>),
    Refreshed { call: CallKey, reply: RefreshReply, took: Duration },
    Identified { call: CallKey, reply: IdentityReply, took: Duration },
    CredentialsChanged { account: AccountIndex },
}

/// A batch and HubSpot's answer to it.
#[derive(Debug)]
pub struct Archived {
    pub call: ArchiveCall,
    pub reply: Reply,
    pub took: Duration,
}

/// Where the loop learns what time it is.
pub trait Clock: Send {
    fn now(&self) -> Now;
}
