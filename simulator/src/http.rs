//! HTTP/1.1 on a raw connection, so that it can be cut, stalled and reset at any byte.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::reply::{Answer, Ending};
use crate::request::Request;

/// The largest request body.
pub(crate) const MAX_BODY_BYTES: usize = 32 << 20;

/// The largest head of a request.
const MAX_HEAD_BYTES: usize = 16 << 10;

const MAX_HEADERS: usize = 64;

/// Longest wait for the next request on a connection.
const MAX_IDLE: Duration = Duration::from_secs(600);

/// Longest wait for a body that was announced.
const MAX_BODY_WAIT: Duration = Duration::from_secs(120);

/// The longest line that announces a chunk.
const MAX_CHUNK_LINE_BYTES: usize = 1 << 10;

/// Room made for reading at once.
const READ_BYTES: usize = 64 << 10;

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
}

/// A request up to its body.
#[derive(Debug)]
pub(crate) struct Head {
    method: String,
    target: String,
    authorization: Option<String>,
    content_type: Option<String>,
    body: BodyLength,
    continues: Continue,
    pub after: After,
}

/// What becomes of the connection after the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum After {
    KeepAlive,
    Close,
}

/// Why a request cannot be taken.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The client has gone, or keeps silent.
    Gone,
    /// To be answered with this status before the connection is closed.
    Refused(u16),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum BodyLength {
    Bytes(usize),
    Chunked,
}

/// Whether the client waits to be told to send the body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Continue {
    Unasked,
    Expected,
}

impl Head {
    pub(crate) fn request<'a>(&'a self, body: &'a [u8]) -> Request<'a> {
        Request {
            method: &self.method,
            target: &self.target,
            authorization: self.authorization.as_deref(),
            content_type: self.content_type.as_deref(),
            body,
        }
    }
}

impl Connection {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// The next request; `None` when the client is done.
    pub(crate) async fn head(&mut self) -> Result<Option<Head>, Broken> {
        loop {
            if let Some((head, length)) = parse_head(&self.buffer)? {
                let _ = self.buffer.split_to(length);
                return Ok(Some(head));
            }
            if self.buffer.len() > MAX_HEAD_BYTES {
                return Err(Broken::Refused(431));
            }
            let read = timeout(MAX_IDLE, self.fill()).await.map_err(|_| Broken::Gone)?;
            match read {
                Ok(()) => {}
                Err(_) if self.buffer.is_empty() => return Ok(None),
                Err(gone) => return Err(gone),
            }
        }
    }

    pub(crate) async fn body(&mut self, head: &Head) -> Result<Bytes, Broken> {
        if head.continues == Continue::Expected {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.map_err(|_| Broken::Gone)?;
        }
        let body = async {
            match head.body {
                BodyLength::Bytes(length) => self.bytes(length).await,
                BodyLength::Chunked => self.chunks().await,
            }
        };
        timeout(MAX_BODY_WAIT, body).await.map_err(|_| Broken::Gone)?
    }

    /// Sends the answer now; what then becomes of the connection.
    pub(crate) async fn send(&mut self, answer: &Answer, after: After) -> After {
        let mut wire = head_of(answer, after).into_bytes();
        let head_bytes = wire.len();
        wire.extend_from_slice(&answer.body);
        // The last byte of all is what is held back where a body is too short for the rule.
        let until = |after_bytes: usize| head_bytes.saturating_add(after_bytes).min(wire.len() - 1);
        let sent = match answer.ending {
            Ending::Whole => self.stream.write_all(&wire).await.map(|()| after),
            Ending::Cut { after_bytes } => {
                let early = wire.get(..until(after_bytes)).unwrap_or_default();
                self.stream.write_all(early).await.map(|()| After::Close)
            }
            Ending::Stalled { after_bytes, lasting } => {
                let (early, late) = wire.split_at(until(after_bytes));
                match self.stream.write_all(early).await {
                    Ok(()) => {
                        sleep(lasting).await;
                        self.stream.write_all(late).await.map(|()| after)
                    }
                    Err(error) => Err(error),
                }
            }
            Ending::Reset => self.stream.set_zero_linger().map(|()| After::Close),
        };
        // A client that does not wait for its answer has gone.
        sent.unwrap_or(After::Close)
    }

    /// Reads some more; fails at the end of the stream.
    async fn fill(&mut self) -> Result<(), Broken> {
        self.buffer.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) | Err(_) => Err(Broken::Gone),
            Ok(_) => Ok(()),
        }
    }

    async fn bytes(&mut self, length: usize) -> Result<Bytes, Broken> {
        if length > MAX_BODY_BYTES {
            return Err(Broken::Refused(413));
        }
        while self.buffer.len() < length {
            self.fill().await?;
        }
        Ok(self.buffer.split_to(length).freeze())
    }

    async fn chunks(&mut self) -> Result<Bytes, Broken> {
        let mut body = BytesMut::new();
        loop {
            let length = self.chunk_line().await?;
            if body.len().saturating_add(length) > MAX_BODY_BYTES {
                return Err(Broken::Refused(413));
            }
            body.extend_from_slice(&self.bytes(length).await?);
            if self.bytes(2).await? != "\r\n" {
                // Trailers are nothing that HubSpot reads.
                return Err(Broken::Refused(400));
            }
            if length == 0 {
                return Ok(body.freeze());
            }
        }
    }

    async fn chunk_line(&mut self) -> Result<usize, Broken> {
        loop {
            match httparse::parse_chunk_size(&self.buffer) {
                Ok(httparse::Status::Complete((line, length))) => {
                    let _ = self.buffer.split_to(line);
                    return usize::try_from(length).map_err(|_| Broken::Refused(413));
                }
                Ok(httparse::Status::Partial) if self.buffer.len() < MAX_CHUNK_LINE_BYTES => self.fill().await?,
                Ok(httparse::Status::Partial) | Err(_) => return Err(Broken::Refused(400)),
            }
        }
    }
}

/// A whole head and its length in bytes; `None` while there is more to come.
fn parse_head(bytes: &[u8]) -> Result<Option<(Head, usize)>, Broken> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Broken::Refused(431)),
        Err(_) => return Err(Broken::Refused(400)),
    };
    let after = if parsed.version == Some(0) { After::Close } else { After::KeepAlive };
    let mut head = Head {
        method: parsed.method.unwrap_or_default().to_owned(),
        target: parsed.path.unwrap_or_default().to_owned(),
        authorization: None,
        content_type: None,
        body: BodyLength::Bytes(0),
        continues: Continue::Unasked,
        after,
    };
    for header in parsed.headers.iter() {
        read_header(&mut head, header)?;
    }
    Ok(Some((head, length)))
}

fn read_header(head: &mut Head, header: &httparse::Header<'_>) -> Result<(), Broken> {
    let is = |name: &str| header.name.eq_ignore_ascii_case(name);
    let text = || String::from_utf8_lossy(header.value).into_owned();
    if is("authorization") {
        head.authorization = Some(text());
    } else if is("content-type") {
        head.content_type = Some(text());
    } else if is("content-length") && head.body != BodyLength::Chunked {
        head.body = BodyLength::Bytes(text().trim().parse().map_err(|_| Broken::Refused(400))?);
    } else if is("transfer-encoding") {
        if !header.value.eq_ignore_ascii_case(b"chunked") {
            return Err(Broken::Refused(501));
        }
        head.body = BodyLength::Chunked;
    } else if is("expect") && header.value.eq_ignore_ascii_case(b"100-continue") {
        head.continues = Continue::Expected;
    } else if is("connection") && header.value.eq_ignore_ascii_case(b"close") {
        head.after = After::Close;
    }
    Ok(())
}

fn head_of(answer: &Answer, after: After) -> String {
    let mut head = format!("HTTP/1.1 {} {}\r\n", answer.status, reason(answer.status));
    for (name, value) in &answer.headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    // A 204 has no body, and says nothing about its length.
    if answer.status != 204 {
        let _ = write!(head, "content-length: {}\r\n", answer.body.len());
    }
    head.push_str(match after {
        After::KeepAlive => "\r\n",
        After::Close => "connection: close\r\n\r\n",
    });
    head
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        207 => "Multi-Status",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        413 => "Payload Too Large",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}
