//! Durations as they are written in flags and files: `80ms`, `10s`, `24h`.

use std::time::Duration;

use jiff::fmt::friendly::SpanParser;
use serde::{Deserialize, Deserializer, de::Error as _};

/// Reads `80ms`, `10s`, `1h 30m`; negative ones are refused.
pub fn parse(text: &str) -> Result<Duration, String> {
    static PARSER: SpanParser = SpanParser::new();
    PARSER.parse_unsigned_duration(text).map_err(|_| format!("{text:?} is no duration: write 80ms, 10s or 24h"))
}

/// For `#[serde(deserialize_with)]`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    parse(&text).map_err(D::Error::custom)
}

/// For `#[serde(default, deserialize_with)]` on an optional field.
pub(crate) fn deserialize_some<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    deserialize(deserializer).map(Some)
}
