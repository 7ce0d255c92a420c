//! What people see of a lease.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::Serialize;

use crate::engine::status::write_time;

/// One jobs queue's lease as this worker sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaseView {
    pub jobs_queue: String,
    pub standing: LeaseStanding,
    #[serde(serialize_with = "write_time")]
    pub since: Timestamp,
    /// Who holds it, where this worker knows: itself, or the one whose end it waits out.
    pub holder: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum LeaseStanding {
    /// This worker holds it.
    Held,
    /// Another one does, and this worker is subscribed and ready to take over.
    StandingBy,
    /// This worker held it and could not renew it, as under a resource alarm of the broker. Nobody else is known to hold
    /// it, and nobody sends anything: this worker goes on as soon as the broker takes its messages again.
    NotRenewed,
    /// It is this worker's as soon as the holder before must have stopped, or its own message gets through again.
    Waiting,
    /// This worker cannot reach the lease queue.
    Away,
    /// This worker stops, or has more than its share: it leaves the lease to another worker.
    Left,
}

/// Shared with those who report; empty while `amqp.lease` is off.
#[derive(Default, Debug)]
pub struct SharedView(Mutex<Option<LeaseView>>);

impl SharedView {
    pub fn get(&self) -> Option<LeaseView> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set(&self, view: LeaseView) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(view);
    }
}
