//! What a seed makes: settings, the jobs, HubSpot's world before they come, and what goes wrong.

use std::collections::BTreeSet;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use association_archiver::contract::action::Action;
use association_archiver::contract::association::{Extent, RecordId};
use association_archiver::contract::job::Ask;
use association_archiver::contract::object_type::{ObjectType, TypePair};
use association_archiver::engine::account::{AccountPolicy, Safety};
use association_archiver::engine::folds::WITNESSES;
use association_archiver::engine::guard::GuardPolicy;
use association_archiver::engine::pace::Ceiling;
use association_archiver::engine::pack::Caps;
use association_archiver::engine::retry::RetryPolicy;
use association_archiver::engine::{EnginePolicy, Waiting};
use fastrand::Rng;
use hubspot_simulator::association::Associations;
use hubspot_simulator::behaviour::{Behaviour, IdForm, Order, Reads, SecondPrimary};
use hubspot_simulator::other_app::OtherApp;
use hubspot_simulator::{Account, World};
use jiff::Timestamp;
use smallvec::smallvec;

use super::errand::{Errand, FORWARD, FROMS, LANES, TOS, Theme, errands, furnish, theme};
use crate::scenario::{choose, pair};

/// See the module.
#[derive(Debug)]
pub struct Scene {
    pub seed: u64,
    pub epoch: Timestamp,
    pub policy: EnginePolicy,
    pub account: AccountPolicy,
    pub world: World,
    pub errands: Vec<Errand>,
    /// Share of the requests that fail; processes die as well.
    pub trouble: f64,
    /// Share of the removals that HubSpot answers with a success and does not make.
    pub forgets: f64,
}

/// A record has at most this many associations when it is furnished, in pairs that a guard may have to count.
const PAIRS_OF_A_RECORD: usize = TOS as usize;

/// With these few requests in ten seconds a job of many pages needs more than half of what fits into eight minutes, which
/// is as long as a job is held elsewhere. It would be parked before it ends, and begin again, for ever.
const LOW_CEILING: NonZeroU32 = NonZeroU32::new(5).unwrap();
const LONG_HOLD: Duration = Duration::from_secs(1_700);

impl Scene {
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let rng = &mut rng;
        let mut account = Account::new(4_711).with_token("token");
        account.associations = Associations::none();
        account.associations.mirrored = rng.u8(..4) > 0;
        furnish(&mut account.associations, rng);
        let epoch = Timestamp::from_second(1_795_000_000).unwrap();
        let mut world = World::with_accounts(seed, epoch, vec![account]);
        world.arrivals.kept = 0;
        world.behaviour = behaviour(rng);
        let mut policy = policy(rng);
        let mut account = account_policy(rng);
        if account.ceiling.requests == LOW_CEILING {
            policy.waiting = Waiting::Outside { longest_hold: LONG_HOLD, prefetch: 10_000 };
        }
        let associations = &mut world.accounts[0].associations;
        // Where an association is to be seen from one side only, a look from the other sees none.
        account.safety = Safety { journal: associations.mirrored && seed.is_multiple_of(2), verify: rng.bool() };
        let folds = seed.is_multiple_of(3);
        if folds {
            policy.fold = folded();
            policy.caps.from = 3;
            if !associations.mirrored {
                // All pairs of a request are its witnesses then: of others nobody could tell what became of them.
                policy.caps = Caps { from: 1, pairs: WITNESSES };
            }
            account.safety.verify = false;
        }
        let errands = errands(rng, folds);
        account.guard = (rng.u8(..5) == 0).then(|| guard(rng, &errands));
        associations.read_lag = Duration::from_millis(*choose(rng, &[0, 0, 1_000, 4_000, 12_000, 60_000]));
        associations.other_app = (rng.u8(..3) == 0).then(|| other_app(rng));
        if folds {
            // What is still there, or there again, looks as if folding did not work.
            (associations.read_lag, associations.other_app) = (Duration::ZERO, None);
        }
        let forgets = if account.safety.verify && !folds { *choose(rng, &[0.0, 0.0, 0.05, 0.3]) } else { 0.0 };
        let trouble = *choose(rng, &[0.0, 0.05, 0.3]);
        Self { seed, epoch, policy, account, world, errands, trouble, forgets }
    }

    /// Removals of one pair each that come at once and cost hundreds of requests. Nothing goes wrong.
    pub fn backlog(longest_hold: Duration, verify: bool) -> Self {
        let mut scene = Self::of(0);
        let associations = &mut scene.world.accounts[0].associations;
        (associations.read_lag, associations.other_app) = (Duration::from_secs(1), None);
        (scene.trouble, scene.forgets) = (0.0, 0.0);
        scene.world.behaviour.reads.page = NonZeroUsize::new(500).unwrap();
        scene.policy.caps = Caps { from: 1, pairs: 2 };
        scene.policy.max_in_flight = 8;
        scene.policy.waiting = Waiting::Outside { longest_hold, prefetch: 10_000 };
        scene.account.safety = Safety { journal: false, verify };
        scene.account.guard = None;
        scene.policy.fold = Arc::from([]);
        scene.account.ceiling.requests = NonZeroU32::new(20).unwrap();
        let may_go = |&from: &u64| matches!(theme(from), Theme::Archive | Theme::All | Theme::Mixed);
        let pairs = (1..=FROMS).filter(may_go).flat_map(|from| (1..=TOS).map(move |to| pair(from, to)));
        let removal = |pair| Ask { extent: Extent::Whole, pairs: smallvec![pair], all_of: Vec::new() };
        let errand = |(lane, pair)| Errand {
            at: Duration::ZERO,
            lane,
            action: Action::Archive,
            dry_run: false,
            asks: smallvec![removal(pair)],
        };
        scene.errands = (0..2).flat_map(|lane| pairs.clone().map(move |pair| (lane, pair))).map(errand).collect();
        scene
    }

    /// Another app makes associations of this record again after they were removed.
    pub fn makes_again(&self, from: RecordId) -> bool {
        let app = self.world.accounts[0].associations.other_app.as_ref();
        app.and_then(|app| app.records.as_ref()).is_some_and(|records| records.contains(&from.0.get()))
    }
}

/// All types that jobs name.
fn folded() -> Arc<[TypePair]> {
    let types = LANES.iter().take(FORWARD).map(|(from, to, _)| [from, to].map(|name| ObjectType::parse(name).unwrap()));
    types.map(|[from, to]| TypePair::new(from, to).unwrap()).collect()
}

/// Makes again what is removed of some of the records that are only archived.
fn other_app(rng: &mut Rng) -> OtherApp {
    // A number may be that of a record at either end.
    let archived = (TOS + 2..=FROMS).filter(|&from| matches!(theme(from), Theme::Archive | Theme::All));
    let records: BTreeSet<u64> = archived.filter(|_| rng.bool()).collect();
    let after = Duration::from_millis(*choose(rng, &[1, 1_000, 4_000, 40_000]));
    OtherApp { after, times: *choose(rng, &[Some(1), Some(2), None]), records: Some(records) }
}

/// One that stops the account a few times.
fn guard(rng: &mut Rng, errands: &[Errand]) -> GuardPolicy {
    let removals = errands.iter().filter(|errand| errand.action == Action::Archive && !errand.dry_run);
    let pairs = removals.flat_map(|errand| &errand.asks);
    let pairs: usize = pairs.map(|ask| ask.pairs.len() + ask.all_of.len() * PAIRS_OF_A_RECORD).sum();
    let max_pairs = NonZeroU64::new(pairs as u64 / *choose(rng, &[2, 4, 10])).unwrap_or(NonZeroU64::MIN);
    GuardPolicy { max_pairs, window: Duration::from_secs(*choose(rng, &[10, 300, 3_600])) }
}

fn behaviour(rng: &mut Rng) -> Behaviour {
    let page = NonZeroUsize::new(*choose(rng, &[1, 2, 5, 500])).unwrap();
    let ids = *choose(rng, &[IdForm::Numbers, IdForm::Strings]);
    let order = *choose(rng, &[Order::Shuffled, Order::Sorted]);
    let mut behaviour = Behaviour { reads: Reads { page, ids, order }, ..Behaviour::default() };
    behaviour.creates.second_primary = *choose(rng, &[SecondPrimary::Moves, SecondPrimary::Refused]);
    behaviour
}

fn policy(rng: &mut Rng) -> EnginePolicy {
    EnginePolicy {
        caps: Caps { from: *choose(rng, &[3, 100]), pairs: *choose(rng, &[5, 1_000]) },
        linger: Duration::from_millis(*choose(rng, &[0, 200])),
        retry: RetryPolicy { max_attempts: *choose(rng, &[2, 5]), ..RetryPolicy::default() },
        max_pairs: *choose(rng, &[12, 10_000]),
        max_in_flight: *choose(rng, &[1, 8]),
        ..EnginePolicy::default()
    }
}

fn account_policy(rng: &mut Rng) -> AccountPolicy {
    let requests = *choose(rng, &[LOW_CEILING, NonZeroU32::new(20).unwrap(), NonZeroU32::new(100).unwrap()]);
    AccountPolicy { ceiling: Ceiling { requests, ..Ceiling::default() }, ..AccountPolicy::default() }
}
