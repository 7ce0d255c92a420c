//! What the answers to an account's requests say of it: that it is served, or that HubSpot is in trouble.

use super::Pauses;
use crate::contract::association::Pair;
use crate::contract::ids::AccountIndex;
use crate::engine::backlog::LaneKey;
use crate::engine::batch::Batch;
use crate::engine::clock::Tick;
use crate::engine::command::{CallResult, LaneId};
use crate::engine::pause::{Disproof, PauseKind};
use crate::engine::record_set::RecordSet;
use crate::engine::retry::{BREAKER_FAILURES, BREAKER_TRIALS};
use crate::engine::verdict::Transient;

impl Pauses {
    /// HubSpot served a request of the account that was sent at `sent`. Returns whether the account's pause is thereby
    /// disproved.
    pub fn account_served(&mut self, account: AccountIndex, sent: Tick) -> bool {
        let account = &mut self.accounts[account];
        account.begin_anew();
        account.served = account.served.max(Some(sent));
        account.pause.as_ref().is_some_and(|pause| pause.is_disproved(Disproof::Account, sent))
    }

    /// Whether a request of the lane that was sent at `sent` and served disproves the lane's pause.
    pub fn lane_served(&self, lane: LaneKey, sent: Tick) -> bool {
        self.of_lane(lane).is_some_and(|pause| pause.is_disproved(Disproof::Lane, sent))
    }

    /// Whether a request of the account that was sent at `since` or later was served.
    pub fn served_since(&self, account: AccountIndex, since: Tick) -> bool {
        self.accounts[account].served.is_some_and(|served| served >= since)
    }

    /// A request of the account failed in a way that says HubSpot, or the way there, is in trouble. Where the account
    /// must pause therefore (its breaker opens), returns how many failed in a row. One pair alone never opens it,
    /// however often it fails, where the cause may be a record; nor do a few batches where many pairs are stuck.
    pub fn account_failed(
        &mut self,
        account: AccountIndex,
        batch: &Batch,
        stuck_are_many: bool,
        cause: Transient,
    ) -> Option<u32> {
        let account = &mut self.accounts[account];
        let may_be_of_a_record = cause.may_be_of_a_record();
        if may_be_of_a_record && (batch.is_suspect() || stuck_are_many) {
            account.failed_trials_in_a_row = account.failed_trials_in_a_row.saturating_add(1);
            let failures = account.failed_trials_in_a_row;
            return (failures >= BREAKER_TRIALS && account.pause.is_none()).then_some(failures);
        }
        let alone = match *batch.nodes {
            [node] if may_be_of_a_record => Some(node),
            _ => None,
        };
        if alone.is_some() && alone == account.failed_alone {
            return None;
        }
        account.failed_alone = alone;
        account.failures_in_a_row = account.failures_in_a_row.saturating_add(1);
        let failures = account.failures_in_a_row;
        (failures >= BREAKER_FAILURES && account.pause.is_none()).then_some(failures)
    }

    /// A request of the account with these pairs failed, which may be for a record.
    pub fn blame(&mut self, account: AccountIndex, lane: &LaneId, pairs: &[Pair]) {
        self.accounts[account].blame.failed(lane, pairs);
    }

    /// Records for which the account's requests may have failed since one was served.
    pub fn blamed(&self, account: AccountIndex) -> RecordSet {
        self.accounts[account].blame.records()
    }

    /// The same in an outage, which may then be none; `None` if it cannot be due to a few records.
    pub fn blamed_for_outage(&self, account: AccountIndex) -> Option<RecordSet> {
        let in_outage = self.account_is_paused_for(account, PauseKind::Outage);
        in_outage.then(|| self.blamed(account)).filter(|blamed| !blamed.is_empty())
    }

    /// What the answer to a request of the account came to.
    pub fn note_result(&mut self, account: AccountIndex, result: CallResult, now: Tick) {
        let account = &mut self.accounts[account];
        match result {
            CallResult::Transient(_) => {
                account.in_vain = account.in_vain.saturating_add(1);
                if account.in_vain >= BREAKER_FAILURES && account.pause.is_none() {
                    account.uncounted.halt(now);
                }
            }
            CallResult::Archived
            | CallResult::LookedUp
            | CallResult::Restored
            | CallResult::Partial
            | CallResult::Refused => account.in_vain = 0,
            CallResult::Throttled | CallResult::LanePaused | CallResult::AccountPaused | CallResult::Unknown => {}
        }
    }

    /// A request of the account has failed: where it stands for an outage, people are told the latest answer.
    pub fn outage_goes_on(&mut self, account: AccountIndex, latest: &str) {
        if let Some(pause) = &mut self.accounts[account].pause {
            pause.goes_on(latest);
        }
    }

    /// Whether the connection is not trusted, as far as the latest failure tells; kept with the account's pause.
    pub fn account_distrusts(&mut self, account: AccountIndex, is_distrust: bool) {
        if let Some(pause) = &mut self.accounts[account].pause {
            pause.is_distrust = is_distrust;
        }
    }
}
