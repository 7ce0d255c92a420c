//! The requests on the wire, and what is on its way to the journal.

use slotmap::SlotMap;

use super::batch::BatchKey;
use super::clock::Tick;
use super::command::CallKey;
use super::pace::Slot;
use crate::contract::ids::AccountIndex;

/// A request on the wire, or a record on its way to the journal.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub account: AccountIndex,
    pub purpose: Purpose,
    /// Its entry in the log of the account's pace; `None` for what goes to the journal.
    pub slot: Option<Slot>,
    /// Which token it carries; see [`super::access::Access::epoch`].
    pub epoch: u32,
    pub sent: Tick,
}

/// What a request is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// One step for a batch of pairs.
    Batch(BatchKey),
    /// To record what a batch is about to remove: no request.
    Record(BatchKey),
    /// A new access token.
    Refresh,
    /// To learn whose token it is.
    Identify,
}

/// All requests on the wire.
pub type Calls = SlotMap<CallKey, Call>;
