//! A batch's two spans, as OpenTelemetry's conventions for messaging and HTTP name things.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::{Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, SpanFlags, Status};
use url::Url;

use super::context::TraceContext;
use super::paths;
use crate::config::{ApiVersion, Settings};
use crate::engine::command::{BatchCall, CallResult};
use crate::engine::reply::{Answer, Reply};
use crate::telemetry::label::{HttpResult, Label};

/// A job as far as a trace tells of it.
#[derive(Clone, Debug)]
pub struct TracedJob<'a> {
    pub job_id: &'a str,
    pub message_id: Option<&'a str>,
    pub traceparent: Option<Cow<'a, str>>,
    pub tracestate: Option<Cow<'a, str>>,
}

/// A batch on the wire.
#[derive(Debug)]
pub(super) struct Departed {
    at: SystemTime,
    jobs: u32,
    links: Vec<Link>,
    dropped_links: u32,
}

/// The rest are counted only: a span with more is more than collectors take.
const MAX_LINKS: usize = 1_000;

impl Departed {
    pub fn new<'a>(at: SystemTime, jobs: impl Iterator<Item = TracedJob<'a>>) -> Self {
        let mut departed = Self { at, jobs: 0, links: Vec::new(), dropped_links: 0 };
        for job in jobs {
            departed.jobs += 1;
            let context =
                job.traceparent.as_deref().and_then(|parent| TraceContext::parse(parent, job.tracestate.as_deref()));
            let Some(context) = context else { continue };
            if departed.links.len() == MAX_LINKS {
                departed.dropped_links += 1;
            } else {
                departed.links.push(link(context, &job));
            }
        }
        departed
    }
}

fn link(context: TraceContext, job: &TracedJob<'_>) -> Link {
    let TraceContext { trace_id, span_id, flags, state } = context;
    let mut attributes = vec![text("job_id", job.job_id)];
    attributes.extend(job.message_id.map(|id| text("messaging.message.id", id)));
    Link {
        trace_id: trace_id.to_vec(),
        span_id: span_id.to_vec(),
        trace_state: state,
        attributes,
        flags: u32::from(flags) | SpanFlags::ContextHasIsRemoteMask as u32 | SpanFlags::ContextIsRemoteMask as u32,
        ..Link::default()
    }
}

/// What came back of a batch.
#[derive(Debug)]
pub(super) struct Returned<'a> {
    pub call: &'a BatchCall,
    pub portal_id: Option<u64>,
    pub lane: String,
    pub reply: &'a Reply,
    pub result: CallResult,
    pub took: Duration,
    pub at: SystemTime,
}

/// What is the same in all spans of a process.
#[derive(Debug)]
pub(super) struct Surroundings {
    jobs_queue: String,
    base_url: Url,
    api_version: ApiVersion,
}

impl Surroundings {
    pub fn new(settings: &Settings) -> Self {
        Self {
            jobs_queue: settings.amqp.jobs_queue.as_str().to_owned(),
            base_url: settings.hubspot.base_url.clone(),
            api_version: settings.hubspot.api_version,
        }
    }

    /// The batch's span, which begins a trace, and below it its request's.
    pub fn spans(&self, departed: Departed, returned: &Returned<'_>) -> [Span; 2] {
        let trace_id = fastrand::u128(1..).to_be_bytes().to_vec();
        let (batch, request) = (span_id(), span_id());
        let end = returned.at;
        let began = end.checked_sub(returned.took).unwrap_or(end);
        let span = |span_id: Vec<u8>, kind: SpanKind, start: SystemTime| Span {
            trace_id: trace_id.clone(),
            span_id,
            flags: SAMPLED | SpanFlags::ContextHasIsRemoteMask as u32,
            kind: kind.into(),
            start_time_unix_nano: nanos(start),
            end_time_unix_nano: nanos(end),
            ..Span::default()
        };
        let of_batch = Span {
            name: format!("process {}", self.jobs_queue),
            attributes: self.batch_attributes(departed.jobs, returned),
            links: departed.links,
            dropped_links_count: departed.dropped_links,
            status: Some(status(returned.result.went_wrong(), word(returned.result))),
            ..span(batch.clone(), SpanKind::Consumer, departed.at.min(began))
        };
        let (template, path) = paths(self.api_version, returned.call);
        let of_request = Span {
            name: format!("POST /{template}"),
            parent_span_id: batch,
            attributes: self.request_attributes(&template, &path, returned),
            status: Some(status(error_type(returned).is_some(), "")),
            ..span(request, SpanKind::Client, began)
        };
        [of_batch, of_request]
    }

    fn batch_attributes(&self, jobs: u32, returned: &Returned<'_>) -> Vec<KeyValue> {
        let Returned { call, portal_id, lane, result, .. } = returned;
        let mut attributes = vec![
            text("messaging.system", "rabbitmq"),
            text("messaging.operation.name", "process"),
            text("messaging.operation.type", "process"),
            text("messaging.destination.name", &self.jobs_queue),
            number("messaging.batch.message_count", jobs.into()),
            text("lane", lane),
            text("batch", &slotmap::Key::data(&call.call).as_ffi().to_string()),
            number("pairs", i64::try_from(call.pairs.len()).unwrap_or(i64::MAX)),
            number("attempt", i64::from(call.failures) + 1),
            text("sealed", call.sealed.as_str()),
            text("result", word(*result)),
        ];
        attributes.extend(portal_id.map(|portal| number("portal_id", i64::try_from(portal).unwrap_or(i64::MAX))));
        if result.went_wrong() {
            attributes.push(text("error.type", word(*result)));
        }
        attributes
    }

    fn request_attributes(&self, template: &str, path: &str, returned: &Returned<'_>) -> Vec<KeyValue> {
        let mut url = self.base_url.clone();
        url.set_path(&format!("{}{path}", self.base_url.path()));
        let port = url.port_or_known_default().unwrap_or_default();
        let mut attributes = vec![
            text("http.request.method", "POST"),
            text("url.full", url.as_str()),
            text("url.template", &format!("/{template}")),
            text("server.address", url.host_str().unwrap_or_default()),
            number("server.port", port.into()),
        ];
        if returned.call.failures > 0 {
            attributes.push(number("http.request.resend_count", returned.call.failures.into()));
        }
        if let Reply::Answer(Answer { status, headers, .. }) = returned.reply {
            attributes.push(number("http.response.status_code", i64::from(*status)));
            let header = |name, value: &Option<Box<str>>| value.as_deref().map(|value| texts(name, value));
            attributes.extend(header("http.response.header.x-hubspot-correlation-id", &headers.correlation_id));
            attributes.extend(header("http.response.header.cf-ray", &headers.cf_ray));
        }
        attributes.extend(error_type(returned).map(|error| text("error.type", &error)));
        attributes
    }
}

/// The answer's status, or why there was none.
fn error_type(returned: &Returned<'_>) -> Option<Cow<'static, str>> {
    match returned.reply {
        Reply::Answer(answer) if answer.status < 400 => None,
        Reply::Answer(answer) => Some(Cow::Owned(answer.status.to_string())),
        Reply::Silence(_) => Some(Cow::Borrowed(word(returned.result))),
    }
}

/// As the metric `association_archiver_http_requests_total` labels it.
fn word(result: CallResult) -> &'static str {
    HttpResult::Batch(result).word()
}

/// As the conventions have it: left open where nothing went wrong.
fn status(wrong: bool, message: &str) -> Status {
    if wrong { Status { code: StatusCode::Error.into(), message: message.to_owned() } } else { Status::default() }
}

/// Bit of the W3C flags.
const SAMPLED: u32 = 1;

/// Zero would be none.
fn span_id() -> Vec<u8> {
    fastrand::u64(1..).to_be_bytes().to_vec()
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn number(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

/// Headers may come several times, and so their attributes are lists.
fn texts(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(Value::StringValue(value.to_owned())) };
    attribute(key, Value::ArrayValue(ArrayValue { values: vec![value] }))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(traceparent: Option<&str>) -> TracedJob<'_> {
        TracedJob { job_id: "j", message_id: None, traceparent: traceparent.map(Cow::Borrowed), tracestate: None }
    }

    #[test]
    fn every_job_counts_and_links_are_bounded() {
        const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let traced = std::iter::repeat_n(job(Some(PARENT)), MAX_LINKS + 3);
        let jobs = traced.chain([job(None), job(Some("no context"))]);
        let departed = Departed::new(UNIX_EPOCH, jobs);
        assert_eq!((departed.jobs, departed.links.len(), departed.dropped_links), (1_005, 1_000, 3));
    }
}
