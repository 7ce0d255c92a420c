//! Request bodies, read without an allocation a pair.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::label::Label;

/// One input: a record and those at the other end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Input {
    pub from: u64,
    pub to: Vec<u64>,
    /// Empty where the whole association is meant.
    pub labels: Vec<Label>,
}

/// The inputs of an archive, label or create request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Inputs {
    Readable(Vec<Input>),
    /// A shape that HubSpot accepts and does nothing about: `to` is an object where a list belongs.
    Ignored,
}

/// `batch/archive`: `to` is a list.
pub(crate) fn archive(body: &[u8]) -> serde_json::Result<Inputs> {
    let mut inputs = Vec::new();
    for ArchiveInput { from, to } in inputs_of(body)? {
        match to {
            To::Many(to) => inputs.push(Input { from: from.id.0, to, labels: Vec::new() }),
            To::One(_) => return Ok(Inputs::Ignored),
        }
    }
    Ok(Inputs::Readable(inputs))
}

/// `batch/labels/archive` and `batch/create`: `to` is one object, `types` says which labels.
pub(crate) fn labelled(body: &[u8]) -> serde_json::Result<Inputs> {
    let inputs = inputs_of(body)?.into_iter().map(|LabelledInput { from, to, types }| to_one(&from, &to, types));
    inputs.collect::<serde_json::Result<_>>().map(Inputs::Readable)
}

/// `batch/associate/default`: `to` is one object, and there are no labels.
pub(crate) fn unlabelled(body: &[u8]) -> serde_json::Result<Inputs> {
    let inputs = inputs_of(body)?.into_iter().map(|ArchiveInput { from, to }| to_one(&from, &to, Vec::new()));
    inputs.collect::<serde_json::Result<_>>().map(Inputs::Readable)
}

fn to_one(from: &Record, to: &To, labels: Vec<Label>) -> serde_json::Result<Input> {
    match to {
        To::One(to) => Ok(Input { from: from.id.0, to: vec![*to], labels }),
        To::Many(_) => Err(serde_json::Error::custom("Cannot deserialize `to` out of START_ARRAY token")),
    }
}

/// One input of `batch/read`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub(crate) struct ReadInput {
    #[serde(rename = "id", deserialize_with = "any_id")]
    pub from: Result<u64, String>,
    #[serde(default)]
    pub after: Option<String>,
}

/// `batch/read`: the records whose associations are asked for. An id that is none is refused by itself.
pub(crate) fn read(body: &[u8]) -> serde_json::Result<Vec<ReadInput>> {
    inputs_of(body)
}

fn any_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Result<u64, String>, D::Error> {
    let text = match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            other.to_string()
        }
    };
    // HubSpot's own numbers are signed.
    let id = text.parse::<i64>().ok().and_then(|id| u64::try_from(id).ok()).filter(|&id| id > 0);
    Ok(id.ok_or(text))
}

/// `private-apps/get/access-token-info`: the token asked about.
pub(crate) fn token_key(body: &[u8]) -> serde_json::Result<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        token_key: String,
    }
    Ok(serde_json::from_slice::<Body>(body)?.token_key)
}

/// One value of a form body (`application/x-www-form-urlencoded`).
pub(crate) fn form_value(body: &[u8], name: &str) -> Option<String> {
    let body = std::str::from_utf8(body).ok()?;
    let fields = body.split('&').filter_map(|field| field.split_once('='));
    fields.into_iter().find(|(key, _)| *key == name).map(|(_, value)| percent_decoded(value))
}

/// Undoes `%41` and `+`; what is no such escape stays.
pub(crate) fn percent_decoded(text: &str) -> String {
    let hex = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match rest {
            [b'%', high, low, ..] => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        let plain = if *first == b'+' { b' ' } else { *first };
        bytes.push(escaped.unwrap_or(plain));
        rest = if escaped.is_some() { rest.get(3..).unwrap_or_default() } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn inputs_of<T: DeserializeOwned>(body: &[u8]) -> serde_json::Result<Vec<T>> {
    #[derive(Deserialize)]
    struct Body<T> {
        inputs: Vec<T>,
    }
    Ok(serde_json::from_slice::<Body<T>>(body)?.inputs)
}

#[derive(Deserialize)]
struct ArchiveInput {
    from: Record,
    to: To,
}

#[derive(Deserialize)]
struct LabelledInput {
    from: Record,
    to: To,
    types: Vec<Label>,
}

#[derive(Deserialize)]
struct Record {
    id: Id,
}

enum To {
    Many(Vec<u64>),
    One(u64),
}

impl<'de> Deserialize<'de> for To {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = To;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of records or one record")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<To, A::Error> {
                let mut ids = Vec::with_capacity(INITIAL_TO);
                while let Some(Record { id }) = seq.next_element()? {
                    ids.push(id.0);
                }
                Ok(To::Many(ids))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<To, A::Error> {
                Record::deserialize(MapAccessDeserializer::new(map)).map(|record| To::One(record.id.0))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// Room for the `to` records of one `from` before the list grows.
const INITIAL_TO: usize = 8;

struct Id(u64);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits;
        impl Visitor<'_> for Digits {
            type Value = Id;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a record id of digits")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Id, E> {
                text.parse().map(Id).map_err(|_| E::custom(format_args!("{text:?} is not a valid record id")))
            }

            fn visit_u64<E: Error>(self, id: u64) -> Result<Id, E> {
                Ok(Id(id))
            }
        }
        deserializer.deserialize_any(Digits)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]
    use super::*;
    use crate::label::LabelCategory;

    #[test]
    fn reads_take_any_id_and_tell_which_is_none() {
        let body = br#"{"inputs":[{"id":"1"},{"id":2,"after":"0-2-7"},{"id":"x"},{"id":"18446744073709551615"}]}"#;
        let input = |from, after: Option<&str>| ReadInput { from, after: after.map(str::to_owned) };
        let wrong = |text: &str| input(Err(text.to_owned()), None);
        let expected = [input(Ok(1), None), input(Ok(2), Some("0-2-7")), wrong("x"), wrong("18446744073709551615")];
        assert_eq!(read(body).unwrap(), expected);
    }

    #[test]
    fn archive_takes_lists_of_strings_or_numbers() {
        let body =
            br#"{"inputs":[{"from":{"id":"1"},"to":[{"id":"2"},{"id":3,"x":[]}]},{"to":[],"from":{"id":"\u0034"}}]}"#;
        let expected =
            [Input { from: 1, to: vec![2, 3], labels: vec![] }, Input { from: 4, to: vec![], labels: vec![] }];
        assert_eq!(archive(body).unwrap(), Inputs::Readable(expected.into()));
    }

    #[test]
    fn an_object_for_a_list_is_ignored_and_garbage_is_not_read() {
        assert_eq!(archive(br#"{"inputs":[{"from":{"id":"1"},"to":{"id":"2"}}]}"#).unwrap(), Inputs::Ignored);
        for body in
            ["", "{}", "[]", r#"{"inputs":[{"from":{"id":"x"},"to":[]}]}"#, r#"{"inputs":[{"from":{"id":"1"}}]}"#]
        {
            assert!(archive(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn labels_take_one_record_and_types() {
        let body = br#"{"inputs":[{"types":[{"associationCategory":"USER_DEFINED","associationTypeId":37}],"from":{"id":"1"},"to":{"id":"2"}}]}"#;
        let labels = vec![Label { category: LabelCategory::UserDefined, type_id: 37 }];
        assert_eq!(labelled(body).unwrap(), Inputs::Readable(vec![Input { from: 1, to: vec![2], labels }]));
    }

    #[test]
    fn forms_are_decoded() {
        let form = b"grant_type=refresh_token&client_secret=a%2Bb+c%&refresh_token=";
        assert_eq!(form_value(form, "client_secret").unwrap(), "a+b c%");
        assert_eq!(form_value(form, "refresh_token").unwrap(), "");
        assert_eq!(form_value(form, "absent"), None);
    }
}
