//! The reply to a `batch/read`, judged: what each record is associated with, as far as HubSpot says so.
//!
//! What a reply does not say is never taken for "nothing is there": an association that is thought gone and is not, or
//! that goes without having been recorded, cannot be mended later.

use std::collections::HashMap;
use std::sync::Arc;

use crate::contract::association::{AssociationType, RecordId};
use crate::contract::refusal::Refusal;
use crate::engine::reply::Reply;
use crate::engine::verdict::asked::{Asked, Showing, Shown};
use crate::engine::verdict::body::Envelope;
use crate::engine::verdict::results::{Page, SharedTypes, Told};
use crate::engine::verdict::table::judge_asked;
use crate::engine::verdict::{AccountPause, Again, Judgement, LanePause, PairVerdict, Throttled};

/// A record that a `batch/read` asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LookAsked {
    pub from: RecordId,
    /// Where the page begins: [`RecordView::next`] of the page before; `None` for the first.
    pub after: Option<Arc<str>>,
}

/// What a reply means for the `batch/read` it answers; as [`Judgement`] but for what was seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LookJudgement {
    /// One verdict a record: as many as the request had records, in its order.
    Each(Vec<RecordVerdict>),
    /// The reply does not say which of the records (two or more) is at fault: isolate.
    Suspect(Arc<Refusal>),
    /// The object type does not exist.
    LaneRefused(Arc<Refusal>),
    /// Nothing was learned, for a passing reason: the whole request again. Spends an attempt.
    Again(Again),
    Throttled(Throttled),
    PauseLane(LanePause),
    PauseAccount(AccountPause),
}

/// What became of the question about one record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RecordVerdict {
    Seen(RecordView),
    /// HubSpot will not show what this record is associated with.
    Refused(Arc<Refusal>),
    /// This record may be what is wrong with the request: isolate among the records with this verdict.
    Suspect(Arc<Refusal>),
    /// Not shown, for a passing reason or because the reply does not mention it: ask again after a back-off.
    Again(Arc<Again>),
    /// Not shown only because of its neighbours: ask again without them. Never the verdict of all records.
    Untouched,
}

/// One page of what a record is associated with; empty where HubSpot says that nothing is there.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct RecordView {
    /// Sorted by record, distinct.
    pub found: Vec<Found>,
    /// Where the next page begins; `None` says that `found` is all that is left. Never where this page began.
    pub next: Option<Arc<str>>,
}

/// A record at the other end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    pub to: RecordId,
    /// By which types, in the direction that was read: sorted by label, distinct. `None` where HubSpot does not say it in
    /// words that this program knows, such as a new category: the association is there, and could not be put back.
    pub types: Option<Arc<[AssociationType]>>,
}

/// Judges the reply to a `batch/read` that asked for these records, which are distinct and at least one.
///
/// Total, by the same table as [`super::judge`].
pub fn judge_look(reply: &Reply, asked: &[LookAsked]) -> LookJudgement {
    let mut views = HashMap::new();
    let judgement = judge_asked(reply, Asked::Look(asked), |envelope| {
        let Some(read) = read(envelope, asked) else { return Shown::Unreadable };
        views = read;
        Shown::Each(asked.iter().map(|record| showing(views.get(&record.from))).collect())
    });
    let mut view = |record: &LookAsked| RecordVerdict::Seen(views.remove(&record.from).flatten().unwrap_or_default());
    match judgement {
        Judgement::Archived => LookJudgement::Each(asked.iter().map(view).collect()),
        Judgement::Each(verdicts) => {
            let each = asked.iter().zip(verdicts).map(|(record, verdict)| match verdict {
                PairVerdict::Archived => view(record),
                PairVerdict::Refused(refusal) => RecordVerdict::Refused(refusal),
                PairVerdict::Suspect(refusal) => RecordVerdict::Suspect(refusal),
                PairVerdict::Again(again) => RecordVerdict::Again(again),
                PairVerdict::Untouched => RecordVerdict::Untouched,
            });
            LookJudgement::Each(each.collect())
        }
        Judgement::Suspect(refusal) => LookJudgement::Suspect(refusal),
        Judgement::LaneRefused(refusal) => LookJudgement::LaneRefused(refusal),
        Judgement::Again(again) => LookJudgement::Again(again),
        Judgement::Throttled(throttled) => LookJudgement::Throttled(throttled),
        Judgement::PauseLane(pause) => LookJudgement::PauseLane(pause),
        Judgement::PauseAccount(pause) => LookJudgement::PauseAccount(pause),
    }
}

fn showing(view: Option<&Option<RecordView>>) -> Showing {
    match view {
        None => Showing::Not,
        Some(None) => Showing::Unreadable,
        Some(Some(_)) => Showing::Done,
    }
}

/// What the results show of each record, `None` where they cannot be read.
type Views = HashMap<RecordId, Option<RecordView>>;

/// `None` where the results answer another question, or where one does not say what it is about: it might be about any of
/// the records.
fn read(envelope: &Envelope<'_>, asked: &[LookAsked]) -> Option<Views> {
    let began: HashMap<RecordId, Option<&str>> =
        asked.iter().map(|record| (record.from, record.after.as_deref())).collect();
    let mut shared = SharedTypes::default();
    let mut views = Views::new();
    for result in envelope.results()? {
        let Page { from, told } = Page::read(result, &mut shared)?;
        let after = began.get(&from)?;
        // A page that leads back to itself would be read for ever.
        let told = told.filter(|told| told.next.is_none() || told.next.as_deref() != *after);
        let merged = match (views.remove(&from), told) {
            (None, Some(told)) => Some(view(told)),
            (Some(Some(known)), Some(told)) => merged(known, told),
            (Some(None), _) | (_, None) => None,
        };
        views.insert(from, merged);
    }
    Some(views)
}

fn view(Told { mut found, next }: Told) -> RecordView {
    found.sort_by_key(|found| found.to);
    found.dedup_by(|next, kept| {
        let twice = next.to == kept.to;
        if twice && next.types != kept.types {
            kept.types = union(kept.types.take(), next.types.take());
        }
        twice
    });
    RecordView { found, next }
}

/// Two results about one record. `None` where they disagree about the next page.
fn merged(known: RecordView, told: Told) -> Option<RecordView> {
    let next = match (known.next, told.next) {
        (Some(one), Some(other)) if one != other => return None,
        (one, other) => one.or(other),
    };
    let mut found = known.found;
    found.extend(told.found);
    Some(view(Told { found, next }))
}

/// What is known of an association that is listed twice; nothing is, where one of the lists is not known.
fn union(one: Option<Arc<[AssociationType]>>, other: Option<Arc<[AssociationType]>>) -> Option<Arc<[AssociationType]>> {
    let mut types: Vec<AssociationType> = one?.iter().chain(other?.iter()).cloned().collect();
    types.sort_by_key(|one| one.label);
    types.dedup_by_key(|one| one.label);
    Some(types.into())
}
