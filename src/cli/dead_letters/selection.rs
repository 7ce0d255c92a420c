//! Which of the dead letters are meant.

use std::num::NonZeroU64;
use std::time::Duration;

use jiff::Timestamp;

use super::letter::Letter;
use crate::cli::age;
use crate::cli::lane::LanePattern;
use crate::contract::ids::PortalId;
use crate::contract::object_type::{ObjectType, TypeText};

/// All that are given must hold.
#[derive(clap::Args, Clone, Debug)]
pub struct Selection {
    /// Rejected for this reason: MALFORMED_JOB, UNKNOWN_PORTAL, RETRIES_EXHAUSTED, …, or the broker's own, such as delivery_limit
    #[arg(long, value_name = "CATEGORY")]
    reason: Option<String>,
    /// Jobs of this portal
    #[arg(long, value_name = "ID")]
    portal: Option<NonZeroU64>,
    /// Jobs of this lane, as FROM/TO: contacts/companies
    #[arg(long, value_name = "FROM/TO", value_parser = LanePattern::parse)]
    lane: Option<LanePattern>,
    /// Rejected longer ago than this: 90s, 1h, 2days
    #[arg(long, value_name = "TIME", value_parser = age::parse_duration)]
    older_than: Option<Duration>,
    /// Rejected less long ago than this
    #[arg(long, value_name = "TIME", value_parser = age::parse_duration)]
    newer_than: Option<Duration>,
    /// At most this many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

/// A selection at work: ages are counted from its beginning.
#[derive(Debug)]
pub struct Sieve<'a> {
    selection: &'a Selection,
    now: Timestamp,
    chosen: u64,
}

impl Selection {
    pub fn begin(&self) -> Sieve<'_> {
        Sieve { selection: self, now: Timestamp::now(), chosen: 0 }
    }
}

impl Sieve<'_> {
    /// Whether more may be chosen.
    pub fn is_open(&self) -> bool {
        self.selection.limit.is_none_or(|limit| self.chosen < limit)
    }

    /// Whether the letter is meant; counts it if so. One of unknown age is neither old nor new.
    pub fn takes(&mut self, letter: &Letter) -> bool {
        let taken = self.is_open() && self.fits(letter);
        self.chosen += u64::from(taken);
        taken
    }

    fn fits(&self, letter: &Letter) -> bool {
        let Selection { reason, portal, lane, older_than, newer_than, limit: _ } = self.selection;
        let reason_fits = reason
            .as_deref()
            .is_none_or(|wanted| letter.reason.as_deref().is_some_and(|reason| reason.eq_ignore_ascii_case(wanted)));
        let portal_fits = portal.is_none_or(|wanted| letter.portal == Some(PortalId(wanted)));
        let lane_fits = lane.as_ref().is_none_or(|wanted| is_of(wanted, letter));
        let age = letter.rejected_at.map(|at| Duration::try_from(self.now.duration_since(at)).unwrap_or_default());
        let old_enough = older_than.is_none_or(|least| age.is_some_and(|age| age > least));
        let new_enough = newer_than.is_none_or(|most| age.is_some_and(|age| age < most));
        reason_fits && portal_fits && lane_fits && old_enough && new_enough
    }
}

/// Whatever the spelling: contact/company is the same lane.
fn is_of(wanted: &LanePattern, letter: &Letter) -> bool {
    let same = |wanted: &ObjectType, text: Option<&TypeText>| {
        text.and_then(|text| ObjectType::parse(text.as_str()).ok()).is_some_and(|of_letter| of_letter == *wanted)
    };
    same(&wanted.from, letter.from_type.as_ref()) && same(&wanted.to, letter.to_type.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: Selection =
        Selection { reason: None, portal: None, lane: None, older_than: None, newer_than: None, limit: None };

    fn letter() -> Letter {
        Letter {
            id: Some("a".to_owned()),
            reason: Some("RETRIES_EXHAUSTED".to_owned()),
            message: None,
            portal: NonZeroU64::new(7).map(PortalId),
            from_type: Some(TypeText::new("contact")),
            to_type: Some(TypeText::new("0-2")),
            rejected_at: Some(Timestamp::now() - jiff::SignedDuration::from_secs(3_600)),
            redriven: 0,
        }
    }

    fn takes(selection: &Selection) -> bool {
        selection.begin().takes(&letter())
    }

    #[test]
    fn every_condition_must_hold() {
        let hours = |hours: u64| Some(Duration::from_secs(hours * 3_600));
        assert!(takes(&ANY));
        assert!(takes(&Selection { reason: Some("retries_exhausted".to_owned()), ..ANY }));
        assert!(!takes(&Selection { reason: Some("UNATTRIBUTED".to_owned()), ..ANY }));
        assert!(takes(&Selection { portal: NonZeroU64::new(7), ..ANY }));
        assert!(!takes(&Selection { portal: NonZeroU64::new(8), ..ANY }));
        assert!(takes(&Selection { lane: LanePattern::parse("contacts/companies").ok(), ..ANY }));
        assert!(!takes(&Selection { lane: LanePattern::parse("companies/contacts").ok(), ..ANY }));
        let half = Some(Duration::from_secs(1_800));
        assert!(takes(&Selection { older_than: half, newer_than: hours(2), ..ANY }));
        assert!(!takes(&Selection { older_than: hours(2), ..ANY }));
        assert!(!takes(&Selection { newer_than: half, ..ANY }));
        assert!(!takes(&Selection { portal: NonZeroU64::new(7), newer_than: half, ..ANY }));
    }

    #[test]
    fn one_of_unknown_age_or_reason_fits_no_such_condition() {
        let unknown = Letter { rejected_at: None, reason: None, ..letter() };
        for selection in [
            Selection { older_than: Some(Duration::ZERO), ..ANY },
            Selection { newer_than: Some(Duration::MAX), ..ANY },
            Selection { reason: Some(String::new()), ..ANY },
        ] {
            assert!(!selection.begin().takes(&unknown), "{selection:?}");
        }
        assert!(ANY.begin().takes(&unknown));
    }

    #[test]
    fn a_limit_closes_the_sieve() {
        let two = Selection { limit: Some(2), ..ANY };
        let mut sieve = two.begin();
        assert_eq!([(); 3].map(|()| sieve.takes(&letter())), [true, true, false]);
        assert!(!sieve.is_open());
    }
}
