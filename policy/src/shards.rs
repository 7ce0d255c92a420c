//! Shards: jobs queues of their own for some of the accounts, so that accounts spread over workers.
//!
//! An account belongs to exactly one shard. Whatever comes through the shared jobs queue is moved to its account's
//! shard, and each shard has a lease of its own.

pub mod fair_share;
pub mod placement;

use std::num::NonZeroU16;

use crate::contract::ids::{AccountIndex, PortalId};

/// The setting `amqp.shards`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Sharding {
    /// Every account's jobs are worked on where they come in: from the shared jobs queue.
    #[default]
    None,
    PerAccount,
    /// This many queues, over which the accounts are spread by [`shard_of`].
    Number(NonZeroU16),
}

/// Most shards: each takes two channels of a connection, of which RabbitMQ allows 2,047 by default.
pub const MAX_SHARDS: u16 = 500;

/// One of the queues that jobs are taken from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct QueueIndex(u16);

impl QueueIndex {
    /// The shared jobs queue, which is there with shards and without.
    pub const SHARED: Self = Self(0);

    /// The queue for jobs of the background, of which there is one where there are no shards. It has no number among
    /// the others.
    pub const BACKGROUND: Self = Self(u16::MAX);

    pub fn as_usize(self) -> usize {
        usize::from(self.0)
    }
}

/// One subscription to one queue, from the moment the broker accepts the consumer until its channel is gone.
///
/// Delivery tags start again with each generation, so a tag says nothing without it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Generation {
    pub queue: QueueIndex,
    /// Counts the subscriptions to the queue, from 1.
    pub number: u32,
}

impl Generation {
    /// Of the shared queue.
    pub fn shared(number: u32) -> Self {
        Self { queue: QueueIndex::SHARED, number }
    }
}

/// Why the accounts cannot be spread like that.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ShardingFault {
    #[error("is \"per-account\", but an account has no portal_id to name its queue after: name it, or set a number")]
    NoPortal,
    #[error("is \"per-account\", but there are {0} accounts, and at most {MAX_SHARDS} shards: set a number of shards")]
    TooMany(usize),
}

/// Which queues there are, and which of them each account belongs to.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Layout {
    sharding: Sharding,
    /// What follows the shared queue's name, for each shard.
    suffixes: Vec<String>,
    /// By account.
    queues: Vec<QueueIndex>,
    portals: Vec<Option<PortalId>>,
}

impl Layout {
    /// `portals`: of the accounts, in the order of the settings.
    pub fn new(sharding: Sharding, portals: Vec<Option<PortalId>>) -> Result<Self, ShardingFault> {
        let numbered = |index: usize| u16::try_from(index + 1).map(QueueIndex);
        let (suffixes, queues) = match sharding {
            Sharding::None => (Vec::new(), vec![QueueIndex::SHARED; portals.len()]),
            Sharding::Number(number) => {
                let queue = |portal: &Option<PortalId>| QueueIndex(shard_of(*portal, number) + 1);
                let suffixes = (0..number.get()).map(|shard| shard.to_string());
                (suffixes.collect(), portals.iter().map(queue).collect())
            }
            Sharding::PerAccount if portals.len() > usize::from(MAX_SHARDS) => {
                return Err(ShardingFault::TooMany(portals.len()));
            }
            Sharding::PerAccount => {
                let names = portals.iter().map(|portal| portal.map(|portal| portal.to_string()));
                let suffixes: Option<Vec<String>> = names.collect();
                let queues = (0..portals.len()).filter_map(|index| numbered(index).ok()).collect();
                (suffixes.ok_or(ShardingFault::NoPortal)?, queues)
            }
        };
        Ok(Self { sharding, suffixes, queues, portals })
    }

    /// The same sharding for these accounts.
    pub fn with_accounts(&self, portals: Vec<Option<PortalId>>) -> Result<Self, ShardingFault> {
        Self::new(self.sharding, portals)
    }

    /// Whether jobs of the shared queue are moved on.
    pub fn is_sharded(&self) -> bool {
        self.sharding != Sharding::None
    }

    /// The shared queue, then the shards.
    pub fn queues(&self) -> impl ExactSizeIterator<Item = QueueIndex> + use<> {
        (0..=u16::try_from(self.suffixes.len()).unwrap_or(MAX_SHARDS)).map(QueueIndex)
    }

    pub fn shards(&self) -> impl Iterator<Item = QueueIndex> + use<> {
        self.queues().skip(1)
    }

    /// The name of a queue, where the shared one has the name `shared`.
    pub fn name(&self, queue: QueueIndex, shared: &str) -> String {
        let suffix = queue.as_usize().checked_sub(1).and_then(|shard| self.suffixes.get(shard));
        suffix.map_or_else(|| shared.to_owned(), |suffix| format!("{shared}.{suffix}"))
    }

    /// Names that shards have where the setting is another one, and that no shard has here: by number, and by portal, each
    /// in the order in which a worker declares them. If there is such a queue, the setting was changed.
    pub fn names_elsewhere(&self, shared: &str) -> [Vec<String>; 2] {
        let portals: Vec<String> = self.portals.iter().flatten().map(PortalId::to_string).collect();
        let is_none_here = |suffix: &String| !self.suffixes.contains(suffix);
        let numbers = (0..MAX_SHARDS).map(|shard| shard.to_string()).filter(|number| !portals.contains(number));
        let name = |suffix: String| format!("{shared}.{suffix}");
        [
            numbers.filter(is_none_here).map(name).collect(),
            portals.iter().filter(|portal| is_none_here(portal)).take(MAX_SHARDS.into()).cloned().map(name).collect(),
        ]
    }

    /// The accounts that are worked on while the queue's lease is held, in ascending order.
    pub fn accounts_of(&self, queue: QueueIndex) -> Vec<AccountIndex> {
        let of_all = self.queues.iter().zip(0..);
        of_all.filter(|&(of, _)| *of == queue).map(|(_, account)| AccountIndex(account)).collect()
    }

    pub fn queue_of(&self, account: AccountIndex) -> QueueIndex {
        self.queues.get(account.0 as usize).copied().unwrap_or(QueueIndex::SHARED)
    }

    /// Routing keys that lead to the queue, beside its own name and the shared queue's own key.
    ///
    /// A queue of one account can be bound to its key for good. A numbered one cannot: when the number changes, the key
    /// would lead to the old queue and to the new one, and each job would be two. So there the keys lead to the shared
    /// queue, from where jobs are moved.
    pub fn portal_keys(&self, queue: QueueIndex) -> Vec<String> {
        let key = |portal: &PortalId| format!("jobs.{portal}");
        match self.sharding {
            Sharding::None => Vec::new(),
            Sharding::Number(_) if queue == QueueIndex::SHARED => self.portals.iter().flatten().map(key).collect(),
            Sharding::Number(_) => Vec::new(),
            Sharding::PerAccount => {
                let shard = queue.as_usize().checked_sub(1).and_then(|shard| self.portals.get(shard));
                shard.into_iter().flatten().map(key).collect()
            }
        }
    }
}

/// The shard of an account: the 64-bit FNV-1a hash of its portal id's decimal digits, modulo the number of shards; the
/// only account without a portal id has shard 0. It must never change, since it decides which worker may send.
pub fn shard_of(portal: Option<PortalId>, shards: NonZeroU16) -> u16 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let Some(portal) = portal else { return 0 };
    let digits = portal.to_string();
    let hash = digits.bytes().fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    u16::try_from(hash % u64::from(shards.get())).unwrap_or_default()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn portal(id: u64) -> Option<PortalId> {
        Some(PortalId(id.try_into().unwrap()))
    }

    fn number(shards: u16) -> NonZeroU16 {
        shards.try_into().unwrap()
    }

    #[test]
    fn the_shard_of_an_account_never_changes() {
        let shards = [4711, 1, 2, 3, 144_000_000].map(|id| shard_of(portal(id), number(12)));
        assert_eq!(shards, [2, 4, 1, 6, 4]);
        assert_eq!(shard_of(None, number(12)), 0);
    }

    #[test]
    fn accounts_spread_evenly() {
        for first in [1, 40_000_000, 144_123_456] {
            let mut counts = [0; 8];
            (first..first + 800).for_each(|id| counts[usize::from(shard_of(portal(id), number(8)))] += 1);
            assert!(counts.iter().all(|count| (50..=150).contains(count)), "{counts:?}");
        }
    }

    #[test]
    fn without_shards_all_is_as_it_was() {
        let layout = Layout::new(Sharding::None, vec![portal(7), None]).unwrap();
        assert!(!layout.is_sharded());
        assert_eq!(layout.queues().collect::<Vec<_>>(), [QueueIndex::SHARED]);
        assert_eq!(layout.accounts_of(QueueIndex::SHARED), [AccountIndex(0), AccountIndex(1)]);
        assert_eq!(layout.name(QueueIndex::SHARED, "jobs"), "jobs");
        assert_eq!(layout.portal_keys(QueueIndex::SHARED), Vec::<String>::new());
    }

    #[test]
    fn names_that_shards_have_elsewhere_are_by_number_and_by_portal() {
        let portals = vec![portal(7), None, portal(4711)];
        let of = |sharding| Layout::new(sharding, portals.clone()).unwrap().names_elsewhere("jobs");
        let [numbers, named] = of(Sharding::Number(number(4)));
        assert_eq!(numbers[..3], ["jobs.4", "jobs.5", "jobs.6"], "7 is a portal");
        assert_eq!((numbers.len(), named), (495, vec!["jobs.7".to_owned(), "jobs.4711".to_owned()]));
        assert_eq!(of(Sharding::None)[0][..2], ["jobs.0", "jobs.1"]);
        let per_account = Layout::new(Sharding::PerAccount, vec![portal(7)]).unwrap().names_elsewhere("jobs");
        assert_eq!((per_account[0].len(), per_account[1].len()), (499, 0));
    }

    #[test]
    fn each_account_has_a_shard_named_after_it() {
        let layout = Layout::new(Sharding::PerAccount, vec![portal(7), portal(4711)]).unwrap();
        let shards: Vec<QueueIndex> = layout.shards().collect();
        assert_eq!(shards.iter().map(|&shard| layout.name(shard, "jobs")).collect::<Vec<_>>(), ["jobs.7", "jobs.4711"]);
        assert_eq!(layout.accounts_of(shards[1]), [AccountIndex(1)]);
        assert_eq!((layout.queue_of(AccountIndex(1)), layout.accounts_of(QueueIndex::SHARED)), (shards[1], vec![]));
        assert_eq!(layout.portal_keys(shards[1]), ["jobs.4711"]);
        assert_eq!(Layout::new(Sharding::PerAccount, vec![None]), Err(ShardingFault::NoPortal));
        let many = (1..=501).map(portal).collect();
        assert_eq!(Layout::new(Sharding::PerAccount, many), Err(ShardingFault::TooMany(501)));
    }

    #[test]
    fn numbered_shards_have_every_account_once_and_no_key() {
        let portals: Vec<_> = (1..=50).map(portal).collect();
        let layout = Layout::new(Sharding::Number(number(4)), portals).unwrap();
        let names: Vec<String> = layout.shards().map(|shard| layout.name(shard, "jobs")).collect();
        assert_eq!(names, ["jobs.0", "jobs.1", "jobs.2", "jobs.3"]);
        let mut accounts: Vec<AccountIndex> = layout.shards().flat_map(|shard| layout.accounts_of(shard)).collect();
        accounts.sort_unstable();
        assert_eq!(accounts, (0..50).map(AccountIndex).collect::<Vec<_>>());
        assert!(layout.shards().all(|shard| layout.portal_keys(shard).is_empty()));
        assert_eq!(layout.portal_keys(QueueIndex::SHARED).len(), 50);
    }
}
