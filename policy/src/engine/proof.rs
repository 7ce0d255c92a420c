//! Proof of a removal: a pair that HubSpot says is archived is read back until it is seen to be gone.
//!
//! HubSpot's reads lag behind its removals for some seconds, so a pair that is still shown is read again, ever later.
//! If it stays, it is archived once more: another app may have created it again at once. After that second removal one
//! reading that shows it gone is not enough: whatever created it again may do so a second time.

use std::collections::VecDeque;
use std::time::Duration;

use slotmap::SparseSecondaryMap;

use super::clock::Tick;
use super::keys::NodeKey;
use crate::contract::refusal::{Refusal, WorkerCategory};

/// How long a pair waits before it is read: after its removal, after it was seen to be still there for the first time,
/// and after it was seen so for the second time.
pub const WAITS: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(5), Duration::from_secs(15)];

/// How much longer a lane of proofs waits for company while more of its pairs are about to be due: one reading can
/// prove what ten requests removed.
pub const PATIENCE_FOR_PROOFS: Duration = Duration::from_secs(2);

/// After the second removal, the pair counts as not gone when this many readings have still shown it.
const READS_AFTER_SECOND: usize = 2;

/// Which of [`WAITS`] passes before a pair that is gone after its second removal is read once more.
const CONFIRMATION: usize = 1;

/// How far the proofs of some of the pairs in hand have come.
pub type Proofs = SparseSecondaryMap<NodeKey, Proof>;

/// What is known of one pair.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proof {
    removals: u32,
    /// Readings since the last removal that showed the pair.
    shown: usize,
    /// A reading since the last removal has shown that the pair is gone.
    gone: bool,
    /// The pair is not read before this time.
    due: Tick,
    /// The journal has a record of what each of the removals took away.
    recorded: bool,
    /// The last removal was sent from the pair's other side.
    turned: bool,
}

/// What a reading showed of the pair, or of the labels that were removed from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shown {
    Gone,
    StillThere,
}

/// What follows from a reading.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AfterReading {
    Proven,
    /// The pair is read once more, after the wait in [`WAITS`] that has this index.
    ReadAgain(usize),
    ArchiveAgain,
    /// It stays: `NOT_GONE`.
    NotGone,
    /// It was gone, and is there again: `REAPPEARED`.
    Reappeared,
}

impl Proof {
    /// The pair has just been archived; `before` is what was known of it until then. `recorded`: the journal had a
    /// record of it before that. `turned`: the request was sent from the pair's other side.
    pub fn archived(before: Option<Self>, recorded: bool, turned: bool) -> Self {
        let (removals, others) = before.map_or((0, true), |proof| (proof.removals, proof.recorded));
        let recorded = recorded && others;
        Self { removals: removals + 1, shown: 0, gone: false, due: Tick::default(), recorded, turned }
    }

    pub fn is_recorded(&self) -> bool {
        self.recorded
    }

    /// Whether the last removal was sent from the pair's other side. Then only a reading can show that the pair is
    /// gone.
    pub fn is_turned(&self) -> bool {
        self.turned
    }

    /// Whether the pair was archived more than once, which counts once.
    pub fn is_repeated(&self) -> bool {
        self.removals > 1
    }

    pub fn due(&self) -> Tick {
        self.due
    }

    #[must_use]
    pub fn waiting_until(self, due: Tick) -> Self {
        Self { due, ..self }
    }

    /// What is known of two equal pairs that are one from now on.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        let (removals, recorded) = (self.removals.max(other.removals), self.recorded && other.recorded);
        Self { removals, recorded, turned: self.turned && other.turned, ..self }
    }

    pub fn read(&mut self, shown: Shown) -> AfterReading {
        let is_second = self.removals > 1;
        match shown {
            Shown::Gone if is_second && !self.gone => {
                self.gone = true;
                AfterReading::ReadAgain(CONFIRMATION)
            }
            Shown::Gone => AfterReading::Proven,
            Shown::StillThere if self.gone => AfterReading::Reappeared,
            Shown::StillThere => {
                self.shown += 1;
                let reads = if is_second { READS_AFTER_SECOND } else { WAITS.len() };
                match (self.shown < reads, is_second) {
                    (true, _) => AfterReading::ReadAgain(self.shown),
                    (false, false) => AfterReading::ArchiveAgain,
                    (false, true) => AfterReading::NotGone,
                }
            }
        }
    }

    /// What to say of the pair if its job ends before the proof does: HubSpot took the removal, but whether the pair is
    /// gone was not seen. `None`: nothing speaks against it.
    pub fn doubt(&self) -> Option<Refusal> {
        let was_shown = self.shown > 0 || self.removals > 1;
        (was_shown || self.turned).then(not_gone)
    }
}

/// Why a pair counts as not done that HubSpot still shows.
pub fn not_gone() -> Refusal {
    Refusal::worker(
        WorkerCategory::NotGone,
        "HubSpot took the removal, but still showed the association when it was read back; send the job again, and look \
         whether a sync or another app creates it anew",
    )
}

/// Why a pair counts as not done that was gone and is there again.
pub fn reappeared() -> Refusal {
    Refusal::worker(
        WorkerCategory::Reappeared,
        "the association was gone, and then there again: something else creates it. Look at HubSpot's setting that \
         associates companies by the contact's e-mail domain, at data syncs, workflows and other apps",
    )
}

/// Pairs that wait for their next reading, one queue for each of [`WAITS`]: within a queue the first is due first.
#[derive(Debug, Default)]
pub struct Cooling {
    of_wait: [VecDeque<(Tick, NodeKey)>; WAITS.len()],
}

impl Cooling {
    /// The pair is to be read after one of [`WAITS`]; returns when that is.
    pub fn add(&mut self, node: NodeKey, wait: usize, now: Tick) -> Tick {
        let wait = wait.min(WAITS.len() - 1);
        let due = now + WAITS[wait];
        self.of_wait[wait].push_back((due, node));
        due
    }

    /// A pair whose time has come, and the time that was set for it. If another time was set for the pair since, this
    /// one is out of date.
    pub fn take_due(&mut self, now: Tick) -> Option<(NodeKey, Tick)> {
        let waiting = self.of_wait.iter_mut().find(|waiting| waiting.front().is_some_and(|&(due, _)| due <= now))?;
        waiting.pop_front().map(|(due, node)| (node, due))
    }

    pub fn next(&self) -> Option<Tick> {
        self.of_wait.iter().filter_map(|waiting| waiting.front()).map(|&(due, _)| due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(shown: &[Shown]) -> Vec<AfterReading> {
        let mut proof = Proof::archived(None, false, false);
        let mut course = Vec::new();
        for &shown in shown {
            let next = proof.read(shown);
            if next == AfterReading::ArchiveAgain {
                proof = Proof::archived(Some(proof), false, false);
            }
            course.push(next);
        }
        course
    }

    use Shown::{Gone, StillThere};

    #[test]
    fn a_pair_is_read_until_it_is_gone() {
        assert_eq!(course(&[Gone]), [AfterReading::Proven]);
        assert_eq!(
            course(&[StillThere, StillThere, Gone]),
            [AfterReading::ReadAgain(1), AfterReading::ReadAgain(2), AfterReading::Proven]
        );
    }

    #[test]
    fn a_pair_that_stays_is_archived_once_more_and_then_given_up() {
        let stays = course(&[StillThere; 5]);
        assert_eq!(
            stays[..4],
            [
                AfterReading::ReadAgain(1),
                AfterReading::ReadAgain(2),
                AfterReading::ArchiveAgain,
                AfterReading::ReadAgain(1)
            ]
        );
        assert_eq!(stays.last(), Some(&AfterReading::NotGone));
    }

    #[test]
    fn after_the_second_removal_gone_must_be_seen_twice() {
        let after = |rest: &[Shown]| course(&[&[StillThere; 3], rest].concat()).split_off(3);
        assert_eq!(after(&[Gone, Gone]), [AfterReading::ReadAgain(CONFIRMATION), AfterReading::Proven]);
        assert_eq!(
            after(&[StillThere, Gone, Gone]),
            [AfterReading::ReadAgain(1), AfterReading::ReadAgain(CONFIRMATION), AfterReading::Proven]
        );
        assert_eq!(after(&[Gone, StillThere]), [AfterReading::ReadAgain(CONFIRMATION), AfterReading::Reappeared]);
    }

    #[test]
    fn what_speaks_against_a_removal_is_told_if_the_proof_does_not_end() {
        let mut proof = Proof::archived(None, false, false);
        assert_eq!(proof.doubt(), None);
        proof.read(StillThere);
        assert!(proof.doubt().is_some());
        assert!(Proof::archived(Some(proof), false, false).doubt().is_some());
    }

    #[test]
    fn pairs_become_due_in_their_order_whatever_they_wait_for() {
        let keys: Vec<NodeKey> = {
            let mut made = slotmap::SlotMap::<NodeKey, ()>::with_key();
            (0..3).map(|_| made.insert(())).collect()
        };
        let at = |seconds: u64| Tick::from_micros(seconds * 1_000_000);
        let mut cooling = Cooling::default();
        cooling.add(keys[0], 2, at(0));
        cooling.add(keys[1], 0, at(1));
        cooling.add(keys[2], 1, at(1));
        assert_eq!(cooling.next(), Some(at(3)));
        assert_eq!(cooling.take_due(at(2)), None);
        let mut due: Vec<(NodeKey, Tick)> = std::iter::from_fn(|| cooling.take_due(at(10))).collect();
        due.sort_by_key(|&(_, at)| at);
        assert_eq!(due, [(keys[1], at(3)), (keys[2], at(6))]);
        assert_eq!(cooling.next(), Some(at(15)));
    }
}
