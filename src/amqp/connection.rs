//! Connections to the broker, and what can be wrong with one.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_rs::Tokio;
use lapin::tcp::{AsyncTcpStream, OwnedIdentity, OwnedTLSConfig};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Connection, ConnectionProperties, ErrorKind};
use secrecy::ExposeSecret;
use tokio::net::lookup_host;
use tokio::time::{Instant, timeout, timeout_at};

use super::greeting::{FirstWords, Greeting};
use super::transport::{self, LegibleWire, Wire};
use super::valve::Valve;
use crate::config::{AmqpSettings, Broker};

/// Name lookup, TCP and TLS together.
const TRANSPORT_TIMEOUT: Duration = Duration::from_secs(20);
/// The AMQP handshake; a broker's own limit is 10 s.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);
/// Transport and handshake together for one address, where the name stands for several.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(10);
/// Seconds. A dead peer is noticed after twice this time; the broker's default of 60 would be too slow.
const HEARTBEAT_SECONDS: u16 = 15;
/// Bytes; RabbitMQ's own default. The library is told before the handshake: then its buffers, of 32 frames each, take
/// memory only as they fill. If they were enlarged after the handshake, they would take all of it at once.
const MAX_FRAME_BYTES: u32 = 128 * 1024;
/// Longest wait for the answer to one request on a channel or connection.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for a channel or connection to close. To close it is a courtesy, and on a blocked connection that would
/// wait for the end of the alarm.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// Reply codes of AMQP 0-9-1. The first is for a close without any fault.
pub const REPLY_SUCCESS: u16 = 200;

/// Why a consumer ended while its channel lives. From RabbitMQ 4.3 on a late acknowledgement ends it too.
pub const CANCELLED: &str = "the broker cancelled the consumer: the queue is deleted, or an acknowledgement was late";
pub const CONNECTION_FORCED: u16 = 320;
pub const ACCESS_REFUSED: u16 = 403;
pub const NOT_FOUND: u16 = 404;
pub const PRECONDITION_FAILED: u16 = 406;
pub const NOT_ALLOWED: u16 = 530;
pub const INTERNAL_ERROR: u16 = 541;

/// Why there is no connection, by what can be done about it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConnectFault {
    #[error("{cause}")]
    Settings { cause: String },
    #[error("the broker at {at} cannot be reached: {cause}; check amqp.uri and that RabbitMQ is running")]
    Unreachable { at: String, cause: String },
    #[error(
        "no trusted TLS connection to the broker at {at}: {cause}; check amqp.ca_file, amqp.client_cert_file, amqp.client_key_file and the host name in amqp.uri"
    )]
    Tls { at: String, cause: String },
    #[error(
        "the broker at {at} refuses the user or password; check them in amqp.uri (ARCHIVER__AMQP__URI) or in the file that amqp.uri_file names{hint}"
    )]
    AccessRefused { at: String, hint: &'static str },
    #[error(
        "the broker at {at} takes no connection for now: {cause}; where that names a limit, raise it or end other connections"
    )]
    NotNow { at: String, cause: String },
    #[error(
        "the broker at {at} refuses the virtual host {vhost:?}: {cause}; create it, or grant the user access to it, or mend amqp.uri"
    )]
    VhostRefused { at: String, vhost: String, cause: String },
}

impl ConnectFault {
    /// True where trying again soon cannot help: someone has to change the settings or the broker.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Tls { .. } | Self::NotNow { .. } => false,
            Self::Settings { .. } | Self::AccessRefused { .. } | Self::VhostRefused { .. } => true,
        }
    }
}

/// All that is needed to connect, as often as necessary.
#[derive(Clone, Debug)]
pub struct Dial {
    settings: AmqpSettings,
    name: String,
    /// Listens to the broker's first words instead of connecting.
    first_words: Option<FirstWords>,
    /// The valve of the connection that was made last.
    valve: Arc<Valve>,
    tried_in_vain: TriedInVain,
}

/// Where the connection leads, as the settings say at this moment.
struct Target {
    broker: Broker,
    uri: AMQPUri,
}

/// The virtual host of `amqp.uri`, for commands that people are told to type.
pub fn virtual_host(settings: &AmqpSettings) -> Option<String> {
    let uri: AMQPUri = settings.broker().ok()?.uri.expose().parse().ok()?;
    Some(uri.vhost)
}

impl Dial {
    /// `purpose` shows in the broker's list of connections, beside the product's name.
    pub fn new(settings: &AmqpSettings, purpose: &str) -> Self {
        let name = format!("{} {purpose}", env!("CARGO_PKG_NAME"));
        Self {
            settings: settings.clone(),
            name,
            first_words: None,
            tried_in_vain: TriedInVain::default(),
            valve: Arc::default(),
        }
    }

    pub(super) fn valve(&self) -> &Arc<Valve> {
        &self.valve
    }

    /// What the broker says of itself before anybody has signed in; the library keeps that to itself.
    pub async fn greet(&self, limit: Duration) -> Result<Greeting, ConnectFault> {
        let first_words = FirstWords::default();
        let listener = Self { first_words: Some(first_words.clone()), ..self.clone() };
        let ended = listener.connect(limit).await;
        first_words.heard().ok_or_else(|| match ended {
            Ok(_) => ConnectFault::Settings { cause: "the broker said nothing of itself".to_owned() },
            Err(fault) => fault,
        })
    }

    /// Tries each address of the broker's name once, with name, password and certificates as their files are now; ends
    /// within `limit`, and in any case within 40 s. Leaves nothing behind when it fails or is dropped.
    pub async fn connect(&self, limit: Duration) -> Result<Connection, ConnectFault> {
        let target = self.target()?;
        let deadline = Instant::now() + limit.min(TRANSPORT_TIMEOUT + HANDSHAKE_TIMEOUT);
        let addresses = target.addresses(deadline).await?;
        Box::pin(self.connect_to_one_of(&target, addresses, deadline)).await
    }

    /// Connects to one of these addresses, whatever the broker's name stands for.
    pub async fn connect_at(&self, addresses: Vec<SocketAddr>, limit: Duration) -> Result<Connection, ConnectFault> {
        let deadline = Instant::now() + limit.min(TRANSPORT_TIMEOUT + HANDSHAKE_TIMEOUT);
        Box::pin(self.connect_to_one_of(&self.target()?, addresses, deadline)).await
    }

    fn target(&self) -> Result<Target, ConnectFault> {
        let broker = self.settings.broker().map_err(|fault| ConnectFault::Settings { cause: fault.to_string() })?;
        let mut uri: AMQPUri = broker.uri.expose().parse().map_err(|_unsafe_to_show| ConnectFault::Settings {
            cause: format!("amqp.uri ({}) is not understood by the AMQP client", broker.uri),
        })?;
        uri.query.heartbeat = uri.query.heartbeat.or(Some(HEARTBEAT_SECONDS));
        uri.query.frame_max = uri.query.frame_max.or(Some(MAX_FRAME_BYTES));
        Ok(Target { broker, uri })
    }

    /// One after the other, each with a time of its own up to the end of the AMQP handshake: an address behind which
    /// nobody answers, or somebody who says nothing, must not use up the time of the others.
    async fn connect_to_one_of(
        &self,
        target: &Target,
        mut addresses: Vec<SocketAddr>,
        deadline: Instant,
    ) -> Result<Connection, ConnectFault> {
        self.tried_in_vain.move_back(&mut addresses);
        let mut faults = Vec::new();
        for (left, address) in (1..=addresses.len()).rev().zip(&addresses) {
            let time_left = deadline.saturating_duration_since(Instant::now());
            let share = time_left / u32::try_from(left).unwrap_or(u32::MAX);
            let patience = if left == 1 { time_left } else { share.min(ADDRESS_TIMEOUT) };
            match self.connect_to(target, *address, patience).await {
                Ok(connection) => {
                    self.tried_in_vain.remove(*address);
                    return Ok(connection);
                }
                Err(fault) if fault.is_refusal() || self.first_words.as_ref().is_some_and(FirstWords::are_heard) => {
                    return Err(fault);
                }
                Err(fault) => {
                    self.tried_in_vain.add(*address);
                    faults.push((*address, fault));
                }
            }
        }
        Err(summary(target, faults))
    }

    async fn connect_to(
        &self,
        target: &Target,
        address: SocketAddr,
        patience: Duration,
    ) -> Result<Connection, ConnectFault> {
        let attempt = Attempt(Arc::default());
        let connecting = self.attempt(target, address, Arc::clone(&attempt.0), self.first_words.clone());
        match timeout(patience, connecting).await {
            Ok(Ok(connection)) => {
                attempt.0.release();
                Ok(connection)
            }
            Ok(Err(error)) => Err(explain(&error, attempt.0.stage(), target)),
            Err(_elapsed) => Err(target.unreachable(attempt.0.stage().silence().to_owned())),
        }
    }

    async fn attempt(
        &self,
        target: &Target,
        address: SocketAddr,
        socket: Arc<Socket>,
        first_words: Option<FirstWords>,
    ) -> lapin::Result<Connection> {
        let (host, tls) = (target.broker.uri.host().to_owned(), tls_config(&target.broker));
        let properties = ConnectionProperties::default().with_connection_name(self.name.clone().into());
        let valve = Arc::clone(&self.valve);
        Connection::connector(
            target.uri.clone(),
            transport::runtime(),
            async move |uri: AMQPUri, _| {
                let transport = async {
                    socket.reach(Stage::Tcp);
                    let plain = Wire::connect(&Tokio::current(), vec![address]).await?;
                    if let AsyncTcpStream::Plain(stream) = &plain {
                        socket.hold(stream.get_ref().as_fd().try_clone_to_owned()?.into());
                    }
                    match uri.scheme {
                        AMQPScheme::AMQP => {
                            socket.reach(Stage::Handshake);
                            io::Result::Ok(plain)
                        }
                        AMQPScheme::AMQPS => {
                            socket.reach(Stage::Tls);
                            let stream = plain.into_tls(&host, tls.as_ref()).await?;
                            socket.reach(Stage::HandshakeInTls);
                            Ok(stream)
                        }
                    }
                };
                let stream = timeout(TRANSPORT_TIMEOUT, transport).await.map_err(io::Error::from)??;
                if let Some(first_words) = &first_words {
                    first_words.hear(stream).await?;
                    return Err(io::Error::other("nothing more is wanted of this connection").into());
                }
                Ok(AsyncTcpStream::Plain(LegibleWire::new(stream, Arc::clone(&valve))))
            },
            properties,
        )
        .await
    }
}

/// The code with which the broker closed a channel or connection, if it was the broker.
pub fn reply_code(error: &lapin::Error) -> Option<u16> {
    if let ErrorKind::ProtocolError(reply) = error.kind() { Some(reply.get_id()) } else { None }
}

/// What gives the broker's user a right that it lacks. The command sets all three patterns anew.
pub const GRANT: &str = "grant it the right with `rabbitmqctl set_permissions -p VHOST USER CONFIGURE WRITE READ`; \
                         deploy/rabbitmq/definitions.json has the three patterns";

/// The fault of a request for which the broker's user needs `right`: `configure`, `write` or `read`.
pub(super) fn in_words(error: &lapin::Error, right: &str) -> String {
    match (reply_code(error), reply_text(error)) {
        (Some(ACCESS_REFUSED), Some(cause)) => format!("{cause}: the broker's user lacks the right `{right}`; {GRANT}"),
        _ => error.to_string(),
    }
}

/// The broker's own words for it.
pub fn reply_text(error: &lapin::Error) -> Option<String> {
    if let ErrorKind::ProtocolError(reply) = error.kind() { Some(reply.get_message().to_string()) } else { None }
}

fn plain_cause(error: &lapin::Error) -> String {
    if let ErrorKind::IOError(cause) = error.kind() { cause.to_string() } else { error.to_string() }
}

/// True where the broker may well say something else in a minute: it stops or starts, it has reached a limit of
/// connections or channels, or the node of a queue is away.
pub(super) fn is_passing(code: u16, text: &str) -> bool {
    match code {
        CONNECTION_FORCED | INTERNAL_ERROR => true,
        NOT_ALLOWED => text.contains("limit"),
        NOT_FOUND => text.contains("down or inaccessible") || text.contains("timeout"),
        _ => false,
    }
}

fn explain(error: &lapin::Error, stage: Stage, target: &Target) -> ConnectFault {
    let at = target.at();
    let text = reply_text(error).unwrap_or_default();
    match reply_code(error) {
        Some(ACCESS_REFUSED) => {
            let hint = if target.broker.uri.is_escaped() { ESCAPE_HINT } else { "" };
            ConnectFault::AccessRefused { at, hint }
        }
        Some(code) if is_passing(code, &text) => ConnectFault::NotNow { at, cause: text },
        Some(NOT_ALLOWED) => ConnectFault::VhostRefused { at, vhost: target.uri.vhost.clone(), cause: text },
        _ => match stage {
            Stage::Tls => ConnectFault::Tls { at, cause: plain_cause(error) },
            // A broker that refuses our certificate says so, or hangs up, only after our side of TLS is done.
            Stage::HandshakeInTls if matches!(error.kind(), ErrorKind::IOError(_)) => {
                ConnectFault::Tls { at, cause: plain_cause(error) }
            }
            Stage::Tcp | Stage::Handshake | Stage::HandshakeInTls => target.unreachable(plain_cause(error)),
        },
    }
}

const ESCAPE_HINT: &str = " (a % there begins an escape such as %40: a literal % is written %25)";

impl Target {
    fn at(&self) -> String {
        self.broker.uri.to_string()
    }

    fn unreachable(&self, cause: String) -> ConnectFault {
        ConnectFault::Unreachable { at: self.at(), cause }
    }

    async fn addresses(&self, deadline: Instant) -> Result<Vec<SocketAddr>, ConnectFault> {
        let host = self.broker.uri.host();
        match timeout_at(deadline, lookup_host((host, self.uri.authority.port))).await {
            Ok(Ok(addresses)) => Ok(addresses.collect()),
            Ok(Err(error)) => Err(self.unreachable(format!("the name {host} cannot be looked up: {error}"))),
            Err(_elapsed) => Err(self.unreachable(format!("looking up the name {host} takes too long"))),
        }
    }
}

/// What there is to say where no address led to a connection: the fault of the one that came furthest, and where all
/// were merely out of reach, each of them.
fn summary(target: &Target, mut faults: Vec<(SocketAddr, ConnectFault)>) -> ConnectFault {
    if let Some(told) = faults.iter().position(|(_, fault)| !matches!(fault, ConnectFault::Unreachable { .. })) {
        return faults.swap_remove(told).1;
    }
    if faults.len() == 1 {
        return faults.swap_remove(0).1;
    }
    let each = faults.into_iter().filter_map(|(address, fault)| {
        if let ConnectFault::Unreachable { at: _, cause } = fault { Some(format!("{address}: {cause}")) } else { None }
    });
    let each = each.collect::<Vec<_>>().join(", ");
    target.unreachable(if each.is_empty() { "its name stands for no address".to_owned() } else { each })
}

/// Addresses that led nowhere when last tried, the latest at the end. The next try begins with others.
#[derive(Clone, Default, Debug)]
struct TriedInVain(Arc<Mutex<Vec<SocketAddr>>>);

/// Addresses remembered; more than a name stands for.
const MAX_TRIED_IN_VAIN: usize = 64;

impl TriedInVain {
    fn move_back(&self, addresses: &mut [SocketAddr]) {
        let known = self.lock();
        addresses.sort_by_key(|address| known.iter().position(|one| one == address).map_or(0, |index| index + 1));
    }

    fn add(&self, address: SocketAddr) {
        let mut known = self.lock();
        known.retain(|one| *one != address);
        known.push(address);
        if known.len() > MAX_TRIED_IN_VAIN {
            known.remove(0);
        }
    }

    fn remove(&self, address: SocketAddr) {
        self.lock().retain(|one| *one != address);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<SocketAddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tls_config(broker: &Broker) -> OwnedTLSConfig {
    let identity = broker.client.as_ref().map(|client| OwnedIdentity::PKCS8 {
        pem: client.cert_pem.clone().into_bytes(),
        key: client.key_pem.expose_secret().as_bytes().to_vec(),
    });
    OwnedTLSConfig { identity, cert_chain: broker.ca_pem.clone() }
}

/// How far an attempt came, which tells a refused certificate from a refused port.
#[derive(Clone, Copy, Default, Debug)]
enum Stage {
    #[default]
    Tcp,
    Tls,
    Handshake,
    HandshakeInTls,
}

impl Stage {
    fn silence(self) -> &'static str {
        match self {
            Self::Tcp => "it does not answer",
            Self::Tls => "it accepts connections but does not answer in TLS",
            Self::Handshake | Self::HandshakeInTls => "it accepts connections but does not answer in AMQP",
        }
    }
}

/// A second handle on an attempt's socket, so that a hung or abandoned attempt can be ended from outside: the library's
/// thread would wait for a silent peer for ever.
#[derive(Default)]
struct Socket(Mutex<SocketState>);

#[derive(Default)]
struct SocketState {
    stage: Stage,
    stream: Option<TcpStream>,
    abandoned: bool,
}

impl Socket {
    fn reach(&self, stage: Stage) {
        self.lock().stage = stage;
    }

    fn stage(&self) -> Stage {
        self.lock().stage
    }

    fn hold(&self, stream: TcpStream) {
        let mut state = self.lock();
        if state.abandoned {
            shut(&stream);
        } else {
            state.stream = Some(stream);
        }
    }

    /// The connection lives: it alone closes its socket.
    fn release(&self) {
        self.lock().stream = None;
    }

    fn lock(&self) -> MutexGuard<'_, SocketState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the attempt when it goes out of scope, unless the socket was released.
struct Attempt(Arc<Socket>);

impl Drop for Attempt {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.abandoned = true;
        if let Some(stream) = state.stream.take() {
            shut(&stream);
        }
    }
}

fn shut(stream: &TcpStream) {
    // Fails only where the peer was faster.
    let _ = stream.shutdown(Shutdown::Both);
}
