//! Records from JSON, of this version or a later one: fields that are not known are left alone, and a kind of record that
//! is not known is no fault.

use std::num::NonZeroU64;
use std::sync::Arc;

use serde::Deserialize;
use uuid::Uuid;

use super::writing::{COMPLETION, ENTRY, MARK, RESTORATION};
use super::{
    ChangeKind, Completion, Entry, EntryId, EntryPair, JobName, MAX_TYPES_OF_A_PAIR, Places, ReadFrom, Record,
};
use crate::contract::association::{AssociationType, Extent, Label, LabelCategory, Pair, RecordId};
use crate::contract::ids::{Group, JobId, PortalId};
use crate::contract::object_type::ObjectType;
use crate::contract::text;
use crate::contract::time;

/// Why a line is no record. Nothing of it is used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(String);

fn unreadable(what: impl Into<String>) -> Unreadable {
    Unreadable(what.into())
}

/// Reads one record.
pub fn parse(json: &[u8]) -> Result<Record, Unreadable> {
    let json = text::without_mark(json);
    let Kind { record } = read(json)?;
    match record.as_str() {
        ENTRY => Ok(Record::Entry(entry(ChangeKind::Removal, read(json)?)?)),
        RESTORATION => Ok(Record::Entry(entry(ChangeKind::Restoration, read(json)?)?)),
        COMPLETION => Ok(Record::Completion(completion(read(json)?)?)),
        MARK => Ok(Record::Mark(read::<ReadMark>(json)?.id)),
        _ => Ok(Record::Unknown),
    }
}

fn read<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, Unreadable> {
    serde_json::from_slice(json).map_err(|error| unreadable(format!("is no record of a journal: {error}")))
}

fn entry(kind: ChangeKind, read: ReadEntry) -> Result<Entry, Unreadable> {
    let ReadEntry { id, at, portal_id, from_object_type, to_object_type, read_from, labels, types, jobs, first, pairs } =
        read;
    let types = types.into_iter().map(association_type).collect::<Result<Vec<_>, _>>()?;
    let jobs = jobs.into_iter().map(job).collect::<Result<Vec<_>, _>>()?;
    let mut last = [LastTypes::default(), LastTypes::default()];
    let pairs = pairs.into_iter().map(|pair| entry_pair(pair, &types, &mut last, jobs.len()));
    let pairs = pairs.collect::<Result<Vec<_>, _>>()?;
    if u32::try_from(pairs.len()).ok().and_then(|count| first.checked_add(count)).is_none() {
        return Err(unreadable("has more pairs than can be counted"));
    }
    Ok(Entry {
        id: EntryId(id),
        kind,
        at: timestamp(&at)?,
        portal: portal_id.map(PortalId),
        from_type: object_type(&from_object_type)?,
        to_type: object_type(&to_object_type)?,
        read: ReadFrom::ALL
            .into_iter()
            .find(|side| side.as_str() == read_from)
            .ok_or_else(|| unreadable("has a readFrom that is neither from nor to"))?,
        extent: match labels {
            None => Extent::Whole,
            Some(labels) => Extent::Labels(some_labels(labels)?),
        },
        jobs,
        first,
        pairs,
    })
}

fn completion(read: ReadCompletion) -> Result<Completion, Unreadable> {
    let ReadCompletion { entry, at, archived, restored, refused, unknown } = read;
    Ok(Completion {
        entry: EntryId(entry),
        at: timestamp(&at)?,
        archived: Places::of_ranges(archived),
        restored: Places::of_ranges(restored),
        refused: Places::of_ranges(refused),
        unknown: Places::of_ranges(unknown),
    })
}

fn timestamp(text: &str) -> Result<jiff::Timestamp, Unreadable> {
    time::parse(text).ok_or_else(|| unreadable("has an `at` that is no time"))
}

fn object_type(text: &str) -> Result<ObjectType, Unreadable> {
    ObjectType::parse(text).map_err(|fault| unreadable(format!("has an object type that is none: {fault}")))
}

fn some_labels(labels: Vec<ReadType>) -> Result<Arc<[Label]>, Unreadable> {
    let mut labels = labels.into_iter().map(|read| label(&read)).collect::<Result<Vec<_>, _>>()?;
    labels.sort_unstable();
    labels.dedup();
    if labels.is_empty() {
        return Err(unreadable("has labels, but none"));
    }
    Ok(labels.into())
}

fn label(read: &ReadType) -> Result<Label, Unreadable> {
    let category = LabelCategory::ALL.into_iter().find(|category| category.as_str() == read.association_category);
    let category = category.ok_or_else(|| unreadable("has an associationCategory that is not known"))?;
    Ok(Label { category, type_id: read.association_type_id })
}

fn association_type(read: ReadType) -> Result<AssociationType, Unreadable> {
    Ok(AssociationType { label: label(&read)?, name: read.label.map(Arc::from) })
}

fn job(read: ReadJob) -> Result<JobName, Unreadable> {
    let ReadJob { job_id, group, correlation_id } = read;
    let id = JobId::new(&job_id).ok_or_else(|| unreadable("has a jobId that is none"))?;
    let group = group.map(|group| Group::new(&group).ok_or_else(|| unreadable("has a group that is none")));
    Ok(JobName { id, group: group.transpose()?, correlation_id: correlation_id.map(Arc::from) })
}

/// Most pairs have the same types as the pair before, and share them.
#[derive(Default)]
struct LastTypes {
    places: Vec<u32>,
    types: Arc<[AssociationType]>,
}

impl LastTypes {
    fn of(&mut self, places: Vec<u32>, all: &[AssociationType]) -> Result<Arc<[AssociationType]>, Unreadable> {
        if places != self.places {
            let types = places.iter().map(|place| all.get(*place as usize).cloned()).collect::<Option<Vec<_>>>();
            let types = types.ok_or_else(|| unreadable("has a pair of a type that is not there"))?;
            *self = Self { places, types: types.into() };
        }
        Ok(Arc::clone(&self.types))
    }
}

fn entry_pair(
    read: ReadPair,
    all: &[AssociationType],
    [last_there, last_created]: &mut [LastTypes; 2],
    jobs: usize,
) -> Result<EntryPair, Unreadable> {
    let record = |digits: &str| RecordId::parse(digits).ok_or_else(|| unreadable("has a record id that is none"));
    let pair = Pair { from: record(&read.from)?, to: record(&read.to)? };
    if read.types.len().max(read.creates.len()) > MAX_TYPES_OF_A_PAIR {
        return Err(unreadable("has a pair with more types than there can be"));
    }
    let (types, creates) = (last_there.of(read.types, all)?, last_created.of(read.creates, all)?);
    if read.jobs.iter().any(|job| *job as usize >= jobs) {
        return Err(unreadable("has a pair of a job that is not there"));
    }
    Ok(EntryPair { pair, types, creates, jobs: read.jobs.as_slice().into() })
}

#[derive(Deserialize)]
struct Kind {
    record: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadEntry {
    id: Uuid,
    at: String,
    portal_id: Option<NonZeroU64>,
    from_object_type: String,
    to_object_type: String,
    read_from: String,
    labels: Option<Vec<ReadType>>,
    types: Vec<ReadType>,
    jobs: Vec<ReadJob>,
    first: u32,
    pairs: Vec<ReadPair>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadType {
    association_category: String,
    association_type_id: NonZeroU64,
    label: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadJob {
    job_id: String,
    group: Option<String>,
    correlation_id: Option<String>,
}

#[derive(Deserialize)]
struct ReadPair {
    from: String,
    to: String,
    types: Vec<u32>,
    /// Removals have none.
    #[serde(default)]
    creates: Vec<u32>,
    jobs: Vec<u32>,
}

#[derive(Deserialize)]
struct ReadCompletion {
    entry: Uuid,
    at: String,
    archived: Vec<(u32, u32)>,
    /// Completions of removals may have none.
    #[serde(default)]
    restored: Vec<(u32, u32)>,
    refused: Vec<(u32, u32)>,
    unknown: Vec<(u32, u32)>,
}

#[derive(Deserialize)]
struct ReadMark {
    id: Uuid,
}
