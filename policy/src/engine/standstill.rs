//! Pauses: how accounts and lanes come to a standstill, what happens to their jobs meanwhile, and how they go on.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashSet;
use jiff::Timestamp;

use super::account::Account;
use super::backlog::{JobKey, LaneKey};
use super::clock::{Now, Tick};
use super::command::{CallKey, Command, Notice};
use super::engine::{Engine, Waiting};
use super::lane::Lane;
use super::ledger::{Job, Leaving};
use super::pause::{Pause, PauseKind, Tier};
use crate::contract::ids::AccountIndex;
use crate::contract::refusal::{Refusal, WorkerCategory};

/// Most pairs of a standing lane, and jobs of a standing account, that stay in hand to find out whether it goes on.
const RESERVE: usize = 100;

/// All that stand still together keep at most this part (a quarter) of the prefetch, but one job each.
const RESERVED_DIVISOR: usize = 4;

impl Engine {
    /// Nothing is sent for this account until the pause is over.
    pub(super) fn pause_account(
        &mut self,
        index: AccountIndex,
        kind: PauseKind,
        until: Option<Timestamp>,
        detail: String,
        now: Now,
    ) {
        let account = &mut self.accounts[index.0 as usize];
        if let Some(pause) = &mut account.pause {
            // A standstill goes on: only what is known of it changes, not its age.
            if pause.kind == PauseKind::Operator || (pause.kind == kind && pause.until == until) {
                return;
            }
            let since = (pause.since, pause.since_wall);
            *pause = Pause::new(kind, until, detail.clone(), now);
            (pause.since, pause.since_wall) = since;
        } else {
            account.pause = Some(Pause::new(kind, until, detail.clone(), now));
            self.standing += 1;
        }
        account.uncounted.halt(now.tick);
        if kind != PauseKind::Outage {
            account.uncounted.run(now.tick);
        }
        self.command(Command::Notice(Notice::Paused { account: index, lane: None, kind, detail, until }));
        self.mark_ready(index);
    }

    pub(super) fn pause_lane(&mut self, key: LaneKey, kind: PauseKind, detail: String, now: Now) {
        let Some(lane) = self.lanes.get_mut(key) else { return };
        let index = lane.id.account;
        if lane.pause.as_ref().is_some_and(|pause| pause.kind == kind || pause.kind == PauseKind::Operator) {
            return;
        }
        let stood = lane.pause.replace(Pause::new(kind, None, detail.clone(), now));
        self.standing += usize::from(stood.is_none());
        lane.paused.run(now.tick);
        self.accounts[index.0 as usize].standing.insert(key);
        let lane = Some(lane.id.clone());
        self.command(Command::Notice(Notice::Paused { account: index, lane, kind, detail, until: None }));
        self.place(key, now.tick);
        self.mark_ready(index);
    }

    /// The account goes on.
    pub(super) fn resume_account(&mut self, index: AccountIndex, now: Now) {
        let account = &mut self.accounts[index.0 as usize];
        let Some(pause) = account.pause.take() else { return };
        self.standing -= 1;
        account.probing = None;
        account.failures_in_a_row = 0;
        account.uncounted.halt(now.tick);
        let lasted = now.tick.since(pause.since);
        self.command(Command::Notice(Notice::Resumed { account: index, lane: None, kind: pause.kind, lasted }));
        self.mark_ready(index);
    }

    pub(super) fn resume_lane(&mut self, key: LaneKey, now: Now) {
        let Some(lane) = self.lanes.get_mut(key) else { return };
        let Some(pause) = lane.pause.take() else { return };
        self.standing -= 1;
        lane.probing = false;
        lane.paused.halt(now.tick);
        let (account, id) = (lane.id.account, lane.id.clone());
        self.accounts[account.0 as usize].standing.remove(&key);
        let lasted = now.tick.since(pause.since);
        self.command(Command::Notice(Notice::Resumed { account, lane: Some(id), kind: pause.kind, lasted }));
        self.place(key, now.tick);
        self.mark_ready(account);
    }

    /// Looks after an account's pauses at its turn. `Err`: it may not send, and when to look again.
    pub(super) fn mind_pause(&mut self, index: AccountIndex, now: Now) -> Result<(), Option<Tick>> {
        match self.policy.waiting {
            Waiting::Outside { .. } => self.park_lanes(index, now),
            Waiting::InHand { give_up_after } => self.give_up_refused(index, give_up_after, now),
        }
        let account = &self.accounts[index.0 as usize];
        let Some(pause) = &account.pause else { return Ok(()) };
        if pause.until.is_some_and(|until| until <= now.wall) {
            self.resume_account(index, now);
            return Ok(());
        }
        let parks_from = match self.policy.waiting {
            Waiting::Outside { .. } => pause.parks_from(now),
            Waiting::InHand { give_up_after } => Some(pause.since + give_up_after),
        };
        if matches!(self.policy.waiting, Waiting::Outside { .. }) && parks_from.is_some_and(|at| at <= now.tick) {
            let tier = pause.tier(now);
            self.park_account(index, tier, now);
        }
        let account = &self.accounts[index.0 as usize];
        let Some(pause) = &account.pause else { return Ok(()) };
        let probe_at = match pause.until {
            // Reckoned anew: the wall clock may have been set, or run slower than the other, since the pause began.
            Some(until) => Some(now.tick_of(until)),
            None => pause.probe_at().filter(|_| account.probing.is_none()),
        };
        match probe_at {
            Some(at) if at <= now.tick && pause.until.is_none() => Ok(()),
            probe_at => Err([probe_at, parks_from].into_iter().flatten().filter(|&at| at > now.tick).min()),
        }
    }

    /// How many jobs of a standing account, or pairs of a standing lane, stay in hand: none where the end is known,
    /// since nothing has to find out.
    fn reserve(&self, pause: &Pause) -> usize {
        let Waiting::Outside { prefetch, longest_hold: _ } = self.policy.waiting else { return usize::MAX };
        match pause.until {
            Some(_) => 0,
            None => (prefetch / RESERVED_DIVISOR / self.standing.max(1)).clamp(1, RESERVE),
        }
    }

    /// Parks the jobs of a standing account, but for a reserve that finds out when it goes on.
    fn park_account(&mut self, index: AccountIndex, tier: Tier, now: Now) {
        let account = &self.accounts[index.0 as usize];
        let Some(reserve) = account.pause.as_ref().map(|pause| self.reserve(pause)) else { return };
        if account.held_jobs > reserve {
            let lanes = account.lanes.clone();
            self.park_all_but_reserve(&lanes, reserve, tier, now);
        }
    }

    /// Parks the jobs of an account's standing lanes, but for a reserve each.
    fn park_lanes(&mut self, index: AccountIndex, now: Now) {
        let standing: Vec<LaneKey> = self.accounts[index.0 as usize].standing.iter().copied().collect();
        for key in standing {
            let Some(lane) = self.lanes.get(key) else { continue };
            let Some(pause) = &lane.pause else { continue };
            let reserve = self.reserve(pause);
            let crowded = lane.queue.pairs() + lane.returned.len() > reserve;
            if crowded && pause.parks_from(now).is_some_and(|at| at <= now.tick) {
                let tier = pause.tier(now);
                self.park_all_but_reserve(&[key], reserve, tier, now);
            }
        }
    }

    /// Fails the jobs of an account, and of its lanes, whose credentials have been refused for too long.
    fn give_up_refused(&mut self, index: AccountIndex, after: Duration, now: Now) {
        let account = &self.accounts[index.0 as usize];
        if account.pause.is_none() && account.standing.is_empty() {
            return;
        }
        let of_account: Vec<JobKey> =
            self.jobs.iter().filter(|(_, job)| job.account == index).map(|(key, _)| key).collect();
        for key in of_account {
            if let Some(refusal) = self.refused_for(after, key, now) {
                self.leave(key, Leaving::Fail { refusal, dead_letter: false }, now);
            }
        }
    }

    /// What to tell a job whose account or lane has been refused for so long.
    pub(super) fn refused_for(&self, after: Duration, key: JobKey, now: Now) -> Option<Arc<Refusal>> {
        let job = self.jobs.get(key)?;
        let refused = |pause: &&Pause| pause.kind.is_refusal_of_credentials() && now.tick.since(pause.since) >= after;
        let of_account = self.accounts.get(job.account.0 as usize)?.pause.as_ref().filter(refused);
        let of_lane = self.lanes.get(job.lane).and_then(|lane| lane.pause.as_ref()).filter(refused);
        let pause = of_account.or(of_lane)?;
        let message = format!("HubSpot has refused the account for {} s: {}", after.as_secs(), pause.detail);
        Some(Arc::new(Refusal::worker(WorkerCategory::AccountRefused, &message)))
    }

    fn park_all_but_reserve(&mut self, lanes: &[LaneKey], reserve: usize, tier: Tier, now: Now) {
        let (mut kept, mut parked) = (HashSet::new(), Vec::new());
        for &key in lanes {
            let Some(lane) = self.lanes.get(key) else { continue };
            let returned = lane.returned.iter().filter_map(|back| self.batches.get(back.batch));
            let returned = returned.flat_map(|batch| batch.nodes.iter().copied());
            let nodes = returned.chain(self.backlog.waiting(&lane.queue)).filter_map(|node| self.backlog.node(node));
            for &job in nodes.flat_map(|node| &node.waiters) {
                if kept.contains(&job) {
                    continue;
                }
                if kept.len() < reserve {
                    kept.insert(job);
                } else {
                    parked.push(job);
                }
            }
        }
        for job in parked {
            self.leave(job, Leaving::Park { tier, for_failures: false }, now);
        }
    }

    /// Where a job just admitted must wait instead, because its account or lane stands and has its reserve.
    pub(super) fn no_room_while_paused(&self, key: JobKey, now: Now) -> Option<Tier> {
        let job = self.jobs.get(key)?;
        let account = self.accounts.get(job.account.0 as usize)?;
        let lane = self.lanes.get(job.lane)?;
        let parks = |pause: &&Pause| pause.parks_from(now).is_some_and(|at| at <= now.tick);
        let of_account = account.pause.as_ref().filter(parks).filter(|pause| account.held_jobs > self.reserve(pause));
        // A job larger than the reserve must not wait outside for a standstill that nobody else is there to end.
        let filled = |pause: &&Pause| self.pairs_of_others(job, lane) >= self.reserve(pause);
        let of_lane = lane.pause.as_ref().filter(parks).filter(filled);
        of_account.or(of_lane).map(|pause| pause.tier(now))
    }

    /// Pairs waiting in a job's lane that not the job alone waits for.
    fn pairs_of_others(&self, job: &Job, lane: &Lane) -> usize {
        let nodes = job.nodes.iter().filter_map(|&node| self.backlog.node(node));
        let own = nodes.filter(|node| node.lane == job.lane && node.waiters.len() == 1).count();
        lane.queue.pairs().saturating_sub(own)
    }

    /// A request has just left for an account or lane that stands: it is the probe.
    pub(super) fn note_probe(&mut self, index: AccountIndex, lane_key: LaneKey, call: CallKey, now: Tick) {
        let account = &mut self.accounts[index.0 as usize];
        if let Some(pause) = &mut account.pause {
            account.probing = Some(call);
            pause.probed(now);
        }
        if let Some(lane) = self.lanes.get_mut(lane_key)
            && let Some(pause) = &mut lane.pause
        {
            lane.probing = true;
            pause.probed(now);
        }
    }

    /// The operator, by command or endpoint. `false`: there is no such account.
    pub fn pause(&mut self, index: AccountIndex, now: Now) -> bool {
        if self.accounts.get(index.0 as usize).is_none() {
            return false;
        }
        self.pause_account(index, PauseKind::Operator, None, "paused by the operator".to_owned(), now);
        self.pump(now);
        true
    }

    /// Ends an operator's pause, and tries again at once where anything else keeps the account standing.
    pub fn resume(&mut self, index: AccountIndex, now: Now) -> bool {
        let Some(account) = self.accounts.get_mut(index.0 as usize) else { return false };
        match &mut account.pause {
            Some(pause) if pause.kind == PauseKind::Operator => self.resume_account(index, now),
            Some(pause) => {
                pause.probe_now(now.tick);
                self.mark_ready(index);
            }
            None => {}
        }
        let lanes = self.accounts[index.0 as usize].lanes.clone();
        for key in lanes {
            if let Some(pause) = self.lanes.get_mut(key).and_then(|lane| lane.pause.as_mut()) {
                pause.probe_now(now.tick);
                self.place(key, now.tick);
            }
        }
        self.pump(now);
        true
    }

    /// Time of a job that counts towards `retry.max_age`.
    pub(super) fn age(&self, job: &Job, now: Now) -> Option<Duration> {
        job.age(now.tick, self.uncounted(job, now.tick))
    }

    /// The reading of the clocks that do not count for a job: its account's and its lane's.
    pub(super) fn uncounted(&self, job: &Job, now: Tick) -> Duration {
        let account = self.accounts.get(job.account.0 as usize).map(|account: &Account| account.uncounted.read(now));
        let lane = self.lanes.get(job.lane).map(|lane| lane.paused.read(now));
        account.unwrap_or_default() + lane.unwrap_or_default()
    }
}
