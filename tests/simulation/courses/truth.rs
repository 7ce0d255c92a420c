//! What was said of jobs, held against what HubSpot looked like before and after them.

use std::collections::BTreeMap;

use association_archiver::contract::action::Action;
use association_archiver::contract::association::{Extent, Label, LabelCategory, Pair, RecordId};
use association_archiver::contract::outcome::{Ending, PairError};
use association_archiver::contract::plan::PlanEntry;
use association_archiver::contract::refusal::Source;
use association_archiver::engine::account::AccountPolicy;
use association_archiver::engine::command::Settled;

use super::errand::{Errand, Links, Theme, is_primary, theme};
use crate::promises::{Broken, Kept, promise};

/// What an outcome says.
#[derive(Clone, Debug)]
pub struct Said {
    pairs: usize,
    errors: Vec<PairError>,
    plan: Option<Vec<PlanEntry>>,
    verified: bool,
}

impl Said {
    pub fn of(settled: &Settled) -> Self {
        let (pairs, errors, plan) = match &settled.ending {
            Ending::Settled { num_pairs, errors } => (*num_pairs, errors, None),
            Ending::Planned { plan, errors } => (plan.len() + errors.len(), errors, Some(plan.clone())),
            Ending::Expired { .. } | Ending::Rejected(_) => panic!("{settled:?}"),
        };
        Self { pairs, errors: errors.clone(), plan, verified: settled.verified }
    }

    pub fn is_plan(&self) -> bool {
        self.plan.is_some()
    }

    pub fn says(&self, category: &str) -> bool {
        self.errors.iter().any(|error| error.refusal.source.category() == category)
    }

    /// There is a word for each pair, and only reasons that may be in such an account.
    pub fn agrees_with(&self, errand: &Errand, account: &AccountPolicy) -> Kept {
        let listed: usize = errand.asks.iter().map(|ask| ask.pairs.len()).sum();
        let records: usize = errand.asks.iter().map(|ask| ask.all_of.len()).sum();
        promise!(self.is_plan() == errand.dry_run, "a plan is told, or not, of {errand:?}");
        promise!(records > 0 || self.pairs == listed, "{} pairs are told of, {listed} asked for", self.pairs);
        promise!(self.errors.len() <= self.pairs, "more errors than pairs");
        for error in &self.errors {
            let may = match &error.refusal.source {
                Source::Hubspot { .. } => matches!(errand.action, Action::Restore { .. }),
                Source::Worker(category) => match category.as_str() {
                    "NOT_RESTORABLE" => matches!(errand.action, Action::Restore { .. }),
                    "TOO_MANY_PAIRS" => records > 0,
                    "NOT_GONE" | "REAPPEARED" => errand.action == Action::Archive && account.safety.verify,
                    "GUARD_REJECTED" => errand.action == Action::Archive && account.guard.is_some(),
                    _ => false,
                },
            };
            promise!(may, "{error:?} is said of {errand:?}");
        }
        Ok(())
    }

    /// Pairs of which is said that what was asked for them was done.
    pub fn done(&self) -> usize {
        self.pairs - self.errors.len()
    }

    pub fn reason(&self, pair: Pair) -> Option<&str> {
        let error = self.errors.iter().find(|error| error.pair() == Some(pair))?;
        Some(error.refusal.source.category())
    }

    pub fn failed(&self, pair: Pair) -> bool {
        self.errors.iter().any(|error| error.from == pair.from && error.to.is_none_or(|to| to == pair.to))
    }

    fn record_failed(&self, record: RecordId) -> bool {
        self.errors.iter().any(|error| error.from == record)
    }
}

pub struct Truth<'a> {
    pub before: &'a Links,
    pub after: &'a Links,
    pub jobs: &'a [(&'a Errand, &'a Said)],
    /// Requests failed, and processes died.
    pub disturbed: bool,
    /// Another app makes associations of a record again.
    pub makes_again: &'a dyn Fn(RecordId) -> bool,
    /// There is such an app. It may give its pairs the Primary of a record that jobs gave it to.
    pub another_app: bool,
    /// HubSpot says of removals that it makes them, and does not.
    pub forgets: bool,
    /// Reads show removed pairs for longer than is waited for.
    pub lags_long: bool,
}

impl Truth<'_> {
    pub fn holds(&self) -> Kept {
        for (errand, said) in self.jobs {
            for ask in &errand.asks {
                for &pair in &ask.pairs {
                    self.pair_holds(errand, said, &ask.extent, pair)?;
                }
                for &record in ask.all_of.iter().filter(|&&record| !said.record_failed(record)) {
                    self.record_holds(errand, said, &ask.extent, record)?;
                }
            }
        }
        if !self.lags_long {
            self.nothing_comes_back()?;
            if !self.another_app {
                self.primary_is_where_it_was_told()?;
            }
        }
        self.nothing_else_changed()
    }

    /// Jobs of any kind meet at these records. A label that one of them removed is not there again, unless a job asks for
    /// it: no restore of another label may bring it back.
    fn nothing_comes_back(&self) -> Kept {
        for (&(lane, pair), labels) in
            self.after.iter().filter(|((_, pair), _)| theme(pair.from.0.get()) == Theme::Mixed)
        {
            let jobs = self.jobs.iter().filter(|(errand, _)| errand.lane == lane && !errand.dry_run);
            let asks = jobs.flat_map(|(errand, said)| errand.asks.iter().map(move |ask| (errand.action, said, ask)));
            let asks: Vec<_> = asks.filter(|(_, _, ask)| ask.pairs.contains(&pair)).collect();
            for label in labels.iter().filter(|label| label.category == LabelCategory::UserDefined) {
                let is_asked_for = |extent: &Extent| matches!(extent, Extent::Labels(labels) if labels.contains(label));
                let restored =
                    asks.iter().any(|(action, _, ask)| *action != Action::Archive && is_asked_for(&ask.extent));
                let removed = asks.iter().any(|(action, said, ask)| {
                    let done = !said.failed(pair) && (!self.forgets || said.verified);
                    *action == Action::Archive && done && (ask.extent == Extent::Whole || is_asked_for(&ask.extent))
                });
                promise!(restored || !removed, "{label:?} of {pair:?} in lane {lane} was removed, and is there again");
            }
        }
        Ok(())
    }

    /// Where no job may take Primary from another record, whoever was told that it has it keeps it.
    fn primary_is_where_it_was_told(&self) -> Kept {
        let takes = |errand: &Errand| errand.action == Action::Restore { include_primary: true } && !errand.dry_run;
        let restores = |errand: &Errand| errand.action == Action::Restore { include_primary: false } && !errand.dry_run;
        for (errand, said) in self.jobs.iter().filter(|(errand, _)| restores(errand)) {
            if self.jobs.iter().any(|(other, _)| other.lane == errand.lane && takes(other)) {
                continue;
            }
            for ask in &errand.asks {
                let names_primary = matches!(&ask.extent, Extent::Labels(labels) if labels.iter().any(|&of| is_primary(errand.lane, of)));
                let told = |pair: &&Pair| theme(pair.from.0.get()) == Theme::Restore && !said.failed(**pair);
                for pair in ask.pairs.iter().filter(told).filter(|_| names_primary) {
                    let after = Self::labels(self.after, errand.lane, *pair);
                    let has = after.iter().any(|&label| is_primary(errand.lane, label));
                    promise!(has, "{pair:?} was told to have Primary, and has {after:?}");
                }
            }
        }
        Ok(())
    }

    fn labels(links: &Links, lane: usize, pair: Pair) -> &[Label] {
        links.get(&(lane, pair)).map(Vec::as_slice).unwrap_or_default()
    }

    fn pair_holds(&self, errand: &Errand, said: &Said, extent: &Extent, pair: Pair) -> Kept {
        let (before, after) =
            (Self::labels(self.before, errand.lane, pair), Self::labels(self.after, errand.lane, pair));
        let unproven = self.forgets && errand.action == Action::Archive && !said.verified;
        let anything = theme(pair.from.0.get()) == Theme::Mixed || (self.makes_again)(pair.from);
        if said.failed(pair) || anything || (unproven && !errand.dry_run) {
            return Ok(());
        }
        match (errand.dry_run, errand.action, extent) {
            (true, ..) => {
                if theme(pair.from.0.get()) == Theme::Plan {
                    self.plan_is_right(errand, said, extent, pair, before)?;
                }
            }
            (false, Action::Archive, Extent::Whole) => promise!(after.is_empty(), "{pair:?} is there: {after:?}"),
            (false, Action::Archive, Extent::Labels(labels)) => {
                promise!(!after.iter().any(|label| labels.contains(label)), "{pair:?} has labels: {after:?}");
            }
            (false, Action::Restore { .. }, Extent::Whole) => promise!(!after.is_empty(), "{pair:?} is not restored"),
            (false, Action::Restore { .. }, Extent::Labels(labels)) => {
                // Another job may give Primary to another record later.
                let there = labels.iter().all(|label| after.contains(label) || is_primary(errand.lane, *label));
                promise!(there, "{pair:?} has {after:?} after {errand:?}");
            }
        }
        Ok(())
    }

    fn plan_is_right(&self, errand: &Errand, said: &Said, extent: &Extent, pair: Pair, before: &[Label]) -> Kept {
        let entry = said.plan.iter().flatten().find(|entry| entry.pair == pair);
        let Some(entry) = entry else { return Err(Broken(format!("{pair:?} is missing in a plan"))) };
        promise!(entry.present != before.is_empty(), "a plan says {entry:?}, there is {before:?}");
        let wanted = |label: &&Label| match extent {
            Extent::Whole => true,
            Extent::Labels(labels) => labels.contains(label),
        };
        // Primary may have been taken from here by a job for another record at the other end.
        let stays = |label: &&Label| !is_primary(errand.lane, **label);
        let number = match (errand.action, extent) {
            (Action::Archive, _) => before.iter().filter(wanted).filter(stays).count(),
            (Action::Restore { .. }, Extent::Whole) => 0,
            (Action::Restore { .. }, Extent::Labels(labels)) => {
                labels.iter().filter(stays).filter(|label| !before.contains(label)).count()
            }
        };
        let told = entry.types.iter().map(|one| &one.label).filter(stays).count();
        promise!(told == number, "a plan says {entry:?}, there is {before:?} for {extent:?}");
        Ok(())
    }

    fn record_holds(&self, errand: &Errand, said: &Said, extent: &Extent, record: RecordId) -> Kept {
        let of_record = |links: &Links| -> BTreeMap<Pair, Vec<Label>> {
            let of = links.iter().filter(|((lane, pair), _)| *lane == errand.lane && pair.from == record);
            of.map(|((_, pair), labels)| (*pair, labels.clone())).collect()
        };
        if matches!(extent, Extent::Labels(labels) if labels.iter().any(|&label| is_primary(errand.lane, label))) {
            // Primary comes and goes with jobs for other records.
            return Ok(());
        }
        let asked = |labels: &[Label]| match extent {
            Extent::Whole => true,
            Extent::Labels(these) => labels.iter().any(|label| these.contains(label)),
        };
        let unproven = self.forgets && !said.verified && !errand.dry_run;
        if (self.makes_again)(record) || unproven {
            return Ok(());
        }
        match (errand.dry_run, theme(record.0.get())) {
            (true, Theme::Plan) => {
                for (pair, labels) in of_record(self.before) {
                    let told = said.plan.iter().flatten().any(|entry| entry.pair == pair && entry.present);
                    promise!(told == asked(&labels), "a plan of all says otherwise of {pair:?}, which has {labels:?}");
                }
            }
            (true, _) | (false, Theme::Mixed) => {}
            (false, _) => {
                let left = of_record(self.after).into_iter().find(|(_, labels)| asked(labels));
                promise!(left.is_none(), "{left:?} is left of all of {record:?}");
            }
        }
        Ok(())
    }

    /// What nobody asked for is as it was; what is restored has lost nothing.
    fn nothing_else_changed(&self) -> Kept {
        let mut pairs: Vec<&(usize, Pair)> = self.before.keys().chain(self.after.keys()).collect();
        pairs.sort_unstable();
        pairs.dedup();
        for &(lane, pair) in pairs {
            let (before, after) = (Self::labels(self.before, lane, pair), Self::labels(self.after, lane, pair));
            let asks = self.jobs.iter().filter(|(errand, _)| errand.lane == lane && !errand.dry_run);
            let asks = asks.flat_map(|(errand, _)| errand.asks.iter().map(move |ask| (errand.action, ask)));
            let asks: Vec<_> =
                asks.filter(|(_, ask)| ask.pairs.contains(&pair) || ask.all_of.contains(&pair.from)).collect();
            let gone = before.iter().filter(|label| !after.contains(label));
            for label in gone {
                let may = is_primary(lane, *label)
                    || asks.iter().any(|(action, ask)| match (action, &ask.extent) {
                        (Action::Archive, Extent::Whole) => true,
                        (Action::Archive, Extent::Labels(labels)) => labels.contains(label),
                        (Action::Restore { .. }, _) => false,
                    });
                promise!(may, "{label:?} of {pair:?} in lane {lane} is gone, though nobody asked for that");
            }
            let come = after.iter().filter(|label| !before.contains(label));
            for label in come {
                let may = asks.iter().any(|(action, ask)| match (action, &ask.extent) {
                    (Action::Archive, _) => false,
                    (Action::Restore { .. }, Extent::Whole) => true,
                    (Action::Restore { .. }, Extent::Labels(labels)) => labels.contains(label) || before.is_empty(),
                });
                promise!(may, "{label:?} of {pair:?} in lane {lane} has come, though nobody asked for that");
            }
        }
        self.primary_stays()
    }

    /// Without `includePrimary` nobody loses Primary.
    fn primary_stays(&self) -> Kept {
        let takes = |errand: &Errand| errand.action == Action::Restore { include_primary: true } && !errand.dry_run;
        for ((lane, pair), labels) in self.before {
            let had = labels.iter().any(|label| is_primary(*lane, *label));
            let restored = theme(pair.from.0.get()) == Theme::Restore;
            let taken = self.jobs.iter().any(|(errand, _)| errand.lane == *lane && takes(errand));
            if had && restored && !taken && !self.disturbed {
                let after = Self::labels(self.after, *lane, *pair);
                promise!(after.iter().any(|label| is_primary(*lane, *label)), "{pair:?} has lost Primary: {after:?}");
            }
        }
        Ok(())
    }
}
