//! The strict reading of a job's body, field by field, so that an error can name its field.

use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU64;

use jiff::Timestamp;
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use smallvec::SmallVec;

use super::Ask;
use super::asks::{AskFault, Gathered, MAX_LABELS};
use super::place::{Place, QUOTE_MAX_BYTES, quoted};
use crate::contract::association::{Label, LabelCategory, RecordId};
use crate::contract::ids::{JobId, PortalId};
use crate::contract::object_type::ObjectType;
use crate::contract::text::cut;
use crate::contract::time;

/// A job as its body has it: whether it has an id is not only the body's business.
pub(super) struct Draft {
    pub(super) id: Option<JobId>,
    pub(super) portal: Option<PortalId>,
    pub(super) from_type: ObjectType,
    pub(super) to_type: ObjectType,
    pub(super) asks: SmallVec<[Ask; 1]>,
    pub(super) not_after: Option<Timestamp>,
}

/// Reads a body; the error names the field and the rule.
pub(super) fn read(body: &[u8], max_pairs: usize) -> Result<Draft, String> {
    if body.starts_with(b"\xef\xbb\xbf") {
        return Err("body: begins with a byte order mark; send plain UTF-8".to_owned());
    }
    let mut reading = Reading { at: Place::Body, max_pairs, gathered: Gathered::new(max_pairs), to: Vec::new() };
    let mut json = serde_json::Deserializer::from_slice(body);
    let draft = Seed(JobObject(&mut reading)).deserialize(&mut json).and_then(|draft| json.end().map(|()| draft));
    draft.map_err(|error| described(&error, reading.at))
}

/// What the visitors below share.
struct Reading {
    /// The field being read: what an error, even one of the JSON itself, is about.
    at: Place,
    max_pairs: usize,
    gathered: Gathered,
    /// The `to` records of the input being read.
    to: Vec<RecordId>,
}

impl Reading {
    fn refuse<E: Error>(&mut self, at: Place, rule: impl fmt::Display) -> E {
        self.at = at;
        E::custom(rule)
    }

    /// Drops copies among the records, which may leave too many all the same.
    fn squeeze_to<E: Error>(&mut self) -> Result<(), E> {
        self.to.sort_unstable();
        self.to.dedup();
        let max = self.max_pairs;
        if self.to.len() > max { Err(self.refuse(Place::Inputs, AskFault::TooManyPairs { max })) } else { Ok(()) }
    }
}

/// `place: rule`, whoever found the fault.
fn described(error: &serde_json::Error, at: Place) -> String {
    let text = error.to_string();
    if !error.is_data() {
        return format!("{at}: is not well-formed JSON: {text}");
    }
    let position = format!(" at line {} column {}", error.line(), error.column());
    let rule = text.strip_suffix(&position).unwrap_or(&text);
    match rule.strip_prefix("invalid type: ").and_then(|rule| rule.rsplit_once(", expected ")) {
        Some((found, expected)) => format!("{at}: must be {expected}, is {}", shortened(found)),
        None => format!("{at}: {rule}"),
    }
}

/// serde's words for a value, such as ``string "…"``, without all of a long text.
fn shortened(found: &str) -> String {
    let short = cut(found, QUOTE_MAX_BYTES);
    if short.len() < found.len() { format!("{short}…") } else { short.to_owned() }
}

struct Seed<V>(V);

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for Seed<V> {
    type Value = V::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self.0)
    }
}

struct JobObject<'r>(&'r mut Reading);

impl<'de> Visitor<'de> for JobObject<'_> {
    type Value = Draft;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Draft, A::Error> {
        let reading = self.0;
        let (mut id, mut portal, mut from_type, mut to_type, mut not_after) = (None, None, None, None, None);
        let mut fields = Fields::new(Place::Body);
        while let Some(field) = fields.next(reading, &mut map)? {
            match field {
                JobField::Id => id = Some(value(reading, Place::JobId, &mut map)?),
                JobField::Portal => portal = Some(value(reading, Place::PortalId, &mut map)?),
                JobField::FromType => from_type = Some(value(reading, Place::FromObjectType, &mut map)?),
                JobField::ToType => to_type = Some(value(reading, Place::ToObjectType, &mut map)?),
                JobField::NotAfter => not_after = Some(value(reading, Place::NotAfter, &mut map)?),
                JobField::Inputs => {
                    reading.at = Place::Inputs;
                    map.next_value_seed(Seed(Inputs(reading)))?;
                }
            }
            reading.at = Place::Body;
        }
        let from_type = from_type.ok_or_else(|| reading.refuse(Place::FromObjectType, MISSING))?;
        let to_type = to_type.ok_or_else(|| reading.refuse(Place::ToObjectType, MISSING))?;
        if !fields.seen(JobField::Inputs) {
            return Err(reading.refuse(Place::Inputs, MISSING));
        }
        let asks = reading.gathered.take_asks().map_err(|fault| reading.refuse(Place::Inputs, fault))?;
        Ok(Draft { id, portal, from_type, to_type, asks, not_after })
    }
}

struct Inputs<'r>(&'r mut Reading);

impl<'de> Visitor<'de> for Inputs<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut inputs: A) -> Result<(), A::Error> {
        let reading = self.0;
        let mut count = 0;
        loop {
            reading.at = Place::Input(count);
            if inputs.next_element_seed(Seed(Input(reading, count)))?.is_none() {
                break;
            }
            count += 1;
        }
        if count == 0 { Err(reading.refuse(Place::Inputs, EMPTY)) } else { Ok(()) }
    }
}

struct Input<'r>(&'r mut Reading, usize);

impl<'de> Visitor<'de> for Input<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"an object such as {"from": {"id": "101"}, "to": [{"id": "9001"}]}"#)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self(reading, i) = self;
        let (mut from, mut labels) = (None, None);
        let mut fields = Fields::new(Place::Input(i));
        while let Some(field) = fields.next(reading, &mut map)? {
            match field {
                InputField::From => {
                    reading.at = Place::From(i);
                    from = Some(map.next_value_seed(Seed(Record {
                        reading,
                        at: Place::From(i),
                        id: Place::FromId(i),
                    }))?);
                }
                InputField::To => {
                    reading.at = Place::To(i);
                    map.next_value_seed(Seed(ToRecords(reading, i)))?;
                }
                InputField::Types => {
                    reading.at = Place::Types(i);
                    labels = Some(map.next_value_seed(Seed(Labels(reading, i)))?);
                }
            }
            reading.at = Place::Input(i);
        }
        let from = from.ok_or_else(|| reading.refuse(Place::From(i), MISSING))?;
        if !fields.seen(InputField::To) {
            return Err(reading.refuse(Place::To(i), MISSING));
        }
        let added = reading.gathered.add(from, &reading.to, labels);
        added.map_err(|fault| reading.refuse(Place::Inputs, fault))
    }
}

struct Record<'r> {
    reading: &'r mut Reading,
    at: Place,
    id: Place,
}

impl<'de> Visitor<'de> for Record<'_> {
    type Value = RecordId;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"an object such as {"id": "101"}"#)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RecordId, A::Error> {
        let Self { reading, at, id: id_at } = self;
        let mut id = None;
        let mut fields = Fields::new(at);
        while let Some(RecordField::Id) = fields.next(reading, &mut map)? {
            id = Some(value(reading, id_at, &mut map)?);
            reading.at = at;
        }
        id.ok_or_else(|| reading.refuse(id_at, MISSING))
    }
}

/// Leaves the records in [`Reading::to`].
struct ToRecords<'r>(&'r mut Reading, usize);

impl<'de> Visitor<'de> for ToRecords<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"an array such as [{"id": "9001"}]"#)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut records: A) -> Result<(), A::Error> {
        let Self(reading, i) = self;
        reading.to.clear();
        let mut count = 0;
        loop {
            let at = Place::ToEntry(i, count);
            reading.at = at;
            let id = Place::ToEntryId(i, count);
            let Some(record) = records.next_element_seed(Seed(Record { reading, at, id }))? else { break };
            reading.to.push(record);
            count += 1;
            if reading.to.len() > reading.max_pairs.saturating_mul(2) {
                reading.squeeze_to()?;
            }
        }
        if count == 0 {
            return Err(reading.refuse(Place::To(i), EMPTY));
        }
        if reading.to.len() > reading.max_pairs { reading.squeeze_to() } else { Ok(()) }
    }
}

struct Labels<'r>(&'r mut Reading, usize);

impl<'de> Visitor<'de> for Labels<'_> {
    type Value = Vec<Label>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of labels, or absent to remove the whole association")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Vec<Label>, A::Error> {
        let Self(reading, i) = self;
        let mut labels = Vec::new();
        loop {
            let k = labels.len();
            reading.at = Place::Label(i, k);
            let Some(label) = entries.next_element_seed(Seed(LabelObject(reading, i, k)))? else { break };
            if k == MAX_LABELS {
                return Err(reading.refuse(Place::Types(i), format_args!("has more than {MAX_LABELS} entries")));
            }
            labels.push(label);
        }
        if labels.is_empty() { Err(reading.refuse(Place::Types(i), NO_LABELS)) } else { Ok(labels) }
    }
}

struct LabelObject<'r>(&'r mut Reading, usize, usize);

impl<'de> Visitor<'de> for LabelObject<'_> {
    type Value = Label;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"an object such as {"associationCategory": "USER_DEFINED", "associationTypeId": 37}"#)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Label, A::Error> {
        let Self(reading, i, k) = self;
        let (mut category, mut type_id) = (None, None);
        let mut fields = Fields::new(Place::Label(i, k));
        while let Some(field) = fields.next(reading, &mut map)? {
            match field {
                LabelField::Category => category = Some(value(reading, Place::LabelCategory(i, k), &mut map)?),
                LabelField::TypeId => type_id = Some(value(reading, Place::LabelTypeId(i, k), &mut map)?),
            }
            reading.at = Place::Label(i, k);
        }
        let category = category.ok_or_else(|| reading.refuse(Place::LabelCategory(i, k), MISSING))?;
        let LabelTypeId(type_id) = type_id.ok_or_else(|| reading.refuse(Place::LabelTypeId(i, k), MISSING))?;
        Ok(Label { category, type_id })
    }
}

const MISSING: &str = "is missing";
const EMPTY: &str = "is empty; name at least one";
const NO_LABELS: &str = "is empty; name at least one label, or leave `types` out to remove the whole association";

/// The fields of one object: each may come once, and no other.
struct Fields<F> {
    of: Place,
    seen: u8,
    names: PhantomData<F>,
}

impl<F: FieldName> Fields<F> {
    fn new(of: Place) -> Self {
        Self { of, seen: 0, names: PhantomData }
    }

    fn next<'de, A: MapAccess<'de>>(&mut self, reading: &mut Reading, map: &mut A) -> Result<Option<F>, A::Error> {
        let Some(field) = map.next_key_seed(Seed(Name { of: self.of, names: self.names, reading }))? else {
            return Ok(None);
        };
        if self.seen(field) {
            return Err(reading.refuse(self.of, format_args!("has the field {} twice", quoted(field.name()))));
        }
        self.seen |= field.bit();
        Ok(Some(field))
    }

    fn seen(&self, field: F) -> bool {
        self.seen & field.bit() != 0
    }
}

trait FieldName: Copy + 'static {
    const ALL: &'static [(&'static str, Self)];

    /// One of eight bits, its own.
    fn bit(self) -> u8;

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, field)| field.bit() == self.bit()).map_or("", |(name, _)| name)
    }
}

#[derive(Clone, Copy)]
enum JobField {
    Id,
    Portal,
    FromType,
    ToType,
    Inputs,
    NotAfter,
}

impl FieldName for JobField {
    const ALL: &'static [(&'static str, Self)] = &[
        ("jobId", Self::Id),
        ("portalId", Self::Portal),
        ("fromObjectType", Self::FromType),
        ("toObjectType", Self::ToType),
        ("inputs", Self::Inputs),
        ("notAfter", Self::NotAfter),
    ];

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

#[derive(Clone, Copy)]
enum InputField {
    From,
    To,
    Types,
}

impl FieldName for InputField {
    const ALL: &'static [(&'static str, Self)] = &[("from", Self::From), ("to", Self::To), ("types", Self::Types)];

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

#[derive(Clone, Copy)]
enum RecordField {
    Id,
}

impl FieldName for RecordField {
    const ALL: &'static [(&'static str, Self)] = &[("id", Self::Id)];

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

#[derive(Clone, Copy)]
enum LabelField {
    Category,
    TypeId,
}

impl FieldName for LabelField {
    const ALL: &'static [(&'static str, Self)] =
        &[("associationCategory", Self::Category), ("associationTypeId", Self::TypeId)];

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

struct Name<'r, F> {
    of: Place,
    names: PhantomData<F>,
    reading: &'r mut Reading,
}

impl<'de, F: FieldName> Visitor<'de> for Name<'_, F> {
    type Value = F;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<F, E> {
        let known = F::ALL.iter().find(|(known, _)| *known == name).map(|(_, field)| *field);
        known.ok_or_else(|| {
            let names: Vec<&str> = F::ALL.iter().map(|(name, _)| *name).collect();
            let rule =
                format!("has the unknown field {}; nothing is ignored, known here: {}", quoted(name), names.join(", "));
            self.reading.refuse(self.of, rule)
        })
    }
}

/// Reads the value of a field that stands at `at`.
fn value<'de, V: Value, A: MapAccess<'de>>(reading: &mut Reading, at: Place, map: &mut A) -> Result<V, A::Error> {
    reading.at = at;
    map.next_value_seed(Seed(Scalar(PhantomData)))
}

/// A value that is a string, an integer or, for record ids, either.
trait Value: Sized {
    /// Completes "must be …".
    const RULE: &'static str;

    fn from_text(_text: &str) -> Option<Self> {
        None
    }

    fn from_integer(_integer: NonZeroU64) -> Option<Self> {
        None
    }

    /// Completes "`text` …" for a text that is no such value.
    fn why_not(_text: &str) -> String {
        format!("is not {}", Self::RULE)
    }
}

impl Value for JobId {
    const RULE: &'static str = "a string of 1-128 bytes without control characters";

    fn from_text(text: &str) -> Option<Self> {
        Self::new(text)
    }
}

impl Value for PortalId {
    const RULE: &'static str = "an integer from 1 to 18446744073709551615, or absent";

    fn from_integer(integer: NonZeroU64) -> Option<Self> {
        Some(Self(integer))
    }
}

impl Value for ObjectType {
    const RULE: &'static str = "an object type, such as \"contacts\", \"0-1\", \"2-123456\" or \"p_name\"";

    fn from_text(text: &str) -> Option<Self> {
        Self::parse(text).ok()
    }

    fn why_not(text: &str) -> String {
        Self::parse(text).err().map_or_else(String::new, |fault| fault.to_string())
    }
}

impl Value for Timestamp {
    const RULE: &'static str = "an RFC 3339 time such as \"2026-12-01T00:00:00Z\", or absent";

    fn from_text(text: &str) -> Option<Self> {
        time::parse(text)
    }
}

impl Value for RecordId {
    const RULE: &'static str = "a string of digits, 1 to 18446744073709551615, without a leading zero";

    fn from_text(text: &str) -> Option<Self> {
        Self::parse(text)
    }

    fn from_integer(integer: NonZeroU64) -> Option<Self> {
        Some(Self(integer))
    }
}

impl Value for LabelCategory {
    const RULE: &'static str = "HUBSPOT_DEFINED, USER_DEFINED, INTEGRATOR_DEFINED or WORK";

    fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|category| category.as_str() == text)
    }
}

struct LabelTypeId(NonZeroU64);

impl Value for LabelTypeId {
    const RULE: &'static str = "an integer from 1 to 18446744073709551615";

    fn from_integer(integer: NonZeroU64) -> Option<Self> {
        Some(Self(integer))
    }
}

struct Scalar<V>(PhantomData<V>);

impl<'de, V: Value> Visitor<'de> for Scalar<V> {
    type Value = V;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(V::RULE)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<V, E> {
        V::from_text(text).ok_or_else(|| E::custom(format_args!("{} {}", quoted(text), V::why_not(text))))
    }

    fn visit_u64<E: Error>(self, integer: u64) -> Result<V, E> {
        NonZeroU64::new(integer)
            .and_then(V::from_integer)
            .ok_or_else(|| E::custom(format_args!("must be {}, is the integer {integer}", V::RULE)))
    }
}
