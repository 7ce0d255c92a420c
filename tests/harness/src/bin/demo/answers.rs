//! What came back, and whether it is what ought to have come back.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use harness::outcome::Source;
use harness::{Message, Outcome, SimulatorProcess, Status};
use hubspot_simulator::state::Repeated;

use crate::traffic::{Pair, Submission, Traffic, lane_names};

/// HubSpot's word for a refused record, as the simulator gives it.
const REFUSAL: &str = "VALIDATION_ERROR";

/// All that a run has produced.
#[derive(Debug)]
pub struct Answers {
    /// By the id that the answer carries, what was owed under it. An id sent twice is owed two.
    pub owed: BTreeMap<String, Vec<Status>>,
    pub outcomes: Vec<Outcome>,
    /// Jobs that were still in the queue when the worker had stopped.
    pub left: u32,
    /// `None` where there is no queue for them.
    pub dead_letters: Option<Vec<Message>>,
}

impl Answers {
    /// A sentence for everything that is not as it ought to be.
    pub async fn faults(&self, traffic: &Traffic, simulator: &SimulatorProcess) -> Result<Vec<String>> {
        let mut faults = self.wrong_answers();
        faults.extend((self.left > 0).then(|| format!("{} jobs are still in the queue", self.left)));
        faults.extend(self.outcomes.iter().filter_map(wrong_words));
        if let Some(dead_letters) = &self.dead_letters {
            faults.extend(wrong_dead_letters(&traffic.submissions, dead_letters));
        }
        faults.extend(wrong_world(traffic, simulator).await?);
        Ok(faults)
    }

    fn wrong_answers(&self) -> Vec<String> {
        let mut given: BTreeMap<&str, Vec<Status>> = BTreeMap::new();
        for outcome in &self.outcomes {
            given.entry(&outcome.job_id).or_default().push(outcome.status);
        }
        let ids: BTreeSet<&str> = self.owed.keys().map(String::as_str).chain(given.keys().copied()).collect();
        let compared = ids.into_iter().map(|id| (id, self.owed.get(id).cloned().unwrap_or_default(), given.get(id)));
        compared
            .filter_map(|(id, mut owed, given)| {
                let mut given = given.cloned().unwrap_or_default();
                owed.sort_unstable();
                given.sort_unstable();
                (owed != given).then(|| format!("job {id}: {owed:?} is right, {given:?} came"))
            })
            .collect()
    }
}

/// Each refusal must be HubSpot's own, word for word, and name the pair.
fn wrong_words(outcome: &Outcome) -> Option<String> {
    let by_hubspot = outcome.errors.iter().all(|error| error.source == Source::Hubspot && error.category == REFUSAL);
    let named = outcome.errors.iter().all(|error| error.from.is_some() && error.to.is_some());
    let sums = outcome.num_archived + outcome.num_errors == outcome.num_pairs;
    let right = match outcome.status {
        Status::Archived => outcome.errors.is_empty() && outcome.num_archived == outcome.num_pairs && sums,
        Status::Partial => by_hubspot && named && sums && outcome.num_archived == 1 && outcome.num_errors == 1,
        Status::Failed => by_hubspot && named && sums && outcome.num_errors == outcome.num_pairs,
        Status::Rejected => outcome.errors.first().is_some_and(|error| error.source == Source::Worker),
        Status::Expired => outcome.attempts == 0,
        // The demo asks for neither.
        Status::Restored | Status::Planned => false,
    };
    (!right).then(|| format!("job {}: {:?} with {:?}", outcome.job_id, outcome.status, outcome.errors))
}

/// The bodies in the dead-letter queue must be those of the malformed messages, byte for byte.
fn wrong_dead_letters(submissions: &[Submission], dead_letters: &[Message]) -> Option<String> {
    let malformed = submissions.iter().filter(|submission| submission.answer == Status::Rejected);
    let mut right: Vec<&[u8]> = malformed.map(|submission| submission.body.as_slice()).collect();
    let mut found: Vec<&[u8]> = dead_letters.iter().map(|message| message.body.as_slice()).collect();
    right.sort_unstable();
    found.sort_unstable();
    (right != found).then(|| format!("{} dead letters are right, {} others came", right.len(), found.len()))
}

/// Gone from HubSpot must be every pair that was asked for, and no other.
async fn wrong_world(traffic: &Traffic, simulator: &SimulatorProcess) -> Result<Option<String>> {
    let mut gone: BTreeSet<Pair> = BTreeSet::new();
    for (lane, (from, to)) in lane_names() {
        let listed = simulator.get(&format!("/_sim/archived?from={from}&to={to}")).await?;
        let listed: Vec<Repeated> = serde_json::from_value(listed).context("the simulator's list of archived pairs")?;
        for pair in listed {
            gone.insert((lane, pair.from.parse()?, pair.to.parse()?));
        }
    }
    let missing = traffic.wanted.difference(&gone).count();
    let surplus = gone.difference(&traffic.wanted).count();
    let wrong = missing + surplus > 0;
    Ok(wrong
        .then(|| format!("HubSpot still has {missing} pairs that should be gone, and lost {surplus} that should not")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_wrong_or_too_much_is_told() -> Result<()> {
        let owed =
            [("right", vec![Status::Archived]), ("wrong", vec![Status::Failed]), ("missing", vec![Status::Archived])];
        let owed = owed.into_iter().map(|(id, owed)| (id.to_owned(), owed)).collect();
        let outcomes = ["right", "wrong", "nobody's"].map(archived).into_iter().collect::<Result<_>>()?;
        let answers = Answers { owed, outcomes, left: 0, dead_letters: None };
        let told = answers.wrong_answers();
        let of = |id: &str| told.iter().filter(|fault| fault.starts_with(&format!("job {id}:"))).count();
        assert_eq!(["right", "wrong", "missing", "nobody's"].map(of), [0, 1, 1, 1], "{told:?}");
        Ok(())
    }

    #[test]
    fn a_dead_letter_must_be_the_message_as_it_came() {
        let malformed = Submission { body: b"{".to_vec(), message_id: None, answer: Status::Rejected };
        assert_eq!(wrong_dead_letters(std::slice::from_ref(&malformed), &[Message::new("{")]), None);
        assert!(wrong_dead_letters(&[malformed], &[Message::new("{}")]).is_some());
    }

    fn archived(id: &str) -> Result<Outcome> {
        Outcome::from_json(&format!(
            r#"{{"jobId":"{id}","portalId":1,"fromObjectType":"contacts","toObjectType":"companies",
                "action":"archive","dryRun":false,"group":null,"status":"ARCHIVED","numPairs":1,"numArchived":1,"numRestored":0,
                "numErrors":0,"verified":false,"journaled":false,"plan":null,"errors":[],"attempts":1,
                "receivedAt":"","startedAt":null,"completedAt":""}}"#
        ))
    }
}
