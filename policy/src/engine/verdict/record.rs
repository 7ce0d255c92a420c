//! What a look asks of a record, and what it is told.

use std::sync::Arc;

use super::Again;
use crate::contract::association::{AssociationType, RecordId};
use crate::contract::refusal::Refusal;

/// A record that a `batch/read` asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LookAsked {
    pub from: RecordId,
    /// Where the page begins: [`RecordView::next`] of the page before; `None` for the first.
    pub after: Option<Arc<str>>,
}

/// What became of the question about one record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RecordVerdict {
    Seen(RecordView),
    /// HubSpot will not show what this record is associated with.
    Refused(Arc<Refusal>),
    /// This record may be what is wrong with the request: the records with this verdict are searched.
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
    /// By which types, in the direction that was read: sorted by label, distinct. `None` where HubSpot does not say it
    /// in words that this program knows, such as a new category: the association is there, and could not be put back.
    pub types: Option<Arc<[AssociationType]>>,
}
