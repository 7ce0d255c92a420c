//! Accounts with a guard, and operators who answer it one way or the other after a while.

use std::collections::VecDeque;
use std::time::Duration;

use association_archiver::contract::association::Pair;
use association_archiver::contract::ids::AccountIndex;
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
pub struct Guards<'s> {
    scenario: &'s Scenario,
    accounts: Vec<OfAccount>,
}

#[derive(Clone, Default, Debug)]
struct OfAccount {
    sent: HashSet<(LaneId, Pair)>,
    /// When pairs were sent for the first time, each pair once.
    first: VecDeque<Duration>,
    approved_until: Duration,
    rejected: bool,
}

impl<'s> Guards<'s> {
    pub fn new(scenario: &'s Scenario) -> Self {
        Self { scenario, accounts: vec![OfAccount::default(); scenario.portals.len()] }
    }

    pub fn sent(&mut self, call: &BatchCall, now: Duration) -> Kept {
        let index = call.lane.account.0 as usize;
        let Some(GuardPolicy { max_pairs, window }) = self.scenario.portals[index].policy.guard else { return Ok(()) };
        match call.request {
            Request::Archive | Request::ArchiveTurned | Request::ArchiveLabels => {}
            Request::Look { .. } | Request::Associate | Request::Create { .. } => return Ok(()),
        }
        let account = &mut self.accounts[index];
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
        let index = account.0 as usize;
        let Some(GuardPolicy { window, .. }) = self.scenario.portals[index].policy.guard else { return };
        let account = &mut self.accounts[index];
        account.rejected = answer == Answer::Reject;
        if answer == Answer::Approve {
            account.approved_until = now + window;
            account.first.clear();
        }
    }
}

/// A guard has stopped an account: an operator looks, and says something. Who rejects approves after another while.
pub fn expect_answer(account: AccountIndex, out: &mut Outside<'_>) {
    out.verity.stops += 1;
    let thought = out.some_time(LONGEST_THOUGHT);
    let answer = if out.rng.u8(..) < 80 { Answer::Reject } else { Answer::Approve };
    out.after(thought, Happening::GuardAnswered { account, answer });
    if answer == Answer::Reject {
        let second = thought + out.some_time(LONGEST_THOUGHT);
        out.after(second, Happening::GuardAnswered { account, answer: Answer::Approve });
    }
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
