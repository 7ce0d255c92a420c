//! What the broker notes on a message that it moves from a queue by itself: its header `x-death`.

use std::time::Duration;

use lapin::types::{AMQPValue, FieldTable};

use super::message::Properties;

/// Why and when the broker moved the message last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Death {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Its time in the queue was over, by its own time to live or the queue's.
    pub expired: bool,
    /// The time to live that the sender gave it, which the broker takes off it whatever the reason was.
    pub expiration: Option<Duration>,
}

impl Properties {
    /// The newest of its notes. The worker leaves them out of what it publishes.
    pub fn last_death(&self) -> Option<Death> {
        let headers = self.raw().headers().as_ref()?.inner();
        let Some(AMQPValue::FieldArray(deaths)) = headers.get("x-death") else { return None };
        // The newest stands first; of two in the same second the last of this order is taken.
        deaths.as_slice().iter().rev().filter_map(death).max_by_key(|death| death.seconds)
    }
}

fn death(note: &AMQPValue) -> Option<Death> {
    let AMQPValue::FieldTable(note) = note else { return None };
    let Some(AMQPValue::Timestamp(seconds)) = note.inner().get("time") else { return None };
    let millis = text(note, "original-expiration").and_then(|millis| millis.parse().ok());
    Some(Death {
        seconds: i64::try_from(*seconds).ok()?,
        expired: text(note, "reason") == Some("expired"),
        expiration: millis.map(Duration::from_millis),
    })
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum, of which all others are no text")]
fn text<'a>(note: &'a FieldTable, name: &str) -> Option<&'a str> {
    match note.inner().get(name)? {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok(),
        AMQPValue::ShortString(text) => Some(text.as_str()),
        _ => None,
    }
}
