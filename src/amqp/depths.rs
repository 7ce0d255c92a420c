//! How many messages lie in the worker's queues: asked for again and again, for those who look on.

use std::sync::Arc;
use std::time::Duration;

use lapin::types::ShortString;
use tokio::time::{Instant, sleep, timeout};

use super::health::{Health, QueueHealth};
use super::link::{Depth, Link};
use super::route::Route;
use super::topology::Topology;
use crate::engine::pause::Tier;
use crate::lease::view::LeaseStanding;

/// How often the queues are looked at: people watch them while they change.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// Where a look takes longer than this, the depths count as unknown.
const LONGEST_LOOK: Duration = Duration::from_secs(5);

/// Keeps the depths in `health` up to date; never ends. `jobs`: the jobs queues, in their order.
pub(super) async fn watch(link: Arc<Link>, topology: Arc<Topology>, jobs: Vec<ShortString>, health: Arc<Health>) {
    let background = topology.background_queue();
    let delays = Tier::ALL.map(|tier| topology.key(Route::Delay(tier)));
    let of_background = background.map(|_| Tier::ALL.map(|tier| topology.key(Route::BackgroundDelay(tier))));
    let (results, dead_letters) = (topology.results_queue(), topology.dead_letter_queue());
    // A job that goes on to a queue that is looked at later is seen twice, not never: so the delay queues come first,
    // then the shared jobs queue, and then the shards.
    let others = jobs.iter().chain([results, dead_letters]).chain(background);
    let queues: Vec<ShortString> = delays.iter().chain(of_background.iter().flatten()).chain(others).cloned().collect();
    let mut standstills = Standstills::new(&health);
    loop {
        sleep(LOOK_EVERY).await;
        let depths = looked(link.depths(&queues), queues.len(), &health).await;
        note(&health, &depths);
        for (queue, depth) in queues.iter().zip(&depths) {
            if let Some(Depth { ready, .. }) = depth {
                health.lost_queues.seen(queue.as_str(), *ready, Instant::now().into_std());
            }
        }
        standstills.look(&health);
    }
}

/// For each jobs queue, how long jobs have waited in it while none was taken.
struct Standstills(Vec<Standstill>);

struct Standstill {
    taken: u64,
    since: Instant,
}

impl Standstills {
    fn new(health: &Health) -> Self {
        let begin = |queue: &Arc<QueueHealth>| Standstill { taken: queue.taken.get(), since: Instant::now() };
        Self(health.queues().iter().map(begin).collect())
    }

    fn look(&mut self, health: &Health) {
        let mut longest = Duration::ZERO;
        for (standstill, queue) in self.0.iter_mut().zip(health.queues()) {
            let taken = queue.taken.get();
            let waits = queue.ready.get().is_some_and(|ready| ready > 0) && is_worked_on(queue);
            if taken != standstill.taken || !waits {
                *standstill = Standstill { taken, since: Instant::now() };
            }
            longest = longest.max(standstill.since.elapsed());
        }
        health.depths.standstill_seconds.learn(Some(longest.as_secs()));
    }
}

/// Whether this worker works on the queue. It can see no progress on the queues of others.
fn is_worked_on(queue: &QueueHealth) -> bool {
    queue.lease.get().map_or_else(|| queue.consuming.get(), |lease| lease.standing == LeaseStanding::Held)
}

/// What the look found. While the broker is away the look waits, and the depths count as unknown: what was seen last is
/// no longer true, since the jobs in hand have gone back to their queues.
async fn looked(look: impl Future<Output = Vec<Option<Depth>>>, queues: usize, health: &Health) -> Vec<Option<Depth>> {
    let mut look = std::pin::pin!(look);
    match timeout(LONGEST_LOOK, &mut look).await {
        Ok(depths) => depths,
        Err(_elapsed) => {
            note(health, &vec![None; queues]);
            look.await
        }
    }
}

/// Keeps what a look has shown. `depths` has, in this order, the delay queues, the delay queues of the background where
/// there are any, the jobs queues, the results queue, the dead-letter queue and, where there is one, the background
/// queue.
fn note(health: &Health, depths: &[Option<Depth>]) {
    let without_background = Tier::ALL.len() + health.queues().len() + 2;
    let has_background = depths.len() > without_background;
    let (parked, others) = depths.split_at(Tier::ALL.len().min(depths.len()));
    let (of_background, others) = others.split_at(if has_background { Tier::ALL.len() } else { 0 });
    let (jobs, others) = others.split_at(health.queues().len().min(others.len()));
    let ready = |depth: &Option<Depth>| depth.map(|depth| depth.ready);
    for (index, (learned, depth)) in health.depths.parked.iter().zip(parked).enumerate() {
        let parked = match of_background.get(index) {
            Some(beside) => ready(depth).zip(ready(beside)).map(|(live, background)| live + background),
            None => ready(depth),
        };
        learned.learn(parked);
    }
    let of_background = of_background.iter().map(ready).sum::<Option<u64>>().filter(|_| has_background);
    health.depths.background_parked.learn(of_background);
    for (queue, depth) in health.queues().iter().zip(jobs) {
        queue.ready.learn(depth.map(|depth| depth.ready));
    }
    let other = |index: usize| others.get(index).copied().flatten();
    let (results, dead_letters) = (other(0), other(1));
    health.depths.results.learn(results.map(|depth| depth.ready));
    health.depths.results_consumers.learn(results.map(|depth| depth.consumers));
    health.depths.dead_letters.learn(dead_letters.map(|depth| depth.ready));
    health.background().ready.learn(other(2).map(|depth| depth.ready));
    health.depths.looks.add(1);
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::lease::view::LeaseView;

    /// The delay queues, the jobs queue, the results queue and the dead-letter queue.
    const QUEUES: usize = Tier::ALL.len() + 3;

    #[test]
    fn each_queue_has_its_place_and_what_nobody_can_say_is_unknown() {
        let health = Health::default();
        let depth = |ready| Some(Depth { ready, consumers: ready + 100 });
        note(&health, &[depth(1), depth(2), None, depth(4), depth(5), depth(6), depth(7)]);
        assert_eq!(health.depths.parked.each_ref().map(|parked| parked.get()), [Some(1), Some(2), None, Some(4)]);
        assert_eq!(health.jobs_ready(), Some(5));
        assert_eq!((health.depths.results.get(), health.depths.results_consumers.get()), (Some(6), Some(106)));
        assert_eq!((health.depths.dead_letters.get(), health.depths.looks.get()), (Some(7), 1));
        note(&health, &[None; QUEUES]);
        assert_eq!((health.jobs_ready(), health.depths.results.get()), (None, None));
        let sharded = Health::of(3);
        note(&sharded, &[1, 2, 3, 4, 5, 6, 7, 8, 9].map(depth));
        assert_eq!((sharded.jobs_ready(), sharded.depths.dead_letters.get()), (Some(18), Some(9)));
        let beside = Health::default();
        note(&beside, &[1, 2, 3, 4, 10, 20, 30, 40, 5, 6, 7, 8].map(depth));
        assert_eq!(beside.depths.parked.each_ref().map(|parked| parked.get()), [11, 22, 33, 44].map(Some));
        assert_eq!((beside.jobs_ready(), beside.background().ready.get()), (Some(5), Some(8)));
        let parked_of_background = |health: &Health| health.depths.background_parked.get();
        assert_eq!((parked_of_background(&beside), parked_of_background(&sharded)), (Some(100), None));
        assert_eq!((beside.depths.results.get(), beside.depths.dead_letters.get()), (Some(6), Some(7)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_from_which_nothing_is_taken_stands_still_among_others_that_go_on() {
        let health = Health::of(3);
        let depths = [0, 0, 0, 0, 5, 5, 5, 0, 0].map(|ready| Some(Depth { ready, consumers: 1 }));
        let lease =
            |standing| LeaseView { jobs_queue: String::new(), standing, since: Timestamp::UNIX_EPOCH, holder: None };
        let mut standstills = Standstills::new(&health);
        let standstill = |standstills: &mut Standstills| {
            note(&health, &depths);
            standstills.look(&health);
            health.depths.standstill_seconds.get()
        };
        health.queues()[0].lease.set(lease(LeaseStanding::Held));
        health.queues()[1].lease.set(lease(LeaseStanding::Held));
        health.queues()[2].lease.set(lease(LeaseStanding::StandingBy));
        for seconds in 1..=60 {
            sleep(Duration::from_secs(1)).await;
            health.queues()[0].taken.add(1);
            assert_eq!(standstill(&mut standstills), Some(seconds), "the second queue stands still");
        }
        health.queues()[1].taken.add(1);
        assert_eq!(standstill(&mut standstills), Some(0), "what another worker does is not seen from here");

        sleep(Duration::from_secs(9)).await;
        health.queues()[0].taken.add(1);
        assert_eq!(standstill(&mut standstills), Some(9));
        health.queues()[1].lease.set(lease(LeaseStanding::StandingBy));
        assert_eq!(standstill(&mut standstills), Some(0), "it is somebody else's by now");
    }

    #[test]
    fn of_shards_those_that_others_work_on_are_told_apart() {
        let health = Health::of(3);
        note(&health, &[0, 0, 0, 0, 5, 600, 70_000, 0, 0].map(|ready| Some(Depth { ready, consumers: 1 })));
        assert_eq!((health.jobs_ready(), health.own_jobs_ready()), (Some(70_605), Some(70_605)), "without leases");
        let lease =
            |standing| LeaseView { jobs_queue: String::new(), standing, since: Timestamp::UNIX_EPOCH, holder: None };
        health.queues()[0].lease.set(lease(LeaseStanding::Held));
        health.queues()[1].lease.set(lease(LeaseStanding::Waiting));
        health.queues()[2].lease.set(lease(LeaseStanding::StandingBy));
        assert_eq!((health.jobs_ready(), health.own_jobs_ready()), (Some(70_605), Some(605)));
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_broker_is_away_nobody_can_say() {
        let health = Health::default();
        let depth = Some(Depth { ready: 9, consumers: 1 });
        note(&health, &[depth; QUEUES]);
        let long = async {
            sleep(LONGEST_LOOK - Duration::from_millis(1)).await;
            assert_eq!(health.jobs_ready(), Some(9), "a busy broker takes its time");
            sleep(Duration::from_millis(2)).await;
            assert_eq!((health.jobs_ready(), health.depths.parked[0].get()), (None, None));
            vec![depth; QUEUES]
        };
        assert_eq!(looked(long, QUEUES, &health).await.len(), QUEUES, "the look itself goes on");
    }
}
