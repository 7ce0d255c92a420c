//! What goes through the channels between the loop and the world.
//!
//! `D` is a delivery: what is needed to answer a job. The loop keeps it, gives it back with the job's answer, and never
//! looks into it.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use crate::contract::ids::AccountIndex;
use crate::contract::object_type::ObjectType;
use crate::engine::Counters;
use crate::engine::answered::Answered;
use crate::engine::clock::Now;
use crate::engine::command::{
    BatchCall, CallKey, CallResult, IdentityReply, NewJob, Notice, Parked, RefreshReply, Settled,
};
use crate::engine::reply::Reply;
use crate::engine::status::Status;
pub use crate::lease::order::{Instruction, Obeyed};
use crate::shards::Generation;

/// Into the loop, from where jobs come.
#[derive(Debug)]
pub enum Arrival<D> {
    /// Valid jobs of configured accounts.
    Jobs { generation: Generation, jobs: Vec<(NewJob, D)> },
    /// All deliveries of this queue up to this generation are void: they will be delivered again.
    Lost { generation: Generation },
    /// The jobs in hand take too much memory: hand back unstarted ones until at most this many bytes are held.
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
    Send(BatchCall),
    Refresh { call: CallKey, account: AccountIndex },
    Identify { call: CallKey, account: AccountIndex },
    RereadCredentials { account: AccountIndex },
}

/// Into the loop, from HubSpot.
#[derive(Debug)]
pub enum Return {
    Answered(Box<BatchReply>),
    Refreshed { call: CallKey, reply: RefreshReply, took: Duration },
    Identified { call: CallKey, reply: IdentityReply, took: Duration },
    CredentialsChanged { account: AccountIndex },
}

/// A batch and HubSpot's answer to it.
#[derive(Debug)]
pub struct BatchReply {
    pub call: BatchCall,
    pub reply: Reply,
    pub took: Duration,
}

/// Into the loop, from an operator. The loop replies after it has published a status that shows the change.
#[derive(Debug)]
pub struct Order {
    pub target: Target,
    pub instruction: Instruction,
    /// The address that asked for it.
    pub from: IpAddr,
    pub reply: oneshot::Sender<Obeyed>,
}

/// What an order is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    Account(AccountIndex),
    /// Every lane in hand between the two types, whatever it removes.
    Lanes {
        account: AccountIndex,
        from_type: ObjectType,
        to_type: ObjectType,
    },
}

impl Target {
    pub fn account(&self) -> AccountIndex {
        match self {
            Self::Account(account) | Self::Lanes { account, .. } => *account,
        }
    }
}

/// Orders that wait for the loop; further ones are refused.
const MAX_ORDERS: usize = 16;

/// The way of orders into the loop.
pub fn orders() -> (mpsc::Sender<Order>, mpsc::Receiver<Order>) {
    mpsc::channel(MAX_ORDERS)
}

/// Hears what happens; called on the loop, so it must not wait.
pub trait Watcher<D>: Send {
    /// A request leaves. `jobs` are those with pairs in the batch; to walk them costs time that the batch does not
    /// need.
    fn sent(&mut self, call: &BatchCall, jobs: &mut dyn Iterator<Item = &D>);
    /// Called before [`Watcher::answered`], while it is known whom the answer is for: `jobs` are as in
    /// [`Watcher::sent`].
    fn returned(&mut self, _call: &BatchCall, _reply: &Reply, _jobs: &mut dyn Iterator<Item = &D>) {}
    /// A request has its answer; `answered` says what became of the request and of each of its pairs.
    fn answered(&mut self, call: &BatchCall, reply: &Reply, answered: &Answered, took: Duration, now: Now);
    /// Called beside [`Watcher::answered`] for a request with one pair: with a job that waits for the pair, and when the
    /// pair goes again if it stays in hand.
    fn answered_alone(
        &mut self,
        _call: &BatchCall,
        _reply: &Reply,
        _result: CallResult,
        _job: (&D, Option<Timestamp>),
        _now: Now,
    ) {
    }
    /// A request about an account's credentials has its answer.
    fn asked(&mut self, question: Question, took: Duration);
    /// A job has its outcome.
    fn settled(&mut self, delivery: &D, settled: &Settled, now: Now);
    /// A job goes on in a delay queue of the broker.
    fn parked(&mut self, job: &D, parked: &Parked, now: Now);
    /// Called before [`Watcher::counted`]: jobs in hand that wait for a person's word to the guard of their account.
    fn behind_guards(&mut self, _jobs: &mut dyn Iterator<Item = (AccountIndex, &D)>) {}
    fn notice(&mut self, notice: &Notice);
    /// Called once a second, and after each order.
    fn counted(&mut self, counters: Counters, status: Status, draining: bool, now: Now);
}

/// What a request about an account's credentials asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Question {
    /// The request for a new access token.
    Refresh,
    /// The question whose token it is.
    Identify,
}

/// Where the loop learns what time it is.
pub trait Clock: Send {
    fn now(&self) -> Now;
}
