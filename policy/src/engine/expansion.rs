//! A job that asks for every association of some records asks for nothing before all these records are read. What it
//! will ask for then is gathered here.

use std::sync::Arc;

use super::verdict::Found;
use crate::contract::association::{Extent, Pair};
use crate::contract::job::Ask;
use crate::contract::refusal::{Refusal, WorkerCategory};

/// See the module.
#[derive(Debug)]
pub struct Expansion {
    /// The pairs that the job lists beside its records.
    listed: Vec<Ask>,
    found: Vec<OfRecord>,
    /// Records that are not read to their end.
    unread: usize,
}

/// What a record is associated with, as far as it is asked for.
#[derive(Clone, Debug)]
pub struct OfRecord {
    pub item: Pair,
    pub extent: Extent,
    pub found: Arc<[Found]>,
}

impl OfRecord {
    pub fn pair(&self, found: &Found) -> Pair {
        Pair { from: super::all::record(self.item), to: found.to }
    }
}

impl Expansion {
    pub fn new(asks: &[Ask]) -> Self {
        let unread = asks.iter().map(|ask| ask.all_of.len()).sum();
        let listed =
            asks.iter().filter(|ask| !ask.pairs.is_empty()).map(|ask| Ask { all_of: Vec::new(), ..ask.clone() });
        Self { listed: listed.collect(), found: Vec::new(), unread }
    }

    /// A record was read to its end.
    pub fn read(&mut self, of_record: OfRecord) {
        self.found.push(of_record);
        self.closed();
    }

    /// Nothing more will be learned of a record.
    pub fn closed(&mut self) {
        self.unread = self.unread.saturating_sub(1);
    }

    /// Every record is read.
    pub fn is_over(&self) -> bool {
        self.unread == 0
    }

    /// Pairs that are known by now: those that are listed, and those that were found.
    pub fn known(&self) -> usize {
        self.listed.iter().map(|ask| ask.pairs.len()).sum::<usize>()
            + self.found.iter().map(|one| one.found.len()).sum::<usize>()
    }

    /// Takes out the pairs that are listed.
    pub fn take_listed(&mut self) -> Vec<Ask> {
        std::mem::take(&mut self.listed)
    }

    /// Takes out what was found.
    pub fn take_found(&mut self) -> Vec<OfRecord> {
        std::mem::take(&mut self.found)
    }
}

/// Why a job ends that would have more pairs than it may have.
pub fn too_many(max_pairs: usize) -> Refusal {
    let message = format!(
        "the records whose `to` is \"all\" have more associations, together with the pairs that the job lists, than the \
         {max_pairs} that a job may have (jobs.max_pairs); nothing was changed: split the job, or list the pairs"
    );
    Refusal::worker(WorkerCategory::TooManyPairs, &message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_over_when_every_record_was_read_or_refused() {
        let record = crate::contract::association::RecordId(std::num::NonZeroU64::MIN);
        let ask = Ask { extent: Extent::Whole, pairs: smallvec::SmallVec::new(), all_of: vec![record; 2] };
        let mut expansion = Expansion::new(&[ask]);
        let found = Found { to: record, types: None };
        let item = super::super::all::item(record);
        expansion.read(OfRecord { item, extent: Extent::Whole, found: [found.clone(), found].into() });
        assert!(!expansion.is_over());
        expansion.closed();
        assert!(expansion.is_over());
        assert_eq!(expansion.known(), 2);
    }
}
