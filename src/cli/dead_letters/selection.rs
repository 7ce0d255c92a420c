//! Which of the dead letters are meant.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Duration;

use jiff::Timestamp;

use super::letter::Letter;
use crate::amqp::browser::{BrowseFault, Browser, Shelf};
use crate::cli::age;
use crate::cli::bar::bar;
use crate::cli::exit::Failure;
use crate::cli::lane::LanePattern;
use crate::cli::option_values;
use crate::config::Settings;
use crate::contract::ids::PortalId;
use crate::contract::job::JobLimits;
use crate::contract::object_type::{ObjectType, TypeText};
use crate::contract::refusal::WorkerCategory;
use crate::telemetry::progress;
use crate::worker::service;

/// All that are given must hold.
#[derive(clap::Args, Clone, Debug)]
pub struct Selection {
    /// With this id: the job's, as it is listed and as the page and top show it, or the message's; for several, repeat it
    #[arg(long, value_name = "ID")]
    id: Vec<String>,
    /// Rejected for this reason: MALFORMED_JOB, UNKNOWN_PORTAL, RETRIES_EXHAUSTED or GUARD_REJECTED, or the broker's own, such as delivery_limit
    #[arg(long, value_name = "CATEGORY", value_parser = reason)]
    reason: Option<String>,
    /// Jobs of this portal
    #[arg(long, value_name = "ID", value_parser = option_values::portal)]
    portal: Option<PortalId>,
    /// Jobs of this group; for several, repeat it
    #[arg(long, value_name = "GROUP", conflicts_with = "not_group")]
    group: Vec<String>,
    /// Jobs of any group but this one, or of none; for several, repeat it
    #[arg(long, value_name = "GROUP")]
    not_group: Vec<String>,
    /// Jobs of this lane, as FROM/TO: contacts/companies
    #[arg(long, value_name = "FROM/TO", value_parser = LanePattern::parse)]
    lane: Option<LanePattern>,
    /// Rejected longer ago than this: 90s, 1h, 2d
    #[arg(long, value_name = "TIME", value_parser = age::parse_duration)]
    older_than: Option<Duration>,
    /// Rejected less long ago than this
    #[arg(long, value_name = "TIME", value_parser = age::parse_duration)]
    newer_than: Option<Duration>,
    /// At most this many: those that were rejected first
    #[arg(long, value_name = "N", value_parser = option_values::limit)]
    limit: Option<u64>,
}

/// What the line of progress counts while letters are only looked at.
pub const LOOKED_AT: &str = "dead letters looked at";

/// The broker's words for why it gives a message up.
const BROKERS_REASONS: [&str; 4] = ["delivery_limit", "expired", "maxlen", "rejected"];

/// A reason that a dead letter can have: with any other nothing would be found, whatever lies there.
fn reason(text: &str) -> Result<String, String> {
    let ours = WorkerCategory::ALL.into_iter().filter(|category| category.is_dead_lettered());
    let known = ours.map(WorkerCategory::as_str).chain(BROKERS_REASONS);
    match known.clone().find(|known| known.eq_ignore_ascii_case(text)) {
        Some(known) => Ok(known.to_owned()),
        None => {
            Err(format!("no dead letter has this reason; name one such as {}", known.collect::<Vec<_>>().join(", ")))
        }
    }
}

/// A selection at work: ages are counted from its beginning.
#[derive(Debug)]
pub struct Sieve<'a> {
    selection: &'a Selection,
    now: Timestamp,
    chosen: u64,
    oldest: Option<Oldest>,
}

/// Where a limit ends, since the broker gives messages in no order that can be relied on.
#[derive(Clone, Copy, Debug)]
struct Oldest {
    /// Letters that were rejected before this moment are meant.
    before: Moment,
    /// Of the letters that were rejected at this very moment, this many are meant.
    at_last: u64,
}

/// When a letter was rejected; what nobody knows comes last.
pub type Moment = (bool, Option<Timestamp>);

pub fn moment(letter: &Letter) -> Moment {
    (letter.rejected_at.is_none(), letter.rejected_at)
}

impl Selection {
    /// With a limit the queue is looked through once more before: the oldest letters are meant, wherever they lie.
    pub async fn begin(&self, settings: &Settings) -> Result<Sieve<'_>, Failure> {
        let mut sieve = self.without_limit();
        let Some(limit) = self.limit else { return Ok(sieve) };
        let mut browser = Browser::open(&settings.amqp, Shelf::DeadLetters).await.map_err(running)?;
        let counted = oldest(&mut browser, &sieve, &service::limits(&settings.jobs), limit).await;
        progress::end();
        browser.close().await;
        sieve.oldest = Some(counted.map_err(running)?);
        Ok(sieve)
    }

    fn without_limit(&self) -> Sieve<'_> {
        Sieve { selection: self, now: Timestamp::now(), chosen: 0, oldest: None }
    }
}

fn running(fault: BrowseFault) -> Failure {
    Failure::Running(fault.to_string())
}

/// Looks at all letters, and keeps the moments of the oldest of those that fit.
async fn oldest(
    browser: &mut Browser,
    sieve: &Sieve<'_>,
    limits: &JobLimits,
    limit: u64,
) -> Result<Oldest, BrowseFault> {
    let mut moments = BinaryHeap::new();
    let looking = bar(browser.there().into(), 0, LOOKED_AT);
    while let Some(found) = browser.next().await? {
        looking.inc(1);
        let letter = Letter::of(&found, limits);
        if sieve.fits(&letter) {
            moments.push(moment(&letter));
            if moments.len() as u64 > limit {
                moments.pop();
            }
        }
    }
    Ok(Oldest::of(moments))
}

impl Oldest {
    /// `moments` are those of all that are meant.
    fn of(moments: BinaryHeap<Moment>) -> Self {
        let before = moments.peek().copied().unwrap_or((false, Some(Timestamp::MIN)));
        Self { before, at_last: moments.iter().filter(|moment| **moment == before).count() as u64 }
    }

    fn takes(&mut self, letter: &Letter) -> bool {
        match moment(letter).cmp(&self.before) {
            Ordering::Less => true,
            Ordering::Equal if self.at_last > 0 => {
                self.at_last -= 1;
                true
            }
            Ordering::Equal | Ordering::Greater => false,
        }
    }
}

impl Sieve<'_> {
    /// Whether more may be chosen.
    pub fn is_open(&self) -> bool {
        self.selection.limit.is_none_or(|limit| self.chosen < limit)
    }

    /// Whether the letter is meant; counts it if so. One of unknown age is neither old nor new.
    pub fn takes(&mut self, letter: &Letter) -> bool {
        let taken =
            self.is_open() && self.fits(letter) && self.oldest.as_mut().is_none_or(|oldest| oldest.takes(letter));
        self.chosen += u64::from(taken);
        taken
    }

    fn fits(&self, letter: &Letter) -> bool {
        let Selection { id, reason, portal, group, not_group, lane, older_than, newer_than, limit: _ } = self.selection;
        let ids = [letter.id.as_ref(), letter.message_id.as_ref()];
        let id_fits = id.is_empty() || ids.into_iter().flatten().any(|of_letter| id.contains(of_letter));
        let reason_fits = reason
            .as_deref()
            .is_none_or(|wanted| letter.reason.as_deref().is_some_and(|reason| reason.eq_ignore_ascii_case(wanted)));
        let portal_fits = portal.is_none_or(|wanted| letter.portal == Some(wanted));
        let is_of_one = |groups: &[String]| {
            letter.group.as_ref().is_some_and(|group| groups.iter().any(|named| named == group.as_str()))
        };
        let group_fits = (group.is_empty() || is_of_one(group)) && !is_of_one(not_group);
        let lane_fits = lane.as_ref().is_none_or(|wanted| is_of(wanted, letter));
        let age = letter.rejected_at.map(|at| Duration::try_from(self.now.duration_since(at)).unwrap_or_default());
        let old_enough = older_than.is_none_or(|least| age.is_some_and(|age| age > least));
        let new_enough = newer_than.is_none_or(|most| age.is_some_and(|age| age < most));
        id_fits && reason_fits && portal_fits && group_fits && lane_fits && old_enough && new_enough
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
    #![expect(clippy::unwrap_used)]

    use std::num::NonZeroU64;

    use super::*;
    use crate::contract::ids::Group;

    const ANY: Selection = Selection {
        id: Vec::new(),
        reason: None,
        portal: None,
        group: Vec::new(),
        not_group: Vec::new(),
        lane: None,
        older_than: None,
        newer_than: None,
        limit: None,
    };

    fn letter() -> Letter {
        Letter {
            id: Some("a".to_owned()),
            message_id: Some("of-the-message".to_owned()),
            reason: Some("RETRIES_EXHAUSTED".to_owned()),
            message: None,
            portal: NonZeroU64::new(7).map(PortalId),
            group: Group::new("import"),
            from_type: Some(TypeText::new("contact")),
            to_type: Some(TypeText::new("0-2")),
            rejected_at: Some(Timestamp::now() - jiff::SignedDuration::from_secs(3_600)),
            redriven: 0,
            deadline: None,
        }
    }

    fn takes(selection: &Selection) -> bool {
        selection.without_limit().takes(&letter())
    }

    #[test]
    fn every_condition_must_hold() {
        let hours = |hours: u64| Some(Duration::from_secs(hours * 3_600));
        assert!(takes(&ANY));
        for (id, is_meant) in [("a", true), ("of-the-message", true), ("b", false)] {
            assert_eq!(takes(&Selection { id: vec!["c".to_owned(), id.to_owned()], ..ANY }), is_meant, "{id}");
        }
        assert!(takes(&Selection { reason: Some("retries_exhausted".to_owned()), ..ANY }));
        assert!(!takes(&Selection { reason: Some("UNATTRIBUTED".to_owned()), ..ANY }));
        assert!(takes(&Selection { portal: NonZeroU64::new(7).map(PortalId), ..ANY }));
        assert!(!takes(&Selection { portal: NonZeroU64::new(8).map(PortalId), ..ANY }));
        let groups = |names: [&str; 2]| names.map(str::to_owned).to_vec();
        for (names, is_meant) in [(["x", "import"], true), (["x", "import2"], false)] {
            assert_eq!(takes(&Selection { group: groups(names), ..ANY }), is_meant, "{names:?}");
            assert_eq!(takes(&Selection { not_group: groups(names), ..ANY }), !is_meant, "all but {names:?}");
        }
        let of_none = Letter { group: None, ..letter() };
        assert!(!Selection { group: groups(["x", "y"]), ..ANY }.without_limit().takes(&of_none));
        assert!(Selection { not_group: groups(["x", "y"]), ..ANY }.without_limit().takes(&of_none));
        assert!(takes(&Selection { lane: LanePattern::parse("contacts/companies").ok(), ..ANY }));
        assert!(!takes(&Selection { lane: LanePattern::parse("companies/contacts").ok(), ..ANY }));
        let half = Some(Duration::from_secs(1_800));
        assert!(takes(&Selection { older_than: half, newer_than: hours(2), ..ANY }));
        assert!(!takes(&Selection { older_than: hours(2), ..ANY }));
        assert!(!takes(&Selection { newer_than: half, ..ANY }));
        assert!(!takes(&Selection { portal: NonZeroU64::new(7).map(PortalId), newer_than: half, ..ANY }));
    }

    #[test]
    fn one_of_unknown_age_or_reason_fits_no_such_condition() {
        let unknown = Letter { rejected_at: None, reason: None, ..letter() };
        for selection in [
            Selection { older_than: Some(Duration::ZERO), ..ANY },
            Selection { newer_than: Some(Duration::MAX), ..ANY },
            Selection { reason: Some(String::new()), ..ANY },
        ] {
            assert!(!selection.without_limit().takes(&unknown), "{selection:?}");
        }
        assert!(ANY.without_limit().takes(&unknown));
    }

    #[test]
    fn a_limit_means_the_oldest_wherever_they_lie() {
        let at = |second| Letter { rejected_at: Timestamp::from_second(second).ok(), ..letter() };
        let unknown = Letter { rejected_at: None, ..letter() };
        let letters = [at(5), unknown, at(1), at(5), at(9), at(3)];
        let taken = |limit: usize| {
            let selection = Selection { limit: Some(limit as u64), ..ANY };
            let mut moments: Vec<Moment> = letters.iter().map(moment).collect();
            moments.sort_unstable();
            moments.truncate(limit);
            let mut sieve = Sieve { oldest: Some(Oldest::of(moments.into())), ..selection.without_limit() };
            letters.each_ref().map(|letter| sieve.takes(letter))
        };
        assert_eq!(taken(0), [false; 6]);
        assert_eq!(taken(1), [false, false, true, false, false, false]);
        assert_eq!(taken(3), [true, false, true, false, false, true], "of two equally old ones the first");
        assert_eq!(taken(5), [true, false, true, true, true, true]);
        assert_eq!(taken(6), [true; 6], "of which nobody knows the age comes last");
    }

    #[test]
    fn a_reason_that_no_dead_letter_has_is_refused_with_those_that_one_can_have() {
        assert_eq!(reason("guard_rejected"), Ok("GUARD_REJECTED".to_owned()));
        assert_eq!(reason("delivery_limit"), Ok("delivery_limit".to_owned()));
        for unknown in ["NONSENSE", "", "NOT_GONE"] {
            let refused = reason(unknown).unwrap_err();
            assert!(
                refused.contains("MALFORMED_JOB, UNKNOWN_PORTAL, RETRIES_EXHAUSTED, GUARD_REJECTED, delivery_limit"),
                "{refused}"
            );
        }
    }
}
