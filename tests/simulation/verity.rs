//! What producers are told, compared with what HubSpot holds and with what else they are told.

use std::time::Duration;

use association_archiver::contract::association::{Extent, LabelCategory, Pair};
use association_archiver::contract::outcome::{Ending, PairError};
use association_archiver::contract::refusal::{Refusal, Source, WorkerCategory};
use association_archiver::engine::command::Settled;
use hashbrown::HashSet;
use hubspot_simulator::association::{self, Associations};
use hubspot_simulator::refusal::Failure;
use hubspot_simulator::sighting::Violation;
use hubspot_simulator::{Lane, ObjectType, World};

use crate::promises::{Broken, Kept, promise};
use crate::scenario::{JobSpec, Scenario};

/// One outcome that a producer gets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said {
    expired: bool,
    /// Sorted.
    errors: Vec<Pair>,
    by_hubspot_alone: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Verity<'s> {
    scenario: &'s Scenario,
    /// Outcomes in the results queue, by job.
    said: Vec<Vec<Said>>,
    /// Something happened after which an outcome may be published twice.
    pub disturbed: bool,
    /// There was more than one process, and the later ones did not know what the earlier ones had sent.
    pub restarted: bool,
    /// Accounts that HubSpot would not identify: their pairs may have been archived in the portal of another token.
    pub unidentified: HashSet<u32>,
    /// An operator rejected what a guard had stopped.
    pub rejected: bool,
    /// Times that a guard has stopped an account.
    pub stops: u64,
    /// The longest time from a job's production to its outcome, of those without a bad record.
    pub latest_neighbour: Duration,
    /// When each job's first outcome came.
    pub answered: Vec<Option<Duration>>,
}

impl<'s> Verity<'s> {
    pub fn new(scenario: &'s Scenario) -> Self {
        let (said, unidentified) = (vec![Vec::new(); scenario.jobs.len()], HashSet::new());
        let latest_neighbour = Duration::ZERO;
        Self {
            scenario,
            said,
            disturbed: false,
            restarted: false,
            unidentified,
            rejected: false,
            stops: 0,
            latest_neighbour,
            answered: vec![None; scenario.jobs.len()],
        }
    }

    pub fn unanswered(&self) -> usize {
        self.said.iter().filter(|said| said.is_empty()).count()
    }

    pub fn outcomes(&self) -> usize {
        self.said.iter().map(Vec::len).sum()
    }

    /// The engine has an outcome for a job: its error pairs, if all that it says is true of the world.
    pub fn weigh(&self, job: usize, settled: &Settled, world: &World, now: Duration) -> Result<HashSet<Pair>, Broken> {
        let spec = &self.scenario.jobs[job];
        let errors = match &settled.ending {
            Ending::Settled { num_pairs, errors } => {
                promise!(*num_pairs == spec.num_pairs(), "{num_pairs} pairs in the outcome of {}", spec.num_pairs());
                errors
            }
            Ending::Expired { errors } => {
                promise!(errors.len() == spec.num_pairs(), "an expired job with {} errors", errors.len());
                promise!(settled.carried.attempts == 0, "EXPIRED, though a request carried the job");
                errors
            }
            Ending::Planned { .. } => return Err(Broken("no dry run was asked for".to_owned())),
            Ending::Rejected(_) => return Err(Broken("the engine rejects nothing".to_owned())),
        };
        let failed: HashSet<Pair> = errors.iter().filter_map(PairError::pair).collect();
        promise!(failed.len() == errors.len(), "a pair has two errors in one outcome");
        let asked = |error: &PairError| {
            let Some(pair) = error.pair() else { return false };
            let ask = spec.asks.iter().find(|ask| ask.pairs.binary_search(&pair).is_ok());
            ask.is_some_and(|ask| ask.extent == error.extent)
        };
        promise!(errors.iter().all(asked), "an error for a pair, or for labels of it, that the job did not ask for");
        for error in errors {
            self.reason_is_true(spec, error, settled, now)?;
        }
        self.archived_is_gone(spec, &failed, world)?;
        Ok(failed)
    }

    fn archived_is_gone(&self, spec: &JobSpec, failed: &HashSet<Pair>, world: &World) -> Kept {
        if self.unidentified.contains(&spec.account) {
            return Ok(());
        }
        let associations = &world.accounts[spec.account as usize].associations;
        let lane = lane(spec)?;
        for ask in &spec.asks {
            for pair in ask.pairs.iter().filter(|pair| !failed.contains(*pair)) {
                let gone = is_gone(associations, &lane, &ask.extent, *pair);
                promise!(gone, "{pair:?} is said to be archived, but HubSpot still has it");
            }
        }
        Ok(())
    }

    fn reason_is_true(&self, spec: &JobSpec, error: &PairError, settled: &Settled, now: Duration) -> Kept {
        let portal = &self.scenario.portals[spec.account as usize];
        let refusal = &error.refusal;
        let Some(pair) = &error.pair() else { return Err(Broken("no job asked for all of a record".to_owned())) };
        // Of an account that was not identified, another portal may have answered.
        let bad = self.unidentified.contains(&spec.account)
            || [pair.from, pair.to].iter().any(|id| portal.bad.ids.contains(&id.0.get()));
        let wall = self.scenario.epoch + now;
        match &refusal.source {
            Source::Hubspot { .. } => {
                let true_of_world =
                    bad || self.scenario.refusals_are_made_up || is_unknown_type(spec, portal.unknown_type);
                promise!(true_of_world, "{pair:?} failed for a neighbour: {}", refusal.message);
                promise!(refusal.http_status.is_some(), "HubSpot's refusal without a status");
            }
            Source::Worker(WorkerCategory::Expired) => {
                promise!(spec.not_after.is_some_and(|not_after| not_after <= wall), "{pair:?} expired before its time");
            }
            Source::Worker(WorkerCategory::RetriesExhausted) => {
                let calm = self.scenario.rules.is_empty() && self.scenario.upheavals.is_empty();
                let searched = self.scenario.policy.isolation_requests >= 200;
                // A job that has a stuck pair itself may have to end before its others are found to be good.
                let is_stuck = |pair: &Pair| [pair.from, pair.to].iter().any(|id| portal.bad.ids.contains(&id.0.get()));
                let beside = spec.asks.iter().flat_map(|ask| &ask.pairs).any(is_stuck);
                let hurried = beside && self.scenario.policy.retry.max_age < Duration::from_secs(86_400);
                promise!(
                    bad || !calm || !searched || hurried,
                    "{pair:?} failed because a neighbour is stuck: {}",
                    refusal.message
                );
                self.was_exhausted(refusal, settled, wall.duration_since(settled.carried.received))?;
            }
            Source::Worker(WorkerCategory::Unattributed) => {
                let unknown = is_unknown_type(spec, portal.unknown_type);
                let some_bad = bad || !portal.bad.ids.is_empty() || self.scenario.refusals_are_made_up || unknown;
                promise!(some_bad, "{pair:?} is unattributed, but nothing in its account is bad");
            }
            Source::Worker(WorkerCategory::AccountRefused) => {
                // Where nothing but what is stuck is in hand, it looks like an outage, of which a day is the end.
                let stuck = bad && portal.bad.failure != Failure::Status(400);
                // A twentieth of a small day is one probe of a paused lane a day.
                let daily = portal.policy.daily.into_iter().chain(portal.daily_allowed).min();
                let one_probe = daily.is_some_and(|daily| daily < 40);
                promise!(
                    self.scenario.in_hand() && (stuck || one_probe),
                    "{pair:?} failed since its account was refused: {}",
                    refusal.message
                );
            }
            Source::Worker(WorkerCategory::GuardRejected) => {
                let word = self.rejected && settled.dead_letter.is_some();
                // Where there is nobody to ask, it is given up.
                let true_of_world = portal.policy.guard.is_some() && (word || self.scenario.in_hand());
                promise!(true_of_world, "{pair:?} was rejected by nobody: {}", refusal.message);
            }
            Source::Worker(
                WorkerCategory::MalformedJob
                | WorkerCategory::UnknownPortal
                | WorkerCategory::TooManyPairs
                | WorkerCategory::NotGone
                | WorkerCategory::Reappeared
                | WorkerCategory::NotRestorable,
            ) => {
                return Err(Broken(format!("the engine says {} of {pair:?}", refusal.source.category())));
            }
        }
        Ok(())
    }

    /// A passing fault ends a job only after `retry.max_age`, counted at the earliest from its first request.
    fn was_exhausted(&self, refusal: &Refusal, settled: &Settled, since_receipt: jiff::SignedDuration) -> Kept {
        let max_age = self.scenario.policy.retry.max_age;
        let old = settled.carried.started.is_some() && since_receipt.unsigned_abs() >= max_age;
        promise!(old, "exhausted {since_receipt:?} after its receipt, retry.max_age is {max_age:?}");
        promise!(refusal.retryable && settled.dead_letter.is_some(), "exhausted, but not for another try");
        Ok(())
    }

    /// An outcome reached the results queue.
    pub fn told(&mut self, job: usize, settled: &Settled, now: Duration) {
        self.answered[job].get_or_insert(now);
        let spec = &self.scenario.jobs[job];
        if !self.scenario.has_bad_record(spec) {
            self.latest_neighbour = self.latest_neighbour.max(now.saturating_sub(spec.at));
        }
        let (expired, errors) = match &settled.ending {
            Ending::Settled { errors, .. } => (false, errors.as_slice()),
            Ending::Expired { errors } => (true, errors.as_slice()),
            Ending::Planned { .. } | Ending::Rejected(_) => (false, [].as_slice()),
        };
        let by_hubspot_alone = errors.iter().all(|error| matches!(error.refusal.source, Source::Hubspot { .. }));
        let mut errors: Vec<Pair> = errors.iter().filter_map(PairError::pair).collect();
        errors.sort_unstable();
        self.said[job].push(Said { expired, errors, by_hubspot_alone });
    }

    /// All has ended: every job has its outcome, and HubSpot lost what was asked for and nothing else.
    pub fn close(&self, world: &World) -> Kept {
        for (job, said) in self.said.iter().enumerate() {
            promise!(!said.is_empty(), "job {job} has no outcome");
            promise!(said.len() == 1 || self.disturbed, "job {job} has {} outcomes in an undisturbed run", said.len());
            let lasting = said.iter().all(|said| said.by_hubspot_alone) && !self.scenario.refusals_are_made_up;
            let agree = said.iter().all(|one| *one == said[0]);
            promise!(!lasting || agree, "job {job} has outcomes that disagree: {said:?}");
        }
        self.only_asked_is_gone(world)?;
        for account in &world.accounts {
            let size = self.scenario.behaviour.caps.pairs.is_some();
            let limited = self.disturbed || self.restarted || self.scenario.limits_are_low();
            for (violation, times) in &account.seen.violations {
                let explained = match violation {
                    Violation::TooManyPairs => size,
                    Violation::OverCeiling => limited,
                    Violation::TooManyFrom
                    | Violation::RepeatedFrom
                    | Violation::RepeatedPair
                    | Violation::EmptyInputs
                    | Violation::EmptyTo
                    | Violation::EmptyTypes
                    | Violation::Malformed => false,
                };
                promise!(explained, "HubSpot saw {violation:?} {times} times: {:?}", account.seen.told);
            }
        }
        Ok(())
    }

    fn only_asked_is_gone(&self, world: &World) -> Kept {
        if !self.unidentified.is_empty() {
            return Ok(());
        }
        for (index, account) in world.accounts.iter().enumerate() {
            let (mut whole, mut labels) = (HashSet::new(), HashSet::new());
            let mut lanes = HashSet::new();
            for spec in self.scenario.jobs.iter().filter(|spec| spec.account as usize == index) {
                let lane = lane(spec)?;
                for ask in &spec.asks {
                    for pair in &ask.pairs {
                        match &ask.extent {
                            Extent::Whole => {
                                whole.insert((lane.clone(), pair.from.0.get(), pair.to.0.get()));
                            }
                            Extent::Labels(these) => {
                                let key = |label| (lane.clone(), pair.from.0.get(), pair.to.0.get(), label);
                                labels.extend(these.iter().map(|label| key(as_theirs(*label))));
                            }
                        }
                    }
                }
                lanes.insert(lane);
            }
            let associations = &account.associations;
            let mut gone = 0;
            for lane in lanes {
                for (from, to, _) in associations.archived(&lane) {
                    gone += 1;
                    let asked = whole.contains(&(lane.clone(), from, to));
                    promise!(asked, "{from}-{to} of {lane:?} is gone, though no job asked for it");
                }
            }
            promise!(gone == associations.totals().distinct, "pairs are gone in lanes that no job names");
            let removed = |(lane, from, to, label): &(Lane, u64, u64, association::Label)| {
                associations.times_label_removed(lane, *from, *to, *label)
            };
            let of_jobs: u64 = labels.iter().map(removed).sum();
            promise!(of_jobs == associations.totals().labels_removed, "labels are gone that no job asked for");
        }
        Ok(())
    }
}

fn lane(spec: &JobSpec) -> Result<Lane, Broken> {
    let (from, to) = (spec.from_type.path_segment(), spec.to_type.path_segment());
    Lane::parse(from, to).ok_or_else(|| Broken(format!("HubSpot has no types {from} and {to}")))
}

fn is_gone(associations: &Associations, lane: &Lane, extent: &Extent, pair: Pair) -> bool {
    let (from, to) = (pair.from.0.get(), pair.to.0.get());
    match extent {
        Extent::Whole => !associations.exists(lane, from, to),
        Extent::Labels(labels) => {
            labels.iter().all(|&label| associations.times_label_removed(lane, from, to, as_theirs(label)) > 0)
        }
    }
}

fn is_unknown_type(spec: &JobSpec, unknown: Option<&str>) -> bool {
    let unknown = unknown.and_then(ObjectType::parse);
    let types = [spec.from_type.path_segment(), spec.to_type.path_segment()];
    unknown.is_some_and(|unknown| types.iter().any(|text| ObjectType::parse(text).as_ref() == Some(&unknown)))
}

fn as_theirs(label: association_archiver::contract::association::Label) -> association::Label {
    let category = match label.category {
        LabelCategory::HubspotDefined => association::LabelCategory::HubspotDefined,
        LabelCategory::UserDefined => association::LabelCategory::UserDefined,
        LabelCategory::IntegratorDefined => association::LabelCategory::IntegratorDefined,
        LabelCategory::Work => association::LabelCategory::Work,
    };
    association::Label { category, type_id: u32::try_from(label.type_id.get()).unwrap_or(u32::MAX) }
}
