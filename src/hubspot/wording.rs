//! A reply about an account, in one line for its operator.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::contract::text::cut;
use crate::engine::reply::{Answer, Body, Reply, Silence};

/// A status that a proxy answers with, and not HubSpot.
pub(super) const PROXY_REFUSES: u16 = 407;

/// Longest text that is taken from HubSpot, in bytes.
const MAX_QUOTE_BYTES: usize = 300;

/// `HubSpot answered 400 BAD_REFRESH_TOKEN: missing or invalid refresh token`. What it does not say is left out.
pub(super) fn answered(answer: &Answer) -> String {
    if answer.status == PROXY_REFUSES {
        return "a proxy on the way to HubSpot answered 407: it wants a user name and a password, or refuses those in \
                HTTPS_PROXY, HTTP_PROXY or ALL_PROXY"
            .to_owned();
    }
    let json = json(answer).unwrap_or_default();
    let text = |names: &[&str]| names.iter().find_map(|name| json.get(name)?.as_str()).map(one_line);
    // An error of the API says `"status":"error"`, one of OAuth has its code there.
    let code = text(&["status"]).filter(|status| status != "error").or_else(|| text(&["category", "error"]));
    let message = text(&["message", "error_description"]);
    let code = code.map(|code| format!(" {code}")).unwrap_or_default();
    let message = message.map(|message| format!(": {message}")).unwrap_or_default();
    format!("HubSpot answered {}{code}{message}", answer.status)
}

pub(super) fn silent(silence: &Silence) -> String {
    match silence {
        Silence::Refused(reason) => format!("no connection to HubSpot could be made: {reason}"),
        Silence::Tls(reason) => format!("the connection to HubSpot is not trusted: {reason}"),
        Silence::TimedOut => "HubSpot did not answer in time".to_owned(),
        Silence::Reset => "the connection broke before HubSpot's answer".to_owned(),
    }
}

/// What a reply says of why a batch was not archived.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Said {
    /// HubSpot's `category`.
    pub category: Option<String>,
    /// HubSpot's message, or why there is no answer; one line.
    pub detail: Option<String>,
}

pub fn said(reply: &Reply) -> Said {
    match reply {
        Reply::Answer(answer) => {
            let json = json(answer).unwrap_or_default();
            // An answer to a batch that was done in part has its words in its errors.
            let own = |name: &str| json.get(name).or_else(|| json.get("errors")?.get(0)?.get(name));
            let text = |name: &str| own(name)?.as_str().map(one_line);
            Said { category: text("category"), detail: text("message") }
        }
        Reply::Silence(silence) => Said { category: None, detail: Some(silent(silence)) },
    }
}

/// The body, if it is whole and JSON.
pub fn json(answer: &Answer) -> Option<Value> {
    match &answer.body {
        Body::Whole(bytes) => serde_json::from_slice(bytes).ok(),
        Body::CutOff(_) | Body::TooLarge(_) => None,
    }
}

/// How long HubSpot asks to wait.
pub(super) fn asked_wait(answer: &Answer) -> Option<Duration> {
    answer.headers.retry_after.map(|after| after.wait(Timestamp::now()))
}

fn one_line(text: &str) -> String {
    cut(text, MAX_QUOTE_BYTES).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::engine::reply::Headers;

    #[test]
    fn says_as_much_as_the_answer_does() {
        for (body, expected) in [
            (
                r#"{"error":"invalid_grant","status":"BAD_REFRESH_TOKEN","message":"no\nsuch token"}"#,
                "HubSpot answered 400 BAD_REFRESH_TOKEN: no such token",
            ),
            (
                r#"{"status":"error","category":"INVALID_AUTHENTICATION","message":"who?"}"#,
                "HubSpot answered 400 INVALID_AUTHENTICATION: who?",
            ),
            (r#"{"error":"invalid_client"}"#, "HubSpot answered 400 invalid_client"),
            (r#"{"message":7}"#, "HubSpot answered 400"),
            ("<html>", "HubSpot answered 400"),
            ("", "HubSpot answered 400"),
        ] {
            assert_eq!(answered(&answer(Body::Whole(Bytes::from(body)))), expected);
        }
    }

    #[test]
    fn says_why_a_batch_was_refused() {
        let refused =
            r#"{"status":"error","category":"MISSING_SCOPES","message":"one of:\n[crm]","errors":[{"message":"x"}]}"#;
        let partial = r#"{"status":"COMPLETE","errors":[{"category":"OBJECT_NOT_FOUND","message":"no contact 7"}]}"#;
        for (body, category, detail) in [
            (refused, Some("MISSING_SCOPES"), Some("one of: [crm]")),
            (partial, Some("OBJECT_NOT_FOUND"), Some("no contact 7")),
            ("<html>", None, None),
        ] {
            let said = said(&Reply::Answer(answer(Body::Whole(Bytes::from(body)))));
            assert_eq!((said.category.as_deref(), said.detail.as_deref()), (category, detail));
        }
        assert!(said(&Reply::Silence(Silence::TimedOut)).detail.is_some());
    }

    #[test]
    fn a_body_that_was_cut_off_is_not_quoted() {
        let cut_off = Body::CutOff(Bytes::from(r#"{"message":"half a tok"}"#));
        assert_eq!(answered(&answer(cut_off)), "HubSpot answered 400");
    }

    #[test]
    fn long_words_are_cut() {
        let body = format!(r#"{{"message":"{}"}}"#, "é".repeat(10_000));
        assert!(answered(&answer(Body::Whole(body.into()))).len() < MAX_QUOTE_BYTES + 50);
    }

    fn answer(body: Body) -> Answer {
        Answer { status: 400, headers: Headers::default(), body }
    }
}
