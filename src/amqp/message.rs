//! Messages on the wire: reading what came, and building what goes out.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, MAX_SHORT_STRING_LENGTH, ShortString};
use smallvec::{SmallVec, smallvec};

use super::receipt::Receipt;
use super::route::Route;
use crate::contract::ids::JobId;
use crate::contract::message::{
    APP_ID, CONTENT_TYPE, DEADLINE, DELIVERY_MODE, HEADERS_DROPPED, JOB_STATUS, MessageId, ORIGINAL_EXPIRATION,
    ORIGINAL_USER_ID, OUTCOME_TYPE, is_dropped_when_republished,
};
use crate::contract::outcome::Status;

/// A job as it came.
#[derive(Debug)]
pub struct Delivered {
    pub body: Vec<u8>,
    pub properties: Properties,
    /// The broker delivered it before, perhaps to another worker.
    pub redelivered: bool,
    pub receipt: Receipt,
}

/// The properties of a message, as a client or the broker wrote them.
#[derive(Clone, Default, Debug)]
pub struct Properties(Box<BasicProperties>);

impl Properties {
    pub(super) fn new(properties: BasicProperties) -> Self {
        Self(Box::new(properties))
    }

    pub fn message_id(&self) -> Option<&str> {
        self.0.message_id().as_ref().map(ShortString::as_str)
    }

    pub fn correlation_id(&self) -> Option<&str> {
        self.0.correlation_id().as_ref().map(ShortString::as_str)
    }

    pub fn content_type(&self) -> Option<&str> {
        self.0.content_type().as_ref().map(ShortString::as_str)
    }

    pub fn content_encoding(&self) -> Option<&str> {
        self.0.content_encoding().as_ref().map(ShortString::as_str)
    }

    /// The property `type`.
    pub fn kind(&self) -> Option<&str> {
        self.0.kind().as_ref().map(ShortString::as_str)
    }

    /// The time to live that the sender gave the message. The broker takes whole milliseconds only.
    pub fn expiration(&self) -> Option<Duration> {
        self.0.expiration().as_ref()?.as_str().parse().ok().map(Duration::from_millis)
    }

    /// Seconds since 1970, as the sender set it.
    pub fn timestamp(&self) -> Option<u64> {
        *self.0.timestamp()
    }

    /// A header's text, whichever of its types the sender's library chose for it. Not UTF-8: unreadable characters are
    /// replaced. `None` where it is absent or no text.
    #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum, of which all others are no text")]
    pub fn text_header(&self, name: &str) -> Option<Cow<'_, str>> {
        match self.header(name)? {
            AMQPValue::LongString(text) => Some(String::from_utf8_lossy(text.as_bytes())),
            AMQPValue::ByteArray(bytes) => Some(String::from_utf8_lossy(bytes.as_slice())),
            AMQPValue::ShortString(text) => Some(Cow::Borrowed(text.as_str())),
            _ => None,
        }
    }

    /// A header's whole number, whichever of its widths the sender's library chose, or its digits.
    #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum, of which all others are no numbers")]
    pub fn integer_header(&self, name: &str) -> Option<i64> {
        match self.header(name)? {
            AMQPValue::ShortShortInt(number) => Some(i64::from(*number)),
            AMQPValue::ShortShortUInt(number) => Some(i64::from(*number)),
            AMQPValue::ShortInt(number) => Some(i64::from(*number)),
            AMQPValue::ShortUInt(number) => Some(i64::from(*number)),
            AMQPValue::LongInt(number) => Some(i64::from(*number)),
            AMQPValue::LongUInt(number) => Some(i64::from(*number)),
            AMQPValue::LongLongInt(number) => Some(*number),
            AMQPValue::Timestamp(seconds) => i64::try_from(*seconds).ok(),
            _ => self.text_header(name)?.trim().parse().ok(),
        }
    }

    /// The queue from which the broker itself first passed the message on: one where it was delivered too often, or a
    /// delay queue.
    pub fn first_death_queue(&self) -> Option<Cow<'_, str>> {
        self.text_header("x-first-death-queue")
    }

    /// The properties with which the message may be published again: persistent, without what would close the channel,
    /// expire the copy, route a second one, or be read by the broker as its own notes; with `additions`, which replace
    /// headers of the same names. `deadline` says when the time to live is over that the copy does not have any more: no
    /// copy may be made without asking for it.
    pub fn republished(
        &self,
        deadline: Option<Timestamp>,
        additions: impl IntoIterator<Item = (&'static str, HeaderValue)>,
    ) -> Self {
        let mut headers = FieldTable::default();
        let kept = self.0.headers().iter().flat_map(|table| table.inner().iter());
        for (name, value) in kept.filter(|(name, _)| !is_dropped_when_republished(name.as_str())) {
            headers.insert(name.clone(), value.clone());
        }
        let dropped = make_room(&mut headers);
        if dropped > 0 {
            headers.insert(HEADERS_DROPPED.into(), AMQPValue::LongLongInt(dropped));
        }
        let moved = [(ORIGINAL_USER_ID, self.0.user_id()), (ORIGINAL_EXPIRATION, self.0.expiration())];
        for (name, value) in moved {
            if let Some(value) = value {
                headers.insert(name.into(), AMQPValue::LongString(value.as_str().into()));
            }
        }
        let deadline = deadline.map(|at| (DEADLINE, HeaderValue::Integer(at.as_millisecond())));
        for (name, value) in additions.into_iter().chain(deadline) {
            headers.insert(name.into(), value.into());
        }
        Self::new(self.without_user_and_expiration().with_headers(headers))
    }

    /// The same without headers of these names.
    #[must_use]
    pub fn without_headers(mut self, names: &[&str]) -> Self {
        if let Some(headers) = self.0.headers() {
            let kept = headers.inner().iter().filter(|(name, _)| !names.contains(&name.as_str()));
            let kept: BTreeMap<ShortString, AMQPValue> =
                kept.map(|(name, value)| (name.clone(), value.clone())).collect();
            *self.0 = self.0.with_headers(FieldTable::from(kept));
        }
        self
    }

    pub(super) fn raw(&self) -> &BasicProperties {
        &self.0
    }

    fn header(&self, name: &str) -> Option<&AMQPValue> {
        self.0.headers().as_ref()?.inner().get(name)
    }

    fn without_user_and_expiration(&self) -> BasicProperties {
        let from = &self.0;
        let mut to = BasicProperties::default().with_delivery_mode(DELIVERY_MODE);
        let texts: [(&Option<ShortString>, SetText); 8] = [
            (from.content_type(), BasicProperties::with_content_type),
            (from.content_encoding(), BasicProperties::with_content_encoding),
            (from.correlation_id(), BasicProperties::with_correlation_id),
            (from.reply_to(), BasicProperties::with_reply_to),
            (from.message_id(), BasicProperties::with_message_id),
            (from.kind(), BasicProperties::with_type),
            (from.app_id(), BasicProperties::with_app_id),
            (from.cluster_id(), BasicProperties::with_cluster_id),
        ];
        for (value, set) in texts {
            if let Some(value) = value {
                to = set(to, value.clone());
            }
        }
        if let Some(priority) = from.priority() {
            to = to.with_priority(*priority);
        }
        if let Some(timestamp) = from.timestamp() {
            to = to.with_timestamp(*timestamp);
        }
        to
    }
}

/// The most that headers may take as AMQP writes them, in bytes. All properties must fit into one frame, of 128 KiB as
/// brokers have it by default, with what a copy gets in addition: a broker ends the connection over a larger one.
const MAX_HEADERS_BYTES: usize = 120 * 1024;

/// Leaves out the largest headers until the others fit, and counts them.
fn make_room(headers: &mut FieldTable) -> i64 {
    let mut sizes: Vec<(usize, ShortString)> =
        headers.inner().iter().map(|(name, value)| (name.as_str().len() + 2 + size(value), name.clone())).collect();
    let mut total: usize = sizes.iter().map(|(size, _)| size).sum();
    if total <= MAX_HEADERS_BYTES {
        return 0;
    }
    sizes.sort_unstable_by_key(|(size, _)| Reverse(*size));
    let mut kept = headers.inner().clone();
    let before = kept.len();
    for (size, name) in sizes {
        if total <= MAX_HEADERS_BYTES {
            break;
        }
        kept.remove(&name);
        total -= size;
    }
    let dropped = before - kept.len();
    *headers = FieldTable::from(kept);
    i64::try_from(dropped).unwrap_or(i64::MAX)
}

/// At least the bytes that a header's value takes as AMQP writes it, without its type.
#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum, of which all others take at most eight bytes")]
fn size(value: &AMQPValue) -> usize {
    match value {
        AMQPValue::LongString(text) => 4 + text.as_bytes().len(),
        AMQPValue::ByteArray(bytes) => 4 + bytes.as_slice().len(),
        AMQPValue::ShortString(text) => 1 + text.as_str().len(),
        AMQPValue::FieldTable(table) => {
            4 + table.inner().iter().map(|(name, value)| name.as_str().len() + 2 + size(value)).sum::<usize>()
        }
        AMQPValue::FieldArray(array) => 4 + array.as_slice().iter().map(|value| 1 + size(value)).sum::<usize>(),
        _ => 8,
    }
}

type SetText = fn(BasicProperties, ShortString) -> BasicProperties;

/// A header of ours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HeaderValue {
    Text(String),
    Integer(i64),
}

impl From<HeaderValue> for AMQPValue {
    fn from(value: HeaderValue) -> Self {
        match value {
            HeaderValue::Text(text) => Self::LongString(text.into()),
            HeaderValue::Integer(number) => Self::LongLongInt(number),
        }
    }
}

/// All that must be safe with the broker before one delivery may be acknowledged: an outcome, a parked copy, or an
/// outcome and a dead letter.
#[derive(Debug)]
pub struct Deposit {
    /// The sender's own mark, handed back untouched.
    pub key: u64,
    /// The delivery that is answered; `None` where there is none, as when jobs are enqueued.
    pub receipt: Option<Receipt>,
    /// Whose copy goes to the dead letters, for those who look on; `None` also where the message has no job id.
    pub dead_job: Option<JobId>,
    /// Never empty: an answer of no message would acknowledge a delivery for nothing.
    messages: SmallVec<[Outgoing; 1]>,
}

impl Deposit {
    pub fn new(key: u64, receipt: Option<Receipt>, message: Outgoing) -> Self {
        Self { key, receipt, dead_job: None, messages: smallvec![message] }
    }

    /// One more message without which the delivery may not be acknowledged.
    #[must_use]
    pub fn and(mut self, message: Outgoing) -> Self {
        self.messages.push(message);
        self
    }

    /// The same with a copy of this job for the dead letters.
    #[must_use]
    pub fn and_dead_letter(self, dead_letter: Outgoing, job: JobId) -> Self {
        Self { dead_job: Some(job), ..self.and(dead_letter) }
    }

    /// The same without its delivery, which is settled or lost.
    pub(super) fn without_receipt(self) -> Self {
        Self { receipt: None, ..self }
    }

    pub fn messages(&self) -> &[Outgoing] {
        &self.messages
    }

    pub fn into_messages(self) -> impl Iterator<Item = Outgoing> {
        self.messages.into_iter()
    }
}

/// A message on its way out. Always published persistent, mandatory and confirmed.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub route: Route,
    pub body: Bytes,
    pub envelope: Envelope,
}

#[derive(Clone, Debug)]
pub enum Envelope {
    Outcome(OutcomeEnvelope),
    /// A message that came from elsewhere or was made by a command; made by [`Properties::republished`] or
    /// [`Properties::of_job`].
    Copy(Properties),
}

/// What is particular about an outcome's properties.
#[derive(Clone, Debug)]
pub struct OutcomeEnvelope {
    pub message_id: MessageId,
    /// At most 255 bytes, as every AMQP short string; longer ones are cut.
    pub correlation_id: String,
    pub status: Status,
    /// Seconds since 1970.
    pub timestamp: u64,
    /// The job came through the background queue. The message itself does not tell.
    pub of_background: bool,
    /// The job's W3C trace context, where it had one: header and value.
    pub trace: SmallVec<[(&'static str, String); 0]>,
}

impl Properties {
    /// The properties of a job that a command sends.
    pub fn of_job(message_id: &str) -> Self {
        let properties = BasicProperties::default()
            .with_content_type(CONTENT_TYPE.into())
            .with_delivery_mode(DELIVERY_MODE)
            .with_app_id(APP_ID.into())
            .with_message_id(short(message_id));
        Self::new(properties)
    }
}

impl Envelope {
    pub(super) fn message_id(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Outcome(outcome) => Some(Cow::Owned(outcome.message_id.to_string())),
            Self::Copy(properties) => properties.message_id().map(Cow::Borrowed),
        }
    }

    pub(super) fn properties(&self) -> BasicProperties {
        match self {
            Self::Outcome(outcome) => outcome.properties(),
            Self::Copy(properties) => (*properties.0).clone(),
        }
    }
}

impl OutcomeEnvelope {
    fn properties(&self) -> BasicProperties {
        let mut headers = FieldTable::default();
        headers.insert(JOB_STATUS.into(), AMQPValue::LongString(self.status.as_str().into()));
        for (name, value) in &self.trace {
            headers.insert((*name).into(), AMQPValue::LongString(value.as_str().into()));
        }
        BasicProperties::default()
            .with_content_type(CONTENT_TYPE.into())
            .with_delivery_mode(DELIVERY_MODE)
            .with_type(OUTCOME_TYPE.into())
            .with_app_id(APP_ID.into())
            .with_message_id(self.message_id.encode(&mut [0; 36]).into())
            .with_correlation_id(short(&self.correlation_id))
            .with_timestamp(self.timestamp)
            .with_headers(headers)
    }
}

/// An AMQP short string of as much of `text` as fits.
pub(super) fn short(text: &str) -> ShortString {
    text[..text.floor_char_boundary(MAX_SHORT_STRING_LENGTH)].into()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with_headers(pairs: Vec<(&str, AMQPValue)>) -> Properties {
        let mut headers = FieldTable::default();
        for (name, value) in pairs {
            headers.insert(name.into(), value);
        }
        Properties::new(BasicProperties::default().with_headers(headers))
    }

    #[test]
    fn a_header_is_read_whatever_the_type_its_sender_chose() {
        let properties = with_headers(vec![
            ("long", AMQPValue::LongString("00-a".into())),
            ("bytes", AMQPValue::ByteArray(b"00-b".as_slice().into())),
            ("bad", AMQPValue::LongString(vec![0xff].into())),
            ("digits", AMQPValue::LongString(" 7 ".into())),
            ("tiny", AMQPValue::ShortShortInt(-1)),
            ("small", AMQPValue::ShortUInt(2)),
            ("int", AMQPValue::LongInt(3)),
            ("big", AMQPValue::LongLongInt(i64::MAX)),
            ("void", AMQPValue::Void),
        ]);
        assert_eq!(properties.text_header("long").unwrap(), "00-a");
        assert_eq!(properties.text_header("bytes").unwrap(), "00-b");
        assert_eq!(properties.text_header("bad").unwrap(), "\u{fffd}");
        assert_eq!(properties.text_header("int"), None);
        let numbers = ["digits", "tiny", "small", "int", "big", "void", "long", "absent"];
        assert_eq!(
            numbers.map(|name| properties.integer_header(name)),
            [Some(7), Some(-1), Some(2), Some(3), Some(i64::MAX), None, None, None]
        );
    }

    #[test]
    fn a_copy_keeps_all_but_what_would_harm_it() {
        let mut headers = FieldTable::default();
        for name in ["CC", "x-death", "x-first-death-queue", "x-delivery-count"] {
            headers.insert(name.into(), AMQPValue::LongInt(1));
        }
        headers.insert("mine".into(), AMQPValue::Boolean(true));
        headers.insert("x-reject-message".into(), AMQPValue::LongString("an older one".into()));
        let came = Properties::new(
            BasicProperties::default()
                .with_content_type("application/json".into())
                .with_correlation_id("c".into())
                .with_reply_to("somewhere".into())
                .with_message_id("m".into())
                .with_type("t".into())
                .with_app_id("a".into())
                .with_priority(3)
                .with_timestamp(17)
                .with_delivery_mode(1)
                .with_user_id("guest".into())
                .with_expiration("60000".into())
                .with_headers(headers),
        );
        let copy = came
            .republished(Timestamp::from_millisecond(17).ok(), [("x-reject-message", HeaderValue::Text("why".into()))]);

        let mut expected = FieldTable::default();
        expected.insert("mine".into(), AMQPValue::Boolean(true));
        expected.insert("x-original-user-id".into(), AMQPValue::LongString("guest".into()));
        expected.insert("x-original-expiration".into(), AMQPValue::LongString("60000".into()));
        expected.insert("x-archiver-deadline".into(), AMQPValue::LongLongInt(17));
        expected.insert("x-reject-message".into(), AMQPValue::LongString("why".into()));
        assert_eq!(
            *copy.0,
            BasicProperties::default()
                .with_content_type("application/json".into())
                .with_correlation_id("c".into())
                .with_reply_to("somewhere".into())
                .with_message_id("m".into())
                .with_type("t".into())
                .with_app_id("a".into())
                .with_priority(3)
                .with_timestamp(17)
                .with_delivery_mode(2)
                .with_headers(expected)
        );
    }

    #[test]
    fn a_copy_with_too_many_headers_leaves_out_the_largest() {
        let text = |bytes: usize| AMQPValue::LongString("v".repeat(bytes).into());
        let came = with_headers(vec![("small", text(10)), ("large", text(70_000)), ("larger", text(60_900))]);
        let copy = came.republished(None, [("x-reject-message", HeaderValue::Text("why".into()))]);
        let names = |copy: &Properties| -> Vec<String> {
            copy.0.headers().as_ref().unwrap().inner().keys().map(|name| name.as_str().to_owned()).collect()
        };
        assert_eq!(names(&copy), ["larger", "small", "x-headers-dropped", "x-reject-message"]);
        assert_eq!(copy.integer_header("x-headers-dropped"), Some(1));

        let array = AMQPValue::FieldArray(vec![AMQPValue::Void; MAX_HEADERS_BYTES].into());
        assert_eq!(names(&with_headers(vec![("array", array)]).republished(None, [])), ["x-headers-dropped"]);
        let fits = with_headers(vec![("a", text(60_000)), ("b", text(60_000))]);
        assert_eq!(names(&fits.republished(None, [])), ["a", "b"]);
    }

    proptest! {
        #[test]
        fn any_text_makes_a_short_string(text in "\\PC{0,300}") {
            prop_assert!(text.starts_with(short(&text).as_str()));
        }
    }
}
