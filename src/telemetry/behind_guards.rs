//! Which jobs wait behind a guard that has stopped an account, so that whoever is to approve or reject them can tell what
//! they are.
//!
//! They are counted as this worker sees them: after the stop those in hand and those that are parked, after a takeover
//! those that come back from the delay queues.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::contract::ids::AccountIndex;
use crate::contract::message::MessageId;
use crate::engine::guard::GuardState;
use crate::engine::status::AccountStatus;

/// See the module.
#[derive(Debug, Default)]
pub struct BehindGuards {
    /// The accounts that a guard has stopped.
    accounts: BTreeMap<AccountIndex, OfAccount>,
    /// Jobs remembered, of all accounts together.
    remembered: usize,
}

#[derive(Debug, Default)]
struct OfAccount {
    /// The group of each job.
    jobs: HashMap<MessageId, Option<String>>,
    groups: HashMap<Option<String>, OfGroup>,
    /// There were more jobs than are remembered.
    is_cut: bool,
    /// The log has told of them.
    told: bool,
}

#[derive(Debug, Default)]
struct OfGroup {
    jobs: usize,
    ids: Vec<String>,
}

/// As `/status` tells it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobsBehind {
    /// Distinct jobs that this worker has seen there, and that have no outcome yet.
    pub jobs: usize,
    /// There are more than this worker remembers.
    pub at_least: bool,
    /// Those with the most jobs first; at most [`BehindGuards::MOST_GROUPS`].
    pub groups: Vec<GroupBehind>,
    pub groups_left_out: usize,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupBehind {
    /// `null` for jobs without a group.
    pub group: Option<String>,
    pub jobs: usize,
    /// Those that were seen first; at most [`BehindGuards::MOST_IDS`].
    pub job_ids: Vec<String>,
}

impl BehindGuards {
    /// Most jobs remembered, of all accounts together: a few megabytes.
    const MOST_JOBS: usize = 20_000;
    /// Most groups told of one account.
    pub const MOST_GROUPS: usize = 10;
    /// Most job ids told of one group.
    pub const MOST_IDS: usize = 3;

    /// The guard of an account has stopped it.
    pub fn stopped(&mut self, account: AccountIndex) {
        self.accounts.entry(account).or_default();
    }

    pub fn has_stopped(&self, account: AccountIndex) -> bool {
        self.accounts.contains_key(&account)
    }

    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    /// A job of a stopped account waits. `message` is the name of its outcome, which it keeps while it is parked.
    pub fn note(&mut self, account: AccountIndex, message: MessageId, group: Option<&str>, job_id: &str) {
        let Some(of_account) = self.accounts.get_mut(&account) else { return };
        if of_account.jobs.contains_key(&message) {
            return;
        }
        if self.remembered >= Self::MOST_JOBS {
            of_account.is_cut = true;
            return;
        }
        self.remembered += 1;
        let group = group.map(str::to_owned);
        let of_group = of_account.groups.entry(group.clone()).or_default();
        of_group.jobs += 1;
        if of_group.ids.len() < Self::MOST_IDS {
            of_group.ids.push(job_id.to_owned());
        }
        of_account.jobs.insert(message, group);
    }

    /// A job has its outcome.
    pub fn settled(&mut self, message: MessageId, job_id: &str) {
        for of_account in self.accounts.values_mut() {
            let Some(group) = of_account.jobs.remove(&message) else { continue };
            self.remembered -= 1;
            if let Some(of_group) = of_account.groups.get_mut(&group) {
                of_group.jobs -= 1;
                of_group.ids.retain(|id| id != job_id);
                if of_group.jobs == 0 {
                    of_account.groups.remove(&group);
                }
            }
        }
    }

    /// What is known of each account whose guard waits for a person. The others are forgotten.
    pub fn read(&mut self, accounts: &[AccountStatus]) -> BTreeMap<AccountIndex, JobsBehind> {
        let waits = |account: &&AccountStatus| {
            !account.stands_by && account.guard.is_some_and(|guard| guard.state == GuardState::Waiting)
        };
        let mut before = std::mem::take(&mut self.accounts);
        let waiting = accounts.iter().filter(waits).map(|account| AccountIndex(account.index));
        self.accounts = waiting.map(|account| (account, before.remove(&account).unwrap_or_default())).collect();
        self.remembered = self.accounts.values().map(|of_account| of_account.jobs.len()).sum();
        self.accounts.iter().map(|(&account, of_account)| (account, of_account.read())).collect()
    }

    /// Accounts of which the log is to tell now, with what is known of them: once each, as soon as a job was seen.
    pub fn news(&mut self) -> Vec<(AccountIndex, JobsBehind)> {
        let fresh = self.accounts.iter_mut().filter(|(_, of_account)| !of_account.told && !of_account.jobs.is_empty());
        let told = fresh.map(|(&account, of_account)| {
            of_account.told = true;
            (account, of_account.read())
        });
        told.collect()
    }
}

impl OfAccount {
    fn read(&self) -> JobsBehind {
        let mut groups: Vec<(&Option<String>, &OfGroup)> = self.groups.iter().collect();
        groups.sort_by(|(a, of_a), (b, of_b)| of_b.jobs.cmp(&of_a.jobs).then_with(|| a.cmp(b)));
        let told = groups.iter().take(BehindGuards::MOST_GROUPS).map(|(group, OfGroup { jobs, ids })| GroupBehind {
            group: (*group).clone(),
            jobs: *jobs,
            job_ids: ids.clone(),
        });
        JobsBehind {
            jobs: self.jobs.len(),
            at_least: self.is_cut,
            groups: told.collect(),
            groups_left_out: groups.len().saturating_sub(BehindGuards::MOST_GROUPS),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use super::*;
    use crate::contract::ids::JobId;
    use crate::contract::message::{BodyDigest, Request};
    use crate::engine::status::GuardStatus;
    use crate::telemetry::snapshot::tests::account;

    const ACCOUNT: AccountIndex = AccountIndex(0);

    fn message(id: &str) -> MessageId {
        let (job_id, body) = (JobId::new(id).unwrap(), BodyDigest::of(id.as_bytes()));
        let request =
            Request { portal: None, job_id: &job_id, body: &body, redriven: 0, message_id: None, timestamp: None };
        MessageId::of_outcome(&request)
    }

    fn note(behind: &mut BehindGuards, group: Option<&str>, id: &str) {
        behind.note(ACCOUNT, message(id), group, id);
    }

    fn told(behind: &mut BehindGuards, state: GuardState) -> Option<JobsBehind> {
        let guard =
            GuardStatus { max_pairs: 1, window_seconds: 1.0, used: 1, state, since: None, approved_until: None };
        let mut status = account(0, Some(4711));
        status.guard = Some(guard);
        behind.read(&[status]).remove(&ACCOUNT)
    }

    #[test]
    fn each_job_counts_once_until_its_outcome_and_its_group_is_named() {
        let mut behind = BehindGuards::default();
        note(&mut behind, None, "early");
        assert!(behind.is_empty() && behind.news().is_empty(), "nothing is stopped");
        behind.stopped(ACCOUNT);
        for n in 0..50 {
            note(&mut behind, Some("import-7"), &format!("job-{n}"));
            note(&mut behind, Some("import-7"), "job-0");
        }
        note(&mut behind, None, "alone");
        let of_group = |group: Option<&str>, jobs, ids: &[&str]| GroupBehind {
            group: group.map(str::to_owned),
            jobs,
            job_ids: ids.iter().map(|&id| id.to_owned()).collect(),
        };
        let groups = vec![of_group(Some("import-7"), 50, &["job-0", "job-1", "job-2"]), of_group(None, 1, &["alone"])];
        let expected = JobsBehind { jobs: 51, at_least: false, groups, groups_left_out: 0 };
        assert_eq!(behind.news(), [(ACCOUNT, expected.clone())]);
        assert_eq!(behind.news(), [], "the log tells it once");
        assert_eq!(told(&mut behind, GuardState::Waiting), Some(expected));

        behind.settled(message("job-1"), "job-1");
        behind.settled(message("alone"), "alone");
        let groups = vec![of_group(Some("import-7"), 49, &["job-0", "job-2"])];
        let expected = JobsBehind { jobs: 49, at_least: false, groups, groups_left_out: 0 };
        assert_eq!(told(&mut behind, GuardState::Waiting), Some(expected));
        assert_eq!(told(&mut behind, GuardState::Approved), None);
        assert_eq!(told(&mut behind, GuardState::Waiting).map(|behind| behind.jobs), Some(0), "another stop");
    }

    #[test]
    fn however_many_jobs_and_groups_there_are_no_more_than_some_are_kept_and_told() {
        let mut behind = BehindGuards::default();
        behind.stopped(ACCOUNT);
        for n in 0..BehindGuards::MOST_JOBS + 5 {
            note(&mut behind, Some(&format!("group-{n}")), &format!("job-{n}"));
        }
        let told = told(&mut behind, GuardState::Waiting).unwrap();
        assert_eq!((told.jobs, told.at_least), (BehindGuards::MOST_JOBS, true));
        assert_eq!((told.groups.len(), told.groups_left_out), (10, BehindGuards::MOST_JOBS - 10));
    }
}
