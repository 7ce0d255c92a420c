//! What HubSpot's documents say, or leave open, and what was seen of it.

use std::collections::BTreeMap;

use super::pair::Between;
use super::sightings::Sightings;

/// In the order of the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fact {
    DefaultIsTwoWay,
    CreateIsTwoWay,
    RemovalIsTwoWay,
    Folding,
    RemovalShows,
    RemovalAnswers,
    RepeatedRemoval,
    AbsentLabel,
    CreateReplaces,
    Primary,
    PlainIsListed,
    IdsAreDirectional,
    IdsAreNumbers,
    NothingIsNamed,
    PageSize,
    Unfinished,
    Limits,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Evidence {
    Confirmed,
    Refuted,
    /// The documents leave it open.
    Measured,
    NotSeen,
}

/// What was seen, by what it is about.
#[derive(Debug, Default)]
pub struct Facts(BTreeMap<Fact, (Evidence, String)>);

impl Fact {
    pub const ALL: [Self; 17] = [
        Self::DefaultIsTwoWay,
        Self::CreateIsTwoWay,
        Self::RemovalIsTwoWay,
        Self::Folding,
        Self::RemovalShows,
        Self::RemovalAnswers,
        Self::RepeatedRemoval,
        Self::AbsentLabel,
        Self::CreateReplaces,
        Self::Primary,
        Self::PlainIsListed,
        Self::IdsAreDirectional,
        Self::IdsAreNumbers,
        Self::NothingIsNamed,
        Self::PageSize,
        Self::Unfinished,
        Self::Limits,
    ];

    /// For scripts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DefaultIsTwoWay => "default_is_two_way",
            Self::CreateIsTwoWay => "create_is_two_way",
            Self::RemovalIsTwoWay => "removal_is_two_way",
            Self::Folding => "folding",
            Self::RemovalShows => "removal_shows",
            Self::RemovalAnswers => "removal_answers",
            Self::RepeatedRemoval => "repeated_removal",
            Self::AbsentLabel => "absent_label",
            Self::CreateReplaces => "create_replaces",
            Self::Primary => "primary",
            Self::PlainIsListed => "plain_is_listed",
            Self::IdsAreDirectional => "ids_are_directional",
            Self::IdsAreNumbers => "ids_are_numbers",
            Self::NothingIsNamed => "nothing_is_named",
            Self::PageSize => "page_size",
            Self::Unfinished => "unfinished",
            Self::Limits => "limits",
        }
    }

    /// What the documents say, as far as they do.
    pub fn documented(self) -> &'static str {
        match self {
            Self::DefaultIsTwoWay => "batch/associate/default makes the association in both directions",
            Self::CreateIsTwoWay => "batch/create in one direction makes the association in both",
            Self::RemovalIsTwoWay => "batch/archive in one direction removes the association in both (not documented)",
            Self::Folding => "whether `batch.fold` suits these types is not documented",
            Self::RemovalShows => "a read shows a removal after 3 s at the latest (seen by others)",
            Self::RemovalAnswers => "batch/archive answers 204 without a body, or 200 with one",
            Self::RepeatedRemoval => "archiving what is not associated succeeds and changes nothing (not documented)",
            Self::AbsentLabel => {
                "batch/labels/archive of a label that is not there succeeds and changes nothing (not documented)"
            }
            Self::CreateReplaces => "batch/create puts its types in the place of the labels that are there",
            Self::Primary => "what becomes of Primary when its association is archived is not documented",
            Self::PlainIsListed => "the plain type is listed beside all others, without a name",
            Self::IdsAreDirectional => "a type has another id from the other end",
            Self::IdsAreNumbers => "toObjectId is a number (documented as a string)",
            Self::NothingIsNamed => "a read names a record without associations in errors",
            Self::PageSize => "the page size of batch/read is not documented",
            Self::Unfinished => "batches answer COMPLETE; PENDING and PROCESSING are documented and were not seen",
            Self::Limits => "which limits the headers of these endpoints name is not documented",
        }
    }
}

impl Evidence {
    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Refuted => "refuted",
            Self::Measured => "measured",
            Self::NotSeen => "not seen",
        }
    }

    /// For scripts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Refuted => "refuted",
            Self::Measured => "measured",
            Self::NotSeen => "not_seen",
        }
    }
}

impl Facts {
    pub fn note(&mut self, fact: Fact, verdict: Evidence, seen: impl Into<String>) {
        self.0.insert(fact, (verdict, seen.into()));
    }

    /// `holds`: it is as [`Fact::documented`] has it, whether HubSpot's documents say that or not.
    pub fn check(&mut self, fact: Fact, holds: bool, seen: impl Into<String>) {
        self.note(fact, if holds { Evidence::Confirmed } else { Evidence::Refuted }, seen);
    }

    /// Whether a pair may be archived from either of its records, by what was seen of both directions.
    pub fn of_folding(&mut self, between: &Between) {
        let seen = |fact| self.0.get(&fact).map(|(verdict, _)| *verdict);
        let directions = [Fact::DefaultIsTwoWay, Fact::CreateIsTwoWay, Fact::RemovalIsTwoWay].map(seen);
        let (verdict, words) = if between.is_within_one_type() {
            (Evidence::NotSeen, "two records of one type, which is never folded")
        } else if directions.contains(&Some(Evidence::Refuted)) {
            (Evidence::Measured, "it does not: associations are not two-way here, so leave these types out of it")
        } else if directions[1..] == [Some(Evidence::Confirmed); 2] {
            (Evidence::Measured, "it does: the association came and went in both directions")
        } else {
            return;
        };
        self.note(Fact::Folding, verdict, words);
    }

    /// Every fact, in order.
    pub fn all(&self) -> impl Iterator<Item = (Fact, Evidence, &str)> {
        Fact::ALL.into_iter().map(|fact| match self.0.get(&fact) {
            Some((verdict, seen)) => (fact, *verdict, seen.as_str()),
            None => (fact, Evidence::NotSeen, "it did not come to this"),
        })
    }

    /// What was noticed on the way.
    pub fn of_sightings(&mut self, sightings: &Sightings) {
        let Sightings { numbers, strings, largest_page, more_behind, named_without, silent_without, states, .. } =
            sightings;
        match (numbers, strings) {
            (true, false) => self.check(Fact::IdsAreNumbers, true, "numbers"),
            (false, true) => self.check(Fact::IdsAreNumbers, false, "strings"),
            (true, true) => self.check(Fact::IdsAreNumbers, false, "numbers and strings"),
            (false, false) => {}
        }
        match (named_without, silent_without) {
            (_, true) => self.check(Fact::NothingIsNamed, false, "nothing is said of it"),
            (true, false) => self.check(Fact::NothingIsNamed, true, "named in errors"),
            (false, false) => {
                self.note(Fact::NothingIsNamed, Evidence::NotSeen, "no record without associations was read");
            }
        }
        if *largest_page > 0 {
            let end = if *more_behind { "and more behind it" } else { "and no more: the page may be larger" };
            let verdict = if *more_behind { Evidence::Measured } else { Evidence::NotSeen };
            self.note(Fact::PageSize, verdict, format!("{largest_page} associations on a page, {end}"));
        }
        if !states.is_empty() {
            let others = states.iter().any(|state| state != "COMPLETE");
            self.check(Fact::Unfinished, !others, states.iter().cloned().collect::<Vec<_>>().join(", "));
        }
        self.of_limits(sightings);
    }

    fn of_limits(&mut self, sightings: &Sightings) {
        let Some(rate) = sightings.rate else {
            if sightings.answers > 0 {
                self.note(Fact::Limits, Evidence::Measured, "none");
            }
            return;
        };
        let mut named = Vec::new();
        if let Some(max) = rate.max {
            let interval = rate.interval.map(|interval| format!(" in {} ms", interval.as_millis()));
            named.push(format!("{max} requests{}", interval.unwrap_or_default()));
        }
        named.extend(rate.remaining.map(|left| format!("{left} of them left")));
        named.extend(rate.daily_remaining.map(|left| format!("{left} left of the day")));
        let (with, all, throttled) = (sightings.answers_with_rate, sightings.answers, sightings.throttled);
        let seen = format!("{} (in {with} of {all} answers; {throttled} of them 429)", named.join(", "));
        self.note(Fact::Limits, Evidence::Measured, seen);
    }
}
