//! The single values in a job: what each must be, and the words for what it is not.

use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU64;

use jiff::Timestamp;
use serde::de::{Error, Unexpected, Visitor};

use super::place::quoted;
use crate::contract::action::Action;
use crate::contract::association::{LabelCategory, RecordId};
use crate::contract::ids::{Group, JobId, PortalId};
use crate::contract::object_type::ObjectType;
use crate::contract::time;

/// A value that is a string, an integer, a boolean or, for record ids, a string or an integer.
pub(super) trait Value: Sized {
    /// Completes "but must be …".
    const RULE: &'static str;

    /// What to say behind the rule: what it means where the field is left out.
    const LEFT_OUT: &'static str = "";

    fn from_text(_text: &str) -> Option<Self> {
        None
    }

    fn from_integer(_integer: NonZeroU64) -> Option<Self> {
        None
    }

    fn from_flag(_flag: bool) -> Option<Self> {
        None
    }

    /// What to say besides the rule of a number above [`LARGEST_EXACT`].
    const ON_LARGE_NUMBERS: &'static str = "";

    /// What a text is called where it is refused for being one.
    const NO_TEXT: &'static str = "";

    /// What to say of a text that is no such value.
    fn why_not(text: &str) -> String {
        format!("is {}{}, but must be {}", Self::NO_TEXT, quoted(text), in_words::<Self>())
    }
}

/// The rule with what follows it.
pub(super) fn in_words<V: Value>() -> String {
    format!("{}{}", V::RULE, V::LEFT_OUT)
}

/// 2^53. In many languages a JSON number is a double, and above 2^53 a double cannot hold every integer. So a larger
/// integer may have become another record's id before it was sent.
pub const LARGEST_EXACT: u64 = 1 << 53;

/// Reads a [`Value`].
pub(super) struct Scalar<V>(PhantomData<V>);

impl<V> Scalar<V> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<'de, V: Value> Visitor<'de> for Scalar<V> {
    type Value = V;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(V::RULE)?;
        f.write_str(V::LEFT_OUT)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<V, E> {
        V::from_text(text).ok_or_else(|| E::custom(V::why_not(text)))
    }

    fn visit_u64<E: Error>(self, integer: u64) -> Result<V, E> {
        let advice = if integer > LARGEST_EXACT { V::ON_LARGE_NUMBERS } else { "" };
        NonZeroU64::new(integer)
            .and_then(V::from_integer)
            .ok_or_else(|| E::custom(format_args!("is the number {integer}, but must be {}{advice}", in_words::<V>())))
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<V, E> {
        V::from_flag(flag).ok_or_else(|| E::invalid_type(Unexpected::Bool(flag), &self))
    }

    /// An integer of more than 64 bits comes as such a number too.
    fn visit_f64<E: Error>(self, number: f64) -> Result<V, E> {
        match whole(number) {
            Some(integer) => self.visit_u64(integer),
            None if number >= LARGEST_EXACT as f64 && !V::ON_LARGE_NUMBERS.is_empty() => {
                let (rule, advice) = (in_words::<V>(), V::ON_LARGE_NUMBERS);
                // Not which: as a double it may be another one than the body has.
                Err(E::custom(format_args!("is a number of 2^53 or more, but must be {rule}{advice}")))
            }
            None => Err(E::invalid_type(Unexpected::Float(number), &self)),
        }
    }
}

/// A whole number that is written with a fraction or an exponent, such as `111.0`: some programs keep every number so,
/// and JSON Schema calls it an integer. From 2^53 on it may have been another number before it became a double: 2^53 itself
/// is what becomes of 9007199254740993.0.
fn whole(number: f64) -> Option<u64> {
    let exact = number.fract() == 0.0 && (0.0..LARGEST_EXACT as f64).contains(&number);
    exact.then(|| format!("{number:.0}").parse().ok()).flatten()
}

/// Of a job id and of a group.
const NAME: &str = "a string of 1 to 128 bytes without control characters";

impl Value for JobId {
    const RULE: &'static str = NAME;

    fn from_text(text: &str) -> Option<Self> {
        Self::new(text)
    }
}

impl Value for Group {
    const RULE: &'static str = NAME;

    const LEFT_OUT: &'static str = "; leave it out if the job is of no group";

    fn from_text(text: &str) -> Option<Self> {
        Self::new(text)
    }
}

/// `action`, by its word alone: what else the job says of it is read apart.
impl Value for Action {
    const RULE: &'static str = "\"archive\" or \"restore\"";

    const LEFT_OUT: &'static str = "; left out, it means \"archive\"";

    fn from_text(text: &str) -> Option<Self> {
        Self::of_word(text)
    }
}

impl Value for bool {
    const RULE: &'static str = "true or false";

    const LEFT_OUT: &'static str = "; left out, it means false";

    const NO_TEXT: &'static str = "the string ";

    fn from_flag(flag: bool) -> Option<Self> {
        Some(flag)
    }
}

/// Of a portal and of a label's number.
const INTEGER: &str = "an integer from 1 to 18446744073709551615";

impl Value for PortalId {
    const RULE: &'static str = INTEGER;

    const LEFT_OUT: &'static str = "; leave it out only if the worker has a single account";

    const NO_TEXT: &'static str = "the string ";

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
        Self::parse(text).err().map_or_else(String::new, |fault| format!("{} {fault}", quoted(text)))
    }
}

impl Value for Timestamp {
    const RULE: &'static str = "a time with its offset, as RFC 3339 has it, such as \"2026-12-01T00:00:00Z\"";

    const LEFT_OUT: &'static str = "; leave it out if the job has no deadline";

    fn from_text(text: &str) -> Option<Self> {
        time::parse(text)
    }
}

impl Value for RecordId {
    const RULE: &'static str = "a string of digits from 1 to 18446744073709551615, without a leading zero";

    const ON_LARGE_NUMBERS: &'static str =
        "; write ids as strings, since a number above 2^53 may have been rounded to another record's id";

    fn from_text(text: &str) -> Option<Self> {
        Self::parse(text)
    }

    fn from_integer(integer: NonZeroU64) -> Option<Self> {
        (integer.get() <= LARGEST_EXACT).then_some(Self(integer))
    }
}

impl Value for LabelCategory {
    const RULE: &'static str = "HUBSPOT_DEFINED, USER_DEFINED, INTEGRATOR_DEFINED or WORK";

    fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|category| category.as_str() == text)
    }
}

/// `associationTypeId`.
pub(super) struct LabelTypeId(pub(super) NonZeroU64);

impl Value for LabelTypeId {
    const RULE: &'static str = INTEGER;

    const NO_TEXT: &'static str = "the string ";

    fn from_integer(integer: NonZeroU64) -> Option<Self> {
        Some(Self(integer))
    }
}
