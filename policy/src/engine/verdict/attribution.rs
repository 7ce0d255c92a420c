//! From the records that HubSpot's errors name to the pairs of the request that asked for them.
//!
//! A look asks for records, without another end: what is said of pairs here is said of its records.
//!
//! Nothing may fail because of a neighbour: a pair is refused only where no other pair of the request
//! can be the one that an error means. Every other pair that may be meant is suspect.

use std::collections::HashMap;
use std::sync::Arc;

use crate::contract::association::RecordId;
use crate::contract::refusal::Refusal;
use crate::engine::verdict::asked::{Asked, Showing, Shown};
use crate::engine::verdict::body::{Charge, Fault, MAX_CHARGES, Named, ReplyObject};
use crate::engine::verdict::wording::Wording;
use crate::engine::verdict::{Again, Judgement, PairVerdict, Transient};

/// Categories of an entry of `errors[]` that condemn no pair: they pass, or an operator mends them.
const PASSING: [&str; 7] = [
    "RATE_LIMIT",
    "RATE_LIMITS",
    "CONFLICT",
    "INTERNAL_ERROR",
    "EXPIRED_AUTHENTICATION",
    "INVALID_AUTHENTICATION",
    "MISSING_SCOPES",
];

/// Judges a batch that HubSpot worked through, perhaps with errors.
///
/// An archived pair is one that no error can mean. Where results tell what was done, a pair that neither results nor
/// errors mention is sent again: silence is no proof.
pub(super) fn judge_partial(
    object: &ReplyObject<'_>,
    asked: Asked<'_>,
    shown: &Shown,
    wording: &Wording<'_>,
) -> Judgement {
    let mut docket = Docket::new(asked, wording, Scope::Entry);
    let mut explained: u64 = 0;
    let mut doubt = None;
    let mut delay = None;
    for fault in object.errors() {
        let Placement { met, charge } = docket.place(fault);
        if met {
            explained += 1;
        } else if docket.excuses(&charge) {
            explained += 1;
            match asked {
                Asked::Look([_]) => docket.find(0, Finding::NothingThere { alone: false }),
                // Which of the records has nothing is found by asking for fewer.
                Asked::Look(_) => {
                    doubt.get_or_insert_with(|| wording.refused(&charge));
                }
                Asked::Archive(_) | Asked::Create(_) => {}
            }
        } else if is_passing(&charge) {
            explained += 1;
            delay.get_or_insert_with(|| passing_entry(wording.exhausted(charge.message)));
        } else {
            doubt.get_or_insert_with(|| wording.refused(&charge));
        }
    }
    if object.num_errors() > explained {
        doubt.get_or_insert_with(|| wording.refused_without_description());
    }
    let meant = match (doubt, delay) {
        (Some(refusal), _) => Some(PairVerdict::Suspect(refusal)),
        (None, Some(again)) => Some(PairVerdict::Again(again)),
        (None, None) => None,
    };
    match shown {
        Shown::Unsaid => {
            let rest = meant.unwrap_or(PairVerdict::Archived);
            each(docket.close(|_| rest.clone()))
        }
        Shown::Unreadable | Shown::Each(_) => judge_shown(docket, shown, meant, asked, wording),
    }
}

/// Judges each pair by what the results show of it. `meant` is the verdict on a pair that they do not mention, where an
/// error names nothing and may mean any pair.
fn judge_shown(
    mut docket: Docket<'_>,
    shown: &Shown,
    meant: Option<PairVerdict>,
    asked: Asked<'_>,
    wording: &Wording<'_>,
) -> Judgement {
    let again = Arc::new(says_nothing(asked, wording, Transient::Unfinished));
    for index in 0..asked.len() {
        if shown.of(index) == Showing::Unreadable {
            docket.find(index, Finding::Passing(Arc::clone(&again)));
        }
    }
    let silence = meant.unwrap_or_else(|| PairVerdict::Again(Arc::clone(&again)));
    let verdicts = docket.close(|index| match shown.of(index) {
        Showing::Done => PairVerdict::Archived,
        Showing::Not | Showing::Unreadable => silence.clone(),
    });
    let untold = |verdict: &PairVerdict| matches!(verdict, PairVerdict::Again(own) if Arc::ptr_eq(own, &again));
    if verdicts.iter().all(untold) {
        return Judgement::Again(Again::clone(&again));
    }
    each(verdicts)
}

/// A success that does not answer what was asked. Nobody knows what HubSpot has done, and to ask again does no harm.
pub(super) fn says_nothing(asked: Asked<'_>, wording: &Wording<'_>, cause: Transient) -> Again {
    let message = format!("the answer says nothing of it that can be read, so {}", asked.unknown());
    Again { cause, retry_after: None, refusal: wording.exhausted(Some(&message)) }
}

/// Judges a batch that HubSpot refused as a whole: a pair that no error can mean was left untouched.
pub(super) fn judge_refused(fault: Fault<'_>, asked: Asked<'_>, wording: &Wording<'_>) -> Judgement {
    let mut docket = Docket::new(asked, wording, Scope::Request);
    let Placement { met: _, charge } = docket.place(fault);
    if docket.excuses(&charge) && asked.len() == 1 {
        return Judgement::Archived;
    }
    let verdicts = docket.close(|_| PairVerdict::Untouched);
    let undecided = |verdict: &PairVerdict| *verdict == PairVerdict::Untouched;
    let suspect = |verdict: &PairVerdict| matches!(verdict, PairVerdict::Suspect(_));
    if verdicts.iter().all(undecided) || verdicts.iter().all(suspect) {
        return refuse_request(asked, wording.refused(&charge));
    }
    each(verdicts)
}

/// Judges a batch that failed as a whole for a reason that passes: what the reply names is sent again later and by
/// itself, so that one record that is stuck does not hold up its neighbours, which go again at once.
///
/// A reply that names nothing is about the whole batch. So is one error that names all that it was sent: it may only be
/// repeating it. Errors of their own for each pair, or for each record, are not.
pub(super) fn judge_passing(fault: Fault<'_>, asked: Asked<'_>, wording: &Wording<'_>, again: Again) -> Judgement {
    let mut docket = Docket::new(asked, wording, Scope::Passing(&again));
    let Placement { met: _, charge } = docket.place(fault);
    if docket.excuses(&charge) && asked.len() == 1 {
        return Judgement::Archived;
    }
    let verdicts = docket.close(|_| PairVerdict::Untouched);
    let undecided = |verdict: &PairVerdict| *verdict == PairVerdict::Untouched;
    let by_one_error = verdicts.iter().all(|verdict| match (verdict, verdicts.first()) {
        (PairVerdict::Again(own), Some(PairVerdict::Again(first))) => Arc::ptr_eq(own, first),
        _ => false,
    });
    if verdicts.iter().all(undecided) || by_one_error {
        return Judgement::Again(again);
    }
    each(verdicts)
}

/// Judges a refusal that names nothing: a pair that was alone in its request is the one.
pub(super) fn refuse_request(asked: Asked<'_>, refusal: Arc<Refusal>) -> Judgement {
    match asked.len() {
        1 => Judgement::Each(vec![PairVerdict::Refused(refusal)]),
        _ => Judgement::Suspect(refusal),
    }
}

fn each(verdicts: Vec<PairVerdict>) -> Judgement {
    if verdicts.iter().all(|verdict| *verdict == PairVerdict::Archived) {
        return Judgement::Archived;
    }
    Judgement::Each(verdicts)
}

/// The pairs of a request, with what was found about each of them.
struct Docket<'a> {
    asked: Asked<'a>,
    by_from: HashMap<RecordId, Vec<usize>>,
    by_to: HashMap<RecordId, Vec<usize>>,
    findings: Vec<Finding>,
    charges_left: usize,
    wording: &'a Wording<'a>,
    scope: Scope<'a>,
}

/// What the errors of a body are about.
#[derive(Clone, Copy)]
enum Scope<'a> {
    /// Single entries of a batch that was worked through.
    Entry,
    /// The whole request, which was refused.
    Request,
    /// The whole request, which failed for this passing reason.
    Passing(&'a Again),
}

/// What was found about one pair; a later finding replaces an earlier one only if it weighs more.
enum Finding {
    Nothing,
    /// An error says that nothing was there, which is as good as done. `alone`: this error can mean no other pair.
    NothingThere {
        alone: bool,
    },
    Passing(Arc<Again>),
    Suspect(Arc<Refusal>),
    Refused(Arc<Refusal>),
}

/// How surely an error means a pair, the surest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Aim {
    /// This pair, whatever else is in the request.
    Sure,
    /// This pair, or another one that the same words fit.
    Perhaps,
    /// An id that stands on both sides of the request: even an excuse may mean another pair.
    Unclear,
}

/// What became of one error.
struct Placement<'a> {
    /// Whether it named any pair of the request.
    met: bool,
    /// Its weightiest words, for the pairs that it did not name.
    charge: Charge<'a>,
}

impl<'a> Docket<'a> {
    fn new(asked: Asked<'a>, wording: &'a Wording<'a>, scope: Scope<'a>) -> Self {
        let mut by_from = HashMap::<_, Vec<_>>::new();
        let mut by_to = HashMap::<_, Vec<_>>::new();
        for index in 0..asked.len() {
            for (id, side) in [(asked.from(index), &mut by_from), (asked.to(index), &mut by_to)] {
                let Some(id) = id else { continue };
                side.entry(id).or_default().push(index);
            }
        }
        let findings = (0..asked.len()).map(|_| Finding::Nothing).collect();
        Self { asked, by_from, by_to, findings, charges_left: MAX_CHARGES, wording, scope }
    }

    /// Notes an error with each pair that it names. An error with more details than may still be read (see
    /// [`MAX_CHARGES`]) counts as one that names nothing.
    fn place<'f>(&mut self, fault: Fault<'f>) -> Placement<'f> {
        let (first, more) = fault.charges(self.charges_left);
        let Some(left) = self.charges_left.checked_sub(1 + more.len()) else {
            // What was not read may accuse where the rest excuses.
            return Placement { met: false, charge: Charge { sub_category: None, ..first } };
        };
        self.charges_left = left;
        let mut met = false;
        for charge in std::iter::once(&first).chain(&more) {
            met |= self.lay(charge);
        }
        let accusing = |charge: &Charge<'_>| !self.excuses(charge);
        let charge = if accusing(&first) { first } else { more.into_iter().find(accusing).unwrap_or(first) };
        Placement { met, charge }
    }

    /// Notes one charge with each pair that it can mean. Returns whether it can mean any.
    fn lay(&mut self, charge: &Charge<'_>) -> bool {
        let aims = self.meant(charge);
        let Some(_) = aims.first() else { return false };
        let (passing, excuses) = (self.passing(charge), self.excuses(charge));
        let refusal = self.wording.refused(charge);
        for (index, aim) in &aims {
            let finding = match (aim, &passing) {
                (Aim::Unclear, _) if excuses => Finding::Nothing,
                (Aim::Sure | Aim::Perhaps, _) if excuses => Finding::NothingThere { alone: aims.len() == 1 },
                (Aim::Sure | Aim::Perhaps | Aim::Unclear, Some(again)) => Finding::Passing(Arc::clone(again)),
                (Aim::Sure, None) => Finding::Refused(Arc::clone(&refusal)),
                (Aim::Perhaps | Aim::Unclear, None) => Finding::Suspect(Arc::clone(&refusal)),
            };
            self.find(*index, finding);
        }
        true
    }

    fn find(&mut self, index: usize, finding: Finding) {
        if finding.weight() > self.findings[index].weight() {
            self.findings[index] = finding;
        }
    }

    /// Whether the charge only says that what was asked for is so already.
    fn excuses(&self, charge: &Charge<'_>) -> bool {
        charge.nothing_there() && self.asked.is_done_where_nothing_is()
    }

    /// How to send again what the charge names; `None` where it condemns.
    fn passing(&self, charge: &Charge<'_>) -> Option<Arc<Again>> {
        let refusal = || self.wording.exhausted(charge.message);
        match self.scope {
            Scope::Entry => is_passing(charge).then(|| passing_entry(refusal())),
            Scope::Request => None,
            Scope::Passing(again) => Some(Arc::new(Again { refusal: refusal(), ..again.clone() })),
        }
    }

    /// The pairs that a charge can mean, each once.
    fn meant(&self, charge: &Charge<'_>) -> Vec<(usize, Aim)> {
        let Named { from, to, either } = &charge.named;
        let missing = charge.not_found();
        let mut aims = match (from.as_slice(), to.as_slice()) {
            ([], []) => Vec::new(),
            (from, []) => one_side(&self.by_from, from, missing),
            (from, _) if !self.asked.names_pairs() => one_side(&self.by_from, from, missing),
            ([], to) => one_side(&self.by_to, to, missing),
            (from, to) => self.both_sides(from, to),
        };
        for id in either {
            aims.extend(self.either_side(*id, missing));
        }
        aims.sort_unstable();
        aims.dedup_by_key(|(index, _)| *index);
        // An error that names all it was sent may only be repeating it.
        if aims.len() > 1 && aims.len() == self.asked.len() && !missing {
            for (_, aim) in &mut aims {
                *aim = (*aim).max(Aim::Perhaps);
            }
        }
        aims
    }

    /// The pairs between the named records.
    ///
    /// Where all that was asked of one record is named, the error may only be repeating the input; and of
    /// several records on both sides it is not said which belong together.
    fn both_sides(&self, from: &[RecordId], to: &[RecordId]) -> Vec<(usize, Aim)> {
        let named = |id: RecordId| to.binary_search(&id).is_ok();
        let wanted = |index: &usize| self.asked.to(*index).is_some_and(named);
        let matches: Vec<usize> =
            from.iter().filter_map(|id| self.by_from.get(id)).flatten().copied().filter(wanted).collect();
        let asked = match (from, to) {
            ([from], _) => self.by_from.get(from).map_or(0, Vec::len),
            (_, [to]) => self.by_to.get(to).map_or(0, Vec::len),
            (_, _) => 0,
        };
        let aim = if matches.len() == 1 || matches.len() < asked { Aim::Sure } else { Aim::Perhaps };
        matches.into_iter().map(|index| (index, aim)).collect()
    }

    fn either_side(&self, id: RecordId, missing: bool) -> Vec<(usize, Aim)> {
        let from = one_side(&self.by_from, &[id], missing);
        let to = one_side(&self.by_to, &[id], missing);
        match (from.is_empty(), to.is_empty()) {
            (_, true) => from,
            (true, false) => to,
            (false, false) => from.into_iter().chain(to).map(|(index, _)| (index, Aim::Unclear)).collect(),
        }
    }

    /// The verdicts in the request's order; `rest` gives that of a pair about which nothing was found.
    fn close(self, rest: impl Fn(usize) -> PairVerdict) -> Vec<PairVerdict> {
        let alone = self.asked.len() == 1;
        let verdicts = self.findings.into_iter().enumerate().map(|(index, finding)| match finding {
            Finding::Nothing => rest(index),
            // An error that names nothing may mean a pair that shares its excuse with others.
            Finding::NothingThere { alone: false } => match rest(index) {
                suspect @ PairVerdict::Suspect(_) => suspect,
                PairVerdict::Archived | PairVerdict::Refused(_) | PairVerdict::Again(_) | PairVerdict::Untouched => {
                    PairVerdict::Archived
                }
            },
            Finding::NothingThere { alone: true } => PairVerdict::Archived,
            Finding::Passing(again) => PairVerdict::Again(again),
            Finding::Suspect(refusal) => PairVerdict::Suspect(refusal),
            Finding::Refused(refusal) => PairVerdict::Refused(refusal),
        });
        let certain = |verdict| match verdict {
            PairVerdict::Suspect(refusal) if alone => PairVerdict::Refused(refusal),
            PairVerdict::Suspect(_)
            | PairVerdict::Archived
            | PairVerdict::Refused(_)
            | PairVerdict::Again(_)
            | PairVerdict::Untouched => verdict,
        };
        verdicts.map(certain).collect()
    }
}

impl Finding {
    fn weight(&self) -> u8 {
        match self {
            Self::Nothing => 0,
            Self::NothingThere { alone: false } => 1,
            Self::NothingThere { alone: true } => 2,
            Self::Passing(_) => 3,
            Self::Suspect(_) => 4,
            Self::Refused(_) => 5,
        }
    }
}

/// An entry of `errors[]` that passes says nothing of when to come back.
fn passing_entry(refusal: Arc<Refusal>) -> Arc<Again> {
    Arc::new(Again { cause: Transient::NotNow, retry_after: None, refusal })
}

fn is_passing(charge: &Charge<'_>) -> bool {
    charge.category.is_some_and(|category| PASSING.contains(&category))
}

/// The pairs of records that are named on one side only.
///
/// A record that does not exist fails all its pairs; any other fault may be that of one of them.
fn one_side(side: &HashMap<RecordId, Vec<usize>>, ids: &[RecordId], missing: bool) -> Vec<(usize, Aim)> {
    let groups = ids.iter().filter_map(|id| side.get(id));
    let aims = groups.flat_map(|group| {
        let aim = if missing || group.len() == 1 { Aim::Sure } else { Aim::Perhaps };
        group.iter().map(move |index| (*index, aim))
    });
    aims.collect()
}
