//! Records as JSON. Types and jobs stand in tables of the record, so that a pair takes some forty bytes.

use std::ops::Range;

use hashbrown::HashMap;
use serde::Serialize;
use uuid::Uuid;

use super::{ChangeKind, Completion, Entry, EntryPair, MAX_RECORD_BYTES, Places, VERSION};
use crate::contract::association::{AssociationType, Extent, Label};
use crate::contract::ids::{Group, PortalId};
use crate::contract::text::{TEXT_MAX_BYTES, cut};
use crate::contract::time;

impl Entry {
    /// The entry as one record, or as several where one would be larger than [`MAX_RECORD_BYTES`].
    pub fn encode(&self) -> Vec<Vec<u8>> {
        self.encode_within(MAX_RECORD_BYTES)
    }

    /// The same with another limit. A pair is never split, unless between its jobs.
    pub(super) fn encode_within(&self, limit: usize) -> Vec<Vec<u8>> {
        let mut records = Vec::with_capacity(1);
        self.write_within(0..self.pairs.len(), limit, &mut records);
        records
    }

    fn write_within(&self, range: Range<usize>, limit: usize, records: &mut Vec<Vec<u8>>) {
        let pairs = &self.pairs[range.clone()];
        let record = self.write(range.start, pairs);
        if record.len() <= limit {
            return records.push(record);
        }
        match pairs {
            [] => records.push(record),
            [only] => self.write_by_jobs(range.start, only, record, limit, records),
            [_, _, ..] => {
                let middle = range.start + pairs.len() / 2;
                self.write_within(range.start..middle, limit, records);
                self.write_within(middle..range.end, limit, records);
            }
        }
    }

    /// Thousands of jobs may have asked for the same pair. One record of it names some of them, the next the others.
    fn write_by_jobs(&self, place: usize, pair: &EntryPair, whole: Vec<u8>, limit: usize, records: &mut Vec<Vec<u8>>) {
        if pair.jobs.len() < 2 {
            return records.push(whole);
        }
        let (some, others) = pair.jobs.split_at(pair.jobs.len() / 2);
        for jobs in [some, others] {
            let part = EntryPair { jobs: jobs.into(), ..pair.clone() };
            let record = self.write(place, std::slice::from_ref(&part));
            if record.len() <= limit {
                records.push(record);
            } else {
                self.write_by_jobs(place, &part, record, limit, records);
            }
        }
    }

    fn write(&self, before: usize, pairs: &[EntryPair]) -> Vec<u8> {
        let mut tables = Tables { types: Table::default(), jobs: Table::default() };
        let written: Vec<WrittenPair> = pairs.iter().map(|pair| tables.pair(pair, self.kind)).collect();
        let jobs = tables.jobs.rows.iter().filter_map(|job| self.jobs.get(**job as usize));
        let jobs = jobs.map(|job| WrittenJob {
            job_id: job.id.as_str(),
            group: job.group.as_ref().map(Group::as_str),
            correlation_id: job.correlation_id.as_deref(),
        });
        let types = tables.types.rows.iter().map(|of| WrittenType {
            association_category: of.label.category.as_str(),
            association_type_id: of.label.type_id.get(),
            label: of.name.as_deref().map(|name| cut(name, TEXT_MAX_BYTES)),
        });
        json(&WrittenEntry {
            version: VERSION,
            record: match self.kind {
                ChangeKind::Removal => ENTRY,
                ChangeKind::Restoration => RESTORATION,
            },
            id: self.id.0,
            at: time_text(self.at),
            portal_id: self.portal.map(|PortalId(id)| id.get()),
            from_object_type: self.from_type.as_written(),
            to_object_type: self.to_type.as_written(),
            read_from: self.read.as_str(),
            labels: match &self.extent {
                Extent::Whole => None,
                Extent::Labels(labels) => Some(labels.iter().map(WrittenLabel::of).collect()),
            },
            types: types.collect(),
            jobs: jobs.collect(),
            first: self.first.saturating_add(u32::try_from(before).unwrap_or(u32::MAX)),
            pairs: written,
        })
    }
}

impl Completion {
    pub fn encode(&self) -> Vec<u8> {
        json(&WrittenCompletion {
            version: VERSION,
            record: COMPLETION,
            entry: self.entry.0,
            at: time_text(self.at),
            archived: Places::ranges(&self.archived),
            restored: Places::ranges(&self.restored),
            refused: Places::ranges(&self.refused),
            unknown: Places::ranges(&self.unknown),
        })
    }
}

/// The record by which a reader finds the end of the journal.
pub fn mark(id: Uuid) -> Vec<u8> {
    json(&WrittenMark { version: VERSION, record: MARK, id })
}

/// An entry of a removal; earlier versions know no other.
pub(super) const ENTRY: &str = "entry";
pub(super) const RESTORATION: &str = "restoration";
pub(super) const COMPLETION: &str = "completion";
pub(super) const MARK: &str = "mark";

fn json(record: &impl Serialize) -> Vec<u8> {
    // Structures of numbers and texts can always be written; a record that could not would be read as no record.
    serde_json::to_vec(record).unwrap_or_default()
}

fn time_text(at: jiff::Timestamp) -> String {
    let mut text = Vec::with_capacity(24);
    time::write(at, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Distinct rows in the order in which they were first seen.
struct Table<'a, T> {
    rows: Vec<&'a T>,
    known: HashMap<&'a T, u32>,
}

impl<T> Default for Table<'_, T> {
    fn default() -> Self {
        Self { rows: Vec::new(), known: HashMap::new() }
    }
}

impl<'a, T: std::hash::Hash + Eq> Table<'a, T> {
    fn index(&mut self, row: &'a T) -> u32 {
        let Self { rows, known } = self;
        *known.entry(row).or_insert_with(|| {
            rows.push(row);
            u32::try_from(rows.len() - 1).unwrap_or(u32::MAX)
        })
    }
}

struct Tables<'a> {
    types: Table<'a, AssociationType>,
    /// Of indices into the whole entry's jobs.
    jobs: Table<'a, u32>,
}

impl<'a> Tables<'a> {
    fn pair(&mut self, pair: &'a EntryPair, kind: ChangeKind) -> WrittenPair {
        let mut places =
            |types: &'a [AssociationType]| -> Vec<u32> { types.iter().map(|of| self.types.index(of)).collect() };
        WrittenPair {
            from: pair.pair.from.to_string(),
            to: pair.pair.to.to_string(),
            types: places(&pair.types),
            creates: (kind == ChangeKind::Restoration).then(|| places(&pair.creates)),
            jobs: pair.jobs.iter().map(|job| self.jobs.index(job)).collect(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenEntry<'a> {
    version: u32,
    record: &'a str,
    id: Uuid,
    at: String,
    portal_id: Option<u64>,
    from_object_type: &'a str,
    to_object_type: &'a str,
    read_from: &'a str,
    labels: Option<Vec<WrittenLabel>>,
    types: Vec<WrittenType<'a>>,
    jobs: Vec<WrittenJob<'a>>,
    first: u32,
    pairs: Vec<WrittenPair>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenLabel {
    association_category: &'static str,
    association_type_id: u64,
}

impl WrittenLabel {
    fn of(label: &Label) -> Self {
        Self { association_category: label.category.as_str(), association_type_id: label.type_id.get() }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenType<'a> {
    association_category: &'static str,
    association_type_id: u64,
    label: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenJob<'a> {
    job_id: &'a str,
    group: Option<&'a str>,
    correlation_id: Option<&'a str>,
}

#[derive(Serialize)]
struct WrittenPair {
    from: String,
    to: String,
    types: Vec<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    creates: Option<Vec<u32>>,
    jobs: Vec<u32>,
}

#[derive(Serialize)]
struct WrittenCompletion<'a> {
    version: u32,
    record: &'a str,
    entry: Uuid,
    at: String,
    archived: &'a [(u32, u32)],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    restored: &'a [(u32, u32)],
    refused: &'a [(u32, u32)],
    unknown: &'a [(u32, u32)],
}

#[derive(Serialize)]
struct WrittenMark<'a> {
    version: u32,
    record: &'a str,
    id: Uuid,
}
