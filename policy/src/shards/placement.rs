//! What becomes of a job by the queue it came through.

use super::QueueIndex;
use crate::engine::pause::Tier;

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Placement {
    /// It is where its account is worked on.
    Here,
    /// To its account's shard.
    Move(QueueIndex),
    /// It is on the wrong shard, as after a change of `amqp.shards`: it comes back through the shared queue in a while.
    Wait(Tier),
}

impl Placement {
    /// `moves`: how many times it was moved since it was last worked on.
    ///
    /// Only the shared queue's holder moves, and only away from the shared queue, so that two workers with different
    /// settings cannot pass a job to each other. A job that was moved to the wrong shard waits, longer each time, until
    /// all workers have the same settings.
    pub fn of(came_through: QueueIndex, belongs_to: QueueIndex, moves: u32) -> Self {
        if came_through == belongs_to || came_through == QueueIndex::BACKGROUND {
            Self::Here
        } else if came_through == QueueIndex::SHARED {
            Self::Move(belongs_to)
        } else {
            Self::Wait(match moves {
                0 | 1 => Tier::TenSeconds,
                2 => Tier::OneMinute,
                3 => Tier::TenMinutes,
                4.. => Tier::OneHour,
            })
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::contract::ids::{AccountIndex, PortalId};
    use crate::shards::{Layout, Sharding};

    #[test]
    fn workers_with_different_settings_never_pass_a_job_to_each_other() {
        let layout = |sharding| {
            let portals = (1..=20_u64).map(|id| Some(PortalId(id.try_into().unwrap()))).collect();
            Layout::new(sharding, portals).unwrap()
        };
        let number = |shards: u16| Sharding::Number(shards.try_into().unwrap());
        let layouts = [Sharding::None, Sharding::PerAccount, number(4), number(8)].map(layout);
        for (first, second) in layouts.iter().flat_map(|one| layouts.iter().map(move |other| (one, other))) {
            for account in (0..20).map(AccountIndex) {
                let Placement::Move(queue) = Placement::of(QueueIndex::SHARED, first.queue_of(account), 0) else {
                    continue;
                };
                let name = first.name(queue, "jobs");
                // The other worker knows queues by their names only.
                let Some(there) = second.queues().find(|&queue| second.name(queue, "jobs") == name) else { continue };
                let then = Placement::of(there, second.queue_of(account), 1);
                assert!(!matches!(then, Placement::Move(_)), "{first:?} {second:?} {account:?}");
            }
        }
    }

    #[test]
    fn a_job_on_the_wrong_shard_waits_longer_each_time() {
        let (here, there) = (QueueIndex(1), QueueIndex(2));
        assert_eq!(Placement::of(here, here, 7), Placement::Here);
        assert_eq!(Placement::of(QueueIndex::SHARED, there, 7), Placement::Move(there));
        let waits = [0, 1, 2, 3, 4, 1_000].map(|moves| match Placement::of(here, there, moves) {
            Placement::Wait(tier) => tier.as_str(),
            Placement::Here | Placement::Move(_) => "none",
        });
        assert_eq!(waits, ["10s", "10s", "1m", "10m", "1h", "1h"]);
    }
}
