use std::collections::{HashMap, HashSet, VecDeque};

use proptest::prelude::*;
use slotmap::SlotMap;

use super::*;

/// What became of the pairs of one refused batch, and how many trials were sent.
struct Found {
    archived: HashSet<NodeKey>,
    refused: HashSet<NodeKey>,
    unattributed: HashSet<NodeKey>,
    trials: u32,
}

/// Searches a batch, which HubSpot refuses without a word about the pair at fault as long as one of `bad` is in it.
fn search(nodes: &[NodeKey], bad: &HashSet<NodeKey>, allowed: u32) -> Found {
    let mut found =
        Found { archived: HashSet::new(), refused: HashSet::new(), unattributed: HashSet::new(), trials: 0 };
    let mut waiting = VecDeque::from([Batch::new(LaneKey::default(), nodes.to_vec())]);
    let refusal = Arc::new(Refusal::hubspot("VALIDATION_ERROR", "one of them", 400));
    while let Some(batch) = waiting.pop_front() {
        found.trials += u32::from(batch.trial.is_some());
        let next = if batch.nodes.iter().any(|node| bad.contains(node)) {
            let verdict = match batch.nodes.len() {
                1 => PairVerdict::Refused(Arc::clone(&refusal)),
                _ => PairVerdict::Suspect(Arc::clone(&refusal)),
            };
            let verdicts = vec![verdict; batch.nodes.len()];
            let findings = conclude(batch, &verdicts, allowed, Tick::ZERO, Tick::ZERO);
            assert!(findings.archived.is_empty());
            found.refused.extend(findings.refused.into_iter().map(|(node, _)| node));
            findings.next
        } else {
            found.archived.extend(&batch.nodes);
            proved_good(batch).into_iter().collect()
        };
        for next in next {
            match next {
                Next::Try(attempt) => match attempt.begin() {
                    Ok((batch, _)) => waiting.push_back(batch),
                    Err((batch, _)) => found.unattributed.extend(batch.nodes),
                },
                Next::Return(batch) | Next::Repeat(batch, _) | Next::RepeatNamed(batch, _) => waiting.push_back(batch),
            }
        }
    }
    found
}

fn nodes(pairs: usize) -> Vec<NodeKey> {
    let mut keys: SlotMap<NodeKey, ()> = SlotMap::with_key();
    (0..pairs).map(|_| keys.insert(())).collect()
}

#[test]
fn the_seventh_of_eight_is_found_with_four_trials() {
    let nodes = nodes(8);
    let found = search(&nodes, &HashSet::from([nodes[6]]), 200);
    assert_eq!((found.refused, found.trials), (HashSet::from([nodes[6]]), 4));
    assert_eq!(found.archived.len(), 7);
}

proptest! {
    /// Each pair ends exactly once; nobody is refused for another's fault; the allowance is never exceeded, and where it
    /// suffices all is found out.
    #[test]
    fn every_pair_ends_once_and_only_the_bad_are_refused(
        at_fault in prop::collection::vec(prop::bool::weighted(0.1), 2..200), allowed in 0u32..400,
    ) {
        let nodes = nodes(at_fault.len());
        let of_nodes: HashMap<NodeKey, bool> = nodes.iter().copied().zip(at_fault).collect();
        let bad: HashSet<NodeKey> = nodes.iter().copied().filter(|node| of_nodes[node]).collect();
        let found = search(&nodes, &bad, allowed);
        prop_assert_eq!(found.archived.len() + found.refused.len() + found.unattributed.len(), nodes.len());
        prop_assert!(found.archived.is_disjoint(&bad) && found.refused.is_subset(&bad));
        prop_assert!(found.trials <= allowed);
        prop_assert!(found.unattributed.is_empty() || found.trials == allowed);
    }
}
