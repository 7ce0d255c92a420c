//! The pairs of a job, gathered input by input and told apart by what is to be removed.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use smallvec::SmallVec;

use super::Ask;
use crate::contract::association::{Extent, Label, Pair, RecordId};

/// Most labels of one pair, and most entries of one `types`.
pub const MAX_LABELS: usize = 100;

/// Most labels of a job, each counted for every pair that has it. The outcome names the labels of each pair that
/// failed, and must fit into a message of the broker.
pub const MAX_LABELS_OF_ALL_PAIRS: usize = 40_000;

/// Why the inputs of a job do not make a job.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum AskFault {
    #[error("has more than {max} distinct pairs, the most that jobs.max_pairs allows; split the job")]
    TooManyPairs { max: usize },
    #[error("contradicts itself: the pair {} -> {} is there both with and without `types`", .0.from, .0.to)]
    Contradiction(Pair),
    #[error("has more than {MAX_LABELS} `types` for the pair {} -> {}", .0.from, .0.to)]
    TooManyLabels(Pair),
    #[error(
        "has more than {MAX_LABELS_OF_ALL_PAIRS} `types`, each counted for every pair it is to be taken from; split the job"
    )]
    TooManyLabelsOfAllPairs,
}

/// The pairs read so far. Copies are squeezed out whenever they could have doubled the pairs, so that a body full of
/// them costs little and a job over the limit is not read to its end.
#[derive(Debug)]
pub(super) struct Gathered {
    max_pairs: usize,
    squeeze_above: usize,
    whole: SmallVec<[Pair; 1]>,
    labelled: Vec<(Pair, usize)>,
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

    /// Adds an input: every label where `labels` is `None`.
    pub(super) fn add(&mut self, from: RecordId, to: &[RecordId], labels: Option<Vec<Label>>) -> Result<(), AskFault> {
        let pairs = to.iter().map(|&to| Pair { from, to });
        match labels {
            None => self.whole.extend(pairs),
            Some(labels) => {
                let set = self.label_sets.len();
                self.label_sets.push(sorted(labels));
                self.labelled.extend(pairs.map(|pair| (pair, set)));
            }
        }
        if self.whole.len() + self.labelled.len() > self.squeeze_above { self.squeeze() } else { Ok(()) }
    }

    /// The asks of the job, the one for whole associations first; nothing is left.
    pub(super) fn take_asks(&mut self) -> Result<SmallVec<[Ask; 1]>, AskFault> {
        self.squeeze()?;
        let mut asks: SmallVec<[Ask; 1]> = SmallVec::new();
        let mut ask_of_set = HashMap::new();
        for entries in self.labelled.chunk_by(|a, b| a.0 == b.0) {
            let pair = entries[0].0;
            if self.whole.binary_search(&pair).is_ok() {
                return Err(AskFault::Contradiction(pair));
            }
            let set = self.union(entries)?;
            let index = *ask_of_set.entry(Arc::clone(&set)).or_insert_with(|| {
                asks.push(Ask { extent: Extent::Labels(set), pairs: SmallVec::new(), all_of: Vec::new() });
                asks.len() - 1
            });
            asks[index].pairs.push(pair);
        }
        let labels = |ask: &Ask| match &ask.extent {
            Extent::Whole => 0,
            Extent::Labels(labels) => labels.len() * ask.pairs.len(),
        };
        if asks.iter().map(labels).sum::<usize>() > MAX_LABELS_OF_ALL_PAIRS {
            return Err(AskFault::TooManyLabelsOfAllPairs);
        }
        if !self.whole.is_empty() {
            let pairs = std::mem::take(&mut self.whole);
            asks.insert(0, Ask { extent: Extent::Whole, pairs, all_of: Vec::new() });
        }
        Ok(asks)
    }

    fn squeeze(&mut self) -> Result<(), AskFault> {
        if self.whole.len() > 1 {
            self.whole.sort_unstable();
            self.whole.dedup();
        }
        self.labelled.sort_unstable();
        self.labelled.dedup();
        let labelled_pairs = self.labelled.chunk_by(|a, b| a.0 == b.0).count();
        if self.whole.len() + labelled_pairs > self.max_pairs {
            return Err(AskFault::TooManyPairs { max: self.max_pairs });
        }
        self.squeeze_above = self.max_pairs.max(self.whole.len() + self.labelled.len()).saturating_mul(2);
        Ok(())
    }

    /// All labels asked for between the records of one pair.
    fn union(&self, entries: &[(Pair, usize)]) -> Result<Arc<[Label]>, AskFault> {
        if let [(_, only)] = entries {
            return Ok(Arc::clone(&self.label_sets[*only]));
        }
        let mut union = BTreeSet::new();
        for &(pair, set) in entries {
            union.extend(self.label_sets[set].iter().copied());
            if union.len() > MAX_LABELS {
                return Err(AskFault::TooManyLabels(pair));
            }
        }
        Ok(union.into_iter().collect())
    }
}

fn sorted(mut labels: Vec<Label>) -> Arc<[Label]> {
    labels.sort_unstable();
    labels.dedup();
    labels.into()
}
