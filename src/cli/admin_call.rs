//! One question or order to the endpoints of a running service.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::exit::Failure;
use super::paint::harmless;

/// The service answers within 5 s or says that it does not know.
const LONGEST_CALL: Duration = Duration::from_secs(10);
/// Beyond what `/status` says of thousands of accounts.
const MAX_ANSWER_BYTES: u64 = 16 * 1024 * 1024;

/// Where the endpoints are: `127.0.0.1:9090`, `[::1]:9090`, `archiver.example:9090`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceAddress(String);

impl ServiceAddress {
    pub fn of_listen(listen: SocketAddr) -> Self {
        Self(reachable(listen).to_string())
    }

    /// Reads `http://HOST:PORT`. The error is for the command line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = "write it as http://HOST:PORT, such as http://127.0.0.1:9090";
        let url = url::Url::parse(text).map_err(|_| expected.to_owned())?;
        if url.scheme() == "https" {
            return Err(
                "the endpoints speak plain http: write http://HOST:PORT, through a forwarded port where needed \
                        (ssh -L, kubectl port-forward)"
                    .to_owned(),
            );
        }
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        match (url.scheme(), url.host_str(), url.port_or_known_default(), bare) {
            ("http", Some(host), Some(port), true) => Ok(Self(format!("{host}:{port}"))),
            _ => Err(expected.to_owned()),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What the service answered.
#[derive(Debug)]
pub struct AdminAnswer {
    pub status: u16,
    /// `null` where the body is no JSON.
    pub body: Value,
}

/// What the service says of an order that it has carried out, and that must be given again all the same, since nobody
/// knows whether the next worker would know of it.
pub fn give_again(answer: &AdminAnswer) -> Option<String> {
    let is_so = answer.body.get("giveAgain").and_then(Value::as_bool).unwrap_or(false);
    is_so.then(|| harmless(answer.body.get("note").and_then(Value::as_str).unwrap_or("give the order again")))
}

/// `POST path`, with the token; `listen` as in the service's settings.
pub async fn post(listen: SocketAddr, path: &str, token: &SecretString) -> Result<AdminAnswer, Failure> {
    post_to(&ServiceAddress::of_listen(listen), path, token).await
}

/// `POST path`, with the token.
pub async fn post_to(address: &ServiceAddress, path: &str, token: &SecretString) -> Result<AdminAnswer, Failure> {
    let headers = format!("Authorization: Bearer {}\r\nContent-Length: 0\r\n", token.expose_secret());
    call(address, "POST", path, &SecretString::from(headers)).await
}

/// `GET path`.
pub async fn get(address: &ServiceAddress, path: &str) -> Result<AdminAnswer, Failure> {
    call(address, "GET", path, &SecretString::default()).await
}

async fn call(
    address: &ServiceAddress,
    method: &str,
    path: &str,
    headers: &SecretString,
) -> Result<AdminAnswer, Failure> {
    let ServiceAddress(address) = address;
    let fault = |cause: String| {
        Failure::Running(format!(
            "no answer from the service at {address}: {cause}; check that it runs and that admin.listen is the same here as there"
        ))
    };
    let request = SecretString::from(format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\n{}Connection: close\r\n\r\n",
        headers.expose_secret()
    ));
    match timeout(LONGEST_CALL, talk(address, &request)).await {
        Ok(Ok(answer)) => read(&answer).ok_or_else(|| fault("what answers there is not HTTP".to_owned())),
        Ok(Err(error)) => Err(fault(error.to_string())),
        Err(_elapsed) => Err(fault(format!("not within {} s", LONGEST_CALL.as_secs()))),
    }
}

/// A service that listens everywhere listens on the loopback too.
pub fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, listen.port())
}

async fn talk(address: &str, request: &SecretString) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.expose_secret().as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer).await?;
    Ok(answer)
}

fn read(answer: &[u8]) -> Option<AdminAnswer> {
    let head_end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..head_end]).ok()?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let body = serde_json::from_slice(&answer[head_end + 4..]).unwrap_or(Value::Null);
    Some(AdminAnswer { status, body })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_answer_is_a_status_and_perhaps_json() {
        let answer = read(b"HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n{\"paused\":true}").unwrap();
        assert_eq!((answer.status, answer.body["paused"].as_bool()), (200, Some(true)));
        assert_eq!(read(b"HTTP/1.0 502 Bad Gateway\r\n\r\n<html>").unwrap().body, Value::Null);
        for nonsense in [&b""[..], b"SSH-2.0-OpenSSH_9\r\n", b"HTTP/1.1\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n"] {
            assert!(read(nonsense).is_none());
        }
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for (url, address) in [
            ("http://127.0.0.1:9090", "127.0.0.1:9090"),
            ("http://archiver.example/", "archiver.example:80"),
            ("http://[::1]:9090/", "[::1]:9090"),
        ] {
            assert_eq!(ServiceAddress::parse(url).unwrap().as_str(), address);
        }
        for wrong in ["", "archiver:9090", "ftp://host:1", "http://host/status", "http://user@host", "http://"] {
            assert!(ServiceAddress::parse(wrong).unwrap_err().contains("http://HOST:PORT"), "{wrong}");
        }
        assert!(ServiceAddress::parse("https://host").unwrap_err().contains("port-forward"));
    }

    #[test]
    fn everywhere_is_asked_at_home() {
        for (listen, asked) in
            [("0.0.0.0:9090", "127.0.0.1:9090"), ("[::]:9090", "[::1]:9090"), ("10.1.2.3:9090", "10.1.2.3:9090")]
        {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), asked);
        }
    }
}
