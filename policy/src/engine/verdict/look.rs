//! The reply to a `batch/read`, judged: what each record is associated with, as far as HubSpot says so.
//!
//! What a reply does not say is never taken for "nothing is there": an association that is thought gone and is not, or
//! that goes without having been recorded, cannot be mended later.

use std::collections::HashMap;
use std::sync::Arc;

use crate::contract::association::{AssociationType, RecordId};
use crate::engine::reply::Reply;
use crate::engine::verdict::asked::{Asked, Showing, Shown};
use crate::engine::verdict::body::ReplyObject;
use crate::engine::verdict::record::{LookAsked, RecordVerdict, RecordView};
use crate::engine::verdict::results::{Page, SharedTypes, Told};
use crate::engine::verdict::table::judge_asked;
use crate::engine::verdict::{Judgement, PairVerdict};

/// Judges the reply to a `batch/read` that asked for these records, which are distinct and at least one.
///
/// One verdict a record: as many as the request had records, in its order. `Err` is what a reply means that says
/// nothing of single records; what it says of "every pair" is meant of every record.
///
/// Total, by the same table as [`super::judge`].
pub fn judge_look(reply: &Reply, asked: &[LookAsked]) -> Result<Vec<RecordVerdict>, Judgement> {
    let mut views = HashMap::new();
    let judgement = judge_asked(reply, Asked::Look(asked), |object| {
        let Some(read) = read(object, asked) else { return Shown::Unreadable };
        views = read;
        Shown::Each(asked.iter().map(|record| showing(views.get(&record.from))).collect())
    });
    let mut view = |record: &LookAsked| RecordVerdict::Seen(views.remove(&record.from).flatten().unwrap_or_default());
    match judgement {
        Judgement::Archived => Ok(asked.iter().map(view).collect()),
        Judgement::Each(verdicts) => {
            let each = asked.iter().zip(verdicts).map(|(record, verdict)| match verdict {
                PairVerdict::Archived => view(record),
                PairVerdict::Refused(refusal) => RecordVerdict::Refused(refusal),
                PairVerdict::Suspect(refusal) => RecordVerdict::Suspect(refusal),
                PairVerdict::Again(again) => RecordVerdict::Again(again),
                PairVerdict::Untouched => RecordVerdict::Untouched,
            });
            Ok(each.collect())
        }
        of_all @ (Judgement::Suspect(_)
        | Judgement::LaneRefused(_)
        | Judgement::Again(_)
        | Judgement::Throttled(_)
        | Judgement::PauseLane(_)
        | Judgement::PauseAccount(_)) => Err(of_all),
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
fn read(object: &ReplyObject<'_>, asked: &[LookAsked]) -> Option<Views> {
    let began: HashMap<RecordId, Option<&str>> =
        asked.iter().map(|record| (record.from, record.after.as_deref())).collect();
    let mut shared = SharedTypes::default();
    let mut views = Views::new();
    for result in object.results()? {
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
