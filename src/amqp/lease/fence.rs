//! The last look at the lease before a request leaves.
//!
//! The engine looks too, but between its decision and the socket the process may have been frozen.

use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashMap;
use jiff::Timestamp;
use tokio::time::Instant;

use super::LeaseEnd;
use crate::contract::ids::AccountIndex;

/// A moment on both clocks, past which nothing may be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Until {
    pub instant: Instant,
    pub wall: Timestamp,
}

impl Until {
    fn is_ahead(self) -> bool {
        Instant::now() < self.instant && Timestamp::now() < self.wall
    }
}

/// The fences of all accounts.
#[derive(Clone, Default, Debug)]
pub struct Fences(Option<Arc<HashMap<AccountIndex, Fence>>>);

impl Fences {
    /// The fences of the accounts of these leases.
    pub fn of(leases: &[LeaseEnd]) -> Self {
        let fences =
            leases.iter().flat_map(|lease| lease.accounts.iter().map(|&account| (account, lease.fence.clone())));
        Self(Some(Arc::new(fences.collect())))
    }

    /// True while a request for this account may leave, as ever where no lease is kept.
    pub fn are_open_for(&self, account: AccountIndex) -> bool {
        self.0.as_ref().is_none_or(|fences| fences.get(&account).is_some_and(Fence::is_open))
    }
}

/// Shared by the lease's keeper, who sets it, and those who send.
#[derive(Clone, Default, Debug)]
pub struct Fence(Arc<Mutex<Option<Until>>>);

impl Fence {
    /// True while a request may leave.
    pub fn is_open(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(Until::is_ahead)
    }

    pub(super) fn set(&self, until: Option<Until>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}
