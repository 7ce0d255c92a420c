//! A message's properties as JSON, for those who keep messages elsewhere.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use serde_json::{Map, Value, json};

use super::message::Properties;

impl Properties {
    /// The properties that are set, by AMQP's own names in camel case; `headers` among them.
    ///
    /// Bytes that are no UTF-8 become `{"base64": "…"}`, times RFC 3339's seconds since 1970.
    pub fn to_json(&self) -> Value {
        let from = self.raw();
        let texts = [
            ("contentType", from.content_type()),
            ("contentEncoding", from.content_encoding()),
            ("correlationId", from.correlation_id()),
            ("replyTo", from.reply_to()),
            ("expiration", from.expiration()),
            ("messageId", from.message_id()),
            ("type", from.kind()),
            ("userId", from.user_id()),
            ("appId", from.app_id()),
            ("clusterId", from.cluster_id()),
        ];
        let set = texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), json!(text.as_ref()?.as_str()))));
        let mut object: Map<String, Value> = set.collect();
        let numbers = [
            ("deliveryMode", from.delivery_mode().map(u64::from)),
            ("priority", from.priority().map(u64::from)),
            ("timestamp", *from.timestamp()),
        ];
        object.extend(numbers.into_iter().filter_map(|(name, number)| Some((name.to_owned(), json!(number?)))));
        if let Some(headers) = from.headers() {
            object.insert("headers".to_owned(), table(headers));
        }
        Value::Object(object)
    }
}

/// Bytes as text where they are UTF-8.
pub fn text_or_base64(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({"base64": BASE64.encode(bytes)}),
    }
}

fn table(table: &FieldTable) -> Value {
    let entry = |(name, entry): (&ShortString, &AMQPValue)| (name.to_string(), value(entry));
    Value::Object(table.inner().iter().map(entry).collect())
}

fn value(of: &AMQPValue) -> Value {
    match of {
        AMQPValue::Boolean(value) => json!(value),
        AMQPValue::ShortShortInt(value) => json!(value),
        AMQPValue::ShortShortUInt(value) => json!(value),
        AMQPValue::ShortInt(value) => json!(value),
        AMQPValue::ShortUInt(value) => json!(value),
        AMQPValue::LongInt(value) => json!(value),
        AMQPValue::LongUInt(value) => json!(value),
        AMQPValue::LongLongInt(value) => json!(value),
        AMQPValue::Float(value) => json!(value),
        AMQPValue::Double(value) => json!(value),
        AMQPValue::DecimalValue(value) => json!({"scale": value.scale, "value": value.value}),
        AMQPValue::ShortString(value) => json!(value.as_str()),
        AMQPValue::LongString(value) => text_or_base64(value.as_bytes()),
        AMQPValue::ByteArray(value) => text_or_base64(value.as_slice()),
        AMQPValue::FieldArray(values) => Value::Array(values.as_slice().iter().map(self::value).collect()),
        AMQPValue::Timestamp(seconds) => json!(seconds),
        AMQPValue::FieldTable(values) => table(values),
        AMQPValue::Void => Value::Null,
    }
}
