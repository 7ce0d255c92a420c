//! What an operator orders through the endpoints; the worker's loop carries it out.

use tokio::sync::{mpsc, oneshot};

use crate::contract::ids::AccountIndex;
use crate::contract::object_type::ObjectType;

/// One order. The loop answers with the number of accounts or lanes it applied to, after it published a snapshot
/// that shows the change.
#[derive(Debug)]
pub struct AdminCommand {
    pub subject: Subject,
    pub action: Action,
    pub reply: oneshot::Sender<usize>,
}

/// What is to be paused or resumed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Subject {
    Account(AccountIndex),
    /// Every lane in hand between the two types, whatever it removes.
    Lanes {
        account: AccountIndex,
        from_type: ObjectType,
        to_type: ObjectType,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    Pause,
    Resume,
}

/// Orders that wait for the loop; further ones are refused.
const MAX_WAITING: usize = 16;

pub fn channel() -> (mpsc::Sender<AdminCommand>, mpsc::Receiver<AdminCommand>) {
    mpsc::channel(MAX_WAITING)
}
