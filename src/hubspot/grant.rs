//! One exchange of a refresh token for an access token.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::bearer::BearerToken;
use super::client::HubspotClient;
use super::finality::Finality;
use super::identity::portal_number;
use super::wording::{answered, asked_wait, json, silent};
use crate::contract::ids::PortalId;
use crate::engine::reply::{Answer, Reply};

/// What a refresh is asked with.
#[derive(Clone, Debug)]
pub(super) struct GrantRequest {
    pub client_id: String,
    pub client_secret: SecretString,
    pub refresh_token: SecretString,
}

#[derive(Debug)]
pub(super) enum GrantReply {
    Granted(Grant),
    /// Final until the operator mends it; which setting it is about may be known.
    Refused {
        detail: String,
        about: Blamed,
    },
    /// Passing.
    Failed {
        detail: String,
        wait: Option<Duration>,
    },
}

#[derive(Debug)]
pub(super) struct Grant {
    pub access_token: BearerToken,
    pub expires_in: Duration,
    /// The one to use from now on, if HubSpot changed it.
    pub rotated: Option<SecretString>,
    pub portal: Option<PortalId>,
}

/// The setting that a refusal is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Blamed {
    RefreshToken,
    ClientId,
    ClientSecret,
    /// The answer is not one of HubSpot's token endpoint.
    BaseUrl,
    Unknown,
}

impl GrantRequest {
    /// `POST /oauth/2026-03/token`.
    pub(super) async fn send(&self, client: &HubspotClient) -> GrantReply {
        let fields = [
            ("grant_type", "refresh_token"),
            ("client_id", &self.client_id),
            ("client_secret", self.client_secret.expose_secret()),
            ("refresh_token", self.refresh_token.expose_secret()),
        ];
        let secrets = [&self.client_secret, &self.refresh_token];
        match client.post_form("oauth/2026-03/token", &fields, &secrets).await {
            Reply::Silence(silence) => GrantReply::Failed { detail: silent(&silence), wait: None },
            Reply::Answer(answer) => self.read(&answer),
        }
    }

    fn read(&self, answer: &Answer) -> GrantReply {
        match Finality::of(answer) {
            Finality::Success => self.granted(answer),
            Finality::Final => GrantReply::Refused { detail: answered(answer), about: blamed(answer) },
            Finality::Passing => GrantReply::Failed { detail: answered(answer), wait: asked_wait(answer) },
        }
    }

    fn granted(&self, answer: &Answer) -> GrantReply {
        let grant = json(answer).unwrap_or_default();
        let secret = |name: &str| grant.get(name).and_then(Value::as_str).filter(|text| is_one_word(text));
        let access_token = secret("access_token").and_then(|token| BearerToken::new(&token.into()));
        let Some(access_token) = access_token else {
            // Nothing of the body is quoted: secrets that belong in it may be there.
            let detail = format!("HubSpot answered {} without an access token that can be used", answer.status);
            return GrantReply::Failed { detail, wait: None };
        };
        let rotated = secret("refresh_token").filter(|token| *token != self.refresh_token.expose_secret());
        GrantReply::Granted(Grant {
            access_token,
            expires_in: life(grant.get("expires_in")),
            rotated: rotated.map(SecretString::from),
            portal: grant.get("hub_id").and_then(portal_number).map(PortalId),
        })
    }
}

/// How long an access token lives where the answer does not say it: what HubSpot documents.
const USUAL_LIFE: Duration = Duration::from_secs(30 * 60);
/// The shortest life that is believed of a token: an answer that says 0 would lead to one refresh after the other.
const SHORTEST_LIFE: Duration = Duration::from_secs(1);
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// Seconds, as a number or in digits.
fn life(expires_in: Option<&Value>) -> Duration {
    let seconds = match expires_in {
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(digits)) => digits.parse().ok(),
        Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => None,
    };
    seconds.map_or(USUAL_LIFE, |seconds| Duration::from_secs(seconds).clamp(SHORTEST_LIFE, LONGEST_LIFE))
}

fn blamed(answer: &Answer) -> Blamed {
    if matches!(answer.status, 300..=399 | 404 | 405 | 501) {
        return Blamed::BaseUrl;
    }
    let error = json(answer).unwrap_or_default();
    let code = |name: &str| error.get(name).and_then(Value::as_str);
    match (code("status"), code("error")) {
        (Some("BAD_REFRESH_TOKEN"), _) => Blamed::RefreshToken,
        (Some("BAD_CLIENT_ID"), _) => Blamed::ClientId,
        (Some("BAD_CLIENT_SECRET"), _) => Blamed::ClientSecret,
        (_, Some("invalid_grant")) => Blamed::RefreshToken,
        (Some(_) | None, Some(_) | None) => Blamed::Unknown,
    }
}

/// What a header, a form and a file of its own can carry.
fn is_one_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm)]

    use std::num::NonZeroU64;

    use bytes::Bytes;

    use super::*;
    use crate::engine::reply::{Body, Headers};

    #[test]
    fn a_grant_is_read_as_far_as_it_goes() {
        let full =
            granted(r#"{"access_token":"a","refresh_token":"r2","expires_in":1800,"hub_id":7,"token_type":"bearer"}"#);
        assert_eq!(full.access_token.secret(), b"a");
        assert_eq!(full.expires_in, Duration::from_secs(1_800));
        assert_eq!(full.rotated.unwrap().expose_secret(), "r2");
        assert_eq!(full.portal, NonZeroU64::new(7).map(PortalId));

        let bare = granted(r#"{"access_token":"a"}"#);
        assert_eq!((bare.expires_in, bare.portal), (USUAL_LIFE, None));
        assert!(bare.rotated.is_none());

        let same = granted(r#"{"access_token":"a","refresh_token":"r1","expires_in":"60"}"#);
        assert_eq!(same.expires_in, Duration::from_secs(60));
        assert!(same.rotated.is_none(), "the same token is no other one");
    }

    #[test]
    fn a_life_is_neither_nothing_nor_for_ever() {
        for (value, expected) in [
            ("0", SHORTEST_LIFE),
            ("18446744073709551615", LONGEST_LIFE),
            ("-5", USUAL_LIFE),
            ("1.5", USUAL_LIFE),
            ("null", USUAL_LIFE),
            (r#""soon""#, USUAL_LIFE),
        ] {
            let body = format!(r#"{{"access_token":"a","expires_in":{value}}}"#);
            assert_eq!(granted(&body).expires_in, expected, "{value}");
        }
    }

    #[test]
    fn a_success_without_a_usable_token_is_none_and_is_not_quoted() {
        for body in ["", "<html>secret-half", r#"{"message":"secret-half"}"#, r#"{"access_token":"two words"}"#] {
            match request().read(&answer(200, Body::Whole(Bytes::copy_from_slice(body.as_bytes())))) {
                GrantReply::Failed { detail, wait: None } => assert!(!detail.contains("secret"), "{detail}"),
                other => panic!("{body}: {other:?}"),
            }
        }
        let half = Body::CutOff(Bytes::from(r#"{"access_token":"a""#));
        assert!(matches!(request().read(&answer(200, half)), GrantReply::Failed { .. }));
    }

    #[test]
    fn a_refusal_names_its_cause() {
        for (status, body, expected) in [
            (400, r#"{"error":"invalid_grant","status":"BAD_REFRESH_TOKEN"}"#, Blamed::RefreshToken),
            (400, r#"{"error":"invalid_grant"}"#, Blamed::RefreshToken),
            (400, r#"{"error":"invalid_client","status":"BAD_CLIENT_ID"}"#, Blamed::ClientId),
            (401, r#"{"status":"BAD_CLIENT_SECRET"}"#, Blamed::ClientSecret),
            (403, "", Blamed::Unknown),
            (404, "<html>", Blamed::BaseUrl),
            (302, "", Blamed::BaseUrl),
        ] {
            match request().read(&answer(status, Body::Whole(body.into()))) {
                GrantReply::Refused { about, .. } => assert_eq!(about, expected, "{status} {body}"),
                other => panic!("{status} {body}: {other:?}"),
            }
        }
        for status in [408, 429, 477, 500, 502, 503, 524] {
            let reply = request().read(&answer(status, Body::Whole(Bytes::new())));
            assert!(matches!(reply, GrantReply::Failed { .. }), "{status}: {reply:?}");
        }
    }

    fn granted(body: &str) -> Grant {
        match request().read(&answer(200, Body::Whole(Bytes::copy_from_slice(body.as_bytes())))) {
            GrantReply::Granted(grant) => grant,
            other => panic!("{body}: {other:?}"),
        }
    }

    fn answer(status: u16, body: Body) -> Answer {
        Answer { status, headers: Headers::default(), body }
    }

    fn request() -> GrantRequest {
        GrantRequest { client_id: "app".to_owned(), client_secret: "s".into(), refresh_token: "r1".into() }
    }
}
