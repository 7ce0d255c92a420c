//! The service's watcher: what the loop tells of itself goes into metrics, logs, traces and the snapshot for the
//! endpoints.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashSet;
use jiff::Timestamp;

use super::accounts::Portals;
use super::delivery::Delivery;
use super::lane_news::{LaneChange, LaneNews, News};
use super::relapses::Relapses;
use super::seams::{Question, Watcher};
use crate::amqp::health::{Depths, Health};
use crate::amqp::lost_queues;
use crate::contract::action::Action;
use crate::contract::association::Pair;
use crate::contract::ids::{AccountIndex, Group};
use crate::contract::message::TRACE_CONTEXT;
use crate::contract::outcome::{Ending, Head};
use crate::contract::refusal::Refusal;
use crate::contract::time::up_to_second;
use crate::engine::Counters;
use crate::engine::answered::Answered;
use crate::engine::clock::{Now, Tick};
use crate::engine::command::{BatchCall, CallResult, LaneId, Notice, Parked, Settled};
use crate::engine::pause::{PauseKind, Tier};
use crate::engine::reply::{Headers, Reply};
use crate::engine::status::{PauseStatus, Status};
use crate::engine::step::Step;
use crate::hubspot::wording::{self, Said};
use crate::telemetry::behind_guards::JobsBehind;
use crate::telemetry::failing_alone::FailingPair;
use crate::telemetry::failures::FailedJob;
use crate::telemetry::label::{HttpResult, Label};
use crate::telemetry::latest_count::LatestCount;
use crate::telemetry::lost_queue::LostQueue;
use crate::telemetry::mend::Mends;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::parked::{BackBy, ByTier, ParkedJobs};
use crate::telemetry::repetition::Repetition;
use crate::telemetry::reporter::Reporter;
use crate::telemetry::snapshot::{BrokerCounts, BrokerState};
use crate::telemetry::traces::{TracedJob, Traces};
use crate::telemetry::unread_results::UnreadResults;

/// The same kind of trouble is logged once in this time.
pub const REPEAT_AFTER: Duration = Duration::from_secs(10);

/// The service's watcher: it keeps metrics, logs, traces and the snapshot behind the endpoints.
#[derive(Debug)]
pub struct ServiceWatcher {
    portals: Portals,
    mends: Mends,
    metrics: Arc<Metrics>,
    reporter: Reporter,
    health: Arc<Health>,
    parked: ParkedJobs,
    counts: LatestCount,
    unread: UnreadResults,
    traces: Option<Traces>,
    troubles: Repetition<(AccountIndex, CallResult)>,
    lane_news: LaneNews,
    relapses: Relapses,
    /// When the log last told what a stop waits for.
    waiting_told: Option<Tick>,
    /// True until [`Watcher::counted`] is called for the first time. Then the log tells of the pauses that there are
    /// from the start, because the settings demand them.
    fresh: bool,
}

impl ServiceWatcher {
    pub fn new(
        portals: Portals,
        mends: Mends,
        metrics: Arc<Metrics>,
        reporter: Reporter,
        health: Arc<Health>,
        traces: Option<Traces>,
    ) -> Self {
        let (parked, troubles) = (ParkedJobs::default(), Repetition::new(REPEAT_AFTER));
        let (lane_news, relapses) = (LaneNews::default(), Relapses::default());
        Self {
            portals,
            mends,
            metrics,
            reporter,
            health,
            parked,
            counts: LatestCount::default(),
            unread: UnreadResults::default(),
            traces,
            troubles,
            lane_news,
            relapses,
            waiting_told: None,
            fresh: true,
        }
    }
}

impl Watcher<Box<Delivery>> for ServiceWatcher {
    fn sent(&mut self, call: &BatchCall, jobs: &mut dyn Iterator<Item = &Box<Delivery>>) {
        self.metrics.sent(call);
        let logs = tracing::enabled!(tracing::Level::DEBUG);
        let portal_id = self.portals.portal(call.lane.account).map(|portal| portal.0.get());
        let mut jobs = jobs.inspect(|delivery| {
            if logs {
                log_sent(call, portal_id, delivery);
            }
        });
        if let Some(traces) = &mut self.traces {
            traces.departs(call, jobs.by_ref().map(|delivery| traced(delivery)));
        }
        if logs {
            // Those beyond what a trace names.
            jobs.for_each(drop);
        }
    }

    fn answered(&mut self, call: &BatchCall, reply: &Reply, answered: &Answered, took: Duration, now: Now) {
        let result = answered.result;
        self.metrics.ended(HttpResult::Batch(result), took);
        if !result.went_wrong() {
            self.reporter.failing_alone().served(call.lane.account, now.wall);
        }
        if let Some(traces) = &mut self.traces {
            let portal = self.portals.portal(call.lane.account).map(|portal| portal.0.get());
            traces.returned(call, (portal, lane_name(&call.lane)), (reply, result), took);
        }
        log_answer(&self.portals, &mut self.troubles, call, reply, result, took, now);
    }

    fn answered_alone(
        &mut self,
        call: &BatchCall,
        reply: &Reply,
        result: CallResult,
        (job, next_try): (&Box<Delivery>, Option<Timestamp>),
        now: Now,
    ) {
        let (CallResult::Transient(_), Some(&pair)) = (result, call.pairs.first()) else { return };
        let account = call.lane.account;
        let (http_status, message) = match reply {
            Reply::Answer(answer) => (Some(answer.status), wording::said(reply).detail),
            Reply::Silence(_) => (None, wording::said(reply).detail),
        };
        let latest = FailingPair {
            portal_id: self.portals.portal(account).map(|portal| portal.0.get()),
            lane: lane_name(&call.lane),
            from: pair.from.to_string(),
            to: pair.to.to_string(),
            job_id: job.head.job_id.as_str().to_owned(),
            tries: 1,
            since: now.wall,
            last_at: now.wall,
            next_try_at: next_try,
            http_status,
            message,
        };
        self.reporter.failing_alone().note(account, pair, latest);
    }

    fn asked(&mut self, question: Question, took: Duration) {
        let result = match question {
            Question::Refresh => HttpResult::TokenRefresh,
            Question::Identify => HttpResult::Identify,
        };
        self.metrics.ended(result, took);
    }

    fn settled(&mut self, delivery: &Box<Delivery>, settled: &Settled, now: Now) {
        self.reporter.failing_alone().settled(delivery.head.job_id.as_str());
        self.reporter.behind_guards().settled(delivery.message_id, delivery.head.job_id.as_str());
        let waited = now.wall.duration_since(settled.carried.received);
        self.metrics.job_duration.observe(Duration::try_from(waited).unwrap_or_default());
        match &settled.ending {
            Ending::Settled { num_pairs: _, errors }
            | Ending::Planned { plan: _, errors }
            | Ending::Expired { errors } => {
                for run in errors.chunk_by(|a, b| Arc::ptr_eq(&a.refusal, &b.refusal)) {
                    if let Some(error) = run.first() {
                        self.failed(delivery, error.pair(), run.len(), &error.refusal, now);
                    }
                }
            }
            Ending::Rejected(refusal) => self.failed(delivery, None, 1, refusal, now),
        }
    }

    /// A parked job is counted when the broker has confirmed its copy. What is noted here is whether a guard parks it.
    fn parked(&mut self, job: &Box<Delivery>, parked: &Parked, now: Now) {
        self.reporter.failing_alone().parked(job.head.job_id.as_str(), parked.tier, now.wall);
        if !self.reporter.behind_guards().is_empty()
            && job.head.action == Action::Archive
            && !job.head.dry_run
            && let Ok(account) = self.portals.resolve(job.head.portal)
        {
            self.note_behind_guard(account, job);
        }
    }

    fn behind_guards(&mut self, jobs: &mut dyn Iterator<Item = (AccountIndex, &Box<Delivery>)>) {
        for (account, job) in jobs {
            self.note_behind_guard(account, job);
        }
    }

    fn notice(&mut self, notice: &Notice) {
        self.metrics.noticed(notice);
        if let Notice::Paused { account, kind: PauseKind::Guard, .. } = notice {
            self.reporter.behind_guards().stopped(*account);
        }
        if let Notice::Paused { account, kind: PauseKind::Outage, .. } = notice {
            self.reporter.failing_alone().outage(*account);
        }
        if self.lane_news.admit(notice) {
            let told = self.relapses.admit(notice.clone());
            told.iter().for_each(|notice| log_notice(&self.portals, &self.mends, notice));
        }
    }

    fn counted(&mut self, counters: Counters, status: Status, draining: bool, now: Now) {
        self.metrics.follow(counters);
        for (news, lanes) in self.lane_news.due(now.tick) {
            log_lanes(&self.portals, news, &lanes);
        }
        for notice in self.relapses.due(now.tick, draining) {
            log_notice(&self.portals, &self.mends, &notice);
        }
        if std::mem::take(&mut self.fresh) {
            self.tell_pauses(&status);
        }
        self.tell_behind_guards();
        if draining {
            self.tell_what_a_stop_waits_for(&status, now);
        }
        self.reporter.beat();
        let confirmed = Tier::ALL.map(|tier| self.metrics.jobs_parked.of(tier).read());
        let Depths { looks, parked, .. } = &self.health.depths;
        let parked = self.parked.count(looks.get(), parked.each_ref().map(|seen| seen.get()), confirmed, now.wall);
        let back_by = self.parked.back_by(self.health.alone_since(), now.wall);
        let mut broker = broker_state(&self.health, parked, back_by);
        broker.counted_at = self.counts.note(looks.get(), broker.jobs_ready.is_some(), now.wall);
        broker.results_unread_since =
            self.unread.note(looks.get(), broker.results_ready, broker.results_consumers, now.wall);
        self.reporter.publish(status, broker, draining, now);
    }
}

impl ServiceWatcher {
    /// Tells of the pauses that there are from the start: the engine gives notice of changes only.
    fn tell_pauses(&self, status: &Status) {
        for account in &status.accounts {
            if let Some(PauseStatus { kind, detail, resume_at, .. }) = account.own_pause().cloned() {
                let account = AccountIndex(account.index);
                let notice = Notice::Paused { account, lane: None, kind, detail, until: resume_at };
                log_notice(&self.portals, &self.mends, &notice);
            }
        }
    }

    fn note_behind_guard(&mut self, account: AccountIndex, job: &Delivery) {
        let Head { job_id, group, .. } = &job.head;
        let group = group.as_ref().map(Group::as_str);
        self.reporter.behind_guards().note(account, job.message_id, group, job_id.as_str());
    }

    /// Whoever reads of the stop in the log reads there what is behind it, too.
    fn tell_behind_guards(&mut self) {
        for (account, JobsBehind { jobs, groups, .. }) in self.reporter.behind_guards().news() {
            let portal_id = self.portals.portal(account).map(|portal| portal.0.get());
            let ids: Vec<&str> = groups.iter().flat_map(|of| &of.job_ids).map(String::as_str).collect();
            let job_ids = ids.join(", ");
            let groups: Vec<&str> = groups.iter().filter_map(|of| of.group.as_deref()).collect();
            let groups = (!groups.is_empty()).then(|| groups.join(", "));
            tracing::warn!(portal_id, jobs, groups, job_ids, "jobs wait behind the guard; these so far");
        }
    }

    fn tell_what_a_stop_waits_for(&mut self, status: &Status, now: Now) {
        let is_due = self.waiting_told.is_none_or(|told| now.tick.since(told) >= REPEAT_AFTER);
        let (requests, unpublished) = (status.held.in_flight, self.health.unpublished.get());
        if is_due && (requests > 0 || unpublished > 0) {
            self.waiting_told = Some(now.tick);
            tracing::info!(requests, unpublished, "stopping: waiting until these requests and outcomes are answered");
        }
    }

    fn failed(&mut self, delivery: &Delivery, pair: Option<Pair>, pairs: usize, refusal: &Arc<Refusal>, now: Now) {
        let Head { job_id, portal, .. } = &delivery.head;
        let (job_id, portal, refusal) = (job_id.as_str().into(), *portal, Arc::clone(refusal));
        self.reporter.failed(FailedJob { at: now.wall, job_id, portal, pair, pairs: pairs as u64, refusal }, now);
    }
}

fn traced(delivery: &Delivery) -> TracedJob<'_> {
    let Delivery { properties, head, .. } = delivery;
    let [traceparent, tracestate] = TRACE_CONTEXT.map(|name| properties.text_header(name));
    TracedJob { job_id: head.job_id.as_str(), message_id: properties.message_id(), traceparent, tracestate }
}

pub(super) fn broker_state(health: &Health, parked: ByTier, back_by: BackBy) -> BrokerState {
    BrokerState {
        consuming: health.consuming(),
        publishing: health.publishing.get(),
        publishing_stalled: health.publishing_stalled.get(),
        blocked: health.blocked.get(),
        overfull: health.overfull(),
        consuming_trouble: health.consuming_trouble(),
        publishing_trouble: health.publishing_trouble.get(),
        jobs_ready: health.jobs_ready(),
        own_jobs_ready: health.own_jobs_ready(),
        background_ready: health.background().ready.get(),
        background_parked: health.depths.background_parked.get(),
        background_consuming: health.background().consuming.get(),
        parked,
        back_by,
        standstill_seconds: health.depths.standstill_seconds.get(),
        unpublished: health.unpublished.get(),
        results_ready: health.depths.results.get(),
        results_consumers: health.depths.results_consumers.get(),
        dead_letters_ready: health.depths.dead_letters.get(),
        leases: health.leases(),
        lease_trouble: health.lease_trouble(),
        deserted: health.deserted.get(),
        lost_queues: health.lost_queues.read().into_iter().map(lost_queue).collect(),
        counted_at: None,
        results_unread_since: None,
        counts: BrokerCounts {
            reconnects: health.reconnects.get(),
            resubscriptions: health.resubscriptions.get(),
            lease_changes: health.lease_changes.get(),
            published: health.published.get(),
            returned: health.returned.get(),
            refused: health.refused.get(),
            unknown: health.unknown.get(),
            acknowledged: health.acknowledged.get(),
            handed_back: health.handed_back.get(),
            failed_acknowledgements: health.failed_acknowledgements.get(),
            settled_too_late: health.settled_too_late.get(),
        },
    }
}

fn lost_queue(lost: lost_queues::LostQueue) -> LostQueue {
    let lost_queues::LostQueue { queue, times, messages, last_at } = lost;
    LostQueue { queue, times, messages, loss: lost_queues::loss(messages), last_at }
}

/// For people who look for the requests of one job: the line about the answer has the same batch. The level is off by default,
/// as for all that is told of single jobs.
fn log_sent(call: &BatchCall, portal_id: Option<u64>, delivery: &Delivery) {
    let batch = slotmap::Key::data(&call.call).as_ffi();
    let (job_id, lane) = (delivery.head.job_id.as_str(), lane_name(&call.lane));
    let message_id = delivery.properties.message_id();
    tracing::debug!(job_id, message_id, batch, portal_id, lane, "goes out with this request");
}

/// A lane as logs name it: `contacts/companies`, with `/labels` where only labels are removed, `/look` where records
/// are read, and `/restore` where associations are created.
fn lane_name(lane: &LaneId) -> String {
    let step = match lane.step() {
        Step::Archive => "",
        Step::ArchiveLabels => "/labels",
        Step::Look(_) => "/look",
        Step::Associate | Step::Create => "/restore",
    };
    format!("{}/{}{step}", lane.from_type.path_segment(), lane.to_type.path_segment())
}

/// One line for each request: at the level debug where all went well. Where the same goes wrong again and again, there
/// is one line for each [`REPEAT_AFTER`].
pub fn log_answer(
    portals: &Portals,
    troubles: &mut Repetition<(AccountIndex, CallResult)>,
    call: &BatchCall,
    reply: &Reply,
    result: CallResult,
    took: Duration,
    now: Now,
) {
    let portal_id = portals.portal(call.lane.account).map(|portal| portal.0.get());
    let (status, correlation_id, cf_ray) = match reply {
        Reply::Answer(answer) => {
            let Headers { correlation_id, cf_ray, .. } = &answer.headers;
            (Some(answer.status), correlation_id.as_deref(), cf_ray.as_deref())
        }
        Reply::Silence(_) => (None, None, None),
    };
    // A request with one pair is logged with that pair.
    let alone = call.pairs.first().filter(|_| call.pairs.len() == 1);
    let (from, to) = alone.map(|pair| (pair.from.to_string(), pair.to.to_string())).unzip();
    let batch = slotmap::Key::data(&call.call).as_ffi();
    let (lane, pairs, attempt) = (lane_name(&call.lane), call.pairs.len(), call.failures + 1);
    let (result_word, millis) = (HttpResult::Batch(result).word(), u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    let repeated = if result.went_wrong() { troubles.admit((call.lane.account, result), now.tick) } else { None };
    let Said { category, detail } = if result.went_wrong() { wording::said(reply) } else { Said::default() };
    // Also where the same trouble was told just before: whoever follows a job needs the answer to each of its requests.
    let Some(repeated) = repeated else {
        tracing::debug!(
            portal_id,
            lane,
            batch,
            pairs,
            attempt,
            status,
            result = result_word,
            millis,
            correlation_id,
            cf_ray,
            category,
            detail,
            "answered"
        );
        return;
    };
    tracing::warn!(
        portal_id,
        lane,
        batch,
        pairs,
        from,
        to,
        attempt,
        status,
        result = result_word,
        millis,
        correlation_id,
        cf_ray,
        category,
        detail,
        repeated,
        "HubSpot did not do what a batch asked for"
    );
}

/// Lanes that a line about several names.
const MOST_NAMED_LANES: usize = 3;

/// What has become of more lanes after the first one, which had a line of its own.
fn log_lanes(portals: &Portals, News { account, kind, change }: News, lanes: &HashSet<LaneId>) {
    let (portal_id, kind) = (portals.portal(account).map(|portal| portal.0.get()), kind.as_str());
    let mut names: Vec<String> = lanes.iter().map(lane_name).collect();
    names.sort_unstable();
    names.truncate(MOST_NAMED_LANES);
    let (lane, lanes) = (names.join(", "), lanes.len());
    match change {
        LaneChange::Paused => tracing::warn!(portal_id, kind, lanes, lane, "more lanes paused for the same reason"),
        LaneChange::GoesOn => tracing::info!(portal_id, kind, lanes, lane, "more lanes go on"),
        LaneChange::StoodForAMoment => {
            tracing::info!(portal_id, kind, lanes, lane, "more lanes paused for the same reason, and go on already");
        }
    }
}

/// What an operator may want to know, in words.
pub fn log_notice(portals: &Portals, mends: &Mends, notice: &Notice) {
    let portal = |account: &AccountIndex| portals.portal(*account).map(|portal| portal.0.get());
    match notice {
        Notice::Paused { account, lane, kind, detail, until } => {
            let lane = lane.as_ref().map(lane_name);
            let resume_at = until.map(|until| up_to_second(until).to_string());
            let mend = match &lane {
                None => mends.of(*kind, *account),
                Some(lane) => mends.of_lane(*kind, *account, lane),
            };
            let (runbook, mend, portal_id, kind) = (mend.runbook(), mend.what, portal(account), kind.as_str());
            tracing::warn!(portal_id, lane, kind, detail, mend, runbook, resume_at, "paused");
        }
        Notice::Resumed { account, lane, kind, lasted } => {
            let lane = lane.as_ref().map(lane_name);
            // A guard that was answered with `reject` lets nothing through.
            let said = if *kind == PauseKind::Guard { "the guard is answered" } else { "goes on" };
            tracing::info!(
                portal_id = portal(account),
                lane,
                kind = kind.as_str(),
                seconds = lasted.as_secs(),
                "{said}"
            );
        }
        Notice::Unidentified { account, detail } => {
            let portal_id = portal(account);
            tracing::warn!(
                portal_id,
                detail,
                "HubSpot does not say whose token it is: that it belongs to this portal is not checked"
            );
        }
        Notice::Slowed { account, policy, until, only_tries } => {
            let at = up_to_second(*until).to_string();
            let (resume_at, probe_at) = if *only_tries { (None, Some(at)) } else { (Some(at), None) };
            let (portal_id, policy) = (portal(account), policy.as_str());
            tracing::info!(portal_id, policy, resume_at, probe_at, "slowed down by HubSpot");
        }
        Notice::Isolating { lane, pairs } => {
            tracing::info!(
                portal_id = portal(&lane.account),
                lane = lane_name(lane),
                pairs,
                "looking for the pairs at fault"
            );
        }
        Notice::Unattributed { lane, pairs } => {
            tracing::warn!(
                portal_id = portal(&lane.account),
                lane = lane_name(lane),
                pairs,
                "isolation.max_requests spent: these pairs failed as UNATTRIBUTED"
            );
        }
        Notice::Unfolded { lane, pairs, detail } => {
            tracing::warn!(
                portal_id = portal(&lane.account),
                lane = lane_name(lane),
                pairs,
                detail,
                "pairs of these two object types are not folded any more until the worker starts again, for the reason in `detail`; those that wait to be proven are archived once more from their own side. Run `probe` to see whether folding suits this account, or take the two types out of batch.fold"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use std::io::{Read, Seek};

    use super::*;
    use crate::engine::verdict::Policy;

    #[test]
    fn a_time_at_which_it_is_only_tried_is_not_logged_as_one_at_which_it_goes_on() {
        for (only_tries, field) in [(true, "probe_at"), (false, "resume_at")] {
            let mut log = tempfile::tempfile().unwrap();
            let lines = Arc::new(log.try_clone().unwrap());
            let subscriber = tracing_subscriber::fmt().with_writer(lines).with_ansi(false).finish();
            let (account, policy, until) = (AccountIndex(0), Policy::Daily, Timestamp::UNIX_EPOCH);
            tracing::subscriber::with_default(subscriber, || {
                let notice = Notice::Slowed { account, policy, until, only_tries };
                log_notice(&Portals::new(vec![None]), &Mends::new(&[]), &notice);
            });
            let mut line = String::new();
            log.rewind().unwrap();
            log.read_to_string(&mut line).unwrap();
            let (_, fields) = line.split_once("slowed down by HubSpot ").unwrap();
            assert_eq!(fields.trim_end(), format!("policy=\"daily\" {field}=\"1970-01-01T00:00:00Z\""));
        }
    }
}
