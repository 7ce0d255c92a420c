//! Scripted faults: rules that match requests, and what they do to them.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::limits::RetryAfterForm;
use crate::object_type::{Lane, ObjectType};
use crate::reply::{Answer, Ending, ThrottleStyle, Unauthorized, Voice};
use crate::request::Kind;

/// When something goes wrong, and what.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    #[serde(default)]
    pub when: When,
    pub then: Effect,
}

/// All that is given must hold.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct When {
    pub portal: Option<u64>,
    /// Absent: the association endpoints.
    pub kind: Option<Kind>,
    pub from: Option<ObjectType>,
    pub to: Option<ObjectType>,
    /// First and last of the requests to which the rest of this applies, counted from 1; those that an earlier rule
    /// struck are not among them.
    pub requests: Option<(u64, u64)>,
    pub probability: Probability,
    /// Counted from the moment the rules were installed.
    #[serde(deserialize_with = "crate::duration::deserialize_some")]
    pub after: Option<Duration>,
    #[serde(deserialize_with = "crate::duration::deserialize_some")]
    pub until: Option<Duration>,
    /// Requests that carry more pairs than this.
    pub pairs_over: Option<usize>,
}

impl Default for When {
    /// Every request to an association endpoint.
    fn default() -> Self {
        Self {
            portal: None,
            kind: None,
            from: None,
            to: None,
            requests: None,
            probability: Probability(1.0),
            after: None,
            until: None,
            pairs_over: None,
        }
    }
}

/// From 0 to 1.
#[derive(Clone, Copy, PartialEq, Debug, Deserialize)]
#[serde(try_from = "f64")]
pub struct Probability(f64);

impl TryFrom<f64> for Probability {
    type Error = String;

    fn try_from(value: f64) -> Result<Self, String> {
        let fits = (0.0..=1.0).contains(&value);
        fits.then_some(Self(value)).ok_or_else(|| format!("probability {value} is not between 0 and 1"))
    }
}

impl Probability {
    fn happens(self, rng: &mut Rng) -> bool {
        self.0 >= 1.0 || rng.f64() < self.0
    }
}

/// What goes wrong. Except where said otherwise nothing is archived.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Any status with any body.
    Answer(Scripted),
    /// The true answer, this much later.
    Latency(#[serde(deserialize_with = "crate::duration::deserialize")] Duration),
    /// The true answer, which stops for a while in its middle.
    #[serde(rename_all = "camelCase")]
    Stall {
        after_bytes: usize,
        #[serde(deserialize_with = "crate::duration::deserialize")]
        lasting: Duration,
    },
    /// The true answer, whose connection ends after some bytes of the body.
    #[serde(rename_all = "camelCase")]
    Cut {
        after_bytes: usize,
    },
    Reset(ResetWhen),
    /// 200 `COMPLETE`, and nothing was done.
    NothingDone,
    /// A 200 whose `status` is not `COMPLETE`.
    Unfinished {
        status: UnfinishedStatus,
        /// Carry the request out all the same.
        #[serde(default)]
        done: bool,
    },
    /// The true answer with another `numErrors`.
    Miscount(u64),
    /// The true answer without this many of its results, and without a word about them.
    Omitted(usize),
    Unauthorized(UnauthorizedKind),
    /// 403 `MISSING_SCOPES` naming these.
    MissingScopes(Vec<String>),
    #[serde(rename_all = "camelCase")]
    Throttle {
        /// `TEN_SECONDLY_ROLLING`, `SECONDLY`, `DAILY` or any other word.
        policy: String,
        #[serde(default)]
        style: ThrottleStyle,
        #[serde(default)]
        retry_after: Option<RetryAfter>,
    },
    Redirect {
        to: String,
        #[serde(default = "temporary_redirect")]
        status: u16,
    },
}

/// The moment of a reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResetWhen {
    /// When the head of the request was read, but not its body.
    Unread,
    /// When all was read and nothing done.
    Undone,
    /// When all was done and nothing answered.
    Done,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UnfinishedStatus {
    Canceled,
    Pending,
    Processing,
}

impl UnfinishedStatus {
    fn as_str(self) -> &'static str {
        match self {
            Self::Canceled => "CANCELED",
            Self::Pending => "PENDING",
            Self::Processing => "PROCESSING",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnauthorizedKind {
    Expired,
    Invalid,
    /// "… expired … 1970".
    MalformedToken,
}

/// `Retry-After` in one of HTTP's two forms.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryAfter {
    #[serde(rename = "in", deserialize_with = "crate::duration::deserialize")]
    pub wait: Duration,
    #[serde(default = "in_seconds")]
    pub form: RetryAfterForm,
}

/// An answer made up by a rule.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scripted {
    pub status: u16,
    #[serde(default)]
    pub body: Body,
    /// Instead of the one that fits the body.
    #[serde(default)]
    pub content_type: Option<String>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    #[serde(default)]
    pub retry_after: Option<RetryAfter>,
    /// Carry the request out all the same.
    #[serde(default)]
    pub done: bool,
}

#[derive(Clone, Default, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Body {
    /// What goes with the status: HTML from the edge for 502 to 504 and 52x, HubSpot's error body for other errors.
    #[default]
    Usual,
    Empty,
    Html,
    /// HubSpot's error body, broken off in its middle.
    TruncatedJson,
    Json(Value),
    Text(String),
    /// A JSON string of this many bytes, at most [`MAX_FILLER_BYTES`].
    Filler(usize),
}

/// The largest body a rule can ask for.
pub const MAX_FILLER_BYTES: usize = 64 << 20;

fn temporary_redirect() -> u16 {
    307
}

fn in_seconds() -> RetryAfterForm {
    RetryAfterForm::Seconds
}

/// The rules in force. The first that strikes a request wins.
#[derive(Default, Debug)]
pub struct Faults {
    rules: Vec<Armed>,
    installed_at: Duration,
    /// Requests that one of these rules has struck.
    pub struck: u64,
}

#[derive(Debug)]
struct Armed {
    rule: Rule,
    /// Requests to which all but numbers and probability applied.
    matched: u64,
}

/// What a rule can look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Occasion<'a> {
    pub portal: Option<u64>,
    pub kind: Kind,
    pub lane: Option<&'a Lane>,
    /// `None` until the body was read.
    pub pairs: Option<usize>,
    pub now: Duration,
}

impl Faults {
    /// Replaces the rules; their times and numbers count from now.
    pub fn install(&mut self, rules: Vec<Rule>, now: Duration) {
        let armed = rules.into_iter().map(|rule| Armed { rule, matched: 0 });
        *self = Self { rules: armed.collect(), installed_at: now, struck: 0 };
    }

    /// The fault of a request whose body was read.
    pub(crate) fn strike(&mut self, occasion: Occasion<'_>, rng: &mut Rng) -> Option<Effect> {
        self.first(occasion, rng, |effect| !matches!(effect, Effect::Reset(ResetWhen::Unread)))
    }

    /// Whether the connection is reset with the body unread.
    pub(crate) fn strikes_unread(&mut self, occasion: Occasion<'_>, rng: &mut Rng) -> bool {
        self.first(occasion, rng, |effect| matches!(effect, Effect::Reset(ResetWhen::Unread))).is_some()
    }

    fn first(&mut self, occasion: Occasion<'_>, rng: &mut Rng, eligible: fn(&Effect) -> bool) -> Option<Effect> {
        let age = occasion.now.saturating_sub(self.installed_at);
        let mut rules = self.rules.iter_mut().filter(|armed| eligible(&armed.rule.then));
        let effect = rules.find_map(|armed| armed.strikes(occasion, age, rng).then(|| armed.rule.then.clone()));
        self.struck += u64::from(effect.is_some());
        effect
    }
}

impl Armed {
    fn strikes(&mut self, occasion: Occasion<'_>, age: Duration, rng: &mut Rng) -> bool {
        let When { portal, kind, from, to, requests, probability, after, until, pairs_over } = &self.rule.when;
        let lane_is = |wanted: &Option<ObjectType>, end: fn(&Lane) -> &ObjectType| {
            wanted.as_ref().is_none_or(|wanted| occasion.lane.is_some_and(|lane| end(lane) == wanted))
        };
        let applies = portal.is_none_or(|portal| occasion.portal == Some(portal))
            && kind.map_or(is_association_endpoint(occasion.kind), |kind| kind == occasion.kind)
            && lane_is(from, |lane| &lane.from)
            && lane_is(to, |lane| &lane.to)
            && after.is_none_or(|after| age >= after)
            && until.is_none_or(|until| age < until)
            && pairs_over.is_none_or(|most| occasion.pairs.is_some_and(|pairs| pairs > most));
        if !applies {
            return false;
        }
        self.matched += 1;
        let numbered = requests.is_none_or(|(first, last)| (first..=last).contains(&self.matched));
        numbered && probability.happens(rng)
    }
}

fn is_association_endpoint(kind: Kind) -> bool {
    match kind {
        Kind::Archive | Kind::LabelsArchive | Kind::Read | Kind::Create | Kind::AssociateDefault | Kind::Labels => true,
        Kind::TokenRefresh | Kind::Introspect | Kind::AccessTokenInfo | Kind::AccountInfo | Kind::Other => false,
    }
}

impl Effect {
    /// The answer in place of the true one, which `perform` makes by carrying the request out.
    pub(crate) fn apply(&self, voice: Voice<'_>, perform: impl FnOnce() -> Answer) -> Answer {
        match self {
            Self::Answer(scripted) => {
                if scripted.done {
                    perform();
                }
                scripted.answer(voice)
            }
            Self::Latency(delay) => Answer { delay: *delay, ..perform() },
            Self::Stall { after_bytes, lasting } => match perform() {
                // What would not arrive whole does not become whole by being late.
                answer @ Answer { ending: Ending::Cut { .. } | Ending::Reset, .. } => answer,
                answer => Answer { ending: Ending::Stalled { after_bytes: *after_bytes, lasting: *lasting }, ..answer },
            },
            Self::Cut { after_bytes } => Answer { ending: Ending::Cut { after_bytes: *after_bytes }, ..perform() },
            Self::Reset(ResetWhen::Unread | ResetWhen::Undone) => Answer::reset(),
            Self::Reset(ResetWhen::Done) => {
                perform();
                Answer::reset()
            }
            Self::NothingDone => voice.completed(200, "COMPLETE", &[]),
            Self::Unfinished { status, done } => {
                if *done {
                    perform();
                }
                voice.completed(200, status.as_str(), &[])
            }
            Self::Miscount(count) => miscounted(perform(), voice, *count),
            Self::Omitted(results) => without_results(perform(), *results),
            Self::Unauthorized(kind) => voice.unauthorized(match kind {
                UnauthorizedKind::Expired => Unauthorized::Expired { seconds_ago: 5 },
                UnauthorizedKind::Invalid => Unauthorized::Invalid,
                UnauthorizedKind::MalformedToken => Unauthorized::MalformedToken,
            }),
            Self::MissingScopes(scopes) => voice.missing_scopes(scopes.iter().map(String::as_str)),
            Self::Throttle { policy, style, retry_after } => {
                let answer = voice.throttled(policy, &policy.to_lowercase(), *style);
                with_retry_after(answer, voice, *retry_after)
            }
            Self::Redirect { to, status } => Answer::empty(*status).with_header("location", to),
        }
    }
}

impl Scripted {
    fn answer(&self, voice: Voice<'_>) -> Answer {
        let (content_type, body) = self.body.render(self.status, voice);
        let mut answer = Answer::empty(self.status);
        answer.body = body;
        if !answer.body.is_empty() || self.content_type.is_some() {
            answer = answer.with_header("content-type", self.content_type.as_deref().unwrap_or(content_type));
        }
        for (name, value) in &self.headers {
            answer = answer.with_header(name.clone(), value);
        }
        with_retry_after(answer, voice, self.retry_after)
    }
}

impl Body {
    /// Content type and bytes.
    fn render(&self, status: u16, voice: Voice<'_>) -> (&'static str, Bytes) {
        const JSON: &str = "application/json;charset=utf-8";
        const HTML: &str = "text/html; charset=UTF-8";
        let page = || format!("<html><head><title>{status}</title></head><body><h1>Error {status}</h1></body></html>");
        match self {
            Self::Usual => match status {
                502..=504 | 520..=527 => (HTML, page().into()),
                400.. => (JSON, usual_error(status, voice)),
                _ => (JSON, Bytes::new()),
            },
            Self::Empty => (JSON, Bytes::new()),
            Self::Html => (HTML, page().into()),
            Self::TruncatedJson => {
                let whole = usual_error(status, voice);
                (JSON, whole.slice(..whole.len() / 2))
            }
            Self::Json(value) => (JSON, value.to_string().into()),
            Self::Text(text) => ("text/plain; charset=utf-8", text.clone().into()),
            Self::Filler(bytes) => {
                let inside = (*bytes).min(MAX_FILLER_BYTES).saturating_sub(2);
                (JSON, [b"\"".as_slice(), &vec![b'x'; inside], b"\""].concat().into())
            }
        }
    }
}

fn usual_error(status: u16, voice: Voice<'_>) -> Bytes {
    let (category, message) = match status {
        400 => (Some("VALIDATION_ERROR"), "Invalid input"),
        401 => (Some("INVALID_AUTHENTICATION"), "Authentication credentials not found."),
        403 => (Some("BANNED"), "You do not have permission to make this call."),
        404 => (None, "resource not found"),
        405 => (None, "Method not allowed"),
        409 => (Some("CONFLICT"), "The request conflicts with another one."),
        413 => (None, "Request entity too large"),
        423 => (Some("LOCKED"), "The record is locked by a sync in progress."),
        429 => (Some("RATE_LIMITS"), "You have reached your limit."),
        477 => (Some("MIGRATION_IN_PROGRESS"), "This account is being moved between data centres."),
        500.. => (None, "internal error"),
        _ => (None, "error"),
    };
    voice.error(status, category, message, Value::Null).body
}

fn with_retry_after(answer: Answer, voice: Voice<'_>, retry_after: Option<RetryAfter>) -> Answer {
    match retry_after {
        Some(RetryAfter { wait, form }) => answer.with_header("retry-after", voice.retry_after(form, wait)),
        None => answer,
    }
}

fn without_results(answer: Answer, omitted: usize) -> Answer {
    let Ok(mut body) = serde_json::from_slice::<Value>(&answer.body) else { return answer };
    let Some(results) = body.get_mut("results").and_then(Value::as_array_mut) else { return answer };
    results.drain(..omitted.min(results.len()));
    Answer { body: body.to_string().into(), ..answer }
}

/// A true answer without a JSON object gets the body of a success first.
fn miscounted(answer: Answer, voice: Voice<'_>, count: u64) -> Answer {
    let (mut body, answer) = match serde_json::from_slice::<Value>(&answer.body) {
        Ok(body @ Value::Object(_)) => (body, answer),
        Ok(_) | Err(_) => (json!({"status": "COMPLETE", "results": []}), voice.completed(200, "COMPLETE", &[])),
    };
    body["numErrors"] = json!(count);
    Answer { body: body.to_string().into(), ..answer }
}
