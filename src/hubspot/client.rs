//! Requests to HubSpot, each with one reply.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Certificate, Method, Request, Response, StatusCode, redirect, retry};
use secrecy::{ExposeSecret, SecretString};
use url::form_urlencoded;
use url::{Host, Url};

use super::bearer::BearerToken;
use super::request::{self, Endpoint};
use super::silence::{is_refused_by_proxy, silence};
use crate::config::{ApiVersion, HubspotSettings, SettingKey, SettingsError};
use crate::contract::association::{Extent, Label, Pair, RecordId};
use crate::contract::object_type::ObjectType;
use crate::engine::command::BatchCall;
use crate::engine::reply::{Answer, Body, Headers, Reply};

/// Sends requests to HubSpot; cheap to clone, all clones share their connections.
///
/// Connections follow the environment's `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, except to the loopback. Redirects
/// are not followed: the token must not go where HubSpot does not answer itself. Nothing is sent twice but what is
/// known never to have reached HubSpot.
#[derive(Clone, Debug)]
pub struct HubspotClient {
    http: reqwest::Client,
    base_url: Url,
    api_version: ApiVersion,
}

/// The object types of a request, in its direction.
#[derive(Clone, Copy, Debug)]
pub struct ObjectTypes<'a> {
    pub from: &'a ObjectType,
    pub to: &'a ObjectType,
}

impl HubspotClient {
    /// Largest body that is read, in bytes after decompression; a batch of 1,000 errors stays far below.
    ///
    /// A body of this length can be in memory for each of `hubspot.max_in_flight_total` requests. A read of 1,000
    /// records fits where each has some 35 associations; 500 associations of each would be 50 MB. A larger body is not
    /// parsed, and its batch is halved until it fits: one record's page has 500 associations at most, which is some 50
    /// kB.
    pub const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

    /// Longest wait for a connection, TLS included; less where `hubspot.request_timeout` is short.
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

    /// How long a connection without requests is kept: shorter than what servers do, so that a request does not run
    /// into its closing.
    const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

    /// Between questions whether the far end of an HTTP/2 connection with open requests is still there. Without them a
    /// dead connection would fail all its requests, and the next ones, until TCP times out.
    const PING_INTERVAL: Duration = Duration::from_secs(20);
    const PING_TIMEOUT: Duration = Duration::from_secs(20);

    /// Reads `hubspot.ca_file`, whose authorities are trusted besides those of the platform.
    pub fn new(settings: &HubspotSettings) -> Result<Self, SettingsError> {
        let most_idle = usize::try_from(settings.max_in_flight_total.get()).unwrap_or(usize::MAX);
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("association-archiver/", env!("CARGO_PKG_VERSION")))
            .timeout(settings.request_timeout)
            // At most half, so that a connection that cannot be made is told from an answer that does not come.
            .connect_timeout(Self::CONNECT_TIMEOUT.min(settings.request_timeout / 2))
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .pool_idle_timeout(Self::IDLE_TIMEOUT)
            .pool_max_idle_per_host(most_idle)
            .http2_keep_alive_interval(Self::PING_INTERVAL)
            .http2_keep_alive_timeout(Self::PING_TIMEOUT);
        let private = private_authorities(settings)?;
        // Plain HTTP must work where the platform has no authorities at all.
        builder = match settings.base_url.scheme() {
            "http" => builder.tls_certs_only(private),
            _ => builder.tls_certs_merge(private),
        };
        if is_loopback(&settings.base_url) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| {
            let cause = innermost(&error);
            let mend = "install the platform's certificates (Debian: ca-certificates), or name some in hubspot.ca_file";
            invalid("hubspot.base_url", format!("cannot be reached, since TLS cannot be set up: {cause}; {mend}"))
        })?;
        Ok(Self { http, base_url: settings.base_url.clone(), api_version: settings.api_version })
    }

    /// Sends one batch and says what came back; the token does not occur in it.
    pub async fn send_batch(&self, call: &BatchCall, token: &BearerToken) -> Reply {
        let request = self.posted(&request::path(self.api_version, call), JSON, request::body_of(call));
        self.send_with(request, token).await
    }

    /// Asks what these records are associated with, each from its cursor on; says what came back.
    pub async fn read(
        &self,
        types: ObjectTypes<'_>,
        records: &[(RecordId, Option<&str>)],
        token: &BearerToken,
    ) -> Reply {
        self.batch(Endpoint::Read, types, request::body_of_read(records), token).await
    }

    /// Gives each pair these types in place of those it has.
    pub async fn create(&self, types: ObjectTypes<'_>, pairs: &[(Pair, &[Label])], token: &BearerToken) -> Reply {
        self.batch(Endpoint::Create, types, request::body_of_create(pairs), token).await
    }

    /// Gives each pair the plain association, beside the types it has.
    pub async fn create_default(&self, types: ObjectTypes<'_>, pairs: &[Pair], token: &BearerToken) -> Reply {
        self.batch(Endpoint::CreateDefault, types, request::body_of_default(pairs), token).await
    }

    /// Removes this much of each pair's association.
    pub async fn remove(&self, types: ObjectTypes<'_>, extent: &Extent, pairs: &[Pair], token: &BearerToken) -> Reply {
        self.batch(Endpoint::removing(extent), types, request::body(extent, pairs), token).await
    }

    /// Asks which association types there are between two object types.
    pub async fn labels(&self, types: ObjectTypes<'_>, token: &BearerToken) -> Reply {
        let path = request::path_of_labels(self.api_version, types.from.path_segment(), types.to.path_segment());
        self.get(&path, token).await
    }

    async fn batch(&self, endpoint: Endpoint, types: ObjectTypes<'_>, body: Vec<u8>, token: &BearerToken) -> Reply {
        let path = endpoint.path(self.api_version, types.from.path_segment(), types.to.path_segment());
        self.send_with(self.posted(&path, JSON, body), token).await
    }

    /// A `GET` in the name of the token, which does not occur in the reply.
    pub(super) async fn get(&self, path: &str, token: &BearerToken) -> Reply {
        self.send_with(self.request(Method::GET, path), token).await
    }

    /// A `POST` of JSON in the name of the token, which does not occur in the reply.
    pub(super) async fn post_json(&self, path: &str, body: Vec<u8>, token: &BearerToken) -> Reply {
        self.send_with(self.posted(path, JSON, body), token).await
    }

    /// A `POST` of a form; its secrets do not occur in the reply unless that is a success, which may carry new ones.
    pub(super) async fn post_form(&self, path: &str, fields: &[(&str, &str)], secrets: &[&SecretString]) -> Reply {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish().into_bytes();
        let reply = self.send(self.posted(path, FORM, body)).await;
        if matches!(&reply, Reply::Answer(answer) if (200..300).contains(&answer.status)) {
            return reply;
        }
        secrets.iter().fold(reply, |reply, secret| without(reply, secret.expose_secret().as_bytes()))
    }

    async fn send_with(&self, mut request: Request, token: &BearerToken) -> Reply {
        request.headers_mut().insert(AUTHORIZATION, token.header());
        without(self.send(request).await, token.secret())
    }

    async fn send(&self, request: Request) -> Reply {
        match self.http.execute(request).await {
            Ok(response) => Reply::Answer(read(response).await),
            // Over https a proxy's 407 ends the connecting; it is an answer all the same, and says what must be mended.
            Err(error) if is_refused_by_proxy(&error) => Reply::Answer(Answer {
                status: StatusCode::PROXY_AUTHENTICATION_REQUIRED.as_u16(),
                headers: Headers::default(),
                body: Body::Whole(Bytes::new()),
            }),
            Err(error) => Reply::Silence(silence(&error)),
        }
    }

    fn posted(&self, path: &str, content_type: HeaderValue, body: Vec<u8>) -> Request {
        let mut request = self.request(Method::POST, path);
        request.headers_mut().insert(CONTENT_TYPE, content_type);
        *request.body_mut() = Some(body.into());
        request
    }

    fn request(&self, method: Method, path: &str) -> Request {
        let mut url = self.base_url.clone();
        url.set_path(&format!("{}{path}", self.base_url.path()));
        let mut request = Request::new(method, url);
        request.headers_mut().insert(ACCEPT, JSON);
        request
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

async fn read(response: Response) -> Answer {
    let status = response.status().as_u16();
    let headers = Headers::read(|name| response.headers().get(name).map(HeaderValue::as_bytes));
    Answer { status, headers, body: read_body(response).await }
}

/// A body that stalls is cut off by the request's time-out; what the status says holds all the same.
async fn read_body(mut response: Response) -> Body {
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(None) => return Body::Whole(bytes.into()),
            Err(_) => return Body::CutOff(bytes.into()),
            Ok(Some(chunk)) => {
                let room = HubspotClient::MAX_BODY_BYTES.saturating_sub(bytes.len());
                bytes.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
                if chunk.len() > room {
                    return Body::TooLarge(bytes.into());
                }
            }
        }
    }
}

/// Shorter secrets are not replaced in answers. HubSpot's have more than 30 bytes; a shorter one is made up, as for a
/// simulator, and its letters may stand in any word (`x` is part of `context`), which nobody could read without them.
const SHORTEST_SECRET_BYTES: usize = 8;

/// The reply with stars in place of a secret that HubSpot repeats; as long as before, so that JSON stays JSON.
fn without(reply: Reply, secret: &[u8]) -> Reply {
    match reply {
        Reply::Answer(_) if secret.len() < SHORTEST_SECRET_BYTES => reply,
        Reply::Silence(_) => reply,
        Reply::Answer(Answer { status, headers, body }) => {
            let body = match body {
                Body::Whole(bytes) => Body::Whole(masked(bytes, secret)),
                Body::CutOff(bytes) => Body::CutOff(masked(bytes, secret)),
                Body::TooLarge(bytes) => Body::TooLarge(masked(bytes, secret)),
            };
            Reply::Answer(Answer { status, headers, body })
        }
    }
}

fn masked(bytes: Bytes, secret: &[u8]) -> Bytes {
    let Some(first) = find(&bytes, secret) else { return bytes };
    let mut masked = bytes.to_vec();
    let mut next = Some(first);
    while let Some(found) = next {
        let end = found + secret.len();
        masked[found..end].fill(b'*');
        next = find(&masked[end..], secret).map(|at| end + at);
    }
    masked.into()
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    let first = *word.first()?;
    let mut from = 0;
    loop {
        let rest = text.get(from..)?;
        let at = from + rest.iter().position(|&byte| byte == first)?;
        if text.get(at..)?.starts_with(word) {
            return Some(at);
        }
        from = at + 1;
    }
}

fn private_authorities(settings: &HubspotSettings) -> Result<Vec<Certificate>, SettingsError> {
    let (Some(file), Some(pem)) = (&settings.ca_file, settings.ca_pem()?) else { return Ok(Vec::new()) };
    let mend = "it must hold certificates in PEM, of authorities that the platform does not know";
    let authorities = Certificate::from_pem_bundle(pem.as_bytes())
        .map_err(|error| file.key().refused(format!("cannot be read: {}; {mend}", innermost(&error))))?;
    if authorities.is_empty() {
        return Err(file.key().refused(format!("holds no certificate; {mend}")));
    }
    Ok(authorities)
}

pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn invalid(key: &str, problem: String) -> SettingsError {
    SettingKey::new(key).refused(problem)
}

/// The innermost error: those around it only say that there was one.
fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_is_made_up_garbles_no_answer() {
        let answer = |text: &'static str| {
            let body = Body::Whole(Bytes::from_static(text.as_bytes()));
            Reply::Answer(Answer { status: 200, headers: Headers::default(), body })
        };
        assert_eq!(without(answer(r#"{"context":{}}"#), b"x"), answer(r#"{"context":{}}"#));
        assert_eq!(without(answer("of pat-na1-7"), b"pat-na1-7"), answer("of *********"));
    }

    #[test]
    fn every_occurrence_of_a_secret_is_masked() {
        let masked = |text: &str, secret: &str| masked(Bytes::copy_from_slice(text.as_bytes()), secret.as_bytes());
        assert_eq!(masked("a pat-1 and pat-1pat-1, pat-", "pat-1"), "a ***** and **********, pat-");
        assert_eq!(masked("aaab", "aab"), "a***");
        assert_eq!(masked("pat", "pat-1"), "pat");
        assert_eq!(masked("anything", ""), "anything");
        assert_eq!(masked("", "pat-1"), "");
    }
}
