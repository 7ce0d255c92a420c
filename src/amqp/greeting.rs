//! The broker's first words on a connection: which product it is, in which version.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use lapin::protocol::connection::parse_start;
use lapin::types::{AMQPValue, FieldTable};

/// As the broker calls itself; empty where it does not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Greeting {
    /// `RabbitMQ`.
    pub product: String,
    /// `3.10.8`.
    pub version: String,
}

/// Where the greeting is left for whoever asked for it.
#[derive(Clone, Default, Debug)]
pub(super) struct FirstWords(Arc<Mutex<Option<Greeting>>>);

/// The client's first bytes, which name the protocol: AMQP 0-9-1.
const PROTOCOL_HEADER: &[u8; 8] = b"AMQP\x00\x00\x09\x01";
/// Type, channel and length of a frame.
const FRAME_HEADER_BYTES: usize = 7;
/// Class and method of `connection.start`, which come before its fields.
const METHOD_BYTES: usize = 4;
/// RabbitMQ sends some 500 bytes.
const MAX_FRAME_BYTES: u32 = 64 * 1024;

impl FirstWords {
    pub(super) async fn hear(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        stream.write_all(PROTOCOL_HEADER).await?;
        stream.flush().await?;
        let mut header = [0; FRAME_HEADER_BYTES];
        stream.read_exact(&mut header).await?;
        let [_, _, _, length @ ..] = header;
        let length = u32::from_be_bytes(length);
        if length > MAX_FRAME_BYTES {
            return Err(io::Error::other("it does not speak AMQP 0-9-1"));
        }
        let mut start = Vec::new();
        stream.take(u64::from(length)).read_to_end(&mut start).await?;
        let greeting = read(&start).ok_or_else(|| io::Error::other("its greeting is not one of AMQP 0-9-1"))?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(greeting);
        Ok(())
    }

    pub(super) fn are_heard(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    pub(super) fn heard(&self) -> Option<Greeting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

fn read(start: &[u8]) -> Option<Greeting> {
    let (_, start) = parse_start(start.get(METHOD_BYTES..)?).ok()?;
    let says = &start.server_properties;
    Some(Greeting { product: text(says, "product"), version: text(says, "version") })
}

fn text(table: &FieldTable, name: &str) -> String {
    match table.inner().get(name) {
        Some(AMQPValue::LongString(text)) => String::from_utf8_lossy(text.as_bytes()).into_owned(),
        Some(AMQPValue::ShortString(text)) => text.to_string(),
        Some(_) | None => String::new(),
    }
}
