//! What HubSpot knows about a token: for an operator who checks the settings, so every field may be missing.

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::bearer::BearerToken;
use super::client::HubspotClient;
use super::finality::Finality;
use super::identity::portal_number;
use super::wording::{answered, json, silent};
use crate::contract::ids::PortalId;
use crate::engine::reply::{Answer, Reply};

/// Most scopes that are kept; HubSpot has some 200.
const MAX_SCOPES: usize = 1_000;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Introspection {
    Told(TokenFacts),
    /// HubSpot refuses to tell, in one line without secrets.
    WillNotTell {
        detail: String,
    },
    /// Passing.
    Failed {
        detail: String,
    },
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenFacts {
    /// Whether HubSpot takes the token; `None` where it does not say.
    pub active: Option<bool>,
    pub portal: Option<PortalId>,
    /// Empty where HubSpot names none.
    pub scopes: Vec<String>,
}

/// `POST /oauth/v2/private-apps/get/access-token-info`, for a private app's token.
pub(super) async fn introspect_private(client: &HubspotClient, token: &BearerToken) -> Introspection {
    let body = json!({"tokenKey": String::from_utf8_lossy(token.secret())}).to_string().into_bytes();
    introspection_in(client.post_json("oauth/v2/private-apps/get/access-token-info", body, token).await)
}

/// `POST /oauth/2026-03/token/introspect`, for an access token that a refresh gave.
pub(super) async fn introspect_oauth(
    client: &HubspotClient,
    client_id: &str,
    client_secret: &SecretString,
    token: &BearerToken,
) -> Introspection {
    let access_token = SecretString::from(String::from_utf8_lossy(token.secret()).as_ref());
    let fields = [
        ("client_id", client_id),
        ("client_secret", client_secret.expose_secret()),
        ("token_type_hint", "access_token"),
        ("token", access_token.expose_secret()),
    ];
    introspection_in(client.post_form("oauth/2026-03/token/introspect", &fields, &[client_secret, &access_token]).await)
}

fn introspection_in(reply: Reply) -> Introspection {
    match reply {
        Reply::Silence(silence) => Introspection::Failed { detail: silent(&silence) },
        Reply::Answer(answer) => match Finality::of(&answer) {
            Finality::Success => told(&answer),
            Finality::Final => Introspection::WillNotTell { detail: answered(&answer) },
            Finality::Passing => Introspection::Failed { detail: answered(&answer) },
        },
    }
}

fn told(answer: &Answer) -> Introspection {
    let Some(facts @ Value::Object(_)) = json(answer) else {
        return Introspection::WillNotTell {
            detail: format!("{}, but with nothing that can be read", answered(answer)),
        };
    };
    let portal = ["hub_id", "hubId"].iter().find_map(|name| facts.get(name).and_then(portal_number));
    Introspection::Told(TokenFacts {
        active: facts.get("active").and_then(Value::as_bool),
        portal: portal.map(PortalId),
        scopes: scopes(facts.get("scopes").or_else(|| facts.get("scope"))),
    })
}

/// A list, or words with spaces between as OAuth's own documents have it.
fn scopes(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Array(scopes)) => {
            scopes.iter().filter_map(Value::as_str).map(str::to_owned).take(MAX_SCOPES).collect()
        }
        Some(Value::String(scopes)) => scopes.split_whitespace().map(str::to_owned).take(MAX_SCOPES).collect(),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use std::num::NonZeroU64;

    use bytes::Bytes;

    use super::*;
    use crate::engine::reply::{Body, Headers};

    #[test]
    fn both_endpoints_are_read_leniently() {
        let portal = Some(PortalId(NonZeroU64::new(7).unwrap()));
        let scopes = vec!["crm.objects.contacts.write".to_owned(), "oauth".to_owned()];
        for (body, expected) in [
            (
                r#"{"active":true,"hub_id":7,"scopes":["crm.objects.contacts.write","oauth"],"token":"x"}"#,
                TokenFacts { active: Some(true), portal, scopes: scopes.clone() },
            ),
            (
                r#"{"hubId":"7","scope":"crm.objects.contacts.write oauth"}"#,
                TokenFacts { active: None, portal, scopes },
            ),
            (r#"{"active":false}"#, TokenFacts { active: Some(false), portal: None, scopes: Vec::new() }),
            (r#"{"scopes":7,"hub_id":{}}"#, TokenFacts { active: None, portal: None, scopes: Vec::new() }),
        ] {
            assert_eq!(introspection_in(answer(200, body)), Introspection::Told(expected), "{body}");
        }
        assert!(matches!(introspection_in(answer(200, "<html>")), Introspection::WillNotTell { .. }));
        assert!(matches!(introspection_in(answer(404, "")), Introspection::WillNotTell { .. }));
        assert!(matches!(introspection_in(answer(503, "")), Introspection::Failed { .. }));
    }

    fn answer(status: u16, body: &str) -> Reply {
        let body = Body::Whole(Bytes::copy_from_slice(body.as_bytes()));
        Reply::Answer(Answer { status, headers: Headers::default(), body })
    }
}
