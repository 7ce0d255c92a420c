//! How a status is made of the engine's parts.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::{
    AccountStatus, AccountTotalsStatus, DayStatus, GuardStatus, InHand, LaneKind, LaneStatus, PauseScope, PauseStatus,
    RateStatus, SafetyStatus, Status, Totals, WindowStatus,
};
use crate::contract::association::Extent;
use crate::contract::ids::{AccountIndex, PortalId};
use crate::contract::time::up_to_second;
use crate::engine::Engine;
use crate::engine::account::{Account, AccountTotals};
use crate::engine::background::Urgency;
use crate::engine::backlog::LaneKey;
use crate::engine::clock::Now;
use crate::engine::expected::expected;
use crate::engine::guard::{Guard, GuardPolicy};
use crate::engine::lane::Lane;
use crate::engine::pack::Caps;
use crate::engine::pause::{Pause, PauseKind};
use crate::engine::per_account::PerAccount;
use crate::engine::step::Step;

impl Engine {
    /// Costs one look at each account, lane and batch; nothing is sorted but what is listed.
    pub fn status(&self, now: Now) -> Status {
        let survey = self.survey();
        let accounts: Vec<AccountStatus> = self
            .accounts
            .iter()
            .zip(survey.loads.iter())
            .zip(self.accounts.indices())
            .map(|((account, load), index)| self.account_status(index, account, load, now))
            .collect();
        let mut paused_accounts = BTreeMap::new();
        for pause in accounts.iter().filter_map(|account| account.pause.as_ref()) {
            *paused_accounts.entry(pause.kind).or_default() += 1;
        }
        let lanes: Vec<LaneStatus> =
            survey.foremost.ranked().filter_map(|key| self.lane_status(key, self.holdings.lane(key)?, now)).collect();
        Status {
            held: InHand {
                jobs: self.held_jobs(),
                background_jobs: self.holdings.jobs_of_background(),
                bytes: self.held_bytes(),
                pairs: self.holdings.pairs(),
                lanes: self.holdings.lanes().len(),
                in_flight: self.in_flight(),
                max_in_flight: self.policy.max_in_flight,
                drain_seconds: accounts.iter().filter_map(|account| account.drain_seconds).reduce(f64::max),
            },
            totals: self.totals(),
            paused_accounts,
            paused_lanes: survey.paused,
            lanes_left_out: self.holdings.lanes().len() - lanes.len(),
            accounts,
            lanes,
        }
    }

    fn survey(&self) -> Survey {
        let loads = PerAccount::new(self.accounts.iter().map(|_| Load::default()));
        let mut survey = Survey { loads, paused: BTreeMap::new(), foremost: Foremost::default() };
        for (key, lane) in self.holdings.lanes().iter() {
            let pause = self.lane_pause(key, lane);
            if let Some(pause) = pause {
                *survey.paused.entry(pause.kind).or_default() += 1;
            }
            survey.loads[lane.id.account].count(lane, pause.is_some(), self.policy.caps);
            survey.foremost.offer(Rank { paused: pause.is_some(), pairs: lane.queue.pairs(), key });
        }
        for batch in self.holdings.batches() {
            if let Some(lane) = expected(self.holdings.lane(batch.lane), "a batch keeps its lane open") {
                // A pair whose jobs have left stays in its batch until that is sent.
                let in_hand = batch.all_nodes().filter(|&node| self.holdings.name(node).is_some());
                survey.loads[lane.id.account].pairs += in_hand.count();
            }
        }
        survey
    }

    fn totals(&self) -> Totals {
        let counters = self.counters();
        let of_accounts = |read: fn(AccountTotals) -> u64| self.accounts.iter().map(|of| read(of.totals())).sum();
        Totals {
            requests: of_accounts(|totals| totals.requests),
            throttled: of_accounts(|totals| totals.throttled),
            refused: counters.refusals,
            pairs_archived: counters.pairs_archived,
            pairs_merged: counters.merged,
            trials: counters.trials,
            parked: counters.parked,
        }
    }

    fn account_status(&self, index: AccountIndex, account: &Account, load: &Load, now: Now) -> AccountStatus {
        let (in_force, configured) = (account.pace.ceiling(), account.policy.ceiling);
        let rate = RateStatus {
            requests: in_force.requests.get(),
            interval_seconds: in_force.interval.as_secs_f64(),
            configured_requests: configured.requests.get(),
            configured_interval_seconds: configured.interval.as_secs_f64(),
            used: account.pace.used(now.tick),
        };
        let day = DayStatus {
            used: account.day.used(),
            left: account.day.left(),
            budget: account.day.budget(),
            limit: account.day.limit(),
            used_by_all: account.day.used_by_all(),
        };
        let AccountTotals { requests, throttled, refused, pairs_archived } = account.totals();
        let totals = AccountTotalsStatus { requests, throttled, refused, pairs_archived };
        let lanes = self.holdings.lanes().of(index).len();
        let pause = self.account_pause(index, now);
        let beyond_the_day = day.left.is_some_and(|left| left < load.requests as u64);
        let drains = pause.is_none() && !beyond_the_day;
        let seconds = |requests: usize| requests as f64 * rate.interval_seconds / f64::from(rate.requests);
        AccountStatus {
            index: index.0,
            portal_id: account.policy.portal.map(number),
            stands_by: account.stands_by(),
            pause,
            rate,
            in_flight: account.in_flight(),
            max_in_flight: account.policy.max_in_flight,
            day,
            guard: account.guard.as_ref().map(|guard| guard_status(guard, now)),
            safety: SafetyStatus { journal: account.policy.safety.journal, verify: account.policy.safety.verify },
            totals,
            background_window: self.windows.of(index).map(|stand| WindowStatus {
                open: stand.is_open(),
                changes_at: Some(stand.until()).filter(|&until| until < Timestamp::MAX),
            }),
            held_jobs: self.holdings.jobs_of(index),
            held_pairs: load.pairs,
            lanes,
            paused_lanes: self.pauses.paused_lanes(index).len(),
            drain_seconds: drains.then(|| seconds(load.requests)),
            live_drain_seconds: drains.then(|| seconds(load.live_requests)),
        }
    }

    /// Why nothing is sent for an account: it is paused itself, or each of its lanes is.
    fn account_pause(&self, account: AccountIndex, now: Now) -> Option<PauseStatus> {
        let of_account = &self.accounts[account];
        if of_account.stands_by() && !of_account.policy.paused {
            return None;
        }
        if let Some(pause) = self.pauses.of_account(account) {
            let status = pause_status(PauseScope::Account, pause, now);
            let resume_at = status.resume_at.filter(|until| !self.only_tries_at(account, pause.kind, *until));
            return Some(PauseStatus { resume_at, ..status });
        }
        let lanes = self.pauses.paused_lanes(account);
        if lanes.len() < self.holdings.lanes().of(account).len() {
            return None;
        }
        let pauses = lanes.iter().filter_map(|&key| self.pauses.of_lane(key));
        pauses.min_by_key(|pause| pause.since).map(|pause| pause_status(PauseScope::AllLanes, pause, now))
    }

    /// Why nothing is sent for a lane. Where another worker works on its account, that one knows.
    fn lane_pause(&self, key: LaneKey, lane: &Lane) -> Option<&Pause> {
        self.pauses.of_lane(key).filter(|_| !self.accounts[lane.id.account].stands_by())
    }

    fn lane_status(&self, key: LaneKey, lane: &Lane, now: Now) -> Option<LaneStatus> {
        let account = lane.id.account;
        let labels = match &lane.id.extent {
            Extent::Whole => Vec::new(),
            Extent::Labels(labels) => {
                let words = labels.iter().map(|label| format!("{} {}", label.category.as_str(), label.type_id));
                words.take(LaneStatus::MAX_LABELS).collect()
            }
        };
        let kind = match lane.id.step() {
            Step::Archive => LaneKind::Association,
            Step::ArchiveLabels => LaneKind::Labels,
            Step::Look(_) => LaneKind::Look,
            Step::Associate | Step::Create => LaneKind::Restore,
        };
        let oldest = self.holdings.oldest_arrival(lane);
        Some(LaneStatus {
            account: account.0,
            portal_id: self.accounts[account].policy.portal.map(number),
            from_object_type: lane.id.from_type.path_segment().to_owned(),
            to_object_type: lane.id.to_type.path_segment().to_owned(),
            kind,
            background: lane.urgency == Urgency::Background,
            labels,
            waiting_pairs: lane.queue.pairs(),
            waiting_from: lane.queue.groups(),
            in_flight: lane.in_flight(),
            returned_batches: lane.repeats_waiting(),
            pause: self.lane_pause(key, lane).map(|pause| pause_status(PauseScope::Lane, pause, now)),
            oldest_seconds: oldest.map(|arrived| now.tick.since(arrived)).as_ref().map(Duration::as_secs_f64),
        })
    }
}

/// What one pass over lanes and batches finds.
struct Survey {
    loads: PerAccount<Load>,
    paused: BTreeMap<PauseKind, usize>,
    foremost: Foremost,
}

/// The work that waits for an account.
#[derive(Clone, Default)]
struct Load {
    pairs: usize,
    /// Requests that its lanes need, each full, leaving out what is on the wire and lanes that are paused.
    requests: usize,
    /// Of these, those of live lanes.
    live_requests: usize,
}

impl Load {
    fn count(&mut self, lane: &Lane, paused: bool, of_settings: Caps) {
        self.pairs += lane.queue.pairs();
        if !paused {
            let caps = lane.caps(of_settings);
            let fresh = lane.queue.groups().div_ceil(caps.from).max(lane.queue.pairs().div_ceil(caps.pairs));
            let requests = fresh + lane.repeats_waiting();
            self.requests += requests;
            if lane.urgency == Urgency::Live {
                self.live_requests += requests;
            }
        }
    }
}

/// The lanes to list, found without sorting all of them.
#[derive(Default)]
struct Foremost(Vec<Rank>);

/// Greater is listed first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    paused: bool,
    pairs: usize,
    key: LaneKey,
}

impl Foremost {
    /// Lanes kept before those that will not be listed are dropped.
    const ROOM: usize = 4 * Status::MAX_LANES;

    fn offer(&mut self, rank: Rank) {
        if self.0.len() == Self::ROOM {
            self.0.select_nth_unstable_by(Status::MAX_LANES, |a, b| b.cmp(a));
            self.0.truncate(Status::MAX_LANES);
        }
        self.0.push(rank);
    }

    fn ranked(mut self) -> impl Iterator<Item = LaneKey> {
        self.0.sort_unstable_by(|a, b| b.cmp(a));
        self.0.into_iter().take(Status::MAX_LANES).map(|rank| rank.key)
    }
}

fn guard_status(guard: &Guard, now: Now) -> GuardStatus {
    let GuardPolicy { max_pairs, window } = guard.policy();
    GuardStatus {
        max_pairs: max_pairs.get(),
        window_seconds: window.as_secs_f64(),
        used: guard.used(now.tick),
        state: guard.state(now.tick),
        since: guard.since(now.tick),
        approved_until: guard.approved_until(now.tick).map(|until| now.wall_at(until)),
    }
}

fn pause_status(scope: PauseScope, pause: &Pause, now: Now) -> PauseStatus {
    PauseStatus {
        scope,
        kind: pause.kind,
        detail: pause.detail.clone(),
        since: pause.since_wall,
        resume_at: pause.until.map(up_to_second),
        // Where the end is known, it is reckoned by the wall clock.
        probe_at: pause.until.or_else(|| pause.probe_at().map(|at| now.wall_at(at))).map(up_to_second),
    }
}

fn number(portal: PortalId) -> u64 {
    portal.0.get()
}
