//! The tally of a whole run, as Jepsen's total-queue check keeps it: every job that went in must come out.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::message::Message;
use crate::outcome::{Outcome, Status};

/// Ids named for each fault in a report.
const NAMED: usize = 5;

/// Job ids with how often each was published, and what came back for each.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    jobs: BTreeMap<String, Account>,
    dead_letters_without_id: usize,
}

#[derive(Clone, Debug, Default)]
struct Account {
    published: usize,
    outcomes: Vec<Outcome>,
    dead_letters: usize,
}

impl Tally {
    /// An id published twice is two jobs and expects two outcomes.
    pub fn of_published<S: Into<String>>(ids: impl IntoIterator<Item = S>) -> Self {
        let mut tally = Self::default();
        for id in ids {
            tally.account(id.into()).published += 1;
        }
        tally
    }

    /// Enters outcomes read from the results queue.
    pub fn outcomes(mut self, messages: &[Message]) -> Result<Self> {
        for message in messages {
            let outcome = Outcome::from_message(message)?;
            self.account(outcome.job_id.clone()).outcomes.push(outcome);
        }
        Ok(self)
    }

    /// Enters messages read from the dead-letter queue.
    #[must_use]
    pub fn dead_letters(mut self, messages: &[Message]) -> Self {
        for message in messages {
            match job_id(message) {
                Some(id) => self.account(id).dead_letters += 1,
                None => self.dead_letters_without_id += 1,
            }
        }
        self
    }

    /// Compares what came out with what went in.
    pub fn report(&self) -> Report {
        let mut report = Report { dead_letters_without_id: self.dead_letters_without_id, ..Report::default() };
        for (id, account) in &self.jobs {
            account.enter(id, &mut report);
        }
        report
    }

    fn account(&mut self, id: String) -> &mut Account {
        self.jobs.entry(id).or_default()
    }
}

impl Account {
    fn enter(&self, id: &str, report: &mut Report) {
        let Self { published, outcomes, dead_letters } = self;
        report.published += published;
        report.outcomes += outcomes.len();
        report.dead_letters += dead_letters;
        for outcome in outcomes {
            *report.by_status.entry(outcome.status).or_default() += 1;
        }
        if *published == 0 {
            report.unexpected.push(id.to_owned());
            return;
        }
        let missing = published.saturating_sub(outcomes.len());
        if missing > *dead_letters {
            report.lost.push(id.to_owned());
        } else if missing > 0 {
            report.only_dead_lettered.push(id.to_owned());
        }
        // Copies of one outcome have one message_id; another id for the same job would slip past a consumer's check.
        let same_id = outcomes.windows(2).all(|two| two[0].message.message_id() == two[1].message.message_id());
        let same_words = outcomes.windows(2).all(|two| two[0].words() == two[1].words());
        if outcomes.len() > *published {
            report.doubled.push(id.to_owned());
        }
        if *published == 1 && !(same_id && same_words) {
            report.contradicting.push(id.to_owned());
        }
    }
}

/// Each list holds job ids, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub published: usize,
    pub outcomes: usize,
    pub dead_letters: usize,
    pub by_status: BTreeMap<Status, usize>,
    /// Fewer outcomes and dead letters than jobs.
    pub lost: Vec<String>,
    /// No outcome, but a dead letter: right only when the broker's delivery limit was hit.
    pub only_dead_lettered: Vec<String>,
    /// More outcomes than jobs: allowed only after a crash or a lost connection.
    pub doubled: Vec<String>,
    /// Several outcomes of one job with different `message_id`s or different words: never allowed.
    pub contradicting: Vec<String>,
    /// Outcomes or dead letters of jobs that nobody published.
    pub unexpected: Vec<String>,
    pub dead_letters_without_id: usize,
}

impl Report {
    /// The promise of normal running: exactly one outcome for each job.
    pub fn exactly_once(&self) -> Result<()> {
        self.at_least_once()?;
        ensure!(self.doubled.is_empty(), "doubled without a fault that explains it\n{self}");
        Ok(())
    }

    /// The promise after faults: an outcome for each job, copies recognisable as such.
    pub fn at_least_once(&self) -> Result<()> {
        let Self { lost, only_dead_lettered, contradicting, unexpected, .. } = self;
        let wrong = [lost, only_dead_lettered, contradicting, unexpected];
        ensure!(wrong.iter().all(|ids| ids.is_empty()), "what came out is not what went in\n{self}");
        Ok(())
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} published, {} outcomes {:?}", self.published, self.outcomes, self.by_status)?;
        writeln!(f, "{} dead letters, {} more without an id", self.dead_letters, self.dead_letters_without_id)?;
        let lists = [
            ("lost", &self.lost),
            ("only dead-lettered", &self.only_dead_lettered),
            ("doubled", &self.doubled),
            ("contradicting", &self.contradicting),
            ("unexpected", &self.unexpected),
        ];
        for (what, ids) in lists.into_iter().filter(|(_, ids)| !ids.is_empty()) {
            let named = ids.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
            let more = if ids.len() > NAMED { ", …" } else { "" };
            writeln!(f, "{what}: {} ({named}{more})", ids.len())?;
        }
        Ok(())
    }
}

/// As the worker finds it: in the body, else in the property `message_id`.
fn job_id(message: &Message) -> Option<String> {
    let body = serde_json::from_slice::<Value>(&message.body).ok();
    let in_body = body.as_ref().and_then(|body| body.get("jobId")?.as_str()).map(str::to_owned);
    in_body.or_else(|| message.message_id().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::job::job;

    #[test]
    fn a_clean_run_is_exactly_once() -> Result<()> {
        let report =
            Tally::of_published(["a", "b"]).outcomes(&[outcome("a", "1", 1)?, outcome("b", "2", 1)?])?.report();
        report.exactly_once()?;
        assert_eq!(report.by_status, BTreeMap::from([(Status::Archived, 2)]));
        Ok(())
    }

    #[test]
    fn each_fault_is_found_and_named() -> Result<()> {
        let out = [
            outcome("doubled", "1", 1)?,
            outcome("doubled", "1", 1)?,
            outcome("two ids", "2", 1)?,
            outcome("two ids", "3", 1)?,
            outcome("two words", "4", 1)?,
            outcome("two words", "4", 2)?,
            outcome("nobody's", "5", 1)?,
        ];
        let dead = [job("parked").to_message()?, Message::new("{")];
        let published = ["doubled", "two ids", "two words", "parked", "lost"];
        let report = Tally::of_published(published).outcomes(&out)?.dead_letters(&dead).report();
        assert_eq!(report.lost, ["lost"]);
        assert_eq!(report.only_dead_lettered, ["parked"]);
        assert_eq!(report.doubled, ["doubled", "two ids", "two words"]);
        assert_eq!(report.contradicting, ["two ids", "two words"]);
        assert_eq!(report.unexpected, ["nobody's"]);
        assert_eq!(report.dead_letters_without_id, 1);
        assert!(report.at_least_once().is_err());
        Ok(())
    }

    #[test]
    fn equal_jobs_expect_an_outcome_each() -> Result<()> {
        let one = [outcome("a", "1", 1)?];
        assert_eq!(Tally::of_published(["a", "a"]).outcomes(&one)?.report().lost, ["a"]);
        let two = [outcome("a", "1", 1)?, outcome("a", "1", 1)?];
        Tally::of_published(["a", "a"]).outcomes(&two)?.report().exactly_once()
    }

    #[test]
    fn a_copy_after_a_fault_is_at_least_once_only() -> Result<()> {
        let copies = [outcome("a", "1", 1)?, outcome("a", "1", 1)?];
        let report = Tally::of_published(["a"]).outcomes(&copies)?.report();
        report.at_least_once()?;
        assert!(report.exactly_once().is_err());
        Ok(())
    }

    fn outcome(job_id: &str, message_id: &str, pairs: u64) -> Result<Message> {
        let body = json!({
            "jobId": job_id, "portalId": 1, "fromObjectType": "contacts", "toObjectType": "companies",
            "action": "archive", "dryRun": false, "group": null, "status": "ARCHIVED",
            "numPairs": pairs, "numArchived": pairs, "numRestored": 0, "numErrors": 0,
            "verified": false, "journaled": false, "plan": null, "errors": [], "attempts": 1,
            "receivedAt": "", "startedAt": null, "completedAt": "",
        });
        Message::json(&body).id(message_id)
    }
}
