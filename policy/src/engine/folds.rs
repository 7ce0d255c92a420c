//! For which object types pairs may be sent from either side, and what was archived in this way and is not proven yet.
//!
//! HubSpot answers a removal from the wrong side as if it had been done: where a portal's associations can be removed
//! from one side only, nothing would tell. So whatever was archived from its other side stays in hand until some pairs
//! of its request, the *witnesses*, were read in the job's own direction and are gone. A witness that is still there is
//! read again, since HubSpot's readings lag. If it is still there at its last reading, folding ends for the account and
//! these types, and whatever waits is archived once more, from its own side.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;

use super::backlog::NodeKey;
use super::clock::Tick;
use super::command::LaneId;
use super::step::Step;
use crate::contract::ids::AccountIndex;
use crate::contract::object_type::TypePair;

/// How many pairs of a request are read back as its witnesses. One would not do, since a pair that was not there before
/// proves nothing. Ten cost little: a reading shows up to 1,000 records, so it serves the witnesses of a hundred
/// requests.
pub const WITNESSES: usize = 10;

/// How often the pairs that wait are checked for witnesses that have left with their jobs.
const ROUND: Duration = Duration::from_secs(5);

/// An account and a pair of object types, the latter as its index in `batch.fold`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FoldKey {
    account: AccountIndex,
    types: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Folds {
    types: Arc<[TypePair]>,
    folds: HashMap<FoldKey, Fold>,
    rounds: BTreeSet<(Tick, FoldKey)>,
}

/// What is known of an account and a pair of types.
#[derive(Debug, Default)]
struct Fold {
    /// Folding has ended: no pair of these types is sent from its other side any more.
    off: bool,
    /// What was archived from its other side and is not proven, request by request.
    waiting: Vec<Unproven>,
    /// Pairs that a reading still showed after they were archived: HubSpot's readings lag, or folding does not work.
    doubts: Vec<NodeKey>,
    round: Option<Tick>,
}

#[derive(Debug)]
struct Unproven {
    nodes: Vec<NodeKey>,
    /// Those of `nodes` that are yet to be read back.
    witnesses: Vec<NodeKey>,
    /// At least one witness was read back and is gone.
    shown: bool,
}

impl Folds {
    pub fn new(types: Arc<[TypePair]>) -> Self {
        Self { types, folds: HashMap::new(), rounds: BTreeSet::new() }
    }

    /// The account and types of a lane whose pairs may go from either side by the settings; else `None`. A removal of
    /// labels may not, because a label's type is that of one direction.
    pub fn key(&self, lane: &LaneId) -> Option<FoldKey> {
        if self.types.is_empty() || lane.step() == Step::ArchiveLabels {
            return None;
        }
        let types = self.types.iter().position(|types| types.is_between(&lane.from_type, &lane.to_type))?;
        Some(FoldKey { account: lane.account, types })
    }

    pub fn is_off(&self, key: FoldKey) -> bool {
        self.folds.get(&key).is_some_and(|fold| fold.off)
    }

    /// Whether a request of these types may go from the other side now. `is_there` says whether a pair is still in
    /// hand.
    pub fn may_turn(&mut self, key: FoldKey, is_there: impl Fn(NodeKey) -> bool) -> bool {
        let Some(fold) = self.folds.get_mut(&key) else { return true };
        fold.doubts.retain(|&node| is_there(node));
        !fold.off && fold.doubts.is_empty()
    }

    /// Whether pairs of these types wait to be proven already, so that a reading will be sent for them in any case.
    pub fn is_waiting(&self, key: FoldKey) -> bool {
        self.folds.get(&key).is_some_and(|fold| !fold.waiting.is_empty())
    }

    /// A request has archived `nodes` from their other side. The `witnesses` among them are to be read back.
    pub fn archived(&mut self, key: FoldKey, nodes: Vec<NodeKey>, witnesses: Vec<NodeKey>, now: Tick) {
        let fold = self.folds.entry(key).or_default();
        fold.waiting.push(Unproven { nodes, witnesses, shown: false });
        if fold.round.is_none() {
            fold.round = Some(now + ROUND);
            self.rounds.insert((now + ROUND, key));
        }
    }

    /// A reading has shown the pair to be gone.
    pub fn gone(&mut self, key: FoldKey, node: NodeKey) {
        let Some(fold) = self.folds.get_mut(&key) else { return };
        fold.doubts.retain(|&doubt| doubt != node);
        for waiting in &mut fold.waiting {
            if let Some(index) = waiting.witnesses.iter().position(|&witness| witness == node) {
                waiting.witnesses.swap_remove(index);
                waiting.shown = true;
            }
        }
    }

    /// A reading has shown the pair, which was archived from its other side.
    pub fn still_there(&mut self, key: FoldKey, node: NodeKey) {
        let doubts = &mut self.folds.entry(key).or_default().doubts;
        if !doubts.contains(&node) {
            doubts.push(node);
        }
    }

    /// Takes out the pairs that are proven by now, and those of requests that have lost all their witnesses.
    pub fn take_proven(&mut self, key: FoldKey, is_there: impl Fn(NodeKey) -> bool) -> Proven {
        let mut proven = Proven::default();
        let Some(fold) = self.folds.get_mut(&key).filter(|fold| !fold.off) else { return proven };
        fold.doubts.retain(|&node| is_there(node));
        if !fold.doubts.is_empty() {
            return proven;
        }
        for waiting in &mut fold.waiting {
            waiting.witnesses.retain(|&node| is_there(node));
        }
        for Unproven { nodes, witnesses: _, shown } in
            fold.waiting.extract_if(.., |waiting| waiting.witnesses.is_empty())
        {
            match shown {
                true => proven.nodes.extend(nodes),
                false => proven.unwitnessed.push(nodes),
            }
        }
        proven
    }

    /// The next account and types for which the pairs that wait are to be checked for lost witnesses.
    pub fn take_round(&mut self, now: Tick, is_there: impl Fn(NodeKey) -> bool) -> Option<FoldKey> {
        let &(at, key) = self.rounds.first().filter(|&&(at, _)| at <= now)?;
        self.rounds.remove(&(at, key));
        let Some(fold) = self.folds.get_mut(&key) else { return Some(key) };
        fold.waiting.retain(|waiting| waiting.nodes.iter().any(|&node| is_there(node)));
        fold.round = (!fold.waiting.is_empty()).then(|| now + ROUND);
        self.rounds.extend(fold.round.map(|at| (at, key)));
        Some(key)
    }

    pub fn next_round(&self) -> Option<Tick> {
        self.rounds.first().map(|&(at, _)| at)
    }

    /// Folding ends. Returns what is not proven; `None` if it had ended before.
    pub fn turn_off(&mut self, key: FoldKey) -> Option<Vec<NodeKey>> {
        let fold = self.folds.entry(key).or_default();
        if std::mem::replace(&mut fold.off, true) {
            return None;
        }
        fold.doubts.clear();
        Some(fold.waiting.drain(..).flat_map(|waiting| waiting.nodes).collect())
    }
}

/// See [`Folds::take_proven`].
#[derive(Debug, Default)]
pub struct Proven {
    pub nodes: Vec<NodeKey>,
    /// The pairs of requests whose witnesses have all left with their jobs.
    pub unwitnessed: Vec<Vec<NodeKey>>,
}
