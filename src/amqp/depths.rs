//! How many messages lie in the worker's queues: asked for again and again, for those who look on.

use std::time::Duration;

use lapin::types::ShortString;
use tokio::time::{sleep, timeout};

use super::consumer::IntakeWiring;
use super::health::Health;
use super::link::Depth;
use super::route::Route;
use crate::engine::pause::Tier;

/// How often the queues are looked at: people watch them while they change.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// After this nobody can say what lies in the queues.
const LONGEST_LOOK: Duration = Duration::from_secs(5);

/// The delay queues, the jobs queue, the results queue and the dead-letter queue.
const QUEUES: usize = Tier::ALL.len() + 3;

/// Keeps the depths in `wiring.health` up to date; never ends.
pub(super) async fn watch(wiring: IntakeWiring) {
    let delays = Tier::ALL.map(|tier| wiring.topology.key(Route::Delay(tier)));
    let (results, dead_letters) = (wiring.topology.results_queue(), wiring.topology.dead_letter_queue());
    // The delay queues before the jobs queue: a job that goes from there to here meanwhile is seen twice, not never.
    let queues: Vec<ShortString> = delays.iter().chain([&wiring.queue, results, dead_letters]).cloned().collect();
    loop {
        sleep(LOOK_EVERY).await;
        let depths = looked(wiring.link.depths(&queues), &wiring.health).await;
        note(&wiring.health, &depths);
    }
}

/// What the look found. A broker that is away keeps it waiting, and meanwhile nobody can say: what was seen last is no
/// longer so, since the jobs in hand have gone back.
async fn looked(look: impl Future<Output = Vec<Option<Depth>>>, health: &Health) -> Vec<Option<Depth>> {
    let mut look = std::pin::pin!(look);
    match timeout(LONGEST_LOOK, &mut look).await {
        Ok(depths) => depths,
        Err(_elapsed) => {
            note(health, &[None; QUEUES]);
            look.await
        }
    }
}

/// `depths` are those of the delay queues, the jobs queue, the results queue and the dead-letter queue.
fn note(health: &Health, depths: &[Option<Depth>]) {
    let (parked, others) = depths.split_at(Tier::ALL.len().min(depths.len()));
    for (parked, depth) in health.depths.parked.iter().zip(parked) {
        parked.learn(depth.map(|depth| depth.ready));
    }
    let other = |place: usize| others.get(place).copied().flatten();
    let (jobs, results, dead_letters) = (other(0), other(1), other(2));
    health.jobs_ready.learn(jobs.map(|depth| depth.ready));
    health.depths.results.learn(results.map(|depth| depth.ready));
    health.depths.results_consumers.learn(results.map(|depth| depth.consumers));
    health.depths.dead_letters.learn(dead_letters.map(|depth| depth.ready));
    health.depths.looks.add(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_queue_has_its_place_and_what_nobody_can_say_is_unknown() {
        let health = Health::default();
        let depth = |ready| Some(Depth { ready, consumers: ready + 100 });
        note(&health, &[depth(1), depth(2), None, depth(4), depth(5), depth(6), depth(7)]);
        assert_eq!(health.depths.parked.each_ref().map(|parked| parked.get()), [Some(1), Some(2), None, Some(4)]);
        assert_eq!(health.jobs_ready.get(), Some(5));
        assert_eq!((health.depths.results.get(), health.depths.results_consumers.get()), (Some(6), Some(106)));
        assert_eq!((health.depths.dead_letters.get(), health.depths.looks.get()), (Some(7), 1));
        note(&health, &[None; QUEUES]);
        assert_eq!((health.jobs_ready.get(), health.depths.results.get()), (None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_broker_is_away_nobody_can_say() {
        let health = Health::default();
        let depth = Some(Depth { ready: 9, consumers: 1 });
        note(&health, &[depth; QUEUES]);
        let long = async {
            sleep(LONGEST_LOOK - Duration::from_millis(1)).await;
            assert_eq!(health.jobs_ready.get(), Some(9), "a busy broker takes its time");
            sleep(Duration::from_millis(2)).await;
            assert_eq!((health.jobs_ready.get(), health.depths.parked[0].get()), (None, None));
            vec![depth; QUEUES]
        };
        assert_eq!(looked(long, &health).await.len(), QUEUES, "the look itself goes on");
    }
}
