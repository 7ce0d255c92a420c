//! HubSpot's body, read without trusting it: every field may be missing or of another type.
//!
//! The shell bounds a body's size, `serde_json` its depth, and [`MAX_CHARGES`] what is made of it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::contract::association::RecordId;
use crate::engine::reply::Body;

/// Most charges that are read from one body. An error with further ones counts as an error that names nothing.
pub(super) const MAX_CHARGES: usize = 10_000;

/// Says that no association exists between the records, which is what an archive is to achieve.
const NOTHING_THERE: &str = "NO_ASSOCIATIONS_FOUND";

/// The category of a record that does not exist.
const NOT_FOUND: &str = "OBJECT_NOT_FOUND";

/// What a body is, before it is asked what it says.
pub(super) enum Content<'a> {
    Nothing,
    Object(ReplyObject<'a>),
    /// Larger than is read.
    TooLarge,
    /// Cut off, not JSON, or JSON that is no object.
    Unreadable,
}

/// A JSON object that HubSpot sent: what it has done with a batch, or an error.
pub(super) struct ReplyObject<'a> {
    /// All fields but the results.
    fields: Value,
    /// As text: they can be thousands of times larger than the rest, and are wanted for some requests only.
    results: Option<&'a RawValue>,
}

/// What the `status` of such an object says of the batch.
pub(super) enum State {
    /// `COMPLETE`, or no status at all.
    Done,
    /// `PENDING`, `PROCESSING`.
    Unfinished,
    /// `CANCELED`.
    Canceled,
    /// An error's body, whatever HTTP status it came with.
    Failed,
    /// A word that HubSpot does not document.
    Unknown,
}

/// One error as HubSpot describes it: a whole error body, or an entry of `errors[]`.
#[derive(Clone, Copy)]
pub(super) struct Fault<'a>(&'a Value);

/// What one error says of some records, or of none.
#[derive(Default)]
pub(super) struct Charge<'a> {
    pub(super) category: Option<&'a str>,
    pub(super) sub_category: Option<&'a str>,
    pub(super) message: Option<&'a str>,
    pub(super) named: Named,
}

/// The records that an error names; ids that no record can have are left out.
#[derive(Clone, Default)]
pub(super) struct Named {
    pub(super) from: Vec<RecordId>,
    pub(super) to: Vec<RecordId>,
    /// Named without saying on which side of the association they stand.
    pub(super) either: Vec<RecordId>,
}

impl<'a> Content<'a> {
    pub(super) fn read(body: &'a Body) -> Self {
        let bytes = match body {
            Body::Whole(bytes) => bytes.trim_ascii(),
            Body::CutOff(_) => return Self::Unreadable,
            Body::TooLarge(_) => return Self::TooLarge,
        };
        if bytes.is_empty() {
            return Self::Nothing;
        }
        match serde_json::from_slice(bytes) {
            Ok(object) => Self::Object(object),
            Err(_) => Self::Unreadable,
        }
    }
}

impl<'de> Deserialize<'de> for ReplyObject<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = ReplyObject<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut fields, mut results) = (Map::new(), None);
                while let Some(name) = map.next_key::<String>()? {
                    if name == "results" {
                        results = Some(map.next_value()?);
                    } else {
                        fields.insert(name, map.next_value()?);
                    }
                }
                Ok(ReplyObject { fields: Value::Object(fields), results })
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

impl<'a> ReplyObject<'a> {
    /// The body as one error.
    pub(super) fn fault(&self) -> Fault<'_> {
        Fault(&self.fields)
    }

    /// `results`, each still to be read; `None` where they are no list.
    pub(super) fn results(&self) -> Option<Vec<&'a RawValue>> {
        let Some(results) = self.results else { return Some(Vec::new()) };
        serde_json::from_str::<Option<_>>(results.get()).ok().map(Option::unwrap_or_default)
    }

    pub(super) fn state(&self) -> State {
        let fault = self.fault();
        match self.fields.get("status") {
            None | Some(Value::Null) if fault.category().is_some() || fault.is_rate_limit() => State::Failed,
            None | Some(Value::Null) => State::Done,
            Some(Value::String(status)) => match status.to_ascii_uppercase().as_str() {
                "COMPLETE" => State::Done,
                "PENDING" | "PROCESSING" => State::Unfinished,
                "CANCELED" => State::Canceled,
                "ERROR" => State::Failed,
                _ => State::Unknown,
            },
            Some(_) => State::Unknown,
        }
    }

    /// The entries of `errors`; a value that is no list is one entry.
    pub(super) fn errors(&self) -> impl Iterator<Item = Fault<'_>> {
        list(self.fields.get("errors")).iter().map(Fault)
    }

    /// `numErrors`; what is no count means that there is at least one error.
    pub(super) fn num_errors(&self) -> u64 {
        match self.fields.get("numErrors") {
            None | Some(Value::Null) => 0,
            Some(Value::Number(number)) => number.as_u64().unwrap_or(1),
            Some(Value::String(digits)) => digits.trim().parse().unwrap_or(1),
            Some(_) => 1,
        }
    }
}

impl<'a> Fault<'a> {
    pub(super) fn category(self) -> Option<&'a str> {
        self.text("category")
    }

    /// `subCategory`: a string on the wire, an object in HubSpot's schema, of which one text is taken.
    pub(super) fn sub_category(self) -> Option<&'a str> {
        let Some(Value::Object(fields)) = self.0.get("subCategory") else { return self.text("subCategory") };
        let mut texts = fields.values().filter_map(Value::as_str);
        let known = texts.clone().find(|text| says_nothing_there(text));
        known.or_else(|| texts.next())
    }

    /// The `message`, or the entry itself where it is a plain string.
    pub(super) fn message(self) -> Option<&'a str> {
        self.text("message").or_else(|| plain_text(self.0))
    }

    pub(super) fn correlation_id(self) -> Option<&'a str> {
        self.text("correlationId")
    }

    pub(super) fn policy_name(self) -> Option<&'a str> {
        self.text("policyName")
    }

    /// Whether this is the body of a 429, in any of the ways HubSpot writes it.
    pub(super) fn is_rate_limit(self) -> bool {
        let limit = |word: Option<&str>| matches!(word, Some("RATE_LIMIT" | "RATE_LIMITS"));
        limit(self.category()) || limit(self.text("errorType")) || self.policy_name().is_some()
    }

    /// Whether a "not found" is about records of the request. Else it is about the request's path, which has no record
    /// ids in it.
    pub(super) fn is_about_records(self) -> bool {
        let (whole, details) = self.charges(MAX_CHARGES);
        let named = !whole.named.is_empty() || !details.is_empty();
        let nothing_there = whole.nothing_there() || details.iter().any(Charge::nothing_there);
        nothing_there || (named && whole.category == Some(NOT_FOUND))
    }

    /// The scopes that a `MISSING_SCOPES` asks for, without repetition, at most `most`.
    pub(super) fn scopes(self, most: usize) -> Vec<&'a str> {
        const KEYS: [&str; 3] = ["requiredGranularScopes", "requiredScopes", "missingScopes"];
        let mut scopes = Vec::new();
        let faults = std::iter::once(self).chain(self.details());
        for context in faults.flat_map(Fault::contexts) {
            let lists = KEYS.iter().map(|key| list(context.get(*key)));
            for scope in lists.flatten().filter_map(Value::as_str) {
                if scopes.len() < most && !scopes.contains(&scope) {
                    scopes.push(scope);
                }
            }
        }
        scopes
    }

    /// What this error and its details say of which records: one charge at least, and `most` others.
    ///
    /// A detail says on its own what it can, and takes over from the error around it what it does not say.
    pub(super) fn charges(self, most: usize) -> (Charge<'a>, Vec<Charge<'a>>) {
        let whole = Charge {
            category: self.category(),
            sub_category: self.sub_category().or_else(|| self.agreed_sub_category()),
            message: self.message(),
            named: self.named(),
        };
        let details = self.details().filter_map(|detail| {
            let named = detail.named();
            let charge = || Charge {
                category: detail.category().or(whole.category),
                sub_category: detail.sub_category().or(whole.sub_category),
                message: detail.message().or(whole.message),
                named: named.clone().with_sides_of(&whole.named),
            };
            (!named.is_empty()).then(charge)
        });
        let details = details.take(most).collect();
        (whole, details)
    }

    /// The `subCategory` that all details have where the error around them has none.
    fn agreed_sub_category(self) -> Option<&'a str> {
        let first = self.details().next()?.sub_category()?;
        self.details().all(|detail| detail.sub_category() == Some(first)).then_some(first)
    }

    fn details(self) -> impl Iterator<Item = Fault<'a>> {
        list(self.0.get("errors")).iter().map(Fault)
    }

    fn named(self) -> Named {
        let mut named = Named::default();
        for (key, value) in self.contexts().flatten() {
            let ids = list(Some(value)).iter().filter_map(record_id);
            match key.to_ascii_lowercase().as_str() {
                "fromobjectid" | "fromobjectids" | "fromid" | "fromids" | "from" => named.from.extend(ids),
                "toobjectid" | "toobjectids" | "toid" | "toids" | "to" => named.to.extend(ids),
                "id" | "ids" | "objectid" | "objectids" | "recordid" | "recordids" | "invalidids"
                | "invalidobjectids" => named.either.extend(ids),
                _ => {}
            }
        }
        for side in [&mut named.from, &mut named.to, &mut named.either] {
            side.sort_unstable();
            side.dedup();
        }
        named
    }

    /// The maps of `context`, of which HubSpot has also sent a list and a plain string.
    fn contexts(self) -> impl Iterator<Item = &'a Map<String, Value>> {
        list(self.0.get("context")).iter().filter_map(Value::as_object)
    }

    fn text(self, key: &str) -> Option<&'a str> {
        self.0.get(key).and_then(plain_text)
    }
}

impl Charge<'_> {
    /// Whether a named record does not exist.
    pub(super) fn not_found(&self) -> bool {
        self.category == Some(NOT_FOUND)
    }

    /// Whether nothing was there to archive: the state that was asked for holds.
    pub(super) fn nothing_there(&self) -> bool {
        self.sub_category.is_some_and(says_nothing_there)
    }
}

impl Named {
    pub(super) fn is_empty(&self) -> bool {
        self.from.is_empty() && self.to.is_empty() && self.either.is_empty()
    }

    /// Where a detail names records of one side only, those of the other side are the ones that the error around it
    /// names.
    fn with_sides_of(mut self, whole: &Self) -> Self {
        match (self.from.is_empty(), self.to.is_empty()) {
            (true, false) => self.from.clone_from(&whole.from),
            (false, true) => self.to.clone_from(&whole.to),
            (true, true) | (false, false) => {}
        }
        self
    }
}

fn says_nothing_there(sub_category: &str) -> bool {
    sub_category.rsplit('.').next() == Some(NOTHING_THERE)
}

/// A value as a list: nothing and `null` have no elements, what is no list is its own only element.
fn list(value: Option<&Value>) -> &[Value] {
    match value {
        None | Some(Value::Null) => &[],
        Some(Value::Array(values)) => values,
        Some(other) => std::slice::from_ref(other),
    }
}

fn plain_text(value: &Value) -> Option<&str> {
    value.as_str().map(str::trim).filter(|text| !text.is_empty())
}

/// A record's id as text, as a number, or as `{"id": …}`.
pub(super) fn record_id(value: &Value) -> Option<RecordId> {
    match value.get("id").unwrap_or(value) {
        Value::String(text) => RecordId::parse(text.trim()),
        Value::Number(number) => RecordId::parse(&number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}
