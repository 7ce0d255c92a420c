//! Folding: from which side pairs are sent, so that requests are fewest.
//!
//! Where associations can be archived from either of their records, a request need not be made of `from` records. Ten
//! thousand contacts of one company are a hundred requests from the contacts' side, and ten from the company's. Each
//! waiting pair has to be in a request of one of its two records, so the records that are needed are a vertex cover of
//! the pairs, and a small one costs few requests.
//!
//! The cover is found by two rules. A record with one pair left is not needed: the record at the pair's other end is at
//! least as good. Where there is no such record, the one with the most pairs left is taken. A pair of which neither
//! record has another pair left may go with either side, and fills up the request.
//!
//! One count is kept from one request to the next (`passes` of [`choose`]). The oldest pairs in sight are looked at anew
//! each time.

use hashbrown::HashMap;

use super::pack::{self, Caps, Supply};
use crate::contract::association::{Pair, RecordId};

/// How many waiting pairs are looked at for one request.
pub const MOST_IN_SIGHT: usize = 20_000;

/// How many requests may be sent before the oldest pair, because they are fuller and go from the other side.
const MOST_PASSES: u32 = 8;

/// The next request of a lane may go from either side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Turning {
    /// How many requests more it costs to turn this one, since a reading must show whether the removal worked.
    pub proof: usize,
}

/// What leaves next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Choice {
    /// From the job's own side, as if nothing were folded.
    Plain,
    /// These of the pairs in sight, from the job's own side. Some others cost fewer requests from the other side.
    Straight(Vec<usize>),
    /// These of the pairs in sight, from their `to` records.
    Turned(Vec<usize>),
}

/// Chooses from distinct pairs, the oldest first, of which at least one is given.
///
/// `passes`: how many requests of the lane in a row have left the oldest pair behind. The lane keeps this number, and it
/// is brought up to date here.
pub fn choose(pairs: &[Pair], caps: Caps, turning: Turning, passes: &mut u32) -> Choice {
    let mut graph = Graph::new(pairs);
    let plain = requests(graph.froms, pairs.len(), caps);
    graph.cover();
    let [straight, turned] = [Side::Straight, Side::Turned].map(|side| Groups::of(&graph, side));
    let loose = pairs.len() - straight.pairs - turned.pairs;
    let folded =
        requests(straight.groups, straight.pairs, caps) + requests(turned.groups + loose, turned.pairs + loose, caps);
    if turned.groups == 0 || folded + turning.proof >= plain {
        *passes = 0;
        return Choice::Plain;
    }
    let side = side(&graph, &straight, &turned, caps, passes);
    let picked = picked(&graph, side, caps);
    match side {
        Side::Straight => Choice::Straight(picked),
        Side::Turned => Choice::Turned(picked),
    }
}

/// The fewest requests that can carry this many pairs of this many records.
fn requests(groups: usize, pairs: usize, caps: Caps) -> usize {
    groups.div_ceil(caps.from).max(pairs.div_ceil(caps.pairs))
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Straight,
    Turned,
}

/// What the cover gives to one side. Pairs that may go with either side are not counted.
struct Groups {
    groups: usize,
    pairs: usize,
}

impl Groups {
    fn of(graph: &Graph, side: Side) -> Self {
        let mut pairs = 0;
        let mut seen = vec![false; graph.degrees.len()];
        let mut groups = 0;
        for owner in graph.owners.iter().copied().flatten().filter(|&owner| graph.side(owner) == side) {
            pairs += 1;
            groups += usize::from(!std::mem::replace(&mut seen[owner], true));
        }
        Self { groups, pairs }
    }

    /// How full a request of these pairs is, in thousandths.
    fn fill(&self, caps: Caps) -> usize {
        (self.groups * 1_000 / caps.from).max(self.pairs * 1_000 / caps.pairs).min(1_000)
    }
}

/// The side whose request is fuller. But when [`MOST_PASSES`] requests in a row have left the oldest pair behind, it is
/// the side from which this pair goes.
fn side(graph: &Graph, straight: &Groups, turned: &Groups, caps: Caps, passes: &mut u32) -> Side {
    let of_oldest = graph.owners.first().copied().flatten().map(|owner| graph.side(owner));
    let fuller = match straight.fill(caps).cmp(&turned.fill(caps)) {
        std::cmp::Ordering::Less => Side::Turned,
        std::cmp::Ordering::Greater => Side::Straight,
        std::cmp::Ordering::Equal => of_oldest.unwrap_or(Side::Turned),
    };
    match of_oldest {
        Some(other) if other != fuller && *passes < MOST_PASSES => {
            *passes += 1;
            fuller
        }
        oldest => {
            *passes = 0;
            oldest.unwrap_or(fuller)
        }
    }
}

/// The pairs of the next request of a side: its own, and those that may go with either.
fn picked(graph: &Graph, side: Side, caps: Caps) -> Vec<usize> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut index_of = vec![usize::MAX; graph.degrees.len()];
    let mut offered = 0;
    for (edge, owner) in graph.owners.iter().enumerate() {
        let [from, to] = graph.ends[edge];
        let record = match (owner, side) {
            (Some(owner), _) if graph.side(*owner) != side => continue,
            (Some(owner), _) => *owner,
            (None, Side::Straight) => from,
            (None, Side::Turned) => to,
        };
        offered += 1;
        if index_of[record] == usize::MAX {
            index_of[record] = groups.len();
            groups.push(Vec::new());
        }
        groups[index_of[record]].push(edge);
    }
    let sizes: Vec<usize> = groups.iter().map(Vec::len).collect();
    let supply = Supply { groups: groups.len(), pairs: offered };
    let picks = pack::choose(&sizes, supply, caps).into_iter();
    picks.flat_map(|pick| groups[pick.index].drain(..pick.pairs).collect::<Vec<_>>()).collect()
}

/// The pairs in sight as edges between records: first the `from` records, then the `to` records.
struct Graph {
    /// How many of the records are `from`.
    froms: usize,
    ends: Vec<[usize; 2]>,
    /// The edges of each record stand together in `edges`, from this index on.
    starts: Vec<usize>,
    edges: Vec<usize>,
    /// For each record, how many of its edges are not covered yet.
    degrees: Vec<usize>,
    covered: Vec<bool>,
    /// The record that an edge goes with; `None` where either will do.
    owners: Vec<Option<usize>>,
}

impl Graph {
    fn new(pairs: &[Pair]) -> Self {
        let (mut from_of, mut to_of) = (HashMap::new(), HashMap::new());
        let mut ends: Vec<[usize; 2]> =
            pairs.iter().map(|pair| [number(&mut from_of, pair.from), number(&mut to_of, pair.to)]).collect();
        let froms = from_of.len();
        let records = froms + to_of.len();
        let mut degrees = vec![0; records];
        for [from, to] in &mut ends {
            *to += froms;
            degrees[*from] += 1;
            degrees[*to] += 1;
        }
        let mut starts = Vec::with_capacity(records + 1);
        let mut end = 0;
        for &degree in &degrees {
            starts.push(end);
            end += degree;
        }
        starts.push(end);
        let mut next = starts.clone();
        let mut edges = vec![0; end];
        for (edge, ends) in ends.iter().enumerate() {
            for &record in ends {
                edges[next[record]] = edge;
                next[record] += 1;
            }
        }
        let (covered, owners) = (vec![false; pairs.len()], vec![None; pairs.len()]);
        Self { froms, ends, starts, edges, degrees, covered, owners }
    }

    fn side(&self, record: usize) -> Side {
        if record < self.froms { Side::Straight } else { Side::Turned }
    }

    fn edges_of(&self, record: usize) -> std::ops::Range<usize> {
        self.starts[record]..self.starts[record + 1]
    }

    fn other_end(&self, edge: usize, record: usize) -> usize {
        let [from, to] = self.ends[edge];
        if record == from { to } else { from }
    }

    /// Gives each edge an owner, or none where either end will do.
    fn cover(&mut self) {
        let mut single: Vec<usize> = (0..self.degrees.len()).filter(|&record| self.degrees[record] == 1).collect();
        let most = self.degrees.iter().copied().max().unwrap_or(0);
        let mut by_degree: Vec<Vec<usize>> = vec![Vec::new(); most + 1];
        for (record, &degree) in self.degrees.iter().enumerate() {
            by_degree[degree].push(record);
        }
        let mut largest = most;
        loop {
            while let Some(record) = single.pop() {
                self.spare(record, &mut single);
            }
            let Some(record) = by_degree[largest].pop() else {
                match largest.checked_sub(1) {
                    Some(smaller) if smaller > 0 => largest = smaller,
                    Some(_) | None => return,
                }
                continue;
            };
            match self.degrees[record] {
                degree if degree == largest => self.take(record, &mut single),
                // Some edges of this record were covered since the record was put into the list.
                degree => by_degree[degree].push(record),
            }
        }
    }

    /// A record with one edge left is not needed: the edge goes with its other end.
    fn spare(&mut self, record: usize, single: &mut Vec<usize>) {
        if self.degrees[record] != 1 {
            return;
        }
        let Some(index) = self.edges_of(record).find(|&index| !self.covered[self.edges[index]]) else { return };
        let edge = self.edges[index];
        let other = self.other_end(edge, record);
        if self.degrees[other] > 1 {
            return self.take(other, single);
        }
        self.covered[edge] = true;
        (self.degrees[record], self.degrees[other]) = (0, 0);
    }

    /// All edges that a record has left go with it.
    fn take(&mut self, record: usize, single: &mut Vec<usize>) {
        for index in self.edges_of(record) {
            let edge = self.edges[index];
            if std::mem::replace(&mut self.covered[edge], true) {
                continue;
            }
            self.owners[edge] = Some(record);
            let other = self.other_end(edge, record);
            self.degrees[other] -= 1;
            if self.degrees[other] == 1 {
                single.push(other);
            }
        }
        self.degrees[record] = 0;
    }
}

/// The number of a record: a record that is not known yet gets the next one.
fn number(known: &mut HashMap<RecordId, usize>, record: RecordId) -> usize {
    let next = known.len();
    *known.entry(record).or_insert(next)
}

#[cfg(test)]
pub(super) mod tests;
