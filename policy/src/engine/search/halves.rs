//! How pairs are halved: those of a search, and those of a batch that was too large for HubSpot.

use super::Trial;
use crate::engine::batch::Batch;
use crate::engine::keys::NodeKey;

/// The first and the second half. Pairs keep their order, in which those of one `from` stand together.
pub fn in_two(mut nodes: Vec<NodeKey>) -> (Vec<NodeKey>, Vec<NodeKey>) {
    let others = nodes.split_off(nodes.len() / 2);
    (nodes, others)
}

/// A batch that was too large, in halves.
#[derive(Debug)]
pub struct Halves {
    pub halves: [Batch; 2],
    /// What waited for the answer to the whole, if anything did.
    pub sibling: Option<Batch>,
}

/// Halves a batch that was too large. If it is known to hold a bad pair, this is not known of either half. So each half
/// is sent by itself, and so is the sibling that waited for the answer to the whole.
pub fn halve(batch: Batch) -> Halves {
    let Batch { lane, nodes, failures, failing_since, trial, .. } = batch;
    let (nodes, others) = in_two(nodes);
    let (shared, sibling) = match trial {
        Some(Trial { allowance, sibling, of, rounds }) => (Some((allowance, of, rounds)), sibling),
        None => (None, None),
    };
    let by_itself = |nodes, failures| {
        let trial = shared.clone().map(|(allowance, of, rounds)| Trial { allowance, sibling: None, of, rounds });
        Batch { failures, failing_since, trial, ..Batch::new(lane, nodes) }
    };
    let sibling = sibling.map(|sibling| by_itself(sibling.nodes, 0));
    Halves { halves: [by_itself(nodes, failures), by_itself(others, failures)], sibling }
}
