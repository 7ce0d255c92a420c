//! What HubSpot's `results` say: of a read, page by page; of a creation, pair by pair.
//!
//! A result is parsed by itself, so that one that cannot be read spoils no other, and so that no more than one of them is
//! in memory as a tree.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::contract::association::{AssociationType, Label, LabelCategory, Pair, RecordId};
use crate::contract::text::{TEXT_MAX_BYTES, cut};
use crate::engine::verdict::body::record_id;
use crate::engine::verdict::record::Found;

/// Longest cursor that is sent back to HubSpot, in bytes.
const CURSOR_MAX_BYTES: usize = 1_024;

/// At most so many different lists of types of one answer are shared: hardly ever are there more.
const MOST_SHARED: usize = 64;

/// One result of a read: a page of what one record is associated with.
pub(super) struct Page {
    pub(super) from: RecordId,
    /// `None` where the result does not say in a form that can be read.
    pub(super) told: Option<Told>,
}

pub(super) struct Told {
    pub(super) found: Vec<Found>,
    /// `paging.next.after`.
    pub(super) next: Option<Arc<str>>,
}

/// The lists of types of one answer: most pairs are associated in the same way, and share one list.
#[derive(Default)]
pub(super) struct SharedTypes {
    known: Vec<Arc<[AssociationType]>>,
}

impl Page {
    /// `None` where it is not told which record it is about.
    pub(super) fn read(result: &RawValue, shared: &mut SharedTypes) -> Option<Self> {
        let Whose { from } = serde_json::from_str(result.get()).ok()?;
        let from = record_id(&from)?;
        Some(Self { from, told: told(result, shared) })
    }
}

fn told(result: &RawValue, shared: &mut SharedTypes) -> Option<Told> {
    let Wire { to, paging } = serde_json::from_str(result.get()).ok()?;
    let mut found = Vec::with_capacity(to.len());
    for Associated { to_object_id, association_types } in &to {
        found.push(Found { to: record_id(to_object_id)?, types: types(association_types, shared) });
    }
    Some(Told { found, next: cursor(&paging)? })
}

/// The pair that one result of a creation reports: `fromObjectId` and `toObjectId`, or `from.id` and `to.id`.
pub(super) fn created(result: &RawValue) -> Option<Pair> {
    let Created { from, to, from_object_id, to_object_id } = serde_json::from_str(result.get()).ok()?;
    let id = |one: &Value, other: &Value| record_id(one).or_else(|| record_id(other));
    Some(Pair { from: id(&from_object_id, &from)?, to: id(&to_object_id, &to)? })
}

#[derive(Deserialize)]
struct Whose {
    from: Value,
}

#[derive(Deserialize)]
struct Wire {
    to: Vec<Associated>,
    #[serde(default)]
    paging: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Associated {
    to_object_id: Value,
    #[serde(default)]
    association_types: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Created {
    from: Value,
    to: Value,
    from_object_id: Value,
    to_object_id: Value,
}

/// Sorted by label, distinct; `None` where this is no list, or where the category of one is not known here or its id
/// cannot be read.
fn types(value: &Value, shared: &mut SharedTypes) -> Option<Arc<[AssociationType]>> {
    let mut types = Vec::new();
    for value in value.as_array()? {
        let name = value.get("label").and_then(Value::as_str).filter(|name| !name.is_empty());
        types.push((label(value)?, name.map(|name| cut(name, TEXT_MAX_BYTES))));
    }
    // Where a type is listed twice, the entry with a name stays.
    types.sort_unstable_by(|(a, a_name), (b, b_name)| a.cmp(b).then(b_name.cmp(a_name)));
    types.dedup_by_key(|(label, _)| *label);
    Some(shared.list(&types))
}

fn label(value: &Value) -> Option<Label> {
    let category = value.get("category").or_else(|| value.get("associationCategory"))?.as_str()?;
    let category = LabelCategory::ALL.into_iter().find(|known| known.as_str() == category)?;
    let type_id = value.get("typeId").or_else(|| value.get("associationTypeId"))?;
    // A type's id is written as a record's.
    Some(Label { category, type_id: record_id(type_id)?.0 })
}

impl SharedTypes {
    fn list(&mut self, types: &[(Label, Option<&str>)]) -> Arc<[AssociationType]> {
        let equal = |known: &&Arc<[AssociationType]>| {
            let written = known.iter().map(|known| (known.label, known.name.as_deref()));
            written.eq(types.iter().copied())
        };
        if let Some(known) = self.known.iter().find(equal) {
            return Arc::clone(known);
        }
        let list: Arc<[AssociationType]> =
            types.iter().map(|&(label, name)| AssociationType { label, name: name.map(Arc::from) }).collect();
        if self.known.len() < MOST_SHARED {
            self.known.push(Arc::clone(&list));
        }
        list
    }
}

/// Where the next page begins; the inner `None` where there is no next page, the outer `None` where this cannot be read,
/// or where the cursor is empty or longer than [`CURSOR_MAX_BYTES`].
#[expect(clippy::option_option, reason = "no next page is not the same as one that cannot be asked for")]
fn cursor(paging: &Value) -> Option<Option<Arc<str>>> {
    let next = match paging {
        Value::Null => return Some(None),
        Value::Object(paging) => paging.get("next").unwrap_or(&Value::Null),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => return None,
    };
    match next.get("after").unwrap_or(next) {
        Value::Null => Some(None),
        Value::String(after) if (1..=CURSOR_MAX_BYTES).contains(&after.len()) => Some(Some(after.as_str().into())),
        Value::Number(after) => Some(Some(after.to_string().into())),
        Value::String(_) | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}
