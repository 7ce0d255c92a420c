//! The guard in the engine: what it stops, and what a person's word makes of that.

use super::*;
use crate::contract::refusal::WorkerCategory;
use crate::engine::Occasion;
use crate::engine::guard::GuardPolicy;
use crate::engine::status::Status as EngineStatus;
use crate::lease::Inheritance;
use crate::lease::reach::Reach;

/// The accounts of the one lease.
const ALL: &[AccountIndex] = &[AccountIndex(0)];
const CONTACTS: (&str, &str) = ("contacts", "companies");

fn guarded(max_pairs: u64) -> AccountPolicy {
    let window = Duration::from_secs(1_800);
    AccountPolicy { guard: Some(GuardPolicy { max_pairs: max_pairs.try_into().unwrap(), window }), ..account() }
}

fn bench(max_pairs: u64) -> Bench {
    Bench::new(policy(), vec![guarded(max_pairs)], always(204, ""))
}

fn sent_pairs(bench: &Bench) -> usize {
    bench.sent.iter().map(|(_, call)| call.pairs.len()).sum()
}

fn guard_detail(bench: &Bench) -> String {
    let EngineStatus { accounts, .. } = bench.engine.status(bench.now);
    accounts[0].pause.as_ref().map(|pause| pause.detail.clone()).unwrap_or_default()
}

#[test]
fn the_account_pauses_before_one_pair_too_many_leaves_and_goes_on_when_that_is_approved() {
    let mut bench = bench(50);
    let jobs: Vec<JobKey> = (1..=80).map(|n| bench.admit(CONTACTS, &[pair(n, 7)])).collect();
    bench.run(Duration::from_secs(5));
    assert_eq!(sent_pairs(&bench), 50);
    assert!(bench.paused(PauseKind::Guard));
    assert_eq!(guard_detail(&bench), "50 pairs in the last 30m; safety.max_pairs is 50");
    assert_eq!(bench.settled(Status::Archived), 50);
    let behind: Vec<JobKey> = bench.engine.behind_guards(bench.now).map(|(_, job)| job).collect();
    assert_eq!(behind.len(), bench.engine.held_jobs());
    assert!(behind.iter().all(|job| jobs[50..].contains(job)), "those whose pairs have not left");

    bench.run(Duration::from_secs(4_000));
    assert_eq!(sent_pairs(&bench), 50, "time alone does not open it");
    let parked = std::mem::take(&mut bench.parked);
    assert_eq!(bench.settled(Status::Archived) + parked.len() + bench.engine.held_jobs(), jobs.len());
    assert!(bench.engine.approve(AccountIndex(0), bench.now));
    assert_eq!(bench.engine.behind_guards(bench.now).count(), 0);
    bench.run(Duration::from_secs(5));
    assert_eq!(bench.settled(Status::Archived) + parked.len(), jobs.len());

    // A whole window from the approval on is open, and then pairs are counted anew.
    for n in 100..300 {
        bench.admit(CONTACTS, &[pair(n, 7)]);
    }
    bench.run(Duration::from_secs(1_800));
    let approved = sent_pairs(&bench);
    for n in 300..400 {
        bench.admit(CONTACTS, &[pair(n, 7)]);
    }
    bench.run(Duration::from_secs(60));
    assert_eq!(sent_pairs(&bench), approved + 50);
}

/// Requests that failed wait to go again when the account stops, and most of their jobs are parked.
#[test]
fn pairs_in_hand_are_those_of_the_jobs_in_hand() {
    let mut bench = Bench::new(policy(), vec![guarded(1_000)], always(503, ""));
    for n in 1..=600 {
        bench.admit(CONTACTS, &[pair(n, 7)]);
    }
    bench.run(Duration::from_secs(5));
    assert!(bench.sent.len() > 1, "nothing has failed");
    bench.engine.pause(AccountIndex(0), bench.now);
    bench.run(Duration::from_secs(300));
    let EngineStatus { held, accounts, .. } = bench.engine.status(bench.now);
    assert!(!bench.parked.is_empty() && held.jobs > 0, "{held:?}");
    assert_eq!((held.pairs, accounts[0].held_pairs), (held.jobs, held.jobs));
}

#[test]
fn a_pair_that_goes_again_counts_once() {
    let mut answers = [503, 429, 400, 204].into_iter().cycle();
    let mut bench = Bench::new(policy(), vec![guarded(20)], move |_, _| answer(answers.next().unwrap_or(204), ""));
    for n in 1..=20 {
        bench.admit(CONTACTS, &[pair(n, 7)]);
    }
    bench.run(Duration::from_secs(120));
    assert!(bench.sent.len() > 4, "{}", bench.sent.len());
    assert!(!bench.paused(PauseKind::Guard));
    bench.admit(CONTACTS, &[pair(1, 7)]);
    // One answer in four was a 429, so requests leave slowly by now.
    bench.run(Duration::from_secs(60));
    assert!(bench.paused(PauseKind::Guard), "a new job is a new request for the pair");
}

#[test]
fn another_pause_neither_hides_the_guard_nor_opens_it() {
    let mut bench = bench(1);
    for n in 1..=2 {
        bench.admit(CONTACTS, &[pair(n, 7)]);
    }
    bench.run(Duration::from_secs(5));
    let kind = |bench: &Bench| bench.engine.status(bench.now).accounts[0].pause.as_ref().map(|pause| pause.kind);
    assert_eq!(kind(&bench), Some(PauseKind::Guard));
    bench.engine.resume(AccountIndex(0), bench.now);
    assert_eq!(kind(&bench), Some(PauseKind::Guard), "only approve or reject answers it");
    bench.engine.pause(AccountIndex(0), bench.now);
    assert_eq!(kind(&bench), Some(PauseKind::Operator));
    bench.engine.resume(AccountIndex(0), bench.now);
    assert_eq!(kind(&bench), Some(PauseKind::Guard));
    bench.engine.pause(AccountIndex(0), bench.now);
    bench.engine.approve(AccountIndex(0), bench.now);
    assert_eq!(kind(&bench), Some(PauseKind::Operator), "that pause is not the guard's");
    bench.engine.resume(AccountIndex(0), bench.now);
    bench.run(Duration::from_secs(5));
    assert_eq!(sent_pairs(&bench), 2);
}

#[test]
fn what_waits_and_what_comes_is_rejected_until_it_is_approved() {
    let mut bench = bench(100);
    // More than a request holds, so the first hundred records are on the wire when the word comes.
    let large: Vec<Pair> = (1..=150).map(|n| pair(n, 7)).collect();
    let large = bench.admit(CONTACTS, &large);
    let waiting = bench.admit(CONTACTS, &[pair(1_000, 7)]);
    bench.run(Duration::from_millis(210));
    assert_eq!(sent_pairs(&bench), 100);
    assert!(bench.engine.reject(AccountIndex(0), bench.now));
    let late = bench.admit(CONTACTS, &[pair(1_001, 7)]);
    bench.run(Duration::from_secs(5));
    let end = |bench: &Bench, job| match &bench.ends[&job].1 {
        End::Settled { status, failed, .. } => (*status, *failed),
        other @ (End::Parked { .. } | End::HandedBack) => panic!("{other:?}"),
    };
    assert_eq!(end(&bench, large), (Status::Partial, 50), "what was on the wire is archived, and said to be");
    assert_eq!(end(&bench, waiting), (Status::Failed, 1));
    assert_eq!(end(&bench, late), (Status::Failed, 1));
    assert!(bench.engine.status(bench.now).accounts[0].pause.is_none(), "nothing stands still any more");
    assert_eq!(sent_pairs(&bench), 100);

    bench.engine.approve(AccountIndex(0), bench.now);
    let after = bench.admit(CONTACTS, &[pair(1_002, 7)]);
    bench.run(Duration::from_secs(5));
    assert_eq!(end(&bench, after), (Status::Archived, 0));
}

#[test]
fn a_rejected_job_says_so_and_has_a_copy_in_the_dead_letters() {
    let mut engine = Engine::new(policy(), vec![guarded(1)], 1, bench(1).now);
    let now = bench(1).now;
    engine.reject(AccountIndex(0), now);
    let job = crate::engine::status::tests::job(0, "contacts", "companies", Extent::Whole, 1);
    engine.admit(job, now);
    let commands: Vec<Command> = std::iter::from_fn(|| engine.next_command()).collect();
    let [Command::Settle(settled)] = &commands[..] else { panic!("{commands:?}") };
    let Ending::Settled { num_pairs: 1, errors } = &settled.ending else { panic!("{settled:?}") };
    let category = |refusal: &crate::contract::refusal::Refusal| refusal.source.category().to_owned();
    assert_eq!(category(&errors[0].refusal), WorkerCategory::GuardRejected.as_str());
    assert_eq!(category(settled.dead_letter.as_ref().unwrap()), "GUARD_REJECTED");
}

#[test]
fn without_a_guard_there_is_nothing_to_answer() {
    let mut engine = Engine::new(policy(), vec![account()], 1, bench(1).now);
    for index in [0, 7].map(AccountIndex) {
        assert!(!engine.approve(index, bench(1).now) && !engine.reject(index, bench(1).now));
    }
}

#[test]
fn another_worker_takes_over_the_count_and_the_word() {
    let reach = |now| Reach::new(now, Duration::from_secs(100_000));
    let take_over = |memory, now| {
        let mut bench = bench(50);
        bench.now = now;
        bench.engine.stand_by(ALL, now);
        bench.engine.inherit(ALL, &Inheritance::Told(memory), now);
        bench.engine.hold(ALL, reach(now), now);
        bench
    };
    let mut first = take_over(crate::lease::memory::Memory::default(), bench(50).now);
    for n in 1..=30 {
        first.admit(CONTACTS, &[pair(n, 7)]);
    }
    // The keeper writes what the engine says, and tells it so.
    for _ in 0..10 {
        first.run(Duration::from_millis(100));
        let memory = first.engine.memory(ALL, Occasion::Renewal, first.now);
        first.engine.written(ALL, &memory, first.now);
        first.obey();
    }
    first.run(Duration::from_secs(1));
    assert_eq!(sent_pairs(&first), 30);

    // Killed: the last memory written counts a twentieth of the limit ahead.
    let mut second = take_over(first.engine.memory(ALL, Occasion::Renewal, first.now), first.now);
    for n in 101..=140 {
        second.admit(CONTACTS, &[pair(n, 7)]);
    }
    for _ in 0..30 {
        second.run(Duration::from_millis(100));
        let memory = second.engine.memory(ALL, Occasion::Renewal, second.now);
        second.engine.written(ALL, &memory, second.now);
        second.obey();
    }
    assert_eq!(sent_pairs(&second), 18, "50 less 30 less the 2 that were counted ahead");
    assert!(second.paused(PauseKind::Guard));

    let third = take_over(second.engine.memory(ALL, Occasion::Release, second.now), second.now);
    let pause = third.engine.status(third.now).accounts[0].pause.clone().unwrap();
    assert_eq!(
        (pause.kind, pause.detail.as_str()),
        (PauseKind::Guard, "50 pairs in the last 30m; safety.max_pairs is 50")
    );
    let stopped = second.engine.status(second.now).accounts[0].pause.clone().unwrap().since;
    let mut later = second.now;
    later.wall += Duration::from_secs(90_000);
    let third = take_over(second.engine.memory(ALL, Occasion::Release, second.now), later);
    let account = third.engine.status(later).accounts[0].clone();
    assert_eq!(account.pause.unwrap().since, stopped, "it was stopped then, and not when it was taken over");
    assert_eq!(account.guard.unwrap().since, Some(stopped));
    second.engine.reject(AccountIndex(0), second.now);
    let mut third = take_over(second.engine.memory(ALL, Occasion::Release, second.now), second.now);
    third.admit(CONTACTS, &[pair(500, 7)]);
    third.run(Duration::from_secs(1));
    assert_eq!((third.settled(Status::Failed), sent_pairs(&third)), (1, 0));
}
