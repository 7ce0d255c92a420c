//! The strict reading of a job's body, field by field, so that an error can name its field.

use std::fmt;

use jiff::Timestamp;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Unexpected, Visitor};
use smallvec::SmallVec;

use super::Ask;
use super::asks::MAX_LABELS;
use super::fields::{FieldName, Fields};
use super::place::{Place, QUOTE_MAX_BYTES};
use super::reading::{Reading, Seed};
use super::value::{LabelTypeId, Scalar, Value, in_words};
use crate::contract::action::Action;
use crate::contract::association::{Label, LabelCategory, RecordId};
use crate::contract::ids::{Group, JobId, PortalId};
use crate::contract::object_type::ObjectType;
use crate::contract::text::cut;

/// A job as its body has it. The body may lack the job's id: then a property of the message may give it.
pub(super) struct Draft {
    pub(super) id: Option<JobId>,
    pub(super) portal: Option<PortalId>,
    pub(super) from_type: ObjectType,
    pub(super) to_type: ObjectType,
    pub(super) action: Action,
    pub(super) dry_run: bool,
    pub(super) group: Option<Group>,
    pub(super) asks: SmallVec<[Ask; 1]>,
    pub(super) not_after: Option<Timestamp>,
}

/// Reads a body; the error names the field and the rule.
pub(super) fn read(body: &[u8], max_pairs: usize) -> Result<Draft, String> {
    let mut reading = Reading::new(max_pairs);
    let mut json = serde_json::Deserializer::from_slice(body);
    let draft = Seed(JobObject(&mut reading)).deserialize(&mut json).and_then(|draft| json.end().map(|()| draft));
    draft.map_err(|error| described(&error, body, reading.at))
}

/// `place: rule`, whoever found the fault.
fn described(error: &serde_json::Error, body: &[u8], at: Place) -> String {
    let text = error.to_string();
    if !error.is_data() {
        return format!("{at}: is not well-formed JSON: {text}");
    }
    let position = format!(" at line {} column {}", error.line(), error.column());
    let rule = text.strip_suffix(&position).unwrap_or(&text);
    match rule.strip_prefix("invalid type: ").and_then(|rule| rule.rsplit_once(", expected ")) {
        Some((found, expected)) => {
            let found = in_words_of_json(found, number_before(error, body));
            format!("{at}: is {found}, but must be {expected}")
        }
        None => format!("{at}: {rule}"),
    }
}

/// A value in the words of JSON instead of serde's, which are ``sequence``, ``map``, ``integer `17` `` and the like; without
/// all of a long text; a number as `written`, since as a double it may be another one.
fn in_words_of_json(found: &str, written: Option<&str>) -> String {
    let in_ticks = |kind: &str| found.strip_prefix(kind)?.strip_prefix(" `")?.strip_suffix('`');
    match found {
        "sequence" => return "an array".to_owned(),
        "map" => return "an object".to_owned(),
        _ => {}
    }
    if let Some(number) = in_ticks("integer").or_else(|| in_ticks("floating point")) {
        return format!("the number {}", cut(written.unwrap_or(number), QUOTE_MAX_BYTES));
    }
    if let Some(flag) = in_ticks("boolean") {
        return flag.to_owned();
    }
    let short = cut(found, QUOTE_MAX_BYTES);
    let dots = if short.len() < found.len() { "…" } else { "" };
    let article = if found.starts_with("string ") { "the " } else { "" };
    format!("{article}{short}{dots}")
}

/// The number in the body up to the place of the error.
fn number_before<'b>(error: &serde_json::Error, body: &'b [u8]) -> Option<&'b str> {
    let line = body.split(|byte| *byte == b'\n').nth(error.line().checked_sub(1)?)?;
    let read = line.get(..error.column())?;
    let before = read.iter().rposition(|byte| !b"+-.0123456789Ee".contains(byte)).map_or(0, |at| at + 1);
    std::str::from_utf8(&read[before..]).ok().filter(|number| !number.is_empty())
}

struct JobObject<'r>(&'r mut Reading);

impl<'de> Visitor<'de> for JobObject<'_> {
    type Value = Draft;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object, which is the job")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Draft, A::Error> {
        let reading = self.0;
        let (mut id, mut portal, mut from_type, mut to_type) = (None, None, None, None);
        let (mut inputs, mut not_after, mut group) = (None, None, None);
        let (mut action, mut include_primary, mut dry_run) = (None, None, None);
        let mut fields = Fields::new(Place::Body);
        while let Some(field) = fields.next(reading, &mut map)? {
            match field {
                JobField::Id => id = Some(value(reading, Place::JobId, &mut map)?),
                JobField::Portal => portal = Some(value(reading, Place::PortalId, &mut map)?),
                JobField::FromType => from_type = Some(value(reading, Place::FromObjectType, &mut map)?),
                JobField::ToType => to_type = Some(value(reading, Place::ToObjectType, &mut map)?),
                JobField::Action => action = Some(value(reading, Place::Action, &mut map)?),
                JobField::IncludePrimary => include_primary = Some(value(reading, Place::IncludePrimary, &mut map)?),
                JobField::DryRun => dry_run = Some(value(reading, Place::DryRun, &mut map)?),
                JobField::Group => group = Some(value(reading, Place::Group, &mut map)?),
                JobField::NotAfter => not_after = Some(value(reading, Place::NotAfter, &mut map)?),
                JobField::Inputs => {
                    reading.at = Place::Inputs;
                    inputs = Some(map.next_value_seed(Seed(Inputs(reading)))?);
                }
            }
        }
        let from_type = from_type.ok_or_else(|| missing::<ObjectType, _>(reading, Place::FromObjectType))?;
        let to_type = to_type.ok_or_else(|| missing::<ObjectType, _>(reading, Place::ToObjectType))?;
        inputs.ok_or_else(|| lacks(reading, Place::Inputs, INPUTS))?;
        let action = match (action.unwrap_or_default(), include_primary) {
            (Action::Archive, None) => Action::Archive,
            (Action::Archive, Some(_)) => return Err(reading.refuse(Place::IncludePrimary, NO_PRIMARY)),
            (Action::Restore { .. }, said) => Action::Restore { include_primary: said.unwrap_or(false) },
        };
        if let (Action::Restore { .. }, Some(i)) = (action, reading.first_all) {
            return Err(reading.refuse(Place::To(i), RESTORE_ALL));
        }
        let asks = reading.gathered.take_asks().map_err(|fault| reading.refuse(Place::Inputs, fault))?;
        let dry_run = dry_run.unwrap_or(false);
        Ok(Draft { id, portal, from_type, to_type, action, dry_run, group, asks, not_after })
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
    Action,
    DryRun,
    Group,
    IncludePrimary,
}

impl FieldName for JobField {
    const ALL: &'static [(&'static str, Self)] = &[
        ("jobId", Self::Id),
        ("portalId", Self::Portal),
        ("fromObjectType", Self::FromType),
        ("toObjectType", Self::ToType),
        ("inputs", Self::Inputs),
        ("notAfter", Self::NotAfter),
        ("action", Self::Action),
        ("dryRun", Self::DryRun),
        ("group", Self::Group),
        ("includePrimary", Self::IncludePrimary),
    ];
}

struct Inputs<'r>(&'r mut Reading);

impl<'de> Visitor<'de> for Inputs<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(INPUTS)
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
        if count == 0 { Err(empty(reading, Place::Inputs, INPUTS)) } else { Ok(()) }
    }
}

struct Input<'r>(&'r mut Reading, usize);

impl<'de> Visitor<'de> for Input<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(INPUT)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self(reading, i) = self;
        let (mut from, mut to, mut labels) = (None, None, None);
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
                    to = Some(map.next_value_seed(Seed(ToRecords(reading, i)))?);
                }
                InputField::Types => {
                    reading.at = Place::Types(i);
                    labels = Some(map.next_value_seed(Seed(Labels(reading, i)))?);
                }
            }
        }
        let from = from.ok_or_else(|| lacks(reading, Place::From(i), RECORD))?;
        let added = match to.ok_or_else(|| lacks(reading, Place::To(i), TO))? {
            To::Records => reading.gathered.add(from, &reading.to, labels),
            To::All => {
                reading.first_all.get_or_insert(i);
                reading.gathered.add_all(from, labels)
            }
        };
        added.map_err(|fault| reading.refuse(Place::Inputs, fault))
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
}

struct Record<'r> {
    reading: &'r mut Reading,
    at: Place,
    id: Place,
}

impl<'de> Visitor<'de> for Record<'_> {
    type Value = RecordId;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(RECORD)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RecordId, A::Error> {
        let Self { reading, at, id: id_at } = self;
        let mut id = None;
        let mut fields = Fields::new(at);
        while let Some(RecordField::Id) = fields.next(reading, &mut map)? {
            id = Some(value(reading, id_at, &mut map)?);
        }
        id.ok_or_else(|| missing::<RecordId, _>(reading, id_at))
    }
}

#[derive(Clone, Copy)]
enum RecordField {
    Id,
}

impl FieldName for RecordField {
    const ALL: &'static [(&'static str, Self)] = &[("id", Self::Id)];
}

/// What an input's `to` is.
enum To {
    /// A list, whose records are in [`Reading::to`].
    Records,
    /// `"all"`.
    All,
}

struct ToRecords<'r>(&'r mut Reading, usize);

impl<'de> Visitor<'de> for ToRecords<'_> {
    type Value = To;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(TO)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<To, E> {
        match text {
            ALL => Ok(To::All),
            _ => Err(E::invalid_type(Unexpected::Str(text), &self)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut records: A) -> Result<To, A::Error> {
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
            return Err(empty(reading, Place::To(i), TO));
        }
        if reading.to.len() > reading.max_pairs {
            reading.squeeze_to()?;
        }
        Ok(To::Records)
    }
}

struct Labels<'r>(&'r mut Reading, usize);

impl<'de> Visitor<'de> for Labels<'_> {
    type Value = Vec<Label>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(LABELS)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Vec<Label>, A::Error> {
        let Self(reading, i) = self;
        let mut labels = Vec::new();
        loop {
            let k = labels.len();
            reading.at = Place::Label(i, k);
            let Some(label) = entries.next_element_seed(Seed(LabelObject(reading, i, k)))? else { break };
            if k == MAX_LABELS {
                let rule = format_args!("has more than {MAX_LABELS} labels, the most for one pair; name fewer");
                return Err(reading.refuse(Place::Types(i), rule));
            }
            labels.push(label);
        }
        if labels.is_empty() { Err(empty(reading, Place::Types(i), LABELS)) } else { Ok(labels) }
    }
}

struct LabelObject<'r>(&'r mut Reading, usize, usize);

impl<'de> Visitor<'de> for LabelObject<'_> {
    type Value = Label;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(LABEL)
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
        }
        let category = category.ok_or_else(|| missing::<LabelCategory, _>(reading, Place::LabelCategory(i, k)))?;
        let LabelTypeId(type_id) =
            type_id.ok_or_else(|| missing::<LabelTypeId, _>(reading, Place::LabelTypeId(i, k)))?;
        Ok(Label { category, type_id })
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
}

/// A `to` that stands for every record.
const ALL: &str = "all";

const NO_PRIMARY: &str = "is allowed only where `action` is \"restore\"; leave it out";
const RESTORE_ALL: &str = "is \"all\", but must be a list where `action` is \"restore\": HubSpot does not tell what a record was associated with before";

// Each completes "must be …".
const INPUTS: &str = r#"a list of inputs such as [{"from": {"id": "101"}, "to": [{"id": "9001"}]}]"#;
const INPUT: &str = r#"an object such as {"from": {"id": "101"}, "to": [{"id": "9001"}]}"#;
const RECORD: &str = r#"an object such as {"id": "101"}"#;
const TO: &str = r#"a list of records such as [{"id": "9001"}], or "all""#;
const LABELS: &str = r#"a list of labels such as [{"associationCategory": "USER_DEFINED", "associationTypeId": 37}]; leave it out for the whole association"#;
const LABEL: &str = r#"an object such as {"associationCategory": "USER_DEFINED", "associationTypeId": 37}"#;

fn missing<V: Value, E: Error>(reading: &mut Reading, at: Place) -> E {
    lacks(reading, at, &in_words::<V>())
}

fn lacks<E: Error>(reading: &mut Reading, at: Place, rule: &str) -> E {
    reading.refuse(at, format_args!("is missing; it must be {rule}"))
}

fn empty<E: Error>(reading: &mut Reading, at: Place, rule: &str) -> E {
    reading.refuse(at, format_args!("is empty; it must be {rule}"))
}

/// Reads the value of a field that stands at `at`.
fn value<'de, V: Value, A: MapAccess<'de>>(reading: &mut Reading, at: Place, map: &mut A) -> Result<V, A::Error> {
    reading.at = at;
    map.next_value_seed(Seed(Scalar::new()))
}
