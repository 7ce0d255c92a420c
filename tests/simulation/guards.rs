//! Accounts with a guard, and operators who answer it one way or the other after a while.

use std::collections::VecDeque;
use std::time::Duration;

use association_archiver::contract::association::Pair;
use association_archiver::contract::ids::AccountIndex;
use association_archiver::engine::account::AccountPolicy;
use association_archiver::engine::command::{BatchCall, LaneId, Request};
use association_archiver::engine::guard::GuardPolicy;
use fastrand::Rng;
use hashbrown::HashSet;

use crate::agenda::Happening;
use crate::outside::Outside;
use crate::promises::{Broken, Kept, promise};
use crate::scenario::{Scenario, choose};
use crate::seeds::attempt;

/// Scenarios that are tried with guards.
const SEEDS: u64 = 60;

/// An operator answers within this time.
const LONGEST_THOUGHT: Duration = Duration::from_secs(600);

/// What an operator answers a guard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    Approve,
    Reject,
}

/// What was sent for each account in one life of the process.
#[derive(Debug)]
pub struct Guards {
    accounts: Vec<OfAccount>,
}

#[derive(Clone, Default, Debug)]
struct OfAccount {
    policy: Option<GuardPolicy>,
    sent: HashSet<(LaneId, Pair)>,
    /// When pairs were sent for the first time, each pair once.
    first: VecDeque<Duration>,
    approved_until: Duration,
    rejected: bool,
}

impl Guards {
    pub fn new<'p>(accounts: impl Iterator<Item = &'p AccountPolicy>) -> Self {
        Self { accounts: accounts.map(|of| OfAccount { policy: of.guard, ..OfAccount::default() }).collect() }
    }

    pub fn sent(&mut self, call: &BatchCall, now: Duration) -> Kept {
        let account = &mut self.accounts[call.lane.account.0 as usize];
        let Some(GuardPolicy { max_pairs, window }) = account.policy else { return Ok(()) };
        match call.request {
            Request::Archive | Request::ArchiveTurned | Request::ArchiveLabels => {}
            Request::Look { .. } | Request::Associate | Request::Create { .. } => return Ok(()),
        }
        promise!(!account.rejected, "a request for an account that an operator has rejected");
        for &pair in call.pairs.iter() {
            if account.sent.insert((call.lane.clone(), pair)) && now >= account.approved_until {
                account.first.push_back(now);
            }
        }
        while account.first.front().is_some_and(|&first| first + window <= now) {
            account.first.pop_front();
        }
        let pairs = account.first.len() as u64;
        promise!(pairs <= max_pairs.get(), "{pairs} pairs within {window:?}, without a word; {max_pairs} are allowed");
        Ok(())
    }

    pub fn answered(&mut self, account: AccountIndex, answer: Answer, now: Duration) {
        let account = &mut self.accounts[account.0 as usize];
        let Some(GuardPolicy { window, .. }) = account.policy else { return };
        account.rejected = answer == Answer::Reject;
        if answer == Answer::Approve {
            account.approved_until = now + window;
            account.first.clear();
        }
    }
}

/// A guard has stopped an account: an operator looks, and says something.
pub fn expect_answer(account: AccountIndex, out: &mut Outside<'_>) {
    out.verity.stops += 1;
    for (wait, answer) in answers(&mut out.rng) {
        out.after(wait, Happening::GuardAnswered { account, answer });
    }
}

/// What an operator says, and after which time. Who rejects approves after another while.
pub fn answers(rng: &mut Rng) -> Vec<(Duration, Answer)> {
    let thought = LONGEST_THOUGHT.mul_f64(rng.f64());
    if rng.u8(..) >= 80 {
        return vec![(thought, Answer::Approve)];
    }
    vec![(thought, Answer::Reject), (thought + LONGEST_THOUGHT.mul_f64(rng.f64()), Answer::Approve)]
}

/// The scenario of a seed, with a guard for some of its accounts that stops them a few times.
fn guarded(seed: u64) -> Scenario {
    let mut scenario = Scenario::of(seed);
    let mut rng = Rng::with_seed(seed ^ 0x6a4d);
    for index in 0..scenario.portals.len() {
        let jobs = scenario.jobs.iter().filter(|job| job.account as usize == index);
        let pairs = jobs.flat_map(|job| &job.asks).map(|ask| ask.pairs.len() as u64).sum::<u64>();
        let max_pairs = (pairs / *choose(&mut rng, &[2, 4, 10])).max(1).try_into();
        let window = Duration::from_secs(*choose(&mut rng, &[10, 300, 3_600]));
        if rng.u8(0..4) > 0 {
            scenario.portals[index].policy.guard = max_pairs.ok().map(|max_pairs| GuardPolicy { max_pairs, window });
        }
    }
    // Each stop takes its time, and where a window is short there are many.
    scenario.ends_by *= 4;
    scenario
}

#[test]
fn no_guard_is_passed_and_no_job_lost_whoever_answers_what() {
    let (mut told, mut stops) = (Vec::new(), 0);
    for seed in 0..std::env::var("SEEDS").map_or(SEEDS, |seeds| seeds.parse().unwrap()) {
        match attempt(&guarded(seed)) {
            Ok(summary) => stops += summary.stops,
            Err(Broken(what)) => told.push(format!("seed {seed} {what}")),
        }
    }
    assert!(told.is_empty(), "{}", told.join("\n"));
    assert!(stops > SEEDS, "only {stops} stops");
}
