//! Jobs that leave before all their pairs have a verdict: parked, handed back, expired, given up.

use std::sync::Arc;

use smallvec::SmallVec;

use super::backlog::{JobKey, LaneKey, NodeKey, Place};
use super::clock::Now;
use super::command::{Command, Parked};
use super::engine::{Engine, Waiting};
use super::ledger::{self, Job, Leaving};

impl Engine {
    /// Takes a job out: at once what is not on the wire, the rest when it is answered.
    pub(super) fn leave(&mut self, key: JobKey, leaving: Leaving, now: Now) {
        let Some(job) = self.jobs.get_mut(key) else { return };
        if matches!(leaving, Leaving::Park { .. }) && matches!(self.policy.waiting, Waiting::InHand { .. }) {
            return;
        }
        if !supersedes(&leaving, job.leaving.as_ref()) {
            return;
        }
        job.leaving = Some(leaving);
        let nodes = std::mem::take(&mut job.nodes);
        let mut lanes: SmallVec<[LaneKey; 1]> = SmallVec::new();
        for &node in &nodes {
            let lane = self.backlog.node(node).map(|node| node.lane);
            lanes.extend(lane.filter(|lane| !lanes.contains(lane)));
            self.withdraw(node, key);
        }
        if let Some(job) = self.jobs.get_mut(key) {
            job.nodes = nodes;
        }
        self.finish_if_done(key, now);
        for lane in lanes {
            self.drop_deserted(lane, now);
            self.place(lane, now.tick);
            self.tidy(lane);
        }
    }

    /// Takes a leaving job off one pair that is not on the wire.
    fn withdraw(&mut self, node_key: NodeKey, key: JobKey) {
        let Some(node) = self.backlog.node(node_key) else { return };
        if node.place == Place::OnWire || !node.waiters.contains(&key) {
            return;
        }
        let (lane_key, pair, in_doubt) = (node.lane, node.pair, node.in_doubt);
        let (Some(lane), Some(job)) = (self.lanes.get_mut(lane_key), self.jobs.get_mut(key)) else { return };
        self.backlog.withdraw(&mut lane.queue, node_key, key);
        match &job.leaving {
            Some(Leaving::Expire) => {
                let refusal = ledger::expired(job.not_after, in_doubt);
                job.pair_failed(pair, Arc::new(refusal));
            }
            Some(Leaving::Fail { refusal, .. }) => {
                let refusal = Arc::clone(refusal);
                job.pair_failed(pair, refusal);
            }
            Some(Leaving::Park { .. } | Leaving::HandBack | Leaving::Forget) | None => {}
        }
    }

    /// A pair came back unsettled: whoever is leaving leaves it now.
    pub(super) fn withdraw_leavers(&mut self, node_key: NodeKey, now: Now) {
        let Some(node) = self.backlog.node(node_key) else { return };
        let waiters = node.waiters.clone();
        for waiter in waiters {
            if self.jobs.get(waiter).is_some_and(|job| job.leaving.is_some()) {
                self.withdraw(node_key, waiter);
                self.finish_if_done(waiter, now);
            }
        }
    }

    /// Says the last word on a job that is complete, or that leaves and has nothing on the wire.
    pub(super) fn finish_if_done(&mut self, key: JobKey, now: Now) {
        let Some(job) = self.jobs.get(key) else { return };
        if !job.is_ashore() || !(job.is_complete() || job.leaving.is_some()) {
            return;
        }
        let Some(job) = self.jobs.remove(key) else { return };
        self.released(&job);
        let command = match (&job.leaving, job.is_complete()) {
            (Some(Leaving::Park { tier, for_failures }), false) => {
                self.counters.parked += 1;
                self.park(key, &job, *tier, *for_failures, now)
            }
            (Some(Leaving::Forget), false) => Command::Forgotten(key),
            // Who expires or fails has been told so for every pair: incomplete, it could only be a mistake of ours.
            (Some(Leaving::HandBack | Leaving::Expire | Leaving::Fail { .. }) | None, false) => Command::HandBack(key),
            (_, true) => Command::Settle(job.settled(key)),
        };
        self.command(command);
    }

    fn park(&self, key: JobKey, job: &Job, tier: super::pause::Tier, for_failures: bool, now: Now) -> Command {
        let mut carried = job.carried;
        // The wait for a retry is part of the job's age, the wait for a pause is not.
        let waited = if for_failures { tier.wait() } else { std::time::Duration::ZERO };
        carried.age = self.age(job, now).map(|age| age + waited);
        carried.parks = carried.parks.saturating_add(u32::from(for_failures));
        Command::Park(Parked { job: key, tier, carried })
    }

    /// The delivery behind the job is void (its connection is gone): the broker will deliver it again.
    pub fn forget(&mut self, key: JobKey, now: Now) {
        self.leave(key, Leaving::Forget, now);
    }

    /// Hands back jobs of which nothing was sent yet, youngest first, until at most `bytes` are held.
    pub fn hand_back_unstarted(&mut self, bytes: usize, now: Now) {
        let unstarted = |key: &JobKey| self.jobs.get(*key).is_some_and(|job| job.is_ashore() && job.leaving.is_none());
        let mut unstarted: Vec<JobKey> = self.holds.iter().map(|&(_, key)| key).filter(unstarted).collect();
        while self.held_bytes() > bytes
            && let Some(key) = unstarted.pop()
        {
            self.leave(key, Leaving::HandBack, now);
        }
    }
}

/// Whether a new reason to leave takes the place of the one a job has.
///
/// A job that was to be parked or handed back has been taken off its pairs without a word, so it can no longer end
/// with an outcome that says something of each.
fn supersedes(new: &Leaving, old: Option<&Leaving>) -> bool {
    match (old, new) {
        (None, _) => true,
        (Some(Leaving::Forget), _) => false,
        (Some(_), Leaving::Forget) => true,
        (Some(Leaving::Park { .. }), Leaving::HandBack) => true,
        (Some(_), Leaving::Park { .. } | Leaving::HandBack | Leaving::Expire | Leaving::Fail { .. }) => false,
    }
}
