//! The pairs of a job, gathered input by input and told apart by what is asked for them.
//!
//! A record whose `to` is `"all"` stands for pairs that nobody knows before HubSpot is asked. So that none of them can
//! be asked for twice, a record stands beside listed pairs of its own only where these are covered: they are then left
//! out. Where they are asked for with other types, the job contradicts itself.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use smallvec::SmallVec;

use super::Ask;
use crate::contract::association::{Extent, Label, Pair, RecordId};
use crate::contract::grouped::Grouped;

/// Most labels of one pair, and most entries of one `types`.
pub const MAX_LABELS: usize = 100;

/// Most labels of a job, each counted for every pair that has it. The outcome names the labels of each pair that
/// failed, and must fit into a message of the broker.
pub const MAX_LABELS_OF_ALL_PAIRS: usize = 40_000;

/// What an input names: a pair, or a record with all that it is associated with. A record sorts before its pairs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Named {
    from: RecordId,
    /// `None` where `to` is `"all"`.
    to: Option<RecordId>,
}

impl Named {
    fn all_of(from: RecordId) -> Self {
        Self { from, to: None }
    }
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.to {
            Some(to) => write!(f, "the pair {} -> {to}", self.from),
            None => write!(f, "the record {} with `to` \"all\"", self.from),
        }
    }
}

/// Why the inputs of a job do not make a job. Each text goes on after the name of the field.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum AskFault {
    #[error(
        "have more than {} distinct pairs, the most that jobs.max_pairs allows (a record with `to` \"all\" counts as one); split the job",
        Grouped(*max as u64)
    )]
    TooManyPairs { max: usize },
    #[error("contradict each other: {typed} is there with `types`, {whole} without; keep the one that is meant")]
    Contradiction { typed: Named, whole: Named },
    #[error(
        "contradict each other: {0} is there with other `types` than the same record with `to` \"all\"; put it into a job of its own"
    )]
    OtherTypes(Named),
    #[error("have more than {MAX_LABELS} `types` for {0}, the most for one pair; split the job")]
    TooManyLabels(Named),
    #[error(
        "have more than {} labels: each of the `types` counts once for every pair that it is for, and {} times (jobs.max_pairs) where `to` is \"all\"; split the job, or spread its `types` over several",
        Grouped(MAX_LABELS_OF_ALL_PAIRS as u64),
        Grouped(*max_pairs as u64)
    )]
    TooManyLabelsOfAllPairs { max_pairs: usize },
}

/// The pairs read so far. Copies are squeezed out whenever they could have doubled the pairs, so that a body full of
/// them costs little and a job over the limit is not read to its end.
#[derive(Debug)]
pub(super) struct Gathered {
    max_pairs: usize,
    squeeze_above: usize,
    whole: SmallVec<[Named; 1]>,
    labelled: Vec<(Named, usize)>,
    label_sets: Vec<Arc<[Label]>>,
}

impl Gathered {
    pub(super) fn new(max_pairs: usize) -> Self {
        Self {
            max_pairs,
            squeeze_above: max_pairs.saturating_mul(2),
            whole: SmallVec::new(),
            labelled: Vec::new(),
            label_sets: Vec::new(),
        }
    }

    /// Adds an input with a list: every label where `labels` is `None`.
    pub(super) fn add(&mut self, from: RecordId, to: &[RecordId], labels: Option<Vec<Label>>) -> Result<(), AskFault> {
        self.name(to.iter().map(|&to| Named { from, to: Some(to) }), labels)
    }

    /// Adds an input whose `to` is `"all"`.
    pub(super) fn add_all(&mut self, from: RecordId, labels: Option<Vec<Label>>) -> Result<(), AskFault> {
        self.name([Named::all_of(from)].into_iter(), labels)
    }

    fn name(&mut self, named: impl Iterator<Item = Named>, labels: Option<Vec<Label>>) -> Result<(), AskFault> {
        match labels {
            None => self.whole.extend(named),
            Some(labels) => {
                let set = self.label_sets.len();
                self.label_sets.push(sorted(labels));
                self.labelled.extend(named.map(|named| (named, set)));
            }
        }
        if self.whole.len() + self.labelled.len() > self.squeeze_above { self.squeeze() } else { Ok(()) }
    }

    /// The asks of the job, the one for whole associations first; nothing is left.
    pub(super) fn take_asks(&mut self) -> Result<SmallVec<[Ask; 1]>, AskFault> {
        self.squeeze()?;
        let mut asks: SmallVec<[Ask; 1]> = SmallVec::new();
        let mut ask_of_set = HashMap::new();
        let mut all: Option<(RecordId, Arc<[Label]>)> = None;
        for entries in self.labelled.chunk_by(|a, b| a.0 == b.0) {
            let named = entries[0].0;
            if let Some(whole) = self.without_types(named) {
                return Err(AskFault::Contradiction { typed: named, whole });
            }
            let set = self.union(entries)?;
            match &all {
                Some((record, covered)) if *record == named.from => {
                    if set.iter().any(|label| covered.binary_search(label).is_err()) {
                        return Err(AskFault::OtherTypes(named));
                    }
                    continue;
                }
                _ if named.to.is_none() => all = Some((named.from, Arc::clone(&set))),
                _ => {}
            }
            let index = *ask_of_set.entry(Arc::clone(&set)).or_insert_with(|| {
                asks.push(Ask { extent: Extent::Labels(set), pairs: SmallVec::new(), all_of: Vec::new() });
                asks.len() - 1
            });
            asks[index].add(named);
        }
        let (mut listed, mut most_of_all) = (0, 0);
        for ask in &asks {
            if let Extent::Labels(labels) = &ask.extent {
                listed += labels.len() * ask.pairs.len();
                most_of_all = most_of_all.max(if ask.all_of.is_empty() { 0 } else { labels.len() });
            }
        }
        // As many pairs may be found as a job may have.
        if most_of_all.saturating_mul(self.max_pairs).saturating_add(listed) > MAX_LABELS_OF_ALL_PAIRS {
            return Err(AskFault::TooManyLabelsOfAllPairs { max_pairs: self.max_pairs });
        }
        if !self.whole.is_empty() {
            asks.insert(0, whole(std::mem::take(&mut self.whole)));
        }
        Ok(asks)
    }

    /// Where the job also asks for the whole association of `named`, of which it asks here to remove labels; or may
    /// turn out to ask for it, since one of the two is a record with all its associations.
    fn without_types(&self, named: Named) -> Option<Named> {
        let record = Named::all_of(named.from);
        match (self.whole.binary_search(&record), named.to) {
            (Ok(_), _) => Some(record),
            (Err(next), None) => self.whole.get(next).copied().filter(|next| next.from == named.from),
            (Err(_), Some(_)) => self.whole.binary_search(&named).is_ok().then_some(named),
        }
    }

    fn squeeze(&mut self) -> Result<(), AskFault> {
        if self.whole.len() > 1 {
            self.whole.sort_unstable();
            self.whole.dedup();
        }
        self.labelled.sort_unstable();
        self.labelled.dedup();
        let labelled = self.labelled.chunk_by(|a, b| a.0 == b.0).count();
        if self.whole.len() + labelled > self.max_pairs {
            return Err(AskFault::TooManyPairs { max: self.max_pairs });
        }
        self.squeeze_above = self.max_pairs.max(self.whole.len() + self.labelled.len()).saturating_mul(2);
        Ok(())
    }

    /// All labels asked for between the records of one pair.
    fn union(&self, entries: &[(Named, usize)]) -> Result<Arc<[Label]>, AskFault> {
        if let [(_, only)] = entries {
            return Ok(Arc::clone(&self.label_sets[*only]));
        }
        let mut union = BTreeSet::new();
        for &(named, set) in entries {
            union.extend(self.label_sets[set].iter().copied());
            if union.len() > MAX_LABELS {
                return Err(AskFault::TooManyLabels(named));
            }
        }
        Ok(union.into_iter().collect())
    }
}

impl Ask {
    fn add(&mut self, named: Named) {
        match named.to {
            Some(to) => self.pairs.push(Pair { from: named.from, to }),
            None => self.all_of.push(named.from),
        }
    }
}

/// The ask for whole associations; `named` is sorted, so that a record stands before the pairs that it covers.
fn whole(named: SmallVec<[Named; 1]>) -> Ask {
    let mut ask = Ask { extent: Extent::Whole, pairs: SmallVec::with_capacity(named.len()), all_of: Vec::new() };
    for named in named {
        if named.to.is_none() || ask.all_of.last() != Some(&named.from) {
            ask.add(named);
        }
    }
    ask
}

fn sorted(mut labels: Vec<Label>) -> Arc<[Label]> {
    labels.sort_unstable();
    labels.dedup();
    labels.into()
}
