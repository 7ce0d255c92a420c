//! Connections to the broker, and what can be wrong with one.

use std::fmt;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lapin::tcp::{AsyncTcpStream, OwnedIdentity, OwnedTLSConfig};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Connection, ConnectionProperties, ErrorKind};
use secrecy::ExposeSecret;
use tokio::time::timeout;

use super::settings::AmqpSettings;

/// Name lookup, TCP and TLS together.
const TRANSPORT_TIMEOUT: Duration = Duration::from_secs(20);
/// The AMQP handshake; a broker's own limit is 10 s.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);
/// Seconds. A dead peer is noticed after twice this time; the broker's default of 60 would be too slow.
const HEARTBEAT_SECONDS: u16 = 15;
/// Waiting for the answer to one request on a channel or connection.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Closing is a courtesy, and on a blocked connection it would wait for the end of the alarm.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// Reply codes of AMQP 0-9-1.
pub const ACCESS_REFUSED: u16 = 403;
pub const NOT_FOUND: u16 = 404;
pub const PRECONDITION_FAILED: u16 = 406;
pub const NOT_ALLOWED: u16 = 530;

/// Why there is no connection, by what can be done about it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConnectFault {
    #[error("the broker at {at} cannot be reached: {cause}; check amqp.uri and that RabbitMQ is running")]
    Unreachable { at: String, cause: String },
    #[error(
        "no trusted TLS connection to the broker at {at}: {cause}; check amqp.ca_file, amqp.client_cert_file, amqp.client_key_file and the host name in amqp.uri"
    )]
    Tls { at: String, cause: String },
    #[error("the broker at {at} refuses the user or password; check them in amqp.uri (ARCHIVER__AMQP__URI)")]
    AccessRefused { at: String },
    #[error("the broker at {at} refuses the virtual host {vhost:?}: {cause}; create it, or grant the user access to it, or mend amqp.uri")]
    VhostRefused { at: String, vhost: String, cause: String },
}

impl ConnectFault {
    /// True where trying again soon cannot help: someone has to change the settings or the broker.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Tls { .. } => false,
            Self::AccessRefused { .. } | Self::VhostRefused { .. } => true,
        }
    }
}

/// Settings that can be seen to be wrong without a network.
#[derive(Debug, thiserror::Error)]
pub enum DialFault {
    #[error("amqp.uri (ARCHIVER__AMQP__URI) is not a broker's address: write amqp://user:password@host:5672/vhost")]
    Uri,
    #[error("{setting}: cannot read {path}: {cause}")]
    File { setting: &'static str, path: String, cause: io::Error },
    #[error("amqp.client_cert_file and amqp.client_key_file belong together: set both or neither")]
    HalfIdentity,
}

/// All that is needed to connect, as often as necessary.
#[derive(Clone)]
pub struct Dial {
    uri: AMQPUri,
    tls: OwnedTLSConfig,
    name: String,
}

impl Dial {
    /// `purpose` shows in the broker's list of connections, beside the product's name.
    pub fn new(settings: &AmqpSettings, purpose: &str) -> Result<Self, DialFault> {
        Ok(Self {
            uri: read_uri(settings.uri.expose_secret())?,
            tls: read_tls(settings)?,
            name: format!("{} {purpose}", env!("CARGO_PKG_NAME")),
        })
    }

    /// Tries once; ends within 40 s and leaves nothing behind when it fails.
    pub async fn connect(&self) -> Result<Connection, ConnectFault> {
        let socket = Arc::new(Socket::default());
        let attempt = self.attempt(Arc::clone(&socket));
        let outcome = timeout(TRANSPORT_TIMEOUT + HANDSHAKE_TIMEOUT, attempt).await;
        match outcome {
            Ok(Ok(connection)) => {
                socket.forget();
                Ok(connection)
            }
            Ok(Err(error)) => {
                socket.shut();
                Err(self.explain(&error, socket.stage()))
            }
            Err(_elapsed) => {
                // lapin's thread would wait for the silent peer for ever.
                socket.shut();
                Err(self.silent())
            }
        }
    }

    /// The fault of a broker that accepts connections and says nothing.
    pub fn silent(&self) -> ConnectFault {
        self.unreachable("it does not answer")
    }

    /// Host and port, without credentials.
    pub fn address(&self) -> String {
        format!("{}:{}", self.uri.authority.host, self.uri.authority.port)
    }

    async fn attempt(&self, socket: Arc<Socket>) -> lapin::Result<Connection> {
        let tls = self.tls.clone();
        let properties = ConnectionProperties::default().with_connection_name(self.name.clone().into());
        let runtime = lapin::runtime::default_runtime()?;
        Connection::connector(
            self.uri.clone(),
            runtime,
            async move |uri: AMQPUri, runtime| {
                let transport = async {
                    socket.reach(Stage::Tcp);
                    let host = (uri.authority.host.as_str(), uri.authority.port);
                    let addresses: Vec<_> = tokio::net::lookup_host(host).await?.collect();
                    let plain = AsyncTcpStream::connect(&runtime, addresses).await?;
                    if let AsyncTcpStream::Plain(stream) = &plain {
                        socket.hold(stream.get_ref().as_fd().try_clone_to_owned()?.into());
                    }
                    let stream = match uri.scheme {
                        AMQPScheme::AMQP => plain,
                        AMQPScheme::AMQPS => {
                            socket.reach(Stage::Tls);
                            plain.into_tls(&uri.authority.host, tls.as_ref()).await?
                        }
                    };
                    socket.reach(Stage::Handshake);
                    io::Result::Ok(stream)
                };
                let stream = timeout(TRANSPORT_TIMEOUT, transport).await.map_err(io::Error::from)??;
                Ok(stream)
            },
            properties,
        )
        .await
    }

    fn explain(&self, error: &lapin::Error, stage: Stage) -> ConnectFault {
        let at = self.address();
        match reply_code(error) {
            Some(ACCESS_REFUSED) => ConnectFault::AccessRefused { at },
            Some(NOT_ALLOWED) => ConnectFault::VhostRefused {
                at,
                vhost: self.uri.vhost.clone(),
                cause: reply_text(error).unwrap_or_default(),
            },
            _ => match stage {
                Stage::Tls => ConnectFault::Tls { at, cause: plain_cause(error) },
                Stage::Tcp | Stage::Handshake => self.unreachable(&plain_cause(error)),
            },
        }
    }

    fn unreachable(&self, cause: &str) -> ConnectFault {
        ConnectFault::Unreachable { at: self.address(), cause: cause.to_owned() }
    }
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dial").field("at", &self.address()).field("name", &self.name).finish_non_exhaustive()
    }
}

/// The code with which the broker closed a channel or connection, if it was the broker.
pub fn reply_code(error: &lapin::Error) -> Option<u16> {
    if let ErrorKind::ProtocolError(reply) = error.kind() { Some(reply.get_id()) } else { None }
}

/// The broker's own words for it.
pub fn reply_text(error: &lapin::Error) -> Option<String> {
    if let ErrorKind::ProtocolError(reply) = error.kind() { Some(reply.get_message().to_string()) } else { None }
}

fn plain_cause(error: &lapin::Error) -> String {
    if let ErrorKind::IOError(cause) = error.kind() { cause.to_string() } else { error.to_string() }
}

fn read_uri(text: &str) -> Result<AMQPUri, DialFault> {
    let mut uri: AMQPUri = text.parse().map_err(|_unsafe_to_show| DialFault::Uri)?;
    if let Some(address) = ipv6_host(text) {
        uri.authority.host = address.to_owned();
    }
    uri.query.heartbeat = uri.query.heartbeat.or(Some(HEARTBEAT_SECONDS));
    Ok(uri)
}

/// lapin's reader takes an IPv6 literal for no host at all, and would connect to localhost.
fn ipv6_host(uri: &str) -> Option<&str> {
    let authority = uri.split_once("://")?.1.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_user, host)| host);
    host.strip_prefix('[')?.split_once(']').map(|(address, _port)| address)
}

fn read_tls(settings: &AmqpSettings) -> Result<OwnedTLSConfig, DialFault> {
    let cert_chain = settings.ca_file.as_deref().map(|path| read_text("amqp.ca_file", path)).transpose()?;
    let identity = match (&settings.client_cert_file, &settings.client_key_file) {
        (Some(cert), Some(key)) => Some(OwnedIdentity::PKCS8 {
            pem: read_text("amqp.client_cert_file", cert)?.into_bytes(),
            key: read_text("amqp.client_key_file", key)?.into_bytes(),
        }),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => return Err(DialFault::HalfIdentity),
    };
    Ok(OwnedTLSConfig { identity, cert_chain })
}

fn read_text(setting: &'static str, path: &Path) -> Result<String, DialFault> {
    std::fs::read_to_string(path).map_err(|cause| DialFault::File { setting, path: path.display().to_string(), cause })
}

/// How far an attempt came, which tells a refused certificate from a refused port.
#[derive(Clone, Copy, Default, Debug)]
enum Stage {
    #[default]
    Tcp,
    Tls,
    Handshake,
}

/// A second handle on an attempt's socket, so that a hung attempt can be ended from outside.
#[derive(Default)]
struct Socket(Mutex<(Stage, Option<TcpStream>)>);

impl Socket {
    fn reach(&self, stage: Stage) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = stage;
    }

    fn stage(&self) -> Stage {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    fn hold(&self, stream: TcpStream) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1 = Some(stream);
    }

    /// The connection lives: it alone closes its socket.
    fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1 = None;
    }

    fn shut(&self) {
        if let Some(stream) = self.0.lock().unwrap_or_else(PoisonError::into_inner).1.take() {
            // Fails only where the peer was faster.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn the_heartbeat_of_the_uri_wins() {
        assert_eq!(read_uri("amqp://localhost/").unwrap().query.heartbeat, Some(HEARTBEAT_SECONDS));
        assert_eq!(read_uri("amqp://localhost/?heartbeat=40").unwrap().query.heartbeat, Some(40));
    }

    #[test]
    fn an_ipv6_address_is_a_host() {
        let uri = read_uri("amqp://user:pa%5Bss@[::1]:5673/%2f").unwrap();
        assert_eq!((uri.authority.host.as_str(), uri.authority.port), ("::1", 5673));
        assert_eq!(uri.authority.userinfo.password, "pa[ss");
        assert_eq!(read_uri("amqp://broker.example/x").unwrap().authority.host, "broker.example");
    }

    #[test]
    fn a_wrong_uri_is_not_repeated() {
        let text = read_uri("amqp//user:secret@host").unwrap_err().to_string();
        assert!(!text.contains("secret"), "{text}");
    }
}
