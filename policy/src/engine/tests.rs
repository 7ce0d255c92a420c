//! The engine against a far side that a test scripts, on a clock that the test moves.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::access::CredentialKind;
use super::account::{AccountPolicy, Safety};
use super::answered::PairResult;
use super::backlog::JobKey;
use super::clock::{Now, Tick};
use super::command::{
    BatchCall, Carried, Command, IdentityReply, NewJob, Notice, Parked, RecordCall, RefreshReply, Request, Sealed,
};
use super::day::Day;
use super::pause::{PauseKind, Tier};
use super::reply::{Answer, Body, Headers, Reply, RetryAfter, Silence};
use super::retry::RetryPolicy;
use super::{Engine, EnginePolicy, Remains, Waiting};
use crate::contract::action::Action;
use crate::contract::association::{Extent, Pair, RecordId};
use crate::contract::expiry::Expiry;
use crate::contract::ids::{AccountIndex, PortalId};
use crate::contract::job::Ask;
use crate::contract::journal::Completion;
use crate::contract::object_type::ObjectType;
use crate::contract::outcome::{Ending, Status};

mod all;
mod background;
mod folding;
mod guard;
mod looks;
mod orders;
mod packing;
mod proofs;
mod recording;
mod restores;
mod stuck;

const LATENCY: Duration = Duration::from_millis(80);
const RECORDING: Duration = Duration::from_millis(15);

fn pair(from: u64, to: u64) -> Pair {
    let id = |n| RecordId(NonZeroU64::new(n).unwrap());
    Pair { from: id(from), to: id(to) }
}

fn answer(status: u16, body: &str) -> Reply {
    Reply::Answer(Answer {
        status,
        headers: Headers::default(),
        body: Body::Whole(Bytes::copy_from_slice(body.as_bytes())),
    })
}

fn policy() -> EnginePolicy {
    EnginePolicy::default()
}

fn account() -> AccountPolicy {
    AccountPolicy::default()
}

fn whole(pairs: &[Pair]) -> Ask {
    Ask { extent: Extent::Whole, pairs: pairs.iter().copied().collect(), all_of: Vec::new() }
}

/// A job of the first account that is to archive what it asks for.
fn new_job(types: (&str, &str), asks: impl IntoIterator<Item = Ask>, carried: Carried) -> NewJob {
    NewJob {
        action: Action::Archive,
        dry_run: false,
        account: AccountIndex(0),
        from_type: ObjectType::parse(types.0).unwrap(),
        to_type: ObjectType::parse(types.1).unwrap(),
        asks: asks.into_iter().collect(),
        expiry: None,
        weight: 100,
        carried,
    }
}

/// What left the engine for good.
#[derive(Debug, PartialEq)]
enum End {
    Settled {
        status: Status,
        /// Pairs that were not archived.
        failed: usize,
        attempts: u32,
    },
    Parked {
        tier: Tier,
        attempts: u32,
    },
    HandedBack,
}

impl End {
    fn archived(attempts: u32) -> Self {
        Self::Settled { status: Status::Archived, failed: 0, attempts }
    }
}

type Script = Box<dyn FnMut(&BatchCall, Tick) -> Reply>;
type Disk = Box<dyn FnMut(&RecordCall, Tick) -> Result<(), String>>;

struct Bench {
    engine: Engine,
    now: Now,
    reply: Script,
    latency: fn(&BatchCall) -> Duration,
    on_wire: BTreeMap<(Tick, u64), (BatchCall, Reply)>,
    sent: Vec<(Tick, BatchCall)>,
    ends: BTreeMap<JobKey, (Tick, End)>,
    endings: BTreeMap<JobKey, Ending>,
    /// What outcomes say of it.
    verified: BTreeMap<JobKey, bool>,
    parked: Vec<Parked>,
    notices: Vec<Notice>,
    identity: IdentityReply,
    refresh: Vec<RefreshReply>,
    /// Whether a record can be written at a time.
    journal: Disk,
    to_journal: BTreeMap<(Tick, u64), (RecordCall, Result<(), String>)>,
    recorded: Vec<(Tick, RecordCall)>,
    completions: Vec<Completion>,
    journaled: BTreeMap<JobKey, bool>,
    next: u64,
}

impl Bench {
    fn new(
        policy: EnginePolicy,
        accounts: Vec<AccountPolicy>,
        reply: impl FnMut(&BatchCall, Tick) -> Reply + 'static,
    ) -> Self {
        let now = Now { tick: Tick::ZERO, wall: Timestamp::from_second(1_795_000_000).unwrap() };
        Self {
            engine: Engine::new(policy, accounts, 1, now),
            now,
            reply: Box::new(reply),
            latency: |_| LATENCY,
            on_wire: BTreeMap::new(),
            sent: Vec::new(),
            ends: BTreeMap::new(),
            endings: BTreeMap::new(),
            verified: BTreeMap::new(),
            parked: Vec::new(),
            notices: Vec::new(),
            identity: IdentityReply::WillNotTell { detail: String::new() },
            refresh: Vec::new(),
            journal: Box::new(|_, _| Ok(())),
            to_journal: BTreeMap::new(),
            recorded: Vec::new(),
            completions: Vec::new(),
            journaled: BTreeMap::new(),
            next: 0,
        }
    }

    fn admit(&mut self, types: (&str, &str), pairs: &[Pair]) -> JobKey {
        self.admit_to(AccountIndex(0), types, pairs, None)
    }

    fn admit_to(
        &mut self,
        account: AccountIndex,
        types: (&str, &str),
        pairs: &[Pair],
        not_after: Option<Timestamp>,
    ) -> JobKey {
        let job = new_job(types, [whole(pairs)], Carried::fresh(self.now.wall));
        let expiry = not_after.map(Expiry::not_after);
        self.engine.admit(NewJob { account, expiry, ..job }, self.now)
    }

    /// Jobs of a thousand pairs each, and so of ten requests, in a lane each; again as they were parked.
    fn admit_of_ten_requests(&mut self, lane: usize, carried: Carried) -> JobKey {
        let pairs: Vec<Pair> = (1..=1_000).map(|n| pair(n, 7)).collect();
        let job = new_job((&format!("2-{}", lane + 1), "companies"), [whole(&pairs)], carried);
        self.engine.admit(job, self.now)
    }

    fn obey(&mut self) {
        while let Some(command) = self.engine.next_command() {
            match command {
                Command::Send(call) => {
                    let mut pairs = call.pairs.to_vec();
                    let total = pairs.len();
                    pairs.sort_unstable();
                    pairs.dedup();
                    assert_eq!(pairs.len(), total, "no pair twice in a request");
                    if call.request == Request::ArchiveTurned {
                        pairs = pairs.into_iter().map(Pair::turned).collect();
                        pairs.sort_unstable();
                    }
                    pairs.dedup_by_key(|pair| pair.from);
                    let most = call.lane.step().caps(policy().caps);
                    let within = total <= most.pairs && pairs.len() <= most.from;
                    assert!(!call.pairs.is_empty() && within, "within the caps");
                    let reply = (self.reply)(&call, self.now.tick);
                    self.sent.push((self.now.tick, call.clone()));
                    self.next += 1;
                    self.on_wire.insert((self.now.tick + (self.latency)(&call), self.next), (call, reply));
                }
                Command::Record(call) => {
                    self.next += 1;
                    let result = (self.journal)(&call, self.now.tick);
                    self.to_journal.insert((self.now.tick + RECORDING, self.next), (call, result));
                }
                Command::Complete { completion, .. } => self.completions.push((*completion).clone()),
                Command::Identify { call, .. } => self.engine.identified(call, self.identity.clone(), self.now),
                Command::Refresh { call, .. } => {
                    let reply =
                        self.refresh.pop().unwrap_or(RefreshReply::Failed { detail: String::new(), wait: None });
                    self.engine.refreshed(call, reply, self.now);
                }
                Command::RereadCredentials { .. } => {}
                Command::Settle(settled) => {
                    let (status, failed) = match &settled.ending {
                        Ending::Expired { errors } => (Status::Expired, errors.len()),
                        Ending::Planned { errors, .. } => (Status::Planned, errors.len()),
                        Ending::Settled { num_pairs, errors } => match (num_pairs - errors.len(), errors.len()) {
                            (_, 0) => (Status::Archived, 0),
                            (0, failed) => (Status::Failed, failed),
                            (_, failed) => (Status::Partial, failed),
                        },
                        Ending::Rejected(_) => panic!("the engine rejects nothing"),
                    };
                    self.end(settled.job, End::Settled { status, failed, attempts: settled.carried.attempts });
                    self.verified.insert(settled.job, settled.verified);
                    self.journaled.insert(settled.job, settled.journaled);
                    self.endings.insert(settled.job, settled.ending);
                }
                Command::Park(parked) => {
                    self.parked.push(parked);
                    self.end(parked.job, End::Parked { tier: parked.tier, attempts: parked.carried.attempts });
                }
                Command::HandBack(job) | Command::Forgotten(job) => self.end(job, End::HandedBack),
                Command::Notice(notice) => self.notices.push(notice),
            }
        }
    }

    fn end(&mut self, job: JobKey, end: End) {
        let old = self.ends.insert(job, (self.now.tick, end));
        assert!(old.is_none(), "one end for each job");
    }

    /// Runs until nothing happens any more, or for `span`.
    fn run(&mut self, span: Duration) {
        let end = self.now.tick + span;
        self.engine.wake(self.now);
        self.obey();
        loop {
            let reply = self.on_wire.first_key_value().map(|(&(at, _), _)| at);
            let recorded = self.to_journal.first_key_value().map(|(&(at, _), _)| at);
            let wake = self.engine.next_wake(self.now);
            let Some(next) = [reply, recorded, wake].into_iter().flatten().min().filter(|&at| at <= end) else { break };
            self.advance(next);
            if recorded.is_some_and(|at| at <= self.now.tick) {
                let (_, (call, result)) = self.to_journal.pop_first().unwrap();
                if result.is_ok() {
                    self.recorded.push((self.now.tick, call.clone()));
                }
                self.engine.recorded(call.call, result, self.now);
                self.obey();
                continue;
            }
            match reply {
                Some(at) if at <= self.now.tick => {
                    let (_, (call, reply)) = self.on_wire.pop_first().unwrap();
                    self.engine.answered(call.call, &reply, self.now);
                }
                _ => self.engine.wake(self.now),
            }
            self.obey();
        }
        self.advance(end);
    }

    fn advance(&mut self, to: Tick) {
        let to = to.max(self.now.tick);
        self.now = Now { wall: self.now.wall_at(to), tick: to };
    }

    fn settled(&self, status: Status) -> usize {
        self.ends.values().filter(|(_, end)| matches!(end, End::Settled { status: s, .. } if *s == status)).count()
    }

    fn paused(&self, kind: PauseKind) -> bool {
        self.notices.iter().any(|notice| matches!(notice, Notice::Paused { kind: k, .. } if *k == kind))
    }
}

fn always(status: u16, body: &'static str) -> impl FnMut(&BatchCall, Tick) -> Reply {
    move |_, _| answer(status, body)
}

#[test]
fn a_lone_job_leaves_after_the_linger() {
    let mut bench = Bench::new(policy(), vec![account()], always(204, ""));
    let job = bench.admit(("contacts", "companies"), &[pair(1, 2)]);
    bench.run(Duration::from_secs(5));
    assert_eq!(bench.sent.len(), 1);
    assert_eq!(bench.sent[0].0, Tick::from_micros(200_000));
    assert_eq!(bench.ends[&job].1, End::archived(1));
}

#[test]
fn twenty_thousand_jobs_over_four_lanes_cost_the_fewest_requests() {
    let mut bench = Bench::new(policy(), vec![account()], always(204, ""));
    let lanes = [("contacts", "companies"), ("contact", "0-3"), ("deals", "tickets"), ("tickets", "contacts")];
    for n in 0..20_000u64 {
        bench.admit(lanes[(n / 8 % 4) as usize], &[pair(1 + n / 8, 1 + n % 8)]);
    }
    bench.run(Duration::from_secs(60));
    assert_eq!(bench.settled(Status::Archived), 20_000);
    assert_eq!(bench.sent.len(), 28);
}

#[test]
fn equal_pairs_of_different_jobs_share_a_request_and_all_are_answered() {
    let mut bench = Bench::new(policy(), vec![account()], always(204, ""));
    for _ in 0..50 {
        bench.admit(("contacts", "companies"), &[pair(1, 2), pair(1, 3)]);
    }
    bench.run(Duration::from_secs(5));
    assert_eq!(bench.sent.len(), 1);
    assert_eq!(bench.sent[0].1.pairs.len(), 2);
    assert_eq!(bench.settled(Status::Archived), 50);
}

#[test]
fn the_jobs_of_a_request_on_the_wire_are_named_once_each() {
    let mut bench = Bench::new(policy(), vec![account()], always(204, ""));
    let wanted = [[pair(1, 2), pair(1, 3)], [pair(1, 3), pair(2, 2)]];
    let jobs = wanted.map(|pairs| bench.admit(("contacts", "companies"), &pairs));
    bench.run(Duration::from_millis(200));
    let call = bench.sent[0].1.call;
    let mut named: Vec<JobKey> = bench.engine.jobs_in(call).collect();
    named.sort_unstable();
    assert_eq!(named, jobs);
    bench.run(Duration::from_secs(1));
    assert_eq!(bench.engine.jobs_in(call).count(), 0, "nothing is kept of a request that was answered");
}

#[test]
fn an_answer_says_what_became_of_each_pair_of_its_request() {
    let partial = r#"{"status":"COMPLETE","errors":[{"category":"CONFLICT","context":{"fromObjectId":["2"]}}]}"#;
    let cases = [
        (answer(204, ""), [Some(true), Some(true)]),
        (answer(200, partial), [Some(true), None]),
        (answer(503, ""), [None, None]),
        (answer(400, r#"{"category":"VALIDATION_ERROR","message":"bad"}"#), [None, None]),
    ];
    for (reply, archived) in cases {
        let mut bench = Bench::new(policy(), vec![account()], always(204, ""));
        bench.admit(("contacts", "companies"), &[pair(1, 7), pair(2, 7)]);
        bench.run(Duration::from_millis(210));
        let (_, (call, _)) = bench.on_wire.pop_first().unwrap();
        let answered = bench.engine.answered(call.call, &reply, bench.now);
        let fates: Vec<(Pair, Option<bool>)> = answered
            .results(&call.pairs)
            .map(|(pair, fate)| match fate {
                PairResult::Done(_) => (pair, Some(true)),
                PairResult::Refused(_) => (pair, Some(false)),
                PairResult::Open => (pair, None),
            })
            .collect();
        assert_eq!(fates, [(pair(1, 7), archived[0]), (pair(2, 7), archived[1])], "{reply:?}");
        let twice = bench.engine.answered(call.call, &reply, bench.now);
        assert_eq!(
            twice.results(&call.pairs).filter(|(_, fate)| *fate != PairResult::Open).count(),
            0,
            "not known any more"
        );
    }
}

#[test]
fn a_refused_batch_loses_exactly_its_bad_pairs() {
    for bad in [vec![1], vec![50, 51], vec![1, 33, 99, 100], (1..=100).collect::<Vec<u64>>()] {
        let bad_ids = bad.clone();
        let reply =
            move |call: &BatchCall, _: Tick| match call.pairs.iter().any(|pair| bad_ids.contains(&pair.from.0.get())) {
                true => answer(
                    400,
                    r#"{"status":"error","category":"VALIDATION_ERROR","message":"bad","correlationId":"c"}"#,
                ),
                false => answer(204, ""),
            };
        let mut bench = Bench::new(policy(), vec![account()], reply);
        for n in 1..=100u64 {
            bench.admit(("contacts", "companies"), &[pair(n, 7)]);
        }
        bench.run(Duration::from_secs(120));
        assert_eq!(bench.settled(Status::Failed), bad.len());
        assert_eq!(bench.settled(Status::Archived), 100 - bad.len());
        let (k, n) = (bad.len() as f64, 100.0f64);
        let bound = 2.0 * k * (n / k).log2().ceil() + 2.0 * k + 1.0;
        assert!(
            bench.sent.len() as f64 <= bound,
            "{} requests for {} bad of 100, {bound} allowed",
            bench.sent.len(),
            bad.len()
        );
    }
}

#[test]
fn past_the_allowance_the_rest_is_unattributed_and_nothing_else_suffers() {
    let reply = |call: &BatchCall, _: Tick| match call.pairs.iter().any(|pair| pair.from.0.get() % 2 == 0) {
        true => answer(400, r#"{"status":"error","category":"VALIDATION_ERROR","message":"bad"}"#),
        false => answer(204, ""),
    };
    let mut bench = Bench::new(EnginePolicy { isolation_requests: 10, ..policy() }, vec![account()], reply);
    for n in 1..=100u64 {
        bench.admit(("contacts", "companies"), &[pair(n, 7)]);
    }
    bench.run(Duration::from_secs(120));
    assert!(bench.sent.len() <= 11);
    assert_eq!(bench.ends.len(), 100, "every job has its end");
    assert!(bench.notices.iter().any(|notice| matches!(notice, Notice::Unattributed { .. })));
}

#[test]
fn a_429_spends_no_attempt_and_everything_is_archived() {
    let mut calls = 0;
    let reply = move |_: &BatchCall, _: Tick| {
        calls += 1;
        match calls {
            1..=12 => answer(429, r#"{"errorType":"RATE_LIMIT","policyName":"TEN_SECONDLY_ROLLING"}"#),
            _ => answer(204, ""),
        }
    };
    let mut bench = Bench::new(policy(), vec![account()], reply);
    let job = bench.admit(("contacts", "companies"), &[pair(1, 2)]);
    bench.run(Duration::from_secs(400));
    assert_eq!(bench.ends[&job].1, End::archived(13));
}

#[test]
fn a_transient_failure_is_retried_then_parked_in_growing_tiers() {
    let mut bench = Bench::new(policy(), vec![account()], always(503, ""));
    let job = bench.admit(("contacts", "companies"), &[pair(1, 2)]);
    bench.run(Duration::from_secs(200));
    assert_eq!(bench.ends[&job].1, End::Parked { tier: Tier::TenSeconds, attempts: 5 });
    assert!(!bench.paused(PauseKind::Outage), "one pair says nothing of the account");
}

#[test]
fn five_failures_in_a_row_of_different_batches_are_an_outage() {
    let mut bench = Bench::new(policy(), vec![account()], always(503, ""));
    bench.admit(("contacts", "companies"), &[pair(1, 2)]);
    bench.admit(("deals", "companies"), &[pair(1, 2)]);
    bench.run(Duration::from_secs(200));
    assert!(bench.paused(PauseKind::Outage));
}

#[test]
fn a_bad_token_pauses_the_account_and_spends_few_requests() {
    let mut bench = Bench::new(
        policy(),
        vec![account()],
        always(401, r#"{"status":"error","category":"INVALID_AUTHENTICATION","message":"no"}"#),
    );
    for n in 1..=500u64 {
        bench.admit(("contacts", "companies"), &[pair(n, 7)]);
    }
    bench.run(Duration::from_secs(5));
    assert!(bench.sent.len() <= 20, "{} requests in five seconds", bench.sent.len());
    assert!(bench.paused(PauseKind::Unauthorized));
    assert_eq!(bench.settled(Status::Failed) + bench.settled(Status::Archived), 0, "no outcome");
    let parked =
        bench.ends.values().filter(|(_, end)| matches!(end, End::Parked { tier: Tier::TenSeconds, .. })).count();
    assert!((390..=400).contains(&parked), "{parked} wait in the broker, a reserve in hand");
    bench.reply = Box::new(always(204, ""));
    bench.engine.credentials_changed(AccountIndex(0), bench.now);
    bench.run(Duration::from_secs(30));
    assert_eq!(bench.settled(Status::Archived), 500 - parked);
}

/// A new token is asked whose it is first; that must not put off the batch that finds out whether it is good.
#[test]
fn a_new_token_is_tried_at_once_however_long_the_old_one_was_refused() {
    let portal = PortalId(NonZeroU64::new(4711).unwrap());
    let refused = || {
        let body = r#"{"status":"error","message":"x","category":"INVALID_AUTHENTICATION"}"#;
        Box::new(always(401, body)) as Script
    };
    let accounts = vec![AccountPolicy { portal: Some(portal), ..account() }];
    let mut bench = Bench::new(policy(), accounts, always(204, ""));
    bench.reply = refused();
    bench.identity = IdentityReply::Told { portal: portal.0, time_zone: None };
    let job = bench.admit(("contacts", "companies"), &[pair(1, 7)]);
    bench.run(Duration::from_secs(100));
    assert!(bench.paused(PauseKind::Unauthorized));
    bench.reply = Box::new(always(204, ""));
    bench.engine.credentials_changed(AccountIndex(0), bench.now);
    bench.run(Duration::from_secs(2));
    assert!(matches!(bench.ends[&job].1, End::Settled { status: Status::Archived, .. }), "{:?}", bench.ends);
}

#[test]
fn a_lane_without_scopes_stands_while_the_others_go_on() {
    let reply = |call: &BatchCall, now: Tick| match call.lane.from_type.path_segment() == "deals"
        && now < Tick::from_micros(30_000_000)
    {
        true => answer(
            403,
            r#"{"status":"error","category":"MISSING_SCOPES","message":"x","errors":[{"context":{"requiredGranularScopes":["crm.objects.deals.write"]}}]}"#,
        ),
        false => answer(204, ""),
    };
    let mut bench = Bench::new(policy(), vec![account()], reply);
    for n in 1..=50u64 {
        bench.admit(("deals", "companies"), &[pair(n, 7)]);
        bench.admit(("contacts", "companies"), &[pair(n, 7)]);
    }
    bench.run(Duration::from_secs(10));
    assert_eq!(bench.settled(Status::Archived), 50);
    assert!(bench.paused(PauseKind::MissingScopes));
    bench.run(Duration::from_secs(50));
    assert_eq!(bench.settled(Status::Archived), 100, "it recovers by itself");
    assert!(bench.ends.values().all(|(at, _)| *at < Tick::from_micros(52_000_000)));
}

#[test]
fn a_job_larger_than_the_reserve_finds_out_that_its_lane_goes_on() {
    let reply = |_: &BatchCall, now: Tick| match now < Tick::from_micros(30_000_000) {
        true => answer(403, r#"{"status":"error","category":"MISSING_SCOPES","message":"x"}"#),
        false => answer(204, ""),
    };
    let mut bench = Bench::new(policy(), vec![account()], reply);
    let first = bench.admit_of_ten_requests(0, Carried::fresh(bench.now.wall));
    bench.run(Duration::from_secs(10));
    assert!(bench.paused(PauseKind::MissingScopes));
    bench.engine.forget(first, bench.now);
    bench.run(Duration::from_secs(1));
    let alone = bench.admit_of_ten_requests(0, Carried::fresh(bench.now.wall));
    let second = bench.admit_of_ten_requests(0, Carried::fresh(bench.now.wall));
    bench.run(Duration::from_secs(60));
    assert!(
        matches!(bench.ends[&alone], (_, End::Settled { status: Status::Archived, failed: 0, .. })),
        "{:?}",
        bench.ends[&alone]
    );
    assert!(matches!(bench.ends[&second], (_, End::Parked { .. })), "{:?}", bench.ends[&second]);
}

#[test]
fn a_job_past_its_time_expires_and_one_in_doubt_says_so() {
    let mut bench = Bench::new(policy(), vec![account()], |_: &BatchCall, _: Tick| Reply::Silence(Silence::TimedOut));
    let soon = bench.now.wall + jiff::SignedDuration::from_millis(100);
    let unsent = bench.admit_to(AccountIndex(0), ("contacts", "companies"), &[pair(1, 2)], Some(soon));
    let later = bench.now.wall + jiff::SignedDuration::from_secs(2);
    let sent = bench.admit_to(AccountIndex(0), ("contacts", "companies"), &[pair(3, 4)], Some(later));
    bench.run(Duration::from_secs(20));
    assert_eq!(bench.ends[&unsent].1, End::Settled { status: Status::Expired, failed: 1, attempts: 0 });
    let Ending::Expired { errors } = &bench.endings[&unsent] else { panic!("{:?}", bench.endings[&unsent]) };
    let told = &errors[0].refusal.message;
    assert!(told.starts_with(&format!("notAfter ({soon:.3}) has passed; ")), "{told}");
    assert!(
        matches!(bench.ends[&sent].1, End::Settled { status: Status::Failed, failed: 1, attempts } if attempts > 0)
    );
    assert!(
        told.ends_with("; this job has not changed the pair in HubSpot: no request for it was carried out"),
        "{told}"
    );
    let Ending::Settled { errors, .. } = &bench.endings[&sent] else { panic!("{:?}", bench.endings[&sent]) };
    let told = &errors[0].refusal.message;
    assert!(told.contains("; this job may have changed the pair in HubSpot: what became of a request"), "{told}");
}

#[test]
fn a_reply_that_comes_before_the_timer_sends_nothing_whose_time_is_up() {
    let mut bench = Bench::new(EnginePolicy { max_in_flight: 1, ..policy() }, vec![account()], always(204, ""));
    bench.admit(("contacts", "companies"), &[pair(1, 2)]);
    bench.run(Duration::from_millis(210));
    let (_, (call, reply)) = bench.on_wire.pop_first().unwrap();
    let soon = bench.now.wall + jiff::SignedDuration::from_secs(1);
    let late = bench.admit_to(AccountIndex(0), ("deals", "companies"), &[pair(1, 2)], Some(soon));
    bench.engine.wake(bench.now);
    bench.advance(bench.now.tick + Duration::from_secs(2));
    bench.engine.answered(call.call, &reply, bench.now);
    bench.obey();
    assert_eq!(bench.ends[&late].1, End::Settled { status: Status::Expired, failed: 1, attempts: 0 });
    assert_eq!(bench.sent.len(), 1);
}

#[test]
fn draining_hands_back_what_waits_and_finishes_what_is_on_the_wire() {
    let mut bench = Bench::new(policy(), vec![account()], always(204, ""));
    for n in 1..=500u64 {
        bench.admit(("contacts", "companies"), &[pair(n, 7)]);
    }
    bench.engine.wake(bench.now);
    bench.obey();
    assert_eq!(bench.sent.len(), 1);
    bench.engine.drain(bench.now);
    bench.run(Duration::from_secs(1));
    assert_eq!((bench.settled(Status::Archived), bench.ends.len()), (100, 500));
    assert_eq!((bench.engine.held_jobs(), bench.engine.held_bytes()), (0, 0));
}

#[test]
fn draining_hands_back_what_waits_for_a_retry() {
    let mut bench = Bench::new(policy(), vec![account()], always(503, ""));
    let job = bench.admit(("contacts", "companies"), &[pair(1, 2)]);
    bench.run(Duration::from_millis(290));
    assert_eq!((bench.sent.len(), bench.on_wire.len()), (1, 0));
    bench.engine.drain(bench.now);
    bench.obey();
    assert_eq!((bench.sent.len(), &bench.ends[&job].1), (1, &End::HandedBack));
    assert_eq!((bench.engine.held_jobs(), bench.engine.held_bytes()), (0, 0));
}

#[test]
fn a_wrong_portal_archives_nothing() {
    let portal = PortalId(NonZeroU64::new(4_711).unwrap());
    let mut bench = Bench::new(policy(), vec![AccountPolicy { portal: Some(portal), ..account() }], always(204, ""));
    bench.identity = IdentityReply::Told { portal: NonZeroU64::new(1).unwrap(), time_zone: None };
    let job = bench.admit(("contacts", "companies"), &[pair(1, 2)]);
    bench.run(Duration::from_secs(60));
    assert!(bench.sent.is_empty() && bench.paused(PauseKind::PortalMismatch));
    bench.identity = IdentityReply::Told { portal: portal.0, time_zone: None };
    bench.run(Duration::from_secs(30));
    assert_eq!(bench.ends[&job].1, End::archived(1));
}

#[test]
fn an_oauth_account_refreshes_first_and_once_on_401() {
    let mut refused = true;
    let reply = move |_: &BatchCall, _: Tick| match std::mem::take(&mut refused) {
        true => answer(401, r#"{"category":"EXPIRED_AUTHENTICATION"}"#),
        false => answer(204, ""),
    };
    let mut bench =
        Bench::new(policy(), vec![AccountPolicy { credentials: CredentialKind::OAuth, ..account() }], reply);
    let granted = || RefreshReply::Granted { expires_in: Duration::from_secs(1_800), portal: None };
    bench.refresh = vec![granted(), granted()];
    let job = bench.admit(("contacts", "companies"), &[pair(1, 2)]);
    bench.run(Duration::from_secs(30));
    assert_eq!(bench.ends[&job].1, End::archived(2));
    assert!(bench.refresh.is_empty() && !bench.paused(PauseKind::Unauthorized));
}

#[test]
fn a_day_spent_stops_the_account_until_its_midnight() {
    let mut bench = Bench::new(policy(), vec![AccountPolicy { daily: Some(5), ..account() }], always(204, ""));
    for n in 1..=800u64 {
        bench.admit(("contacts", "companies"), &[pair(n, 7)]);
    }
    bench.run(Duration::from_secs(30));
    assert_eq!(bench.sent.len(), 5);
    assert!(bench.paused(PauseKind::DaySpent));
    bench.run(Duration::from_secs(86_400));
    assert_eq!((bench.sent.len(), bench.engine.held_jobs()), (5, 0), "what is left waits in the broker");
    assert!(bench.ends.values().any(|(_, end)| matches!(end, End::Parked { tier: Tier::OneHour, .. })));
    bench.admit(("contacts", "companies"), &[pair(1, 7)]);
    bench.run(Duration::from_secs(5));
    assert_eq!(bench.sent.len(), 6);
}

/// Eight jobs of ten requests each, and forty requests a day: together they fit into no day, and what was done of a
/// job that is parked is done again.
#[test]
fn jobs_that_do_not_fit_into_a_day_together_still_end_one_after_the_other() {
    let mut bench = Bench::new(policy(), vec![AccountPolicy { daily: Some(40), ..account() }], always(204, ""));
    let fresh = Carried::fresh(bench.now.wall);
    let mut held: BTreeMap<JobKey, usize> =
        (0..8).map(|lane| (bench.admit_of_ten_requests(lane, fresh), lane)).collect();
    for _ in 0..6 {
        bench.run(Duration::from_secs(86_400));
        for Parked { job, carried, .. } in std::mem::take(&mut bench.parked) {
            let lane = held.remove(&job).unwrap();
            held.insert(bench.admit_of_ten_requests(lane, carried), lane);
        }
    }
    assert_eq!(bench.settled(Status::Archived), 8);
}

#[test]
fn a_job_that_came_back_leaves_every_second_request_to_the_others() {
    let mut bench = Bench::new(policy(), vec![account()], always(204, ""));
    let now = bench.now.wall;
    let first = bench.admit_of_ten_requests(0, Carried { started: Some(now), attempts: 3, ..Carried::fresh(now) });
    let fresh = bench.admit_of_ten_requests(1, Carried::fresh(now));
    bench.run(Duration::from_secs(60));
    let lanes: Vec<&str> = bench.sent.iter().map(|(_, call)| call.lane.from_type.path_segment()).collect();
    assert_eq!(lanes.len(), 20);
    assert!(lanes.chunks(2).all(|two| two[0] != two[1]), "{lanes:?}");
    assert!(bench.ends[&first].0 <= bench.ends[&fresh].0);
}

#[test]
fn a_429_that_names_a_time_far_away_pauses_the_account_until_then() {
    let throttled = |seconds| {
        let headers = Headers { retry_after: Some(RetryAfter::Seconds(seconds)), ..Headers::default() };
        Reply::Answer(Answer { status: 429, headers, body: Body::Whole(Bytes::new()) })
    };
    let mut requests = 0;
    let script = move |_: &BatchCall, _| {
        requests += 1;
        match requests {
            1 => throttled(30),
            2 => throttled(3_600),
            _ => answer(204, ""),
        }
    };
    let mut bench = Bench::new(policy(), vec![account()], script);
    bench.admit(("contacts", "companies"), &[pair(1, 7)]);
    bench.run(Duration::from_secs(20));
    assert!(!bench.paused(PauseKind::Throttled), "half a minute is waited in hand");
    assert_eq!(bench.engine.held_jobs(), 1);
    bench.run(Duration::from_secs(20));
    assert!(bench.paused(PauseKind::Throttled));
    assert_eq!((bench.sent.len(), bench.engine.held_jobs()), (2, 0), "an hour is waited in the broker");
    bench.admit(("contacts", "companies"), &[pair(1, 7)]);
    bench.run(Duration::from_secs(3_600));
    bench.admit(("contacts", "companies"), &[pair(1, 7)]);
    bench.run(Duration::from_secs(5));
    assert_eq!(bench.sent.len(), 3);
}

#[test]
fn a_wall_clock_set_back_meanwhile_does_not_keep_an_account_standing() {
    let mut requests = 0;
    let script = move |_: &BatchCall, _| {
        requests += 1;
        let headers = Headers { retry_after: Some(RetryAfter::Seconds(3_600)), ..Headers::default() };
        match requests {
            1 => Reply::Answer(Answer { status: 429, headers, body: Body::Whole(Bytes::new()) }),
            _ => answer(204, ""),
        }
    };
    let waiting = Waiting::InHand { give_up_after: Duration::from_secs(86_400) };
    let mut bench = Bench::new(EnginePolicy { waiting, ..policy() }, vec![account()], script);
    bench.admit(("contacts", "companies"), &[pair(1, 7)]);
    bench.run(Duration::from_secs(20));
    assert!(bench.paused(PauseKind::Throttled));
    bench.now.wall = bench.now.wall.checked_sub(Duration::from_secs(2)).unwrap();
    bench.run(Duration::from_secs(3_600));
    assert_eq!(bench.settled(Status::Archived), 1);
}

#[test]
fn a_time_zone_learned_after_midnight_does_not_prolong_the_day_before() {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let mut day = Day::new(Some(TimeZone::UTC), None, at("2026-11-21T03:40:00Z"));
    day.refused(None, at("2026-11-21T03:41:00Z"));
    assert!(day.spent_until(at("2026-11-21T04:00:00Z")).is_some());
    day.move_to(TimeZone::UTC, at("2026-11-22T00:00:01Z"));
    assert_eq!(day.spent_until(at("2026-11-22T00:00:01Z")), None);
}

#[test]
fn the_time_zone_is_asked_for_when_the_days_limit_is_met() {
    let reply = |_: &BatchCall, now: Tick| match now < Tick::from_micros(60_000_000) {
        true => answer(429, r#"{"message":"You have reached your daily limit."}"#),
        false => answer(204, ""),
    };
    let mut bench = Bench::new(policy(), vec![account()], reply);
    let zone = jiff::tz::TimeZone::get("Asia/Kathmandu").unwrap();
    bench.identity = IdentityReply::Told { portal: NonZeroU64::MIN, time_zone: Some(zone.clone()) };
    bench.admit(("contacts", "companies"), &[pair(1, 7)]);
    bench.run(Duration::from_secs(5));
    let midnight = super::day::next_midnight(&zone, bench.now.wall);
    let told = |notice: &Notice| matches!(notice, Notice::Paused { kind: PauseKind::DaySpent, until, .. } if *until == Some(midnight));
    assert!(bench.notices.iter().any(told), "{:?}", bench.notices);
}

#[test]
fn a_thousand_refused_lanes_leave_a_healthy_one_its_requests() {
    let reply = |call: &BatchCall, now: Tick| match call.lane.from_type.as_written() {
        "contacts" => answer(204, ""),
        _ if now < Tick::from_micros(600_000_000) => answer(403, ""),
        _ => answer(204, ""),
    };
    let waiting = Waiting::Outside { longest_hold: Duration::from_secs(3_600), prefetch: 200_000 };
    let mut bench = Bench::new(EnginePolicy { waiting, ..policy() }, vec![account()], reply);
    for lane in 1..=1_000 {
        bench.admit((&format!("2-{lane}"), "companies"), &[pair(1, 7)]);
    }
    for n in 1..=60_000 {
        bench.admit(("contacts", "companies"), &[pair(n, 7)]);
    }
    bench.run(Duration::from_secs(300));
    let healthy = bench.sent.iter().filter(|(_, call)| call.lane.from_type.as_written() == "contacts");
    let last = healthy.map(|&(at, _)| at).max().unwrap();
    // 600 requests of it and the first of each other lane; from then on one request in twenty is a probe.
    let alone = Duration::from_secs((600 + 1_000) / 10);
    assert!(last < Tick::ZERO + alone.mul_f64(1.0 / 0.9), "the healthy lane was done at {last:?}");
    let probes = bench.sent.len() - 600 - 1_000;
    assert!(probes <= 300 / 2 + 5, "{probes} probes in 300 s");
    bench.run(Duration::from_secs(600));
    let of_refused =
        bench.ends.values().filter(|(_, end)| matches!(end, End::Settled { status: Status::Archived, .. })).count();
    assert!(of_refused + bench.parked.len() >= 61_000, "{of_refused} of 61,000 and {} parked", bench.parked.len());
}

#[test]
fn a_busy_portal_does_not_delay_another() {
    let mut bench = Bench::new(policy(), vec![account(), account()], always(204, ""));
    for n in 1..=20_000u64 {
        bench.admit_to(AccountIndex(0), ("contacts", "companies"), &[pair(n, 7)], None);
    }
    let jobs: Vec<JobKey> =
        (1..=10).map(|n| bench.admit_to(AccountIndex(1), ("deals", "companies"), &[pair(n, 7)], None)).collect();
    bench.run(Duration::from_secs(2));
    assert!(jobs.iter().all(|job| bench.ends.contains_key(job)));
}

#[test]
fn a_time_out_halves_the_next_requests() {
    let reply = |call: &BatchCall, _: Tick| match call.pairs.len() > 30 {
        true => answer(524, ""),
        false => answer(204, ""),
    };
    let mut bench = Bench::new(policy(), vec![account()], reply);
    for n in 1..=100u64 {
        bench.admit(("contacts", "companies"), &[pair(n, 7)]);
    }
    bench.run(Duration::from_secs(60));
    assert_eq!(bench.settled(Status::Archived), 100);
    assert!(bench.sent.iter().all(|(_, call)| call.sealed != Sealed::Retry || call.pairs.len() <= 50));
}

#[test]
fn what_is_held_too_long_is_parked() {
    let mut bench = Bench::new(policy(), vec![AccountPolicy { paused: true, ..account() }], always(204, ""));
    let job = bench.admit(("contacts", "companies"), &[pair(1, 2)]);
    bench.run(Duration::from_secs(600));
    assert_eq!(bench.ends[&job].0, Tick::from_micros(490_000_000));
}

#[test]
fn a_batch_whose_jobs_have_left_is_not_sent_and_its_neighbours_keep_their_own_verdicts() {
    let mut calls = 0;
    let reply = move |call: &BatchCall, _: Tick| {
        calls += 1;
        match (calls, call.pairs.iter().position(|pair| pair.from.0.get() == 3)) {
            (1, _) => answer(423, ""),
            (_, Some(_)) if call.pairs.len() > 1 => answer(
                200,
                r#"{"status":"COMPLETE","errors":[{"category":"VALIDATION_ERROR","context":{"fromObjectId":["3"]}}]}"#,
            ),
            _ => answer(204, ""),
        }
    };
    let mut bench = Bench::new(policy(), vec![account()], reply);
    let soon = bench.now.wall + jiff::SignedDuration::from_secs(1);
    let gone = bench.admit_to(AccountIndex(0), ("contacts", "companies"), &[pair(1, 7)], Some(soon));
    let alone = bench.admit_to(AccountIndex(0), ("deals", "companies"), &[pair(1, 7)], Some(soon));
    let good = bench.admit(("contacts", "companies"), &[pair(2, 7)]);
    let bad = bench.admit(("contacts", "companies"), &[pair(3, 7)]);
    let last = bench.admit(("contacts", "companies"), &[pair(4, 7)]);
    bench.run(Duration::from_secs(20));
    assert_eq!(bench.ends[&gone].1, End::Settled { status: Status::Failed, failed: 1, attempts: 1 });
    assert_eq!(bench.ends[&alone].1, End::archived(1));
    assert_eq!(bench.ends[&good].1, End::archived(2));
    assert_eq!(bench.ends[&bad].1, End::Settled { status: Status::Failed, failed: 1, attempts: 2 });
    assert_eq!(bench.ends[&last].1, End::archived(2));
    assert_eq!(bench.engine.remains(), Remains::default());
}

#[test]
fn a_batch_all_of_whose_jobs_expired_is_dropped() {
    let mut bench = Bench::new(policy(), vec![account()], always(423, ""));
    let soon = bench.now.wall + jiff::SignedDuration::from_secs(1);
    let job = bench.admit_to(AccountIndex(0), ("contacts", "companies"), &[pair(1, 7)], Some(soon));
    let other = bench.admit(("deals", "companies"), &[pair(1, 7)]);
    bench.run(Duration::from_secs(30));
    assert_eq!(bench.ends[&job].1, End::Settled { status: Status::Failed, failed: 1, attempts: 1 });
    assert!(matches!(bench.ends[&other].1, End::Parked { tier: Tier::TenSeconds, attempts: 5 }));
    assert_eq!(bench.engine.remains(), Remains::default());
}

#[test]
fn retries_end_after_max_age_with_a_word_for_every_pair() {
    let retry = RetryPolicy { max_age: Duration::from_secs(5), max_attempts: 100, ..policy().retry };
    let mut bench = Bench::new(EnginePolicy { retry, ..policy() }, vec![account()], always(423, ""));
    let job = bench.admit(("contacts", "companies"), &[pair(1, 7), pair(2, 7), pair(3, 7)]);
    bench.run(Duration::from_secs(60));
    assert!(
        matches!(bench.ends[&job].1, End::Settled { status: Status::Failed, failed: 3, .. }),
        "{:?}",
        bench.ends[&job]
    );
    assert!(bench.ends[&job].0 >= Tick::from_micros(5_200_000));
}

#[test]
fn a_leaving_job_is_finished_only_when_each_of_its_pairs_is() {
    let mut calls = 0;
    let reply = move |_: &BatchCall, _: Tick| {
        calls += 1;
        match calls {
            1 => answer(
                200,
                r#"{"status":"COMPLETE","errors":[{"category":"CONFLICT","context":{"fromObjectId":["2"]}}]}"#,
            ),
            _ => answer(204, ""),
        }
    };
    let mut bench = Bench::new(policy(), vec![account()], reply);
    let soon = bench.now.wall + jiff::SignedDuration::from_millis(230);
    let job = bench.admit_to(AccountIndex(0), ("contacts", "companies"), &[pair(1, 7), pair(2, 7)], Some(soon));
    bench.run(Duration::from_secs(20));
    assert_eq!(
        bench.ends[&job].1,
        End::Settled { status: Status::Partial, failed: 1, attempts: 1 },
        "one archived, one expired"
    );
    assert_eq!(bench.sent.len(), 1, "what nobody asks for any more is not sent");
    assert_eq!(bench.engine.remains(), Remains::default());
}

#[test]
fn a_time_between_two_milliseconds_does_not_keep_the_engine_awake() {
    let mut bench = Bench::new(policy(), vec![account()], always(204, ""));
    let soon = bench.now.wall + jiff::SignedDuration::from_micros(500);
    bench.admit_to(AccountIndex(0), ("contacts", "companies"), &[pair(1, 2)], Some(soon));
    assert_eq!(bench.engine.next_wake(bench.now), Some(Tick::from_micros(500)));
    bench.run(Duration::from_secs(1));
    assert_eq!(bench.settled(Status::Expired), 1);
}

#[test]
fn the_times_of_jobs_that_have_left_are_forgotten() {
    let mut bench = Bench::new(policy(), vec![AccountPolicy { paused: true, ..account() }, account()], always(204, ""));
    let far = bench.now.wall + jiff::SignedDuration::from_hours(24 * 90);
    bench.admit_to(AccountIndex(0), ("contacts", "companies"), &[pair(1, 2)], None);
    for n in 1..=5_000u64 {
        bench.admit_to(AccountIndex(1), ("contacts", "companies"), &[pair(n, 2)], Some(far));
    }
    bench.run(Duration::from_secs(60));
    assert_eq!(bench.settled(Status::Archived), 5_000);
    assert_eq!(bench.engine.remains().times, 0);
}

#[test]
fn halving_reaches_the_size_that_fits_and_spends_no_attempt() {
    let reply = |call: &BatchCall, _: Tick| match call.pairs.len() > 3 {
        true => answer(413, ""),
        false => answer(204, ""),
    };
    let retry = RetryPolicy { max_attempts: 1, ..policy().retry };
    let mut bench = Bench::new(EnginePolicy { retry, ..policy() }, vec![account()], reply);
    let pairs: Vec<_> = (1..=100).map(|n| pair(n, 7)).collect();
    let job = bench.admit(("contacts", "companies"), &pairs);
    bench.run(Duration::from_secs(60));
    assert!(
        matches!(bench.ends[&job].1, End::Settled { status: Status::Archived, failed: 0, .. }),
        "{:?}",
        bench.ends[&job]
    );
}

/// Whatever a search of bad pairs may cost: there is none.
#[test]
fn a_limit_that_hubspot_names_is_kept_and_fails_nobody() {
    let body = r#"{"status":"error","category":"VALIDATION_ERROR","message":"The maximum number of inputs supported in a batch request is 3. Received 100."}"#;
    let reply = move |call: &BatchCall, _: Tick| match call.pairs.len() > 3 {
        true => answer(400, body),
        false => answer(204, ""),
    };
    let mut bench = Bench::new(EnginePolicy { isolation_requests: 10, ..policy() }, vec![account()], reply);
    let pairs: Vec<_> = (1..=100).map(|n| pair(n, 7)).collect();
    let job = bench.admit(("contacts", "companies"), &pairs);
    bench.run(Duration::from_secs(60));
    assert!(
        matches!(bench.ends[&job].1, End::Settled { status: Status::Archived, failed: 0, .. }),
        "{:?}",
        bench.ends[&job]
    );
}

#[test]
fn a_pause_of_one_account_leaves_room_for_another() {
    let waiting = Waiting::Outside { longest_hold: Duration::from_secs(490), prefetch: 8 };
    let accounts = vec![AccountPolicy { paused: true, ..account() }, AccountPolicy { daily: Some(1), ..account() }];
    let mut bench = Bench::new(EnginePolicy { waiting, ..policy() }, accounts, always(204, ""));
    for n in 1..=8u64 {
        bench.admit_to(AccountIndex(0), ("contacts", "companies"), &[pair(n, 7)], None);
    }
    bench.run(Duration::from_secs(1));
    assert_eq!(bench.engine.held_jobs(), 2, "a reserve finds out when the account goes on");
    bench.admit_to(AccountIndex(1), ("contacts", "companies"), &[pair(1, 7)], None);
    bench.run(Duration::from_secs(1));
    bench.admit_to(AccountIndex(1), ("contacts", "companies"), &[pair(2, 7)], None);
    bench.run(Duration::from_secs(1));
    assert_eq!(bench.engine.held_jobs(), 2, "a known end needs no reserve");
}

#[test]
fn retries_beyond_their_budget_do_not_keep_the_engine_awake() {
    let mut bench = Bench::new(policy(), vec![account()], always(423, ""));
    for n in 1..=40u64 {
        bench.admit(("contacts", &format!("2-{n}")), &[pair(1, 7)]);
    }
    while bench.now.tick < Tick::from_micros(30_000_000) {
        bench.run(Duration::from_millis(10));
        let next = bench.engine.next_wake(bench.now);
        assert!(next.is_none_or(|next| next > bench.now.tick), "what is due has been done");
    }
}

#[test]
fn a_token_is_renewed_within_the_cap_on_requests_in_flight() {
    let oauth = AccountPolicy { credentials: CredentialKind::OAuth, max_in_flight: 1, ..account() };
    let mut bench = Bench::new(policy(), vec![oauth], always(204, ""));
    let granted = || RefreshReply::Granted { expires_in: Duration::from_secs(1), portal: None };
    bench.refresh = vec![granted(), granted(), granted()];
    for n in 1..=1_000u64 {
        bench.admit(("contacts", "companies"), &[pair(n, 7)]);
    }
    bench.engine.wake(bench.now);
    let mut most = 0;
    for _ in 0..3_000 {
        bench.run(Duration::from_millis(1));
        most = most.max(bench.engine.in_flight());
    }
    assert_eq!(most, 1);
}

#[test]
fn without_a_broker_an_account_that_stays_refused_fails_its_jobs() {
    let in_hand = EnginePolicy { waiting: Waiting::InHand { give_up_after: Duration::from_secs(30) }, ..policy() };
    let mut bench = Bench::new(in_hand, vec![account()], always(401, "{}"));
    for n in 1..=500u64 {
        bench.admit(("contacts", "companies"), &[pair(n, 7)]);
    }
    bench.run(Duration::from_secs(29));
    assert!(bench.ends.is_empty());
    bench.run(Duration::from_secs(3));
    assert_eq!(bench.settled(Status::Failed), 500);
    let late = bench.admit(("contacts", "companies"), &[pair(501, 7)]);
    bench.run(Duration::from_secs(1));
    assert!(
        matches!(bench.ends[&late].1, End::Settled { status: Status::Failed, failed: 1, attempts: 0 }),
        "what comes later fails at once"
    );
}

#[test]
fn without_a_broker_what_only_a_person_can_end_is_given_up_and_other_waits_are_not() {
    let in_hand = EnginePolicy { waiting: Waiting::InHand { give_up_after: Duration::from_secs(30) }, ..policy() };
    let distrusted = Reply::Silence(Silence::Tls("the certificate has expired".to_owned()));
    let paused = AccountPolicy { paused: true, ..account() };
    for (account, reply, case) in [
        (paused, answer(204, ""), "paused = true"),
        (account(), answer(404, "<html>"), "404"),
        (account(), answer(301, ""), "a redirect"),
        (account(), distrusted, "an untrusted certificate"),
    ] {
        let mut bench = Bench::new(in_hand.clone(), vec![account], move |_: &BatchCall, _: Tick| reply.clone());
        bench.admit(("contacts", "companies"), &[pair(1, 7)]);
        bench.run(Duration::from_secs(25));
        assert!(bench.ends.is_empty(), "{case}");
        bench.run(Duration::from_secs(60));
        assert_eq!(bench.settled(Status::Failed), 1, "{case}");
    }
    let mut bench = Bench::new(in_hand, vec![account()], always(503, ""));
    bench.admit(("contacts", "companies"), &[pair(1, 7)]);
    bench.run(Duration::from_secs(3_600));
    assert!(bench.ends.is_empty(), "an outage may end by itself");
    bench.run(Duration::from_secs(24 * 3_600));
    assert_eq!(bench.settled(Status::Failed), 1, "but not after a day");
}
