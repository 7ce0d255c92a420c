//! What is paused is relieved of its jobs: those beyond the reserve wait in the broker, or fail where nothing can wait
//! outside.

use std::time::Duration;

use crate::contract::ids::AccountIndex;
use crate::engine::backlog::{JobKey, LaneKey};
use crate::engine::clock::{Now, Tick};
use crate::engine::engine::Engine;
use crate::engine::expected::expected;
use crate::engine::ledger::Leaving;
use crate::engine::pauses::Surplus;
use crate::engine::record_set::RecordSet;
use crate::engine::settings::Waiting;

impl Engine {
    /// Looks after an account's pauses at its turn. `Err`: it may not send, and when to look again.
    pub(super) fn mind_pauses(&mut self, index: AccountIndex, now: Now) -> Result<(), Option<Tick>> {
        match self.policy.waiting {
            Waiting::Outside { .. } => self.relieve_lanes(index, now),
            Waiting::InHand { give_up_after } => self.give_up(index, give_up_after, now),
        }
        if self.pauses.is_over(index, now) {
            self.resume_account(index, now);
            return Ok(());
        }
        if let Some(surplus) = self.pauses.surplus_of_account(index, self.holdings.jobs_of(index), now) {
            let lanes = self.holdings.lanes().of(index).to_vec();
            let blamed = self.pauses.blamed_for_outage(index);
            self.park_surplus(&lanes, surplus, blamed.as_ref(), now);
        }
        self.pauses.may_send(index, now)
    }

    /// Parks jobs of an account's paused lanes, beyond the reserve of each lane.
    fn relieve_lanes(&mut self, index: AccountIndex, now: Now) {
        let paused: Vec<LaneKey> = self.pauses.paused_lanes(index).iter().copied().collect();
        for key in paused {
            let Some(lane) = expected(self.holdings.lane(key), "only open lanes are paused") else { continue };
            let waiting = lane.queue.pairs() + lane.repeats_waiting();
            if let Some(surplus) = self.pauses.surplus_of_lane(key, waiting, now) {
                self.park_surplus(&[key], surplus, None, now);
            }
        }
    }

    fn park_surplus(&mut self, lanes: &[LaneKey], surplus: Surplus, blamed: Option<&RecordSet>, now: Now) {
        let Surplus { reserve, tier } = surplus;
        for job in self.holdings.beyond_reserve(lanes, reserve, blamed) {
            self.leave(job, Leaving::Park { tier, for_failures: false }, now);
        }
    }

    /// Fails the jobs of an account and of its lanes that have been paused for too long.
    fn give_up(&mut self, index: AccountIndex, after: Duration, now: Now) {
        if self.pauses.of_account(index).is_none() && self.pauses.paused_lanes(index).is_empty() {
            return;
        }
        let jobs = self.holdings.jobs().filter(|(_, job)| job.account == index);
        let jobs: Vec<(JobKey, LaneKey)> = jobs.map(|(key, job)| (key, job.lane)).collect();
        for (job, lane) in jobs {
            if let Some(refusal) = self.pauses.given_up(after, index, lane, now) {
                self.leave(job, Leaving::Fail { refusal }, now);
            }
        }
    }
}
