//! Answers, and HubSpot's standard bodies.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use serde_json::{Value, json};

use crate::limits::RetryAfterForm;

/// What the far side does about one request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    pub status: u16,
    /// Without `content-length`, which follows from the body.
    pub headers: Vec<(Cow<'static, str>, String)>,
    pub body: Bytes,
    /// From the arrival of the request to the first byte of the answer.
    pub delay: Duration,
    pub ending: Ending,
    /// The account it went to, by its index in the world.
    pub(crate) account: Option<usize>,
}

/// How much of an answer arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    Whole,
    /// The connection ends after this many bytes of the body, or before its last one.
    Cut {
        after_bytes: usize,
    },
    /// Nothing more comes for a while after this many bytes of the body, or before its last one.
    Stalled {
        after_bytes: usize,
        lasting: Duration,
    },
    /// The connection is reset without an answer.
    Reset,
}

impl Answer {
    /// An answer without a body.
    pub(crate) fn empty(status: u16) -> Self {
        let (headers, body) = (Vec::new(), Bytes::new());
        Self { status, headers, body, delay: Duration::ZERO, ending: Ending::Whole, account: None }
    }

    pub(crate) fn json(status: u16, body: impl Into<Bytes>) -> Self {
        let mut answer = Self::empty(status);
        answer.headers.push((Cow::Borrowed("content-type"), "application/json;charset=utf-8".to_owned()));
        answer.body = body.into();
        answer
    }

    pub(crate) fn reset() -> Self {
        Self { ending: Ending::Reset, ..Self::empty(0) }
    }

    #[must_use]
    pub(crate) fn with_header(mut self, name: impl Into<Cow<'static, str>>, value: impl ToString) -> Self {
        self.headers.push((name.into(), value.to_string()));
        self
    }

    /// The value of a header; its name in lower case or as it was given.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// What every body says: when, and under which id.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Voice<'a> {
    pub correlation: &'a str,
    pub wall: Timestamp,
}

impl Voice<'_> {
    /// HubSpot's error body; `more` adds fields to it.
    pub(crate) fn error(self, status: u16, category: Option<&str>, message: &str, more: Value) -> Answer {
        let mut body = json!({"status": "error", "message": message, "correlationId": self.correlation});
        if let Some(category) = category {
            body["category"] = json!(category);
        }
        if let Value::Object(more) = more {
            for (key, value) in more {
                body[key] = value;
            }
        }
        Answer::json(status, body.to_string())
    }

    pub(crate) fn validation(self, message: &str) -> Answer {
        self.error(400, Some("VALIDATION_ERROR"), message, Value::Null)
    }

    pub(crate) fn unauthorized(self, why: Unauthorized) -> Answer {
        let (category, message) = match why {
            Unauthorized::Invalid => (
                "INVALID_AUTHENTICATION",
                "Authentication credentials not found. This API supports OAuth 2.0 authentication and you can find more \
                 details at https://developers.hubspot.com/docs/methods/auth/oauth-overview"
                    .to_owned(),
            ),
            Unauthorized::Expired { seconds_ago } => {
                ("EXPIRED_AUTHENTICATION", format!("The OAuth token used to make this call expired {seconds_ago} second(s) ago."))
            }
            Unauthorized::MalformedToken => (
                "EXPIRED_AUTHENTICATION",
                "The OAuth token used to make this call expired 1790000000 second(s) ago, on 1970-01-01T00:00:00Z."
                    .to_owned(),
            ),
        };
        self.error(401, Some(category), &message, Value::Null)
    }

    pub(crate) fn missing_scopes<'s>(self, scopes: impl IntoIterator<Item = &'s str>) -> Answer {
        let scopes: Vec<&str> = scopes.into_iter().collect();
        let inner = json!({
            "message": "One or more of the following scopes are required.",
            "context": {"requiredGranularScopes": scopes},
        });
        let more = json!({"errors": [inner], "links": {"scopes": "https://developers.hubspot.com/scopes"}});
        let message = "This app hasn't been granted all required scopes to make this call.";
        self.error(403, Some("MISSING_SCOPES"), message, more)
    }

    /// A 429 by `policyName`, or in the style of bodies that only have a category.
    pub(crate) fn throttled(self, policy: &str, in_words: &str, style: ThrottleStyle) -> Answer {
        let message = format!("You have reached your {in_words} limit.");
        match style {
            ThrottleStyle::PolicyName => {
                let more = json!({"errorType": "RATE_LIMIT", "policyName": policy, "groupName": "crm:associations"});
                self.error(429, None, &message, more)
            }
            ThrottleStyle::Category => self.error(429, Some("RATE_LIMITS"), &message, Value::Null),
        }
    }

    /// The body of an archive request that went through, wholly or in part.
    pub(crate) fn completed(self, status: u16, state: &str, errors: &[Value]) -> Answer {
        let at = self.wall;
        if errors.is_empty() {
            let body = format!(r#"{{"status":"{state}","results":[],"startedAt":"{at:.3}","completedAt":"{at:.3}"}}"#);
            return Answer::json(status, body);
        }
        let at = format!("{at:.3}");
        let body = json!({
            "status": state, "results": [], "startedAt": at, "completedAt": at, "numErrors": errors.len(), "errors": errors,
        });
        Answer::json(status, body.to_string())
    }

    /// The value of `Retry-After`; what is left of a second counts as one.
    pub(crate) fn retry_after(self, form: RetryAfterForm, wait: Duration) -> String {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        match form {
            RetryAfterForm::Seconds => seconds.to_string(),
            RetryAfterForm::Date => {
                let at = self.wall.saturating_add(Duration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
                DateTimePrinter::new().timestamp_to_rfc9110_string(&at).unwrap_or_else(|_| seconds.to_string())
            }
        }
    }
}

/// The 401s.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unauthorized {
    Invalid,
    Expired {
        seconds_ago: u64,
    },
    /// What HubSpot says to a token that it cannot even read.
    MalformedToken,
}

/// Which of the two bodies a 429 has.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ThrottleStyle {
    #[default]
    PolicyName,
    Category,
}
