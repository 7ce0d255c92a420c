//! The worker's loop between in-memory far ends, on a clock that stands still until everybody waits: every delivery
//! departs exactly once, in whatever order things happen.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use association_archiver::contract::ids::AccountIndex;
use association_archiver::contract::job::{JobLimits, JobProperties, parse};
use association_archiver::contract::outcome::Ending;
use association_archiver::engine::account::AccountPolicy;
use association_archiver::engine::answered::Answered;
use association_archiver::engine::clock::{Now, Tick};
use association_archiver::engine::command::{BatchCall, NewJob, Notice, Parked, Settled};
use association_archiver::engine::pace::Ceiling;
use association_archiver::engine::reply::{Answer, Body, Headers, Reply, Silence};
use association_archiver::engine::retry::RetryPolicy;
use association_archiver::engine::status::Status;
use association_archiver::engine::{Counters, Engine, EnginePolicy};
use association_archiver::shards::Generation;
use association_archiver::worker::lines;
use association_archiver::worker::policy_loop::{Ends, PolicyLoop};
use association_archiver::worker::seams::{
    Arrival, BatchReply, Clock, Departure, Errand, Instruction, Obeyed, Order, Question, Return, Target, Watcher,
};
use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

const LATENCY: Duration = Duration::from_secs(2);
/// In this much virtual time everything must have come to its end.
const END: Duration = Duration::from_secs(3_600);

#[tokio::test(start_paused = true)]
async fn thousands_of_jobs_depart_once_each_through_faults_and_odd_latencies() {
    let mut random = fastrand::Rng::with_seed(11);
    let mut bench = Bench::start(account(1_000), move |_| {
        let reply = match random.u8(..10) {
            0 => answer(502),
            1 => Reply::Silence(Silence::Reset),
            2 => Reply::Silence(Silence::TimedOut),
            _ => answer(204),
        };
        (Duration::from_millis(random.u64(0..4_000)), reply)
    });
    for first in (0..20_000).step_by(250) {
        bench.deliver(1, first..first + 250).await;
    }
    let departed = bench.finish().await;
    let whole: HashSet<u64> = departed.keys().copied().collect();
    assert_eq!(whole, (0..20_000).collect());
    assert!(departed.values().all(|end| matches!(end, End::Archived | End::Parked)), "{departed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_waits_for_its_retry_is_handed_back_at_once_when_draining() {
    let mut bench = Bench::start(account(100), |_| (LATENCY, answer(502)));
    bench.deliver(1, 0..10).await;
    bench.requests(1).await;
    sleep(LATENCY + Duration::from_millis(10)).await;
    let before = Instant::now();
    bench.stop.cancel();
    let departed = bench.finish().await;
    assert!(before.elapsed() < Duration::from_secs(1), "{:?}", before.elapsed());
    assert_eq!(departed, all(0..10, End::HandedBack));
    assert_eq!(bench.sent(), 1);
}

#[tokio::test(start_paused = true)]
async fn draining_waits_for_what_is_on_the_wire_and_sends_nothing_more() {
    let mut bench = Bench::start(account(100), |_| (LATENCY, answer(204)));
    bench.deliver(1, 0..10).await;
    bench.requests(1).await;
    bench.deliver(1, 10..30).await;
    bench.stop.cancel();
    // The broker may still deliver what it had sent before it heard of the stop.
    bench.deliver(1, 30..40).await;
    let departed = bench.finish().await;
    let mut expected = all(0..10, End::Archived);
    expected.extend(all(10..40, End::HandedBack));
    assert_eq!(departed, expected);
    assert_eq!(bench.sent(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_comes_with_the_stop_is_an_outcome_and_no_hand_back() {
    let mut bench = Bench::start(account(100), |_| (LATENCY, answer(204)));
    bench.deliver(1, 0..10).await;
    bench.requests(1).await;
    // Without a pause between them, so that the loop finds both at once.
    sleep(LATENCY).await;
    bench.stop.cancel();
    assert_eq!(bench.finish().await, all(0..10, End::Archived));
}

#[tokio::test(start_paused = true)]
async fn deliveries_lost_on_the_wire_keep_their_outcome_and_their_second_coming_is_answered_too() {
    let mut bench = Bench::start(account(100), |_| (LATENCY, answer(204)));
    bench.deliver(1, 0..10).await;
    bench.requests(1).await;
    bench.arrive(Arrival::Lost { generation: Generation::shared(1) }).await;
    // The same jobs, as other deliveries: pairs on the wire are not joined, so they are asked for again.
    bench.deliver_as(2, 0..10, 100).await;
    let departed = bench.finish().await;
    // What became of the first is told, for whoever remembers it; nobody publishes for a delivery that is void.
    let mut expected = all(0..10, End::Archived);
    expected.extend(all(100..110, End::Archived));
    assert_eq!(departed, expected);
    assert_eq!(bench.sent(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_comes_with_the_loss_departs_once() {
    let mut bench = Bench::start(account(100), |_| (LATENCY, answer(204)));
    bench.deliver(1, 0..10).await;
    bench.requests(1).await;
    // Without a pause between them, so that the loop finds both at once.
    sleep(LATENCY).await;
    bench.arrive(Arrival::Lost { generation: Generation::shared(1) }).await;
    bench.deliver_as(2, 0..10, 100).await;
    let departed = bench.finish().await;
    let mut expected = all(0..10, End::Archived);
    expected.extend(all(100..110, End::Archived));
    assert_eq!(departed, expected);
}

#[tokio::test(start_paused = true)]
async fn a_loss_told_late_takes_nothing_from_the_next_subscription() {
    let mut bench = Bench::start(account(100), |_| (LATENCY, answer(204)));
    bench.deliver(1, 0..10).await;
    bench.deliver(2, 10..20).await;
    bench.arrive(Arrival::Lost { generation: Generation::shared(1) }).await;
    let departed = bench.finish().await;
    let mut expected = all(0..10, End::Forgotten);
    expected.extend(all(10..20, End::Archived));
    assert_eq!(departed, expected);
}

#[tokio::test(start_paused = true)]
async fn a_loss_while_a_retry_waits_leaves_nothing_behind() {
    let mut replies = [answer(502), answer(204)].into_iter();
    let mut bench = Bench::start(account(100), move |_| (LATENCY, replies.next().unwrap()));
    bench.deliver(1, 0..10).await;
    bench.requests(1).await;
    sleep(LATENCY + Duration::from_millis(10)).await;
    bench.arrive(Arrival::Lost { generation: Generation::shared(1) }).await;
    bench.deliver_as(2, 0..10, 100).await;
    let departed = bench.finish().await;
    let mut expected = all(0..10, End::Forgotten);
    expected.extend(all(100..110, End::Archived));
    assert_eq!(departed, expected);
}

#[tokio::test(start_paused = true)]
async fn when_no_more_jobs_can_come_a_partial_batch_does_not_linger() {
    let mut bench = Bench::start(account(100), |_| (LATENCY, answer(204)));
    bench.deliver(1, 0..3).await;
    let before = Instant::now();
    assert_eq!(bench.finish().await, all(0..3, End::Archived));
    assert!(before.elapsed() < LATENCY + LINGER / 2, "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn too_much_in_hand_is_handed_back_youngest_first_and_a_stop_takes_the_rest() {
    // One request in ten seconds: the first is on the wire, the rest waits.
    let mut bench = Bench::start(account(1), |_| (LATENCY, answer(204)));
    bench.deliver(1, 0..100).await;
    bench.requests(1).await;
    bench.deliver(1, 100..400).await;
    bench.arrive(Arrival::Overfull { keep_bytes: 200 * WEIGHT }).await;
    let mut departed = bench.departures(200).await;
    assert_eq!(departed, all(200..400, End::HandedBack));
    bench.stop.cancel();
    departed.extend(bench.finish().await);
    let mut expected = all(0..100, End::Archived);
    expected.extend(all(100..400, End::HandedBack));
    assert_eq!(departed, expected);
}

#[tokio::test(start_paused = true)]
async fn an_order_is_carried_out_and_answered() {
    let mut bench = Bench::start(account(100), |_| (LATENCY, answer(204)));
    assert_eq!(bench.order(Instruction::Pause).await, Obeyed::Done(1));
    bench.deliver(1, 0..10).await;
    assert_eq!(bench.departures(10).await, all(0..10, End::Parked));
    assert_eq!(bench.order(Instruction::Resume).await, Obeyed::Done(1));
    bench.deliver(1, 10..20).await;
    assert_eq!(bench.finish().await, all(10..20, End::Archived));
}

#[tokio::test(start_paused = true)]
async fn an_order_while_draining_is_answered_and_changes_no_ending() {
    let mut bench = Bench::start(account(100), |_| (LATENCY, answer(204)));
    bench.deliver(1, 0..10).await;
    bench.requests(1).await;
    bench.stop.cancel();
    bench.order(Instruction::Pause).await;
    assert_eq!(bench.finish().await, all(0..10, End::Archived));
}

#[tokio::test(start_paused = true)]
async fn without_anybody_to_depart_to_the_loop_still_ends() {
    let mut bench = Bench::start(account(100), |_| (LATENCY, answer(204)));
    bench.departures = mpsc::unbounded_channel().1;
    bench.deliver(1, 0..10).await;
    assert_eq!(bench.finish().await, BTreeMap::new());
    assert_eq!(bench.sent(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stop_before_the_first_job_ends_the_loop_with_its_arrivals() {
    let mut bench = Bench::start(account(100), |_| (LATENCY, answer(204)));
    bench.stop.cancel();
    assert_eq!(bench.finish().await, BTreeMap::new());
    assert_eq!(bench.sent(), 0);
}

/// Weight of each job in these tests.
const WEIGHT: usize = 1_000;
const LINGER: Duration = Duration::from_millis(200);

/// How a delivery left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Archived,
    Failed,
    Parked,
    HandedBack,
    Forgotten,
}

fn all(numbers: std::ops::Range<u64>, end: End) -> BTreeMap<u64, End> {
    numbers.map(|number| (number, end)).collect()
}

/// The loop with all its far ends in the test's hands.
struct Bench {
    arrivals: Option<mpsc::Sender<Arrival<u64>>>,
    departures: mpsc::UnboundedReceiver<Vec<Departure<u64>>>,
    orders: mpsc::Sender<Order>,
    stop: CancellationToken,
    sent: Arc<Mutex<usize>>,
    running: JoinHandle<()>,
}

impl Bench {
    /// `reply`: what HubSpot says to a batch, and after how long.
    fn start(account: AccountPolicy, reply: impl FnMut(&BatchCall) -> (Duration, Reply) + Send + 'static) -> Self {
        let clock = VirtualClock { epoch: Instant::now() };
        let engine = Engine::new(policy(), vec![account], 5, clock.now());
        let (arrivals, arrivals_out) = mpsc::channel(4);
        let (departures_in, departures) = mpsc::unbounded_channel();
        let (errands_in, errands) = mpsc::unbounded_channel();
        let (returns_in, returns) = mpsc::unbounded_channel();
        let (orders, orders_out) = mpsc::channel(4);
        let (stop, sent) = (CancellationToken::new(), Arc::default());
        tokio::spawn(hubspot(errands, returns_in, reply, Arc::clone(&sent)));
        let ends = Ends {
            arrivals: arrivals_out,
            departures: departures_in,
            errands: errands_in,
            returns,
            orders: orders_out,
        };
        let running = tokio::spawn(PolicyLoop::new(engine, clock, clock.epoch, Nobody, ends).run(stop.clone()));
        Self { arrivals: Some(arrivals), departures, orders, stop, sent, running }
    }

    async fn arrive(&self, arrival: Arrival<u64>) {
        self.arrivals.as_ref().unwrap().send(arrival).await.unwrap();
    }

    /// Jobs whose deliveries are their own numbers.
    async fn deliver(&self, generation: u32, numbers: std::ops::Range<u64>) {
        self.deliver_as(generation, numbers, 0).await;
    }

    /// Jobs whose deliveries are their own numbers, raised.
    async fn deliver_as(&self, generation: u32, numbers: std::ops::Range<u64>, raised: u64) {
        let jobs = numbers.map(|number| (job(number), number + raised)).collect();
        self.arrive(Arrival::Jobs { generation: Generation::shared(generation), jobs }).await;
    }

    async fn order(&self, instruction: Instruction) -> Obeyed {
        let (reply, answered) = oneshot::channel();
        let from = std::net::Ipv4Addr::LOCALHOST.into();
        let order = Order { target: Target::Account(AccountIndex(0)), instruction, from, reply };
        self.orders.send(order).await.unwrap();
        timeout(END, answered).await.expect("an order without an answer").unwrap()
    }

    fn sent(&self) -> usize {
        *self.sent.lock().unwrap()
    }

    /// Waits until this many requests are or were on the wire.
    async fn requests(&self, number: usize) {
        let sent = async {
            while self.sent() < number {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(END, sent).await.expect("no request");
    }

    /// Waits for this many departures; none of them twice.
    async fn departures(&mut self, number: usize) -> BTreeMap<u64, End> {
        let mut departed = BTreeMap::new();
        while departed.len() < number {
            let bundle = timeout(END, self.departures.recv()).await.expect("too few departures").unwrap();
            enter(bundle, &mut departed);
        }
        departed
    }

    /// Ends the arrivals; every delivery's end once the loop has ended too.
    async fn finish(&mut self) -> BTreeMap<u64, End> {
        self.arrivals = None;
        timeout(END, &mut self.running).await.expect("the loop does not end").unwrap();
        let mut departed = BTreeMap::new();
        while let Ok(bundle) = self.departures.try_recv() {
            enter(bundle, &mut departed);
        }
        departed
    }
}

fn enter(bundle: Vec<Departure<u64>>, departed: &mut BTreeMap<u64, End>) {
    for departure in bundle {
        let (delivery, end) = match departure {
            Departure::Settled { delivery, settled, completed: _ } => (delivery, ending(&settled)),
            Departure::Parked { delivery, parked: _ } => (delivery, End::Parked),
            Departure::HandedBack { delivery } => (delivery, End::HandedBack),
            Departure::Forgotten { delivery } => (delivery, End::Forgotten),
        };
        assert_eq!(departed.insert(delivery, end), None, "delivery {delivery} departed twice");
    }
}

fn ending(settled: &Settled) -> End {
    match &settled.ending {
        Ending::Settled { num_pairs: _, errors } if errors.is_empty() => End::Archived,
        Ending::Settled { .. } | Ending::Planned { .. } | Ending::Expired { .. } | Ending::Rejected(_) => End::Failed,
    }
}

/// Answers every batch after its own time.
async fn hubspot(
    mut errands: mpsc::UnboundedReceiver<Errand>,
    returns: mpsc::UnboundedSender<Return>,
    mut reply: impl FnMut(&BatchCall) -> (Duration, Reply),
    sent: Arc<Mutex<usize>>,
) {
    while let Some(errand) = errands.recv().await {
        let Errand::Send(call) = errand else { panic!("{errand:?} with a static token") };
        *sent.lock().unwrap() += 1;
        let (took, reply) = reply(&call);
        let returns = returns.clone();
        tokio::spawn(async move {
            sleep(took).await;
            // The loop may have ended.
            let _ = returns.send(Return::Answered(Box::new(BatchReply { call, reply, took })));
        });
    }
}

fn job(number: u64) -> NewJob {
    let text = format!(
        r#"{{"jobId":"{number}","fromObjectType":"contacts","toObjectType":"companies",
            "inputs":[{{"from":{{"id":"{}"}},"to":[{{"id":"1"}}]}}]}}"#,
        number + 1
    );
    let limits = JobLimits { max_bytes: 10_000, max_pairs: 10 };
    let wall = Timestamp::from_second(1_795_000_000).unwrap();
    let job = parse(text.as_bytes(), JobProperties::default(), &limits).unwrap();
    let (job, _) = lines::take(job, text.len(), Ok(AccountIndex(0)), wall).unwrap();
    NewJob { weight: WEIGHT, ..job }
}

fn answer(status: u16) -> Reply {
    Reply::Answer(Answer { status, headers: Headers::default(), body: Body::Whole(Bytes::new()) })
}

fn account(requests_in_ten_seconds: u32) -> AccountPolicy {
    let requests = NonZeroU32::new(requests_in_ten_seconds).unwrap();
    AccountPolicy { ceiling: Ceiling { requests, ..Ceiling::default() }, ..AccountPolicy::default() }
}

fn policy() -> EnginePolicy {
    let retry = RetryPolicy { base_delay: Duration::from_secs(20), ..RetryPolicy::default() };
    EnginePolicy { linger: LINGER, retry, ..EnginePolicy::default() }
}

/// The runtime's clock, beside a wall clock that goes with it.
#[derive(Clone, Copy)]
struct VirtualClock {
    epoch: Instant,
}

impl Clock for VirtualClock {
    fn now(&self) -> Now {
        let passed = self.epoch.elapsed();
        let start = Timestamp::from_second(1_795_000_000).unwrap();
        Now { tick: Tick::ZERO + passed, wall: start.checked_add(passed).unwrap() }
    }
}

/// Listens to nothing.
struct Nobody;

impl<D> Watcher<D> for Nobody {
    fn sent(&mut self, _: &BatchCall, _: &mut dyn Iterator<Item = &D>) {}
    fn answered(&mut self, _: &BatchCall, _: &Reply, _: &Answered, _: Duration, _: Now) {}
    fn asked(&mut self, _: Question, _: Duration) {}
    fn settled(&mut self, _: &D, _: &Settled, _: Now) {}
    fn parked(&mut self, _: &D, _: &Parked, _: Now) {}
    fn notice(&mut self, _: &Notice) {}
    fn counted(&mut self, _: Counters, _: Status, _: bool, _: Now) {}
}
