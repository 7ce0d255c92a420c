//! A server that does one thing to each connection, byte by byte.

use std::io;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use association_archiver::config::HubspotSettings;
use association_archiver::contract::association::{Extent, Pair, RecordId};
use association_archiver::contract::ids::AccountIndex;
use association_archiver::contract::object_type::ObjectType;
use association_archiver::engine::command::{BatchCall, CallKey, LaneId, Request, Sealed};
use association_archiver::engine::course::Course;
use association_archiver::engine::reply::{Answer, Body, Reply, Silence};
use association_archiver::hubspot::bearer::BearerToken;
use association_archiver::hubspot::client::HubspotClient;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub const TOKEN: &str = "pat-eu1-0123456789abcdef";

/// Far longer than anything here takes; a stalled test fails instead of hanging.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// What was read of one request.
#[derive(Clone, Debug)]
pub struct Seen {
    pub head: String,
    pub body: String,
}

pub struct FarEnd {
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<Mutex<usize>>,
    accepting: JoinHandle<()>,
}

impl FarEnd {
    /// Hands every connection to `serve`, whose failures only end that connection.
    pub async fn start<F, Serving>(serve: F) -> Self
    where
        F: Fn(Peer) -> Serving + Send + 'static,
        Serving: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(Mutex::new(0));
        let (log, count) = (Arc::clone(&seen), Arc::clone(&connections));
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *count.lock().unwrap() += 1;
                tokio::spawn(serve(Peer { stream, seen: Arc::clone(&log) }));
            }
        });
        Self { url, seen, connections, accepting }
    }

    /// Answers every request with the same bytes and keeps the connection.
    pub async fn answering(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = Arc::new(bytes.into());
        Self::start(move |mut peer| {
            let bytes = Arc::clone(&bytes);
            async move {
                loop {
                    peer.request().await?;
                    peer.stream.write_all(&bytes).await?;
                }
            }
        })
        .await
    }

    /// Answers the requests of all connections in turn, the last answer again and again.
    pub async fn in_turn(answers: Vec<String>) -> Self {
        let next = Arc::new(Mutex::new(answers.into_iter().peekable()));
        Self::start(move |mut peer| {
            let next = Arc::clone(&next);
            async move {
                loop {
                    peer.request().await?;
                    let answer = {
                        let mut next = next.lock().unwrap();
                        let answer = next.peek().cloned().unwrap_or_default();
                        if next.len() > 1 {
                            next.next();
                        }
                        answer
                    };
                    peer.stream.write_all(answer.as_bytes()).await?;
                }
            }
        })
        .await
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }

    pub fn client(&self) -> HubspotClient {
        client(&self.url, Duration::from_secs(30))
    }

    /// The reply to one batch.
    pub async fn archive(&self) -> Reply {
        archive(&self.client()).await
    }
}

impl Drop for FarEnd {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// The server's side of one connection.
pub struct Peer {
    pub stream: TcpStream,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Peer {
    /// Reads the next request whole.
    pub async fn request(&mut self) -> io::Result<()> {
        let seen = read_request(&mut self.stream).await?;
        self.seen.lock().unwrap().push(seen);
        Ok(())
    }

    /// Ends the connection without a goodbye.
    pub fn reset(self) -> io::Result<()> {
        self.stream.set_zero_linger()
    }
}

pub async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Seen> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await?;
    Ok(Seen { head, body: String::from_utf8(body).unwrap() })
}

/// An answer with a length and these further header lines.
pub fn answer(status: u16, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status} Whatever\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

pub fn client(url: &str, request_timeout: Duration) -> HubspotClient {
    HubspotClient::new(&settings(url, request_timeout)).unwrap()
}

pub fn settings(url: &str, request_timeout: Duration) -> HubspotSettings {
    let mut settings = HubspotSettings::default();
    settings.base_url = url.parse().unwrap();
    settings.request_timeout = request_timeout;
    settings
}

/// The reply to one batch of contacts 1 → 2, 1 → 3 and companies.
pub async fn archive(client: &HubspotClient) -> Reply {
    let token = BearerToken::new(&TOKEN.into()).unwrap();
    tokio::time::timeout(DEADLINE, client.send_batch(&call(), &token)).await.expect("a reply in time")
}

pub fn call() -> BatchCall {
    let id = |id| RecordId(NonZeroU64::new(id).unwrap());
    BatchCall {
        call: CallKey::default(),
        lane: LaneId {
            account: AccountIndex(0),
            from_type: ObjectType::parse("contacts").unwrap(),
            to_type: ObjectType::parse("companies").unwrap(),
            extent: Extent::Whole,
            course: Course::ARCHIVE,
        },
        pairs: [Pair { from: id(1), to: id(2) }, Pair { from: id(1), to: id(3) }].into(),
        request: Request::Archive,
        sealed: Sealed::Full,
        failures: 0,
    }
}

pub fn answered(reply: Reply) -> Answer {
    match reply {
        Reply::Answer(answer) => answer,
        Reply::Silence(silence) => panic!("no answer: {silence:?}"),
    }
}

pub fn whole(answer: &Answer) -> &str {
    match &answer.body {
        Body::Whole(bytes) => str::from_utf8(bytes).unwrap(),
        Body::CutOff(bytes) | Body::TooLarge(bytes) => panic!("cut off after {} bytes", bytes.len()),
    }
}

/// Bytes that came before the body was cut off.
pub fn cut_off(answer: &Answer) -> usize {
    match &answer.body {
        Body::Whole(bytes) => panic!("whole, {} bytes", bytes.len()),
        Body::TooLarge(bytes) => panic!("too large: {} bytes", bytes.len()),
        Body::CutOff(bytes) => bytes.len(),
    }
}

/// Bytes that were read of a body that has more of them than are read.
pub fn too_large(answer: &Answer) -> usize {
    match &answer.body {
        Body::Whole(bytes) => panic!("whole, {} bytes", bytes.len()),
        Body::CutOff(bytes) => panic!("cut off after {} bytes", bytes.len()),
        Body::TooLarge(bytes) => bytes.len(),
    }
}

pub fn silence(reply: Reply) -> Silence {
    match reply {
        Reply::Answer(answer) => panic!("an answer: {answer:?}"),
        Reply::Silence(silence) => silence,
    }
}
