//! What all readers of a job's body have in common: where they are, and what they have gathered.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, Visitor};
use smallvec::SmallVec;

use super::asks::{AskFault, Gathered};
use super::place::Place;
use crate::contract::association::RecordId;

/// What the visitors share.
pub(super) struct Reading {
    /// The field being read: what an error, even one of the JSON itself, is about.
    pub(super) at: Place,
    pub(super) max_pairs: usize,
    pub(super) gathered: Gathered,
    /// The first input whose `to` is `"all"`.
    pub(super) first_all: Option<usize>,
    /// The `to` records of the input being read.
    pub(super) to: SmallVec<[RecordId; 8]>,
}

impl Reading {
    pub(super) fn new(max_pairs: usize) -> Self {
        Self { at: Place::Body, max_pairs, gathered: Gathered::new(max_pairs), first_all: None, to: SmallVec::new() }
    }

    pub(super) fn refuse<E: Error>(&mut self, at: Place, rule: impl fmt::Display) -> E {
        self.at = at;
        E::custom(rule)
    }

    /// Drops copies among the records, which may leave too many all the same.
    pub(super) fn squeeze_to<E: Error>(&mut self) -> Result<(), E> {
        self.to.sort_unstable();
        self.to.dedup();
        let max = self.max_pairs;
        if self.to.len() > max { Err(self.refuse(Place::Inputs, AskFault::TooManyPairs { max })) } else { Ok(()) }
    }
}

/// Hands any JSON value to a visitor, which refuses what it does not want.
pub(super) struct Seed<V>(pub(super) V);

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for Seed<V> {
    type Value = V::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self.0)
    }
}
