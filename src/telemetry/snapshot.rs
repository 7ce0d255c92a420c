//! What the worker's loop tells the outside about itself, about once a second.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::behind_guards::JobsBehind;
use super::conditions::{Begun, Condition, is_rejecting};
use super::dead_letters::DeadLetterCause;
use super::failing_alone::FailingPair;
use super::failures::FailureCount;
use super::lost_queue::LostQueue;
use super::parked::{BackBy, ByTier};
use super::pause_history::PauseSpan;
use super::throttled::Throttled;
use super::throughput::ThroughputSeries;
use crate::contract::grouped::Grouped;
use crate::contract::ids::AccountIndex;
use crate::contract::outcome;
use crate::engine::pause::Tier;
use crate::engine::status::{AccountStatus, LaneStatus, Status, write_time_or_null};
use crate::lease::view::{LeaseStanding, LeaseView};

/// The worker at one moment. The default is the moment before the first: nothing held, no broker.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Snapshot {
    pub at: Timestamp,
    /// The broker was not reached yet, so nothing has begun.
    pub starting: bool,
    pub status: Status,
    pub jobs: JobCounts,
    pub broker: BrokerState,
    /// Stopping: nothing new is taken.
    pub draining: bool,
    /// Until when a stop waits for what is in flight: `shutdown.grace` after it began.
    pub grace_until: Option<Timestamp>,
    /// The last ten minutes.
    pub throughput: ThroughputSeries,
    /// The last hours, in longer intervals.
    pub history: ThroughputSeries,
    pub pauses: Vec<PauseSpan>,
    pub failures: Vec<FailureCount>,
    pub failing_alone: Vec<FailingPair>,
    /// Of each account whose guard waits for a person.
    pub behind_guards: BTreeMap<AccountIndex, JobsBehind>,
    /// Accounts of which HubSpot has served no request for a while, since it answers each with 429.
    pub throttled: Vec<Throttled>,
    /// When what lasts now began.
    pub begun: Begun,
    pub dead_letters: Vec<DeadLetterCause>,
}

/// Jobs since the start of the process, counted at the moment of the snapshot: an outcome is told no sooner than the
/// pairs that it is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct JobCounts {
    pub received: u64,
    /// In the order of [`outcome::Status::ALL`].
    pub outcomes: [u64; outcome::Status::ALL.len()],
    /// Of the outcomes, those of jobs of the background.
    pub of_background: u64,
}

/// How the broker's edges are doing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BrokerState {
    /// A consumer is subscribed to a jobs queue.
    pub consuming: bool,
    /// The connection for outcomes is up.
    pub publishing: bool,
    /// Answers wait to be published, and the broker has taken none since.
    pub publishing_stalled: bool,
    /// A resource alarm of the broker stops publishing.
    pub blocked: bool,
    /// The consumer is cancelled for a while because the jobs in hand occupy too much memory.
    pub overfull: bool,
    /// Why jobs do not come in.
    pub consuming_trouble: Option<String>,
    /// Why outcomes do not go out.
    pub publishing_trouble: Option<String>,
    /// Ready messages in all jobs queues together when last looked, without the background queue.
    pub jobs_ready: Option<u64>,
    /// Of these, the messages in the jobs queues that this worker works on: all of them while `amqp.lease` is off.
    pub own_jobs_ready: Option<u64>,
    /// Ready messages in the background queue when last looked; `None` also where there is no such queue.
    pub background_ready: Option<u64>,
    /// Of the parked jobs, those of the background when last looked; `None` as above.
    pub background_parked: Option<u64>,
    /// A consumer is subscribed to the background queue.
    pub background_consuming: bool,
    /// Jobs in each delay queue.
    #[serde(serialize_with = "write_tiers")]
    pub parked: ByTier,
    /// When the last of them are back in the jobs queue at the latest; `None` where there are none, or nobody can say how
    /// many.
    #[serde(serialize_with = "write_times")]
    pub back_by: BackBy,
    /// Of the jobs queues that this worker works on, the longest time for which jobs have waited and none was taken.
    pub standstill_seconds: Option<u64>,
    /// Jobs whose outcome, or whose copy for a delay queue, the broker has not confirmed yet.
    pub unpublished: u64,
    /// Ready messages in the results queue, and its consumers, when last looked.
    pub results_ready: Option<u64>,
    pub results_consumers: Option<u64>,
    /// Ready messages in the dead-letter queue when last looked.
    pub dead_letters_ready: Option<u64>,
    /// The lease of each jobs queue; empty while `amqp.lease` is off.
    #[serde(skip)]
    pub leases: Vec<LeaseView>,
    /// Why a lease cannot be taken or renewed.
    pub lease_trouble: Option<String>,
    /// Jobs lie in a queue that nobody takes from.
    #[serde(skip)]
    pub deserted: Option<String>,
    /// Queues that were deleted and are declared again, since the start.
    pub lost_queues: Vec<LostQueue>,
    /// When the queues were counted last; `None` where nobody has, or nobody can say.
    #[serde(serialize_with = "write_time_or_null")]
    pub counted_at: Option<Timestamp>,
    /// Since when outcomes have waited in the results queue without a consumer.
    #[serde(serialize_with = "write_time_or_null")]
    pub results_unread_since: Option<Timestamp>,
    pub counts: BrokerCounts,
}

/// Counted since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BrokerCounts {
    /// Connections made again after a loss.
    pub reconnects: u64,
    /// Subscriptions made again after a loss: the generation of the consumer, from 0.
    pub resubscriptions: u64,
    /// Messages confirmed by the broker.
    pub published: u64,
    /// Messages that came back because no queue is bound to their route.
    pub returned: u64,
    /// Messages the broker refused.
    pub refused: u64,
    /// Messages published again because nobody knows what became of them.
    pub unknown: u64,
    /// Times that this worker has taken a lease, lost it or given it back.
    #[serde(skip)]
    pub lease_changes: u64,
    /// Deliveries acknowledged.
    pub acknowledged: u64,
    /// Deliveries given back to the queue.
    pub handed_back: u64,
    /// Acknowledgements that could not be sent.
    pub failed_acknowledgements: u64,
    /// Deliveries settled after their subscription was lost; the broker delivers them again.
    pub settled_too_late: u64,
}

/// `{"10s":null,"1m":null,"10m":"2026-11-29T02:41:00.000Z","1h":null}`
fn write_times<S: Serializer>(times: &BackBy, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Time<'a>(#[serde(serialize_with = "write_time_or_null")] &'a Option<Timestamp>);
    serializer.collect_map(Tier::ALL.map(Tier::as_str).into_iter().zip(times.iter().map(Time)))
}

/// `{"10s":0,"1m":0,"10m":48774,"1h":0}`
fn write_tiers<S: Serializer>(parked: &ByTier, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(Tier::ALL.map(Tier::as_str).into_iter().zip(parked))
}

impl Snapshot {
    /// Whether this is so at the moment of the snapshot.
    pub fn shows(&self, condition: Condition) -> bool {
        let (broker, accounts) = (&self.broker, &self.status.accounts);
        let some_come_in = broker.consuming || broker.overfull;
        let some_go_out = broker.publishing && !broker.publishing_stalled;
        match condition {
            Condition::NothingComesIn => !some_come_in && !self.draining && !broker.is_ready_to_take_over(),
            Condition::NothingGoesOut => !some_go_out,
            Condition::EveryAccountPaused => {
                !accounts.is_empty() && accounts.iter().all(|account| account.own_pause().is_some())
            }
            Condition::Alarm => broker.blocked,
            Condition::Overfull => broker.overfull,
            Condition::SomeDoNotComeIn => some_come_in && broker.consuming_trouble.is_some(),
            Condition::SomeDoNotGoOut => some_go_out && broker.publishing_trouble.is_some(),
            Condition::SomeNotWorkedOn => some_come_in && broker.lease_trouble.is_some(),
            Condition::Deserted => broker.deserted.is_some(),
            Condition::Rejecting => accounts.iter().any(is_rejecting),
        }
    }

    /// Jobs that wait in the delay queues; `None` where nobody can say of one of them.
    pub fn parked(&self) -> Option<u64> {
        self.broker.parked.iter().copied().sum()
    }

    /// How many seconds the live jobs take that this worker is to do, wherever they are now, if nothing else gets in the
    /// way. Of several jobs queues these are the jobs of the queues that it works on, and all jobs that are parked, since
    /// nobody can say whose they are. The figure is never less than the ceilings in force allow, nor less than it takes
    /// at the best pace of late, while there was always enough to do, about as much as now. The time that parked jobs still wait is not in it:
    /// only the longest possible wait is known ([`BrokerState::back_by`]), and a few such jobs would decide the figure for
    /// all others. Nor are jobs of the background in it, which have an estimate of their own: they take what is left over.
    ///
    /// `Err` says why nobody can tell.
    pub fn drain_seconds(&self) -> Result<f64, String> {
        let unknown = |why: &str| Err(why.to_owned());
        let status = &self.status;
        self.works()?;
        let (Some(ready), Some(parked)) = (self.broker.own_jobs_ready, self.parked()) else {
            return unknown(UNCOUNTED);
        };
        let parked = parked.saturating_sub(self.broker.background_parked.unwrap_or_default());
        self.goes_on(parked)?;
        if self.broker.unpublished > 0 && !self.broker.takes_answers() {
            return unknown("outcomes cannot be published");
        }
        let all = status.held.live_jobs() as u64 + ready + parked + self.broker.unpublished;
        let at_ceilings = self.seconds_at_ceilings((ready + parked) as f64);
        let lately = self.throughput.best_lately(all).map(|rate| all as f64 / rate).unwrap_or_default();
        Ok(at_ceilings.max(lately))
    }

    /// Whether every account with something to do goes on: nobody can say how long one stands still, nor whose the
    /// parked jobs are. `Err` says which does not, and why.
    fn goes_on(&self, parked: u64) -> Result<(), String> {
        let has_work = |account: &&AccountStatus| (account.held_jobs > 0 || parked > 0) && !account.stands_by;
        let accounts: Vec<&AccountStatus> = self.status.accounts.iter().filter(has_work).collect();
        let named = |is_meant: &dyn Fn(&AccountStatus) -> bool| {
            let mut meant = accounts.iter().filter(|account| is_meant(account));
            let AccountStatus { index, portal_id, .. } = meant.next()?;
            let name = portal_id.map_or_else(|| format!("account {index}"), |id| format!("portal {id}"));
            Some(match meant.count() {
                0 => name,
                more => format!("{name} (and {} more)", Grouped(more as u64)),
            })
        };
        if let Some(name) = named(&|account| account.own_pause().is_some()) {
            return Err(format!("{name} stands still"));
        }
        if let Some(name) = self.lane_that_stands() {
            return Err(format!("{name} stands still"));
        }
        if let Some(name) = named(&|account| account.pause.is_some()) {
            return Err(format!("all lanes of {name} stand still"));
        }
        let gets_nowhere = |account: &AccountStatus| self.throttled.iter().any(|of| of.index == account.index);
        if let Some(name) = named(&gets_nowhere) {
            return Err(format!("HubSpot answers every request of {name} with 429"));
        }
        match named(&|account| account.live_drain_seconds.is_none()) {
            Some(name) => Err(format!("the day of {name} has too few requests left")),
            None => Ok(()),
        }
    }

    /// A lane that is paused while jobs wait in it: whoever mends it decides how long they wait.
    fn lane_that_stands(&self) -> Option<String> {
        let is_own = |lane: &&LaneStatus| {
            self.status.accounts.iter().any(|account| account.index == lane.account && !account.stands_by)
        };
        let waits = |lane: &&LaneStatus| lane.waiting_pairs > 0 || lane.returned_batches > 0 || lane.in_flight > 0;
        let mut stand = self.status.lanes.iter().filter(|lane| lane.pause.is_some()).filter(waits).filter(is_own);
        let LaneStatus { account, portal_id, from_object_type, to_object_type, .. } = stand.next()?;
        let of = portal_id.map_or_else(|| format!("account {account}"), |id| format!("portal {id}"));
        Some(match stand.count() {
            0 => format!("{from_object_type}/{to_object_type} of {of}"),
            more => format!("{from_object_type}/{to_object_type} of {of} (and {} more)", Grouped(more as u64)),
        })
    }

    /// `Err` says why this worker does nothing now, whatever waits.
    pub(super) fn works(&self) -> Result<(), String> {
        let accounts = &self.status.accounts;
        if self.draining {
            Err("this worker stops".to_owned())
        } else if !accounts.is_empty() && accounts.iter().all(|account| account.stands_by) {
            Err("this worker does not work now".to_owned())
        } else {
            Ok(())
        }
    }

    /// Jobs `elsewhere` are taken to need as many requests as the jobs in hand do, where enough of these are there to
    /// tell; else as few requests as possible.
    fn seconds_at_ceilings(&self, elsewhere: f64) -> f64 {
        let jobs = self.status.held.live_jobs();
        let of_request =
            |account: &AccountStatus| account.rate.interval_seconds / f64::from(account.rate.requests.max(1));
        let of_account = |account: &AccountStatus| {
            account.live_drain_seconds.unwrap_or_default() + account.in_flight as f64 * of_request(account)
        };
        let own = || self.status.accounts.iter().filter(|account| !account.stands_by);
        let of_held = own().map(of_account).fold(0.0, f64::max);
        if jobs >= ENOUGH_TO_TELL {
            return of_held * (1.0 + elsewhere / jobs as f64);
        }
        let fastest = own().map(of_request).reduce(f64::min).unwrap_or_default();
        of_held + (elsewhere / MOST_JOBS_A_REQUEST).ceil() * fastest
    }
}

/// Why nobody can tell how long it takes.
pub(super) const UNCOUNTED: &str = "the broker does not say what waits";

/// Fewer jobs in hand do not show how many requests those elsewhere need.
const ENOUGH_TO_TELL: usize = 200;

/// Jobs of one pair each that fit into a request with distinct records: `batch.max_from` by default.
const MOST_JOBS_A_REQUEST: f64 = 100.0;

impl BrokerState {
    /// When the last of all parked jobs is back at the latest; `None` where nobody can say of one of the delay queues.
    pub fn last_back(&self) -> Option<Timestamp> {
        let occupied = self.parked.iter().zip(&self.back_by).filter(|(jobs, _)| **jobs != Some(0));
        occupied.map(|(_, by)| *by).collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// This worker works on no queue, and another one works, or has worked until now.
    pub fn is_ready_to_take_over(&self) -> bool {
        let is_of = |wanted: LeaseStanding| move |lease: &LeaseView| lease.standing == wanted;
        let leases = &self.leases;
        let is_at_work = self.consuming || self.overfull || leases.iter().any(is_of(LeaseStanding::Held));
        let stands_by =
            leases.iter().any(is_of(LeaseStanding::Waiting)) || leases.iter().any(is_of(LeaseStanding::StandingBy));
        !is_at_work && self.lease_trouble.is_none() && stands_by
    }

    /// Whether answers that wait to be published go out.
    fn takes_answers(&self) -> bool {
        self.publishing && !self.publishing_stalled && !self.blocked && self.publishing_trouble.is_none()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::time::Duration;

    use crate::engine::pause::PauseKind;
    use crate::engine::status::{
        AccountTotalsStatus, DayStatus, LaneKind, PauseScope, PauseStatus, RateStatus, SafetyStatus,
    };

    /// Of deals and tickets, in the first account.
    pub fn lane(pause: Option<PauseStatus>, waiting_pairs: usize) -> LaneStatus {
        LaneStatus {
            account: 0,
            portal_id: Some(4711),
            from_object_type: "deals".to_owned(),
            to_object_type: "tickets".to_owned(),
            kind: LaneKind::Association,
            background: false,
            labels: Vec::new(),
            waiting_pairs,
            waiting_from: waiting_pairs,
            in_flight: 0,
            returned_batches: 0,
            pause,
            oldest_seconds: None,
        }
    }

    /// An account that does nothing.
    pub fn account(index: u32, portal_id: Option<u64>) -> AccountStatus {
        AccountStatus {
            index,
            portal_id,
            stands_by: false,
            pause: None,
            rate: RateStatus {
                requests: 100,
                interval_seconds: 10.0,
                configured_requests: 100,
                configured_interval_seconds: 10.0,
                used: 25,
            },
            in_flight: 0,
            max_in_flight: 16,
            day: DayStatus { used: 0, left: None, budget: None, limit: None, used_by_all: None },
            guard: None,
            safety: SafetyStatus { journal: false, verify: false },
            totals: AccountTotalsStatus::default(),
            background_window: None,
            held_jobs: 0,
            held_pairs: 0,
            lanes: 0,
            paused_lanes: 0,
            drain_seconds: Some(0.0),
            live_drain_seconds: Some(0.0),
        }
    }

    fn snapshot(jobs: usize, drain_seconds: Option<f64>, jobs_ready: Option<u64>) -> Snapshot {
        let mut snapshot = Snapshot::default();
        snapshot.status.held.jobs = jobs;
        snapshot.status.accounts = vec![working(drain_seconds, jobs)];
        let own_jobs_ready = jobs_ready;
        let parked = [Some(0); 4];
        snapshot.broker =
            BrokerState { publishing: true, jobs_ready, own_jobs_ready, parked, ..BrokerState::default() };
        snapshot
    }

    /// One that works.
    fn working(live_drain_seconds: Option<f64>, held_jobs: usize) -> AccountStatus {
        AccountStatus { live_drain_seconds, held_jobs, ..account(0, Some(4711)) }
    }

    fn told(snapshot: &Snapshot) -> Result<f64, &str> {
        match snapshot.drain_seconds() {
            Ok(seconds) => Ok((seconds * 1_000.0).round() / 1_000.0),
            Err(_) => Err("unknown"),
        }
    }

    #[test]
    fn jobs_elsewhere_are_taken_to_be_like_those_in_hand_where_these_are_enough() {
        let seconds = |jobs, drain_seconds, jobs_ready| told(&snapshot(jobs, drain_seconds, jobs_ready)).ok();
        assert_eq!(seconds(1_000, Some(5.0), Some(9_000)), Some(50.0));
        assert_eq!(seconds(1_000, Some(5.0), Some(0)), Some(5.0));
        assert_eq!(seconds(1_000, Some(5.0), None), None);
        assert_eq!(seconds(0, Some(0.0), Some(0)), Some(0.0));
        let mut few = snapshot(10, Some(0.1), Some(45_000));
        few.status.accounts = vec![working(Some(0.1), 10)];
        assert_eq!(told(&few), Ok(45.1), "a request of a hundred jobs every tenth of a second");
        // All that is in hand is on the wire.
        let mut on_wire = snapshot(1_000, Some(0.0), Some(9_000));
        on_wire.status.accounts = vec![AccountStatus { in_flight: 10, ..working(Some(0.0), 1_000) }];
        assert_eq!(told(&on_wire), Ok(10.0));
    }

    #[test]
    fn it_takes_no_less_than_what_was_done_lately_says() {
        let mut slow = snapshot(1_000, Some(1.0), Some(9_000));
        slow.throughput = ThroughputSeries {
            interval_seconds: 5.0,
            jobs: vec![0, 900, 500, 700, 60],
            own_live_jobs: vec![0, 10_000, 10_000, 10_000, 10_000],
            ..ThroughputSeries::default()
        };
        assert_eq!(told(&slow), Ok(71.429), "the 900 were begun with nothing to do");
        slow.throughput.own_live_jobs[2] = 0;
        assert_eq!(told(&slow), Ok(10.0));
    }

    /// Of twelve shards this worker has one, with 9,000 of the 120,000 jobs that wait.
    #[test]
    fn what_other_workers_are_to_do_is_not_in_the_estimate() {
        let mut sharded = snapshot(1_000, Some(5.0), Some(120_000));
        sharded.broker.own_jobs_ready = Some(9_000);
        assert_eq!(told(&sharded), Ok(50.0));
    }

    /// A backfill takes what is left over: it must not make the estimate for the live jobs longer.
    #[test]
    fn jobs_of_the_background_are_not_in_the_estimate() {
        let mut beside = snapshot(3_500, Some(5.0), Some(9_000));
        beside.status.held.background_jobs = 2_500;
        beside.status.accounts[0].drain_seconds = Some(80.0);
        (beside.broker.parked[1], beside.broker.background_parked) = (Some(700), Some(700));
        beside.throughput = ThroughputSeries {
            interval_seconds: 5.0,
            jobs: vec![0, 0, 1_200, 1_200, 0],
            background_jobs: vec![0, 0, 200, 200, 0],
            own_live_jobs: vec![0, 10_000, 10_000, 10_000, 10_000],
            ..ThroughputSeries::default()
        };
        assert_eq!(told(&beside), Ok(50.0));
    }

    #[test]
    fn parked_jobs_count_by_their_work_and_not_by_their_wait() {
        let mut busy = snapshot(1_000, Some(5.0), Some(0));
        busy.broker.parked = [Some(0), Some(8_000), Some(1_000), Some(0)];
        assert_eq!((busy.parked(), told(&busy)), (Some(9_000), Ok(50.0)));
        busy.broker.back_by[2] = Some(busy.at + Duration::from_secs(480));
        assert_eq!(told(&busy), Ok(50.0));
        busy.broker.parked[3] = None;
        assert_eq!((busy.parked(), told(&busy)), (None, Err("unknown")));
    }

    #[test]
    fn what_nobody_can_tell_has_a_reason() {
        let mut paused = snapshot(0, Some(0.0), Some(0));
        paused.status.accounts = vec![account(0, Some(1)), account(1, Some(2))];
        let pause = PauseStatus {
            scope: PauseScope::Account,
            kind: PauseKind::Operator,
            detail: String::new(),
            since: Timestamp::UNIX_EPOCH,
            resume_at: None,
            probe_at: None,
        };
        (paused.status.accounts[1].live_drain_seconds, paused.status.accounts[1].pause) = (None, Some(pause.clone()));
        assert_eq!(paused.drain_seconds(), Ok(0.0), "there is nothing to do");
        paused.broker.parked[1] = Some(1);
        assert_eq!(paused.drain_seconds(), Err("portal 2 stands still".to_owned()));
        paused.status.accounts[0].pause = paused.status.accounts[1].pause.clone();
        assert_eq!(paused.drain_seconds(), Err("portal 1 (and 1 more) stands still".to_owned()));
        for account in &mut paused.status.accounts {
            account.pause.iter_mut().for_each(|pause| pause.scope = PauseScope::AllLanes);
        }
        assert_eq!(paused.drain_seconds(), Err("all lanes of portal 1 (and 1 more) stand still".to_owned()));
        paused.status.accounts.iter_mut().for_each(|account| account.pause = None);
        assert_eq!(paused.drain_seconds(), Err("the day of portal 2 has too few requests left".to_owned()));

        // Another lane of the account goes on: the jobs of this one are not answered before a person mends it.
        let mut partly = snapshot(10, Some(0.1), Some(0));
        let lane = |waiting_pairs| lane(Some(pause.clone()), waiting_pairs);
        partly.status.lanes = vec![lane(1)];
        assert_eq!(partly.drain_seconds(), Err("deals/tickets of portal 4711 stands still".to_owned()));
        partly.status.lanes = vec![lane(0)];
        assert!(partly.drain_seconds().is_ok(), "nobody waits for it");

        let mut refused = snapshot(10, Some(0.1), Some(0));
        let (now, rate) = (Timestamp::UNIX_EPOCH, account(0, None).rate);
        refused.status.accounts = vec![AccountStatus { held_jobs: 10, ..account(0, Some(4711)) }];
        assert!(refused.drain_seconds().is_ok());
        refused.throttled = vec![Throttled { index: 0, portal_id: Some(4711), since: now, rate }];
        assert_eq!(
            refused.drain_seconds(),
            Err("HubSpot answers every request of portal 4711 with 429".to_owned()),
            "what is refused is not done at the pace of the ceiling"
        );

        let mut blocked = snapshot(0, Some(0.0), Some(0));
        blocked.broker.unpublished = 3_800;
        assert_eq!(blocked.drain_seconds(), Ok(0.0), "they are on their way");
        blocked.broker.publishing_trouble = Some("the broker refuses messages".to_owned());
        assert_eq!(blocked.drain_seconds(), Err("outcomes cannot be published".to_owned()));

        let mut idle = snapshot(0, Some(0.0), Some(0));
        idle.status.accounts = vec![AccountStatus { stands_by: true, ..account(0, None) }];
        assert_eq!(idle.drain_seconds(), Err("this worker does not work now".to_owned()));
        idle.draining = true;
        assert_eq!(idle.drain_seconds(), Err("this worker stops".to_owned()));
    }
}
