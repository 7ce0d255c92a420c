//! What can still be read of a message that is no valid job, so that its producer can tell which message the outcome is
//! about.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::reading::Seed;
use super::value::{Scalar, Value};
use crate::contract::action::Action;
use crate::contract::ids::{Group, JobId, PortalId};
use crate::contract::object_type::TypeText;

/// How far into a body is looked, in bytes: the most a broker carries unless told otherwise.
const MAX_BYTES: usize = 16 * 1024 * 1024;

#[derive(Default)]
pub(super) struct Salvage {
    pub(super) job_id: Option<JobId>,
    pub(super) portal: Option<PortalId>,
    pub(super) from_type: Option<TypeText>,
    pub(super) to_type: Option<TypeText>,
    pub(super) action: Option<Action>,
    pub(super) dry_run: Option<bool>,
    pub(super) group: Option<Group>,
}

/// The fields that an outcome repeats.
const FIELDS: [&[u8]; 7] = [b"jobId", b"portalId", b"fromObjectType", b"toObjectType", b"action", b"dryRun", b"group"];

/// Reads the top level leniently. What stands before a syntax error counts; of several values the first usable one.
pub(super) fn salvage(body: &[u8]) -> Salvage {
    let mut found = Salvage::default();
    let mut json = serde_json::Deserializer::from_slice(&body[..body.len().min(MAX_BYTES)]);
    let _broken_off = json.deserialize_map(TopLevel(&mut found));
    found
}

struct TopLevel<'a>(&'a mut Salvage);

impl<'de> Visitor<'de> for TopLevel<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self(found) = self;
        while let Some(key) = map.next_key_seed(AnyKey)? {
            if !FIELDS.contains(&&*key) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = map.next_value::<&RawValue>()?.get();
            match &*key {
                b"jobId" => keep(&mut found.job_id, || usable(value)),
                b"portalId" => keep(&mut found.portal, || usable(value)),
                b"fromObjectType" => keep(&mut found.from_type, || text(value).as_deref().map(TypeText::new)),
                b"action" => keep(&mut found.action, || usable(value)),
                b"dryRun" => keep(&mut found.dry_run, || usable(value)),
                b"group" => keep(&mut found.group, || usable(value)),
                _ => keep(&mut found.to_type, || text(value).as_deref().map(TypeText::new)),
            }
        }
        Ok(())
    }
}

fn keep<T>(slot: &mut Option<T>, read: impl FnOnce() -> Option<T>) {
    if slot.is_none() {
        *slot = read();
    }
}

/// What a valid job may have there, by the same rule.
fn usable<V: Value>(json: &str) -> Option<V> {
    Seed(Scalar::new()).deserialize(&mut serde_json::Deserializer::from_str(json)).ok()
}

fn text(json: &str) -> Option<String> {
    serde_json::from_str(json).ok()
}

/// A key that need not be UTF-8.
struct AnyKey;

impl<'de> DeserializeSeed<'de> for AnyKey {
    type Value = Cow<'de, [u8]>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl<'de> Visitor<'de> for AnyKey {
    type Value = Cow<'de, [u8]>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_bytes<E>(self, key: &'de [u8]) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_bytes<E>(self, key: &[u8]) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}
