//! Whose token it is, and in which time zone its account's day begins.

use std::num::NonZeroU64;

use jiff::tz::TimeZone;
use serde_json::Value;

use super::bearer::BearerToken;
use super::client::HubspotClient;
use super::finality::Finality;
use super::wording::{answered, asked_wait, json, silent};
use crate::engine::command::IdentityReply;
use crate::engine::reply::{Answer, Reply};

pub(super) const ACCOUNT_INFO: &str = "account-info/v3/details";

/// `GET /account-info/v3/details`: `portalId` and `timeZone`.
pub async fn identify(client: &HubspotClient, token: &BearerToken) -> IdentityReply {
    match client.get(ACCOUNT_INFO, token).await {
        Reply::Silence(silence) => IdentityReply::Failed { detail: silent(&silence), wait: None },
        Reply::Answer(answer) => identity_in(&answer),
    }
}

pub(super) fn identity_in(answer: &Answer) -> IdentityReply {
    match Finality::of(answer) {
        Finality::Success => told(answer),
        // A token that may not ask, or an API without this endpoint, says the same for ever: the account goes on.
        Finality::Final => IdentityReply::WillNotTell { detail: answered(answer) },
        Finality::Passing => IdentityReply::Failed { detail: answered(answer), wait: asked_wait(answer) },
    }
}

fn told(answer: &Answer) -> IdentityReply {
    let details = json(answer).unwrap_or_default();
    let Some(portal) = details.get("portalId").and_then(portal_number) else {
        return IdentityReply::WillNotTell { detail: format!("{}, but without a portalId", answered(answer)) };
    };
    let name = details.get("timeZone").and_then(Value::as_str);
    IdentityReply::Told { portal, time_zone: name.and_then(|name| TimeZone::get(name).ok()) }
}

/// An account as a person knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Introduction {
    pub portal: NonZeroU64,
    /// HubSpot's word: `STANDARD`, `SANDBOX`, `DEVELOPER_TEST`.
    pub account_type: Option<String>,
}

/// What became of the question whose token it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Introduced {
    Told(Introduction),
    /// HubSpot does not take the token. In its words, as the end of a sentence.
    TokenRefused(String),
    /// Nothing came back, and why.
    Silent(String),
    /// It does not say, which means nothing: a token need not have the right to ask.
    Untold,
}

/// For whoever is about to confirm something.
pub async fn introduce(client: &HubspotClient, token: &BearerToken) -> Introduced {
    match client.get(ACCOUNT_INFO, token).await {
        Reply::Silence(silence) => Introduced::Silent(silent(&silence)),
        Reply::Answer(answer) if answer.status == 401 => Introduced::TokenRefused(answered(&answer)),
        Reply::Answer(answer) => introduction_in(&answer).map_or(Introduced::Untold, Introduced::Told),
    }
}

fn introduction_in(answer: &Answer) -> Option<Introduction> {
    let Finality::Success = Finality::of(answer) else { return None };
    let details = json(answer)?;
    let account_type = details.get("accountType").and_then(Value::as_str).map(str::to_owned);
    Some(Introduction { portal: details.get("portalId").and_then(portal_number)?, account_type })
}

/// A portal id as a number or in digits.
pub(super) fn portal_number(value: &Value) -> Option<NonZeroU64> {
    match value {
        Value::Number(number) => number.as_u64().and_then(NonZeroU64::new),
        Value::String(digits) => digits.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::engine::reply::{Body, Headers, RetryAfter};

    #[test]
    fn a_portal_is_told_as_a_number_or_in_digits() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        for (body, expected) in [
            (r#"{"portalId":4711,"timeZone":"Europe/Berlin"}"#, Some(berlin)),
            (r#"{"portalId":"4711","timeZone":"Mars/Olympus"}"#, None),
            (r#"{"portalId":4711,"timeZone":null}"#, None),
            (r#"{"portalId":4711}"#, None),
        ] {
            let told = IdentityReply::Told { portal: NonZeroU64::new(4711).unwrap(), time_zone: expected };
            assert_eq!(identity_in(&answer(200, body)), told, "{body}");
        }
    }

    #[test]
    fn what_will_never_be_told_does_not_hold_the_account_up() {
        for status in [302, 400, 401, 403, 404, 405, 451, 501] {
            let reply = identity_in(&answer(status, ""));
            assert!(matches!(reply, IdentityReply::WillNotTell { .. }), "{status}: {reply:?}");
        }
        for body in ["", "<html>", "[]", "{}", r#"{"portalId":0}"#, r#"{"portalId":-1}"#, r#"{"portalId":"x"}"#] {
            let reply = identity_in(&answer(200, body));
            assert!(matches!(reply, IdentityReply::WillNotTell { .. }), "{body}: {reply:?}");
        }
    }

    #[test]
    fn what_passes_is_asked_again_when_hubspot_says() {
        for status in [100, 408, 425, 429, 477, 500, 502, 503, 504, 524, 999] {
            let reply = identity_in(&answer(status, r#"{"portalId":4711}"#));
            assert!(matches!(reply, IdentityReply::Failed { wait: None, .. }), "{status}: {reply:?}");
        }
        let headers = Headers { retry_after: Some(RetryAfter::Seconds(7)), ..Headers::default() };
        let throttled = Answer { headers, ..answer(429, "") };
        let wait = Some(Duration::from_secs(7));
        assert_eq!(identity_in(&throttled), IdentityReply::Failed { detail: "HubSpot answered 429".to_owned(), wait });
    }

    #[test]
    fn an_account_is_introduced_where_hubspot_says_enough() {
        let portal = NonZeroU64::new(4711).unwrap();
        let sandbox = Some(Introduction { portal, account_type: Some("SANDBOX".to_owned()) });
        let introduced = introduction_in(&answer(200, r#"{"portalId":4711,"accountType":"SANDBOX"}"#));
        assert_eq!(introduced, sandbox);
        let nameless = Some(Introduction { portal, account_type: None });
        assert_eq!(introduction_in(&answer(200, r#"{"portalId":4711,"accountType":7}"#)), nameless);
        for (status, body) in [(200, "<html>"), (200, r#"{"accountType":"SANDBOX"}"#), (403, r#"{"portalId":4711}"#)] {
            assert_eq!(introduction_in(&answer(status, body)), None, "{status} {body}");
        }
    }

    #[test]
    fn half_an_answer_is_asked_again() {
        let half = Answer { body: Body::CutOff(Bytes::from(r#"{"portalId":4711"#)), ..answer(200, "") };
        assert!(matches!(identity_in(&half), IdentityReply::Failed { .. }));
    }

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, headers: Headers::default(), body: Body::Whole(Bytes::copy_from_slice(body.as_bytes())) }
    }
}
