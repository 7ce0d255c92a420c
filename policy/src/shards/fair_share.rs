//! How many shards a worker should hold, and when it releases one so that another worker can take it.

/// Of one worker: looks at what it holds, once a second or so.
#[derive(Clone, Default, Debug)]
pub struct FairShare {
    /// Looks in a row in which it held too many.
    over: u32,
    /// How many times in a row a shard that it released came back to it.
    in_vain: u32,
    /// Looks until it tries again.
    resting: u32,
    /// Workers at the last look.
    workers: usize,
}

/// A worker that holds too many shards releases none before this many looks in a row have shown it: workers start and
/// stop one after the other, and a worker that has just died is still counted.
const SETTLED_AFTER: u32 = 3;

/// Where nobody takes the shard that it releases, as while workers with other settings are counted, it rests for this
/// many looks, and each time that it was in vain for twice as many...
const REST: u32 = 15;

/// ...up to 15 · 2^6 looks, which is a quarter of an hour.
const MOST_DOUBLINGS: u32 = 6;

impl FairShare {
    /// True where the worker should release one shard. `held`: the shards it holds or is about to hold; `workers`:
    /// those that would take a shard, itself included.
    ///
    /// The share is rounded up, so a shard that nobody needs is never passed round.
    pub fn look(&mut self, held: usize, shards: usize, workers: usize) -> bool {
        if std::mem::replace(&mut self.workers, workers) != workers {
            (self.resting, self.in_vain) = (0, 0);
        }
        if self.resting > 0 {
            self.resting -= 1;
            return false;
        }
        self.over = if held > shards.div_ceil(workers.max(1)) { self.over.saturating_add(1) } else { 0 };
        self.over >= SETTLED_AFTER
    }

    /// What became of a shard that was released.
    pub fn learn(&mut self, came_back: bool) {
        if came_back {
            self.resting = REST << self.in_vain.min(MOST_DOUBLINGS);
            self.in_vain = self.in_vain.saturating_add(1);
        } else {
            self.in_vain = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_waits_until_the_workers_have_settled_and_then_gives_up_what_is_too_much() {
        let mut share = FairShare::default();
        assert_eq!(
            [12, 12, 12, 11, 10, 9, 8].map(|held| share.look(held, 12, 3)),
            [false, false, true, true, true, true, true]
        );
        assert!(!share.look(4, 12, 3), "its share");
        assert!(!share.look(12, 12, 3), "it begins to wait anew");
        assert!(!(0..10).any(|_| share.look(12, 12, 1)), "alone it holds all");
        assert!(!(0..10).any(|_| share.look(5, 13, 3)), "the share is rounded up");
        assert!(!share.look(1, 1, 0));
    }

    #[test]
    fn what_nobody_takes_is_given_up_ever_more_rarely() {
        let mut share = FairShare::default();
        let mut tries = Vec::new();
        for look in 0..4_000 {
            if share.look(12, 12, 2) {
                tries.push(look);
                share.learn(true);
            }
        }
        let waits: Vec<i32> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(waits, [16, 31, 61, 121, 241, 481, 961, 961, 961]);
        share.learn(false);
        share.learn(true);
        assert_eq!((0..100).position(|_| share.look(12, 12, 2)), Some(15), "somebody took one meanwhile");
        share.learn(true);
        assert_eq!((0..100).position(|_| share.look(12, 12, 3)), Some(0), "another worker has come");
    }

    proptest! {
        /// The broker gives a shard that is released to the next in the queue's own order, whoever that is.
        #[test]
        fn shards_even_out_from_any_beginning_and_then_stay(
            workers in 1_usize..6,
            holders in prop::collection::vec(0_usize..6, 1..40),
            seed in any::<u64>(),
        ) {
            let mut random = fastrand::Rng::with_seed(seed);
            let shards = holders.len();
            // For each shard its consumers in order; the first one holds it.
            let mut queues: Vec<Vec<usize>> = holders.iter().map(|holder| {
                let mut order: Vec<usize> = (0..workers).collect();
                random.shuffle(&mut order);
                order.sort_by_key(|worker| *worker != holder % workers);
                order
            }).collect();
            let mut shares = vec![FairShare::default(); workers];
            let held = |queues: &[Vec<usize>], worker| queues.iter().filter(|queue| queue[0] == worker).count();
            let mut given = 0;
            for _ in 0..4 + shards * workers * 2 {
                for (worker, share) in shares.iter_mut().enumerate() {
                    if share.look(held(&queues, worker), shards, workers) {
                        let mine: Vec<usize> = (0..shards).filter(|&shard| queues[shard][0] == worker).collect();
                        queues[mine[random.usize(0..mine.len())]].rotate_left(1);
                        given += 1;
                    }
                }
            }
            let most = (0..workers).map(|worker| held(&queues, worker)).max();
            prop_assert!(most <= Some(shards.div_ceil(workers)));
            prop_assert!(given <= shards * workers, "{given} of {shards} shards were released");
        }
    }
}
