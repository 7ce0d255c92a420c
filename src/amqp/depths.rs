//! How many messages lie in the worker's queues: asked for again and again, for those who look on.

use std::time::Duration;

use lapin::types::ShortString;
use tokio::time::sleep;

use super::consumer::IntakeWiring;
use super::health::Health;
use super::link::Depth;
use super::route::Route;
use crate::engine::pause::Tier;

/// How often the queues are looked at: people watch them while they change.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// Keeps the depths in `wiring.health` up to date; never ends.
pub(super) async fn watch(wiring: IntakeWiring) {
    let delays = Tier::ALL.map(|tier| wiring.topology.key(Route::Delay(tier)));
    let (results, dead_letters) = (wiring.topology.results_queue(), wiring.topology.dead_letter_queue());
    // Jobs first: a queue without a leader answers late, and what comes after it remains unknown.
    let queues: Vec<ShortString> =
        [&wiring.queue].into_iter().chain(&delays).chain([results, dead_letters]).cloned().collect();
    loop {
        sleep(LOOK_EVERY).await;
        let depths = wiring.link.depths(&queues).await;
        note(&wiring.health, &depths);
    }
}

/// `depths` are those of the jobs queue, the delay queues, the results queue and the dead-letter queue.
fn note(health: &Health, depths: &[Option<Depth>]) {
    let ready = |place: usize| depths.get(place).copied().flatten().map(|depth| depth.ready);
    health.jobs_ready.learn(ready(0));
    for (parked, place) in health.depths.parked.iter().zip(1..) {
        parked.learn(ready(place));
    }
    let results = 1 + Tier::ALL.len();
    health.depths.results.learn(ready(results));
    health.depths.results_consumers.learn(depths.get(results).copied().flatten().map(|depth| depth.consumers));
    health.depths.dead_letters.learn(ready(results + 1));
    health.depths.looks.add(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_queue_has_its_place_and_what_nobody_can_say_is_unknown() {
        let health = Health::default();
        let depth = |ready| Some(Depth { ready, consumers: ready + 100 });
        note(&health, &[depth(1), depth(2), depth(3), None, depth(5), depth(6), depth(7)]);
        assert_eq!(health.jobs_ready.get(), Some(1));
        assert_eq!(health.depths.parked.each_ref().map(|parked| parked.get()), [Some(2), Some(3), None, Some(5)]);
        assert_eq!((health.depths.results.get(), health.depths.results_consumers.get()), (Some(6), Some(106)));
        assert_eq!((health.depths.dead_letters.get(), health.depths.looks.get()), (Some(7), 1));
        note(&health, &[None; 7]);
        assert_eq!((health.jobs_ready.get(), health.depths.results.get()), (None, None));
    }
}
