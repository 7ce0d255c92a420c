//! Folding: pairs are sent from either side, and what was sent from the other one counts when it is proven.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use super::*;
use crate::contract::object_type::TypePair;
use crate::engine::folding::tests::{fewest, zipf_pairs};
use crate::engine::pack::Caps;

const TYPES: (&str, &str) = ("contacts", "companies");

fn folding() -> EnginePolicy {
    let object_type = |name| ObjectType::parse(name).unwrap();
    let types = TypePair::new(object_type("companies"), object_type("contacts")).unwrap();
    EnginePolicy { fold: [types].into(), ..policy() }
}

/// What a test can make of a removal from the other side.
type Refuse = Box<dyn FnMut(&BatchCall) -> Option<Reply>>;

/// A HubSpot whose associations can be seen, and removed, from their `from` alone where it is not two-way.
struct Portal {
    there: BTreeSet<Pair>,
    two_way: bool,
    lag: Duration,
    /// Removed pairs that reads still show until then.
    shown: BTreeMap<Pair, Tick>,
    refuse: Refuse,
}

impl Portal {
    fn of(pairs: &[Pair], two_way: bool) -> Self {
        let there = pairs.iter().copied().collect();
        Self { there, two_way, lag: Duration::ZERO, shown: BTreeMap::new(), refuse: Box::new(|_| None) }
    }

    fn reply(&mut self, call: &BatchCall, now: Tick) -> Reply {
        if let Some(reply) = (self.refuse)(call) {
            return reply;
        }
        match &call.request {
            Request::ArchiveTurned if !self.two_way => answer(204, ""),
            Request::Archive | Request::ArchiveTurned => {
                for pair in call.pairs.iter().filter(|pair| self.there.remove(pair)) {
                    self.shown.insert(*pair, now + self.lag);
                }
                answer(204, "")
            }
            Request::Look { reversed, .. } => {
                let lagging = self.shown.iter().filter(|(_, until)| now < **until).map(|(pair, _)| *pair);
                let seen = self.there.iter().copied().chain(lagging).filter(|_| self.two_way || !*reversed);
                let shelf = seen.map(|pair| ((pair.from.0.get(), pair.to.0.get()), vec![279])).collect();
                super::looks::serve(&shelf, call)
            }
            Request::ArchiveLabels | Request::Associate | Request::Create { .. } => panic!("{call:?}"),
        }
    }
}

fn bench_of(portal: Portal, safety: Safety) -> (Bench, Rc<RefCell<Portal>>) {
    let portal = Rc::new(RefCell::new(portal));
    let shared = Rc::clone(&portal);
    let accounts = vec![AccountPolicy { safety, ..account() }];
    (Bench::new(folding(), accounts, move |call, now| shared.borrow_mut().reply(call, now)), portal)
}

const UNSAFE: Safety = Safety { journal: false, verify: false };

impl Bench {
    /// A job for each pair.
    fn admit_each(&mut self, pairs: &[Pair]) {
        for &pair in pairs {
            self.admit(TYPES, &[pair]);
        }
    }

    fn sent_as(&self, is: impl Fn(&Request) -> bool) -> usize {
        self.sent.iter().filter(|(_, call)| is(&call.request)).count()
    }

    fn turned(&self) -> usize {
        self.sent_as(|request| *request == Request::ArchiveTurned)
    }

    fn straight(&self) -> usize {
        self.sent_as(|request| *request == Request::Archive)
    }

    fn unfolded(&self) -> Vec<usize> {
        let of = |notice: &Notice| if let Notice::Unfolded { pairs, .. } = notice { Some(*pairs) } else { None };
        self.notices.iter().filter_map(of).collect()
    }
}

fn refused(context: &str) -> Reply {
    let words = r#""status":"error","category":"VALIDATION_ERROR","message":"no""#;
    answer(400, &format!("{{{words},\"context\":{context}}}"))
}

fn of_one_company(contacts: std::ops::RangeInclusive<u64>) -> Vec<Pair> {
    contacts.map(|contact| pair(contact, 7)).collect()
}

#[test]
fn ten_thousand_contacts_of_one_company_are_eleven_requests() {
    let pairs = of_one_company(1..=10_000);
    let (mut bench, portal) = bench_of(Portal::of(&pairs, true), UNSAFE);
    let jobs: Vec<JobKey> = pairs.chunks(10).map(|pairs| bench.admit(TYPES, pairs)).collect();
    bench.run(Duration::from_secs(60));
    assert_eq!((bench.turned(), bench.sent.len()), (10, 11), "ten archives and the reading that proves them");
    assert!(portal.borrow().there.is_empty());
    assert!(jobs.iter().all(|job| bench.ends[job].1 == End::archived(1) || bench.ends[job].1 == End::archived(2)));
    assert!(bench.verified.values().all(|verified| !verified), "a few pairs were read for all");
    assert_eq!(bench.engine.counters().pairs_archived, 10_000);
    assert_eq!(bench.engine.remains(), Remains::default());

    let mut plain = Bench::new(policy(), vec![account()], always(204, ""));
    plain.admit(TYPES, &pairs);
    plain.run(Duration::from_secs(60));
    assert_eq!(plain.sent.len(), 100);
}

#[test]
fn zipf_distributed_companies_cost_hardly_more_than_the_fewest() {
    let pairs = zipf_pairs(7, u64::MAX, 5_000, 1.0);
    let (mut bench, portal) = bench_of(Portal::of(&pairs, true), UNSAFE);
    bench.admit_each(&pairs);
    bench.run(Duration::from_secs(120));
    assert!(portal.borrow().there.is_empty());
    assert_eq!(bench.settled(Status::Archived), 20_000);
    let (spent, bound) = (bench.sent.len(), fewest(&pairs, policy().caps));
    println!("{spent} requests with their readings, {bound} at best");
    assert!(spent * 10 <= bound * 11, "{spent} requests, {bound} at best");
}

#[test]
fn where_removals_from_the_other_side_do_nothing_nobody_is_told_otherwise() {
    for safety in [UNSAFE, Safety { journal: true, verify: false }, Safety { journal: false, verify: true }] {
        let pairs = of_one_company(1..=3_000);
        let (mut bench, portal) = bench_of(Portal::of(&pairs, false), safety);
        let mut jobs: Vec<(JobKey, Pair)> = pairs.iter().map(|&pair| (bench.admit(TYPES, &[pair]), pair)).collect();
        for _ in 0..600 {
            bench.run(Duration::from_millis(100));
            let there = &portal.borrow().there;
            jobs.retain(|(job, _)| !bench.ends.contains_key(job) || bench.ends[job].1 != End::HandedBack);
            let told = jobs.iter().filter(|(job, _)| bench.ends.contains_key(job));
            assert!(told.into_iter().all(|(_, pair)| !there.contains(pair)), "what is told is so");
        }
        assert!(portal.borrow().there.is_empty());
        assert_eq!(bench.settled(Status::Archived), 3_000);
        assert!(bench.turned() > 0, "it was tried");
        assert_eq!(bench.unfolded().len(), 1, "and is said once");
        assert_eq!(bench.engine.counters().pairs_archived, 3_000, "each pair counts once");
        assert_eq!(
            bench.verified.values().filter(|verified| **verified).count(),
            if safety.verify { 3_000 } else { 0 }
        );
        assert_eq!(bench.journaled.values().filter(|on| **on).count(), if safety.journal { 3_000 } else { 0 });

        let before = bench.turned();
        bench.admit_each(&pairs);
        bench.run(Duration::from_secs(120));
        assert_eq!(bench.turned(), before, "it is not tried again");
        assert_eq!(bench.settled(Status::Archived), 6_000);
        assert_eq!(bench.engine.remains(), Remains::default());
    }
}

#[test]
fn readings_that_lag_hold_folding_up_and_do_not_end_it() {
    let pairs = of_one_company(1..=20_000);
    let portal = Portal { lag: Duration::from_secs(4), ..Portal::of(&pairs, true) };
    let (mut bench, portal) = bench_of(portal, UNSAFE);
    for pairs in pairs.chunks(1_000) {
        bench.admit_each(pairs);
        bench.run(Duration::from_secs(10));
    }
    bench.run(Duration::from_secs(60));
    assert!(portal.borrow().there.is_empty());
    assert_eq!(bench.settled(Status::Archived), 20_000);
    assert!(bench.unfolded().is_empty(), "{:?}", bench.notices);
    assert!(bench.turned() > 5);
}

#[test]
fn a_refusal_that_names_no_contact_sends_the_group_from_the_contacts_side() {
    let pairs = of_one_company(1..=300);
    let bad = pair(250, 7);
    let mut portal = Portal::of(&pairs, true);
    portal.refuse = Box::new(move |call| {
        let is_look = matches!(call.request, Request::Look { .. });
        let context = match call.request == Request::ArchiveTurned {
            true => r#"{"fromObjectId":["7"]}"#,
            false => "{}",
        };
        (!is_look && call.pairs.contains(&bad)).then(|| refused(context))
    });
    let (mut bench, portal) = bench_of(portal, UNSAFE);
    let jobs: Vec<JobKey> = pairs.iter().map(|&pair| bench.admit(TYPES, &[pair])).collect();
    bench.run(Duration::from_secs(60));
    assert_eq!(bench.turned(), 1, "nothing is searched from the other side");
    assert_eq!(portal.borrow().there, [bad].into());
    for (job, &pair) in jobs.iter().zip(&pairs) {
        let Ending::Settled { errors, .. } = &bench.endings[job] else { panic!() };
        assert_eq!(errors.len(), usize::from(pair == bad));
        assert!(errors.iter().all(|error| error.pair() == Some(bad)), "in the job's direction");
    }
}

#[test]
fn a_refusal_that_names_contacts_takes_only_these_out() {
    let pairs = of_one_company(1..=300);
    let bad = pair(250, 7);
    let mut portal = Portal::of(&pairs, true);
    portal.refuse = Box::new(move |call| {
        let is_look = matches!(call.request, Request::Look { .. });
        let context = match call.request == Request::ArchiveTurned {
            true => r#"{"fromObjectId":["7"],"toObjectId":["250"]}"#,
            false => r#"{"fromObjectId":["250"]}"#,
        };
        (!is_look && call.pairs.contains(&bad)).then(|| refused(context))
    });
    let (mut bench, portal) = bench_of(portal, UNSAFE);
    bench.admit_each(&pairs);
    bench.run(Duration::from_secs(60));
    assert_eq!((bench.turned(), bench.straight()), (2, 1));
    assert_eq!(portal.borrow().there, [bad].into());
    assert_eq!((bench.settled(Status::Archived), bench.settled(Status::Failed)), (299, 1));
}

#[test]
fn what_fails_for_a_passing_reason_goes_from_its_own_side_in_the_end() {
    let pairs = of_one_company(1..=300);
    let stuck = pair(250, 7);
    let mut portal = Portal::of(&pairs, true);
    portal.refuse = Box::new(move |call| {
        let is_look = matches!(call.request, Request::Look { .. });
        (!is_look && call.pairs.contains(&stuck)).then(|| answer(500, ""))
    });
    let (mut bench, portal) = bench_of(portal, UNSAFE);
    bench.admit_each(&pairs);
    bench.run(Duration::from_secs(300));
    assert_eq!(bench.turned(), 3);
    assert_eq!(portal.borrow().there, [stuck].into(), "no pair suffers for its neighbour");
    assert_eq!(bench.settled(Status::Archived), 299);
}

#[test]
fn where_nothing_can_be_read_back_nothing_is_folded() {
    for (status, body) in [(403, ""), (400, r#"{"status":"error","category":"VALIDATION_ERROR","message":"no"}"#)] {
        let pairs = of_one_company(1..=300);
        let mut portal = Portal::of(&pairs, false);
        portal.refuse =
            Box::new(move |call| matches!(call.request, Request::Look { .. }).then(|| answer(status, body)));
        let (mut bench, portal) = bench_of(portal, UNSAFE);
        bench.admit_each(&pairs);
        bench.run(Duration::from_secs(120));
        assert!(portal.borrow().there.is_empty());
        assert_eq!(bench.settled(Status::Archived), 300);
        assert_eq!(bench.unfolded().len(), 1);
    }
}

#[test]
fn a_lane_is_not_paused_for_what_only_its_other_side_is_refused() {
    let pairs = of_one_company(1..=300);
    let mut portal = Portal::of(&pairs, true);
    portal.refuse = Box::new(|call| (call.request == Request::ArchiveTurned).then(|| answer(403, "")));
    let (mut bench, portal) = bench_of(portal, UNSAFE);
    bench.admit_each(&pairs);
    bench.run(Duration::from_secs(60));
    assert!(portal.borrow().there.is_empty());
    assert_eq!((bench.turned(), bench.unfolded().len()), (1, 1));
    assert!(!bench.paused(PauseKind::Forbidden));
}

#[test]
fn a_job_that_ends_before_its_proof_is_not_told_that_its_pair_is_gone() {
    let pairs = of_one_company(1..=300);
    let (mut bench, _) = bench_of(Portal::of(&pairs, false), UNSAFE);
    let not_after = Some(bench.now.wall + Duration::from_secs(5));
    let jobs: Vec<JobKey> =
        pairs.iter().map(|&pair| bench.admit_to(AccountIndex(0), TYPES, &[pair], not_after)).collect();
    bench.run(Duration::from_secs(60));
    for job in jobs {
        let Ending::Settled { num_pairs: 1, errors } = &bench.endings[&job] else {
            panic!("{:?}", bench.endings[&job])
        };
        assert_eq!(errors[0].refusal.source.category(), "EXPIRED");
        assert!(errors[0].refusal.message.contains("may have changed the pair"), "{}", errors[0].refusal.message);
    }
    assert_eq!(bench.engine.remains(), Remains::default());
}

#[test]
fn others_are_read_where_the_jobs_of_samples_have_left() {
    let pairs = of_one_company(1..=300);
    let (mut bench, portal) = bench_of(Portal::of(&pairs, true), UNSAFE);
    let jobs: Vec<JobKey> = pairs.iter().map(|&pair| bench.admit(TYPES, &[pair])).collect();
    bench.run(Duration::from_secs(1));
    assert_eq!(bench.turned(), 1);
    for job in jobs.iter().step_by(30) {
        bench.engine.forget(*job, bench.now);
    }
    bench.obey();
    bench.run(Duration::from_secs(60));
    assert_eq!(bench.settled(Status::Archived), 290);
    assert!(portal.borrow().there.is_empty());
    assert_eq!(bench.engine.remains(), Remains::default());
}

#[test]
fn other_types_and_labels_are_never_turned() {
    let pairs = of_one_company(1..=300);
    let (mut bench, _) = bench_of(Portal::of(&[], true), UNSAFE);
    bench.reply = Box::new(always(204, ""));
    bench.admit(("deals", "companies"), &pairs);
    bench.admit_asks(Action::Archive, false, &[(super::looks::labels(&[7]), &pairs)]);
    bench.run(Duration::from_secs(20));
    assert_eq!((bench.turned(), bench.settled(Status::Archived)), (0, 2));
    let contacts = || ObjectType::parse("contacts").unwrap();
    assert_eq!(TypePair::new(contacts(), ObjectType::parse("0-1").unwrap()), None, "a type with itself");
}

/// A portal with bad contacts and passing troubles, and the jobs that came to it.
struct Trouble {
    rng: fastrand::Rng,
    bad: BTreeSet<u64>,
    names: bool,
    share: f64,
}

const CALM_FROM: Duration = Duration::from_secs(120);

impl Trouble {
    fn of(rng: &mut fastrand::Rng) -> Self {
        let bad = (0..rng.u64(..3)).map(|_| rng.u64(1..=30)).collect();
        Self { bad, names: rng.bool(), share: [0.0, 0.1, 0.3][rng.usize(..3)], rng: rng.fork() }
    }

    fn reply(&mut self, call: &BatchCall, now: Tick) -> Option<Reply> {
        if now < Tick::ZERO + CALM_FROM && self.rng.f64() < self.share {
            return Some(match self.rng.u8(..5) {
                0 => answer(500, ""),
                1 => answer(429, r#"{"policyName":"TEN_SECONDLY_ROLLING"}"#),
                2 => answer(409, r#"{"category":"CONFLICT"}"#),
                3 => Reply::Silence(Silence::Reset),
                _ => Reply::Silence(Silence::Refused("away".to_owned())),
            });
        }
        if matches!(call.request, Request::Look { .. }) {
            return None;
        }
        let bad = call.pairs.iter().find(|pair| self.bad.contains(&pair.from.0.get()))?;
        let (contact, company) = (bad.from, bad.to);
        let context = match (self.names, call.request == Request::ArchiveTurned) {
            (false, _) => "{}".to_owned(),
            (true, true) => format!(r#"{{"fromObjectId":["{company}"],"toObjectId":["{contact}"]}}"#),
            (true, false) => format!(r#"{{"fromObjectId":["{contact}"]}}"#),
        };
        Some(refused(&context))
    }
}

#[test]
fn whatever_goes_wrong_nobody_is_told_what_is_not_so() {
    let (mut turned, mut unfolded) = (0, 0);
    for seed in 0..150 {
        let run = Random::of(seed);
        let (bench, portal) = run.into_end();
        turned += bench.turned();
        unfolded += bench.unfolded().len();
        assert!(bench.unfolded().is_empty() || !portal.borrow().two_way, "seed {seed}: folding ends, but it works");
    }
    assert!(turned > 100 && unfolded > 20, "{turned} requests were turned, folding has ended {unfolded} times");
}

/// Jobs of a seed, and the portal that they come to.
struct Random {
    seed: u64,
    rng: fastrand::Rng,
    bench: Bench,
    portal: Rc<RefCell<Portal>>,
    bad: BTreeSet<u64>,
    caps: Caps,
    /// Pairs of the jobs in hand.
    held: BTreeMap<JobKey, Vec<Pair>>,
    /// Parked jobs, by when they come back.
    away: Vec<(Tick, Carried, Vec<Pair>)>,
}

impl Random {
    fn of(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let two_way = rng.bool();
        let all = (1..=30).flat_map(|contact| (1..=4).map(move |company| pair(contact, company)));
        let there: Vec<Pair> = all.filter(|_| rng.u8(..10) < 6).collect();
        let mut trouble = Trouble::of(&mut rng);
        let bad = trouble.bad.clone();
        let portal = Portal { lag: Duration::from_secs(rng.u64(..5)), ..Portal::of(&there, two_way) };
        let portal = Rc::new(RefCell::new(portal));
        let shared = Rc::clone(&portal);
        // Where it is not two-way, all pairs of a request are its witnesses: what becomes of others nobody could tell.
        let caps = Caps { from: rng.usize(1..4), pairs: if two_way { 30 } else { 10 } };
        let safety = [UNSAFE, UNSAFE, Safety { verify: true, ..UNSAFE }, Safety { journal: true, ..UNSAFE }];
        let accounts = vec![AccountPolicy { safety: safety[rng.usize(..4)], ..account() }];
        let policy = EnginePolicy { caps, ..folding() };
        let bench = Bench::new(policy, accounts, move |call, now| {
            trouble.reply(call, now).unwrap_or_else(|| shared.borrow_mut().reply(call, now))
        });
        Self { seed, rng, bench, portal, bad, caps, held: BTreeMap::new(), away: Vec::new() }
    }

    fn into_end(mut self) -> (Bench, Rc<RefCell<Portal>>) {
        for step in 0..3_000 {
            if step < 60 && self.rng.u8(..3) == 0 {
                self.produce();
            }
            if step < 100 && self.rng.u8(..20) == 0 {
                self.forget_one();
            }
            self.bench.run(Duration::from_millis(if step < 300 { 200 } else { 20_000 }));
            self.look_at_ends();
            if step > 100 && self.held.is_empty() && self.away.is_empty() {
                break;
            }
        }
        let seed = self.seed;
        assert!(self.held.is_empty() && self.away.is_empty(), "seed {seed}: {} jobs have no end", self.held.len());
        // What was asked again about witnesses whose jobs have left.
        self.bench.run(Duration::from_secs(30));
        assert_eq!(self.bench.engine.remains(), Remains::default(), "seed {seed}");
        self.every_request_has_one_side();
        (self.bench, self.portal)
    }

    fn produce(&mut self) {
        let company = self.rng.u64(1..=4);
        let mut pairs: BTreeSet<Pair> = BTreeSet::new();
        for _ in 0..self.rng.usize(1..=25) {
            let other = if self.rng.u8(..4) == 0 { self.rng.u64(1..=4) } else { company };
            pairs.insert(pair(self.rng.u64(1..=30), other));
        }
        let pairs: Vec<Pair> = pairs.into_iter().collect();
        let not_after = (self.rng.u8(..8) == 0).then(|| self.bench.now.wall + Duration::from_secs(self.rng.u64(1..9)));
        let key = self.bench.admit_to(AccountIndex(0), TYPES, &pairs, not_after);
        self.held.insert(key, pairs);
    }

    fn forget_one(&mut self) {
        let Some(key) = self.held.keys().nth(self.rng.usize(..self.held.len().max(1))).copied() else { return };
        self.bench.engine.forget(key, self.bench.now);
        self.bench.obey();
    }

    fn look_at_ends(&mut self) {
        let ended: Vec<JobKey> = self.held.keys().copied().filter(|key| self.bench.ends.contains_key(key)).collect();
        for key in ended {
            let pairs = self.held.remove(&key).unwrap();
            match &self.bench.ends[&key].1 {
                End::HandedBack => {}
                End::Parked { tier, .. } => {
                    let carried = self.bench.parked.iter().rfind(|parked| parked.job == key).unwrap().carried;
                    self.away.push((self.bench.now.tick + tier.wait(), carried, pairs));
                }
                End::Settled { .. } => self.is_true(&self.bench.endings[&key], &pairs),
            }
        }
        let now = self.bench.now.tick;
        for (_, carried, pairs) in self.away.extract_if(.., |(at, ..)| *at <= now).collect::<Vec<_>>() {
            let key = self.bench.engine.admit(new_job(TYPES, [whole(&pairs)], carried), self.bench.now);
            self.held.insert(key, pairs);
        }
    }

    fn is_true(&self, ending: &Ending, pairs: &[Pair]) {
        let (Ending::Settled { errors, .. } | Ending::Expired { errors }) = ending else { panic!("{ending:?}") };
        let failed: BTreeSet<Pair> = errors.iter().filter_map(|error| error.pair()).collect();
        for pair in pairs.iter().filter(|pair| !failed.contains(pair)) {
            assert!(!self.portal.borrow().there.contains(pair), "seed {}: {pair:?} is told to be gone", self.seed);
        }
        for error in errors {
            let is_bad = self.bad.contains(&error.from.0.get());
            let category = error.refusal.source.category();
            assert!(is_bad || category == "EXPIRED", "seed {}: {error:?}", self.seed);
        }
    }

    fn every_request_has_one_side(&self) {
        for (_, call) in &self.bench.sent {
            if matches!(call.request, Request::Look { .. }) {
                continue;
            }
            let is_turned = call.request == Request::ArchiveTurned;
            let record = |pair: &Pair| if is_turned { pair.to } else { pair.from };
            let records: BTreeSet<RecordId> = call.pairs.iter().map(record).collect();
            let within = records.len() <= self.caps.from && call.pairs.len() <= self.caps.pairs;
            assert!(within, "seed {}: {} records, {} pairs", self.seed, records.len(), call.pairs.len());
        }
    }
}
