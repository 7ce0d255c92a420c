//! A message as a test writes or reads it.

use anyhow::{Result, anyhow};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, ShortString};
use serde_json::Value;

/// Body and properties; `redelivered` is set by the broker on what was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    pub body: Vec<u8>,
    pub properties: BasicProperties,
    pub redelivered: bool,
}

impl Message {
    /// A persistent message of any bytes.
    pub fn new(body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), properties: BasicProperties::default().with_delivery_mode(2), redelivered: false }
    }

    /// A persistent message of JSON, marked as such.
    pub fn json(body: &Value) -> Self {
        let mut message = Self::new(body.to_string());
        message.properties = message.properties.with_content_type("application/json".into());
        message
    }

    /// Sets the property `message_id`; by it a message that the broker returns is known again.
    pub fn id(mut self, id: &str) -> Result<Self> {
        self.properties = self.properties.with_message_id(short(id)?);
        Ok(self)
    }

    /// Adds a text header.
    pub fn with_header(mut self, name: &str, value: &str) -> Result<Self> {
        let mut headers = self.properties.headers().clone().unwrap_or_default();
        headers.insert(short(name)?, AMQPValue::LongString(value.into()));
        self.properties = self.properties.with_headers(headers);
        Ok(self)
    }

    pub fn message_id(&self) -> Option<&str> {
        self.properties.message_id().as_ref().map(ShortString::as_str)
    }

    pub fn correlation_id(&self) -> Option<&str> {
        self.properties.correlation_id().as_ref().map(ShortString::as_str)
    }

    /// A header as text, whatever type the client that wrote it chose for it.
    pub fn header(&self, name: &str) -> Option<String> {
        self.properties.headers().as_ref()?.inner().get(name).map(text)
    }
}

/// AMQP's short string, up to 255 bytes.
pub(crate) fn short(text: &str) -> Result<ShortString> {
    ShortString::try_new(text).map_err(|_| anyhow!("{text:.40?}… is longer than the 255 bytes that AMQP allows here"))
}

fn text(value: &AMQPValue) -> String {
    match value {
        AMQPValue::Boolean(v) => v.to_string(),
        AMQPValue::ShortShortInt(v) => v.to_string(),
        AMQPValue::ShortShortUInt(v) => v.to_string(),
        AMQPValue::ShortInt(v) => v.to_string(),
        AMQPValue::ShortUInt(v) => v.to_string(),
        AMQPValue::LongInt(v) => v.to_string(),
        AMQPValue::LongUInt(v) => v.to_string(),
        AMQPValue::LongLongInt(v) => v.to_string(),
        AMQPValue::Timestamp(v) => v.to_string(),
        AMQPValue::Float(v) => v.to_string(),
        AMQPValue::Double(v) => v.to_string(),
        AMQPValue::ShortString(v) => v.to_string(),
        AMQPValue::LongString(v) => v.to_string(),
        AMQPValue::ByteArray(v) => String::from_utf8_lossy(v.as_slice()).into_owned(),
        AMQPValue::Void => String::new(),
        AMQPValue::DecimalValue(_) | AMQPValue::FieldArray(_) | AMQPValue::FieldTable(_) => format!("{value:?}"),
    }
}
