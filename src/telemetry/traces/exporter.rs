//! Sends spans to a collector, by OTLP over HTTP in protobuf. A span that the collector does not take is not tried
//! again.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use opentelemetry_sdk::resource::EnvResourceDetector;
use prost::Message;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Response, redirect, retry};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::span::text;
use crate::hubspot::client::is_loopback;
use crate::telemetry::label::SpanFate;
use crate::telemetry::metrics::Metrics;

/// Spans and links that wait to be exported at most, some 10 MB; what comes beyond is lost.
pub(super) const MOST_WEIGHT_WAITING: usize = 20_000;

/// Spans and links in one request, unless a batch alone has more: below the sizes that collectors take.
const MOST_WEIGHT_AT_ONCE: usize = 5_000;

/// How long spans wait for company.
const GATHER: Duration = Duration::from_secs(1);

/// The longest that one request to the collector takes.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// The same trouble is logged once in this time.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// Most bytes of a collector's answer that are read, and most characters of its words that are logged.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
const MAX_WORDS: usize = 200;

/// The spans of one batch.
#[derive(Debug)]
pub(super) struct Bundle {
    pub spans: Vec<Span>,
    pub weight: usize,
    pub _room: OwnedSemaphorePermit,
}

/// See the module.
#[derive(Debug)]
pub struct Exporter {
    http: reqwest::Client,
    address: Url,
    resource: Resource,
    bundles: mpsc::UnboundedReceiver<Bundle>,
    metrics: Arc<Metrics>,
    trouble: Option<Trouble>,
}

/// Why it cannot work at all.
#[derive(Debug, thiserror::Error)]
#[error(
    "telemetry.otlp_endpoint: TLS cannot be set up: {cause}; install the platform's certificates (Debian: \
     ca-certificates), or name a collector with plain http"
)]
pub struct ExporterFault {
    cause: String,
}

#[derive(Debug)]
struct Trouble {
    told: Instant,
    lost_by_then: u64,
}

impl Exporter {
    pub(super) fn new(
        endpoint: &Url,
        bundles: mpsc::UnboundedReceiver<Bundle>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, ExporterFault> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("association-archiver/", env!("CARGO_PKG_VERSION")))
            .timeout(EXPORT_TIMEOUT)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false);
        // Plain HTTP must work where the platform has no authorities at all.
        if endpoint.scheme() == "http" {
            builder = builder.tls_certs_only([]);
        }
        if is_loopback(endpoint) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| ExporterFault { cause: innermost(&error) })?;
        let mut address = endpoint.clone();
        address.set_path(&format!("{}v1/traces", endpoint.path()));
        Ok(Self { http, address, resource: resource(), bundles, metrics, trouble: None })
    }

    /// Runs until no more spans can come and those that waited are sent.
    pub async fn run(mut self) {
        while let Some(first) = self.bundles.recv().await {
            let until = Instant::now() + GATHER;
            let mut weight = first.weight;
            let mut spans = first.spans;
            while weight < MOST_WEIGHT_AT_ONCE
                && let Ok(Some(next)) = timeout_at(until, self.bundles.recv()).await
            {
                weight += next.weight;
                spans.extend(next.spans);
            }
            self.export(spans).await;
        }
    }

    async fn export(&mut self, spans: Vec<Span>) {
        let count = spans.len() as u64;
        let (lost, cause) = match self.send(spans).await {
            Ok(Taken::All) => (0, None),
            Ok(Taken::But { rejected, words }) => {
                (rejected.min(count), Some(format!("the collector rejects spans: {words}")))
            }
            Err(cause) => (count, Some(cause)),
        };
        self.metrics.spans.of(SpanFate::Exported).add(count - lost);
        self.metrics.spans.of(SpanFate::Lost).add(lost);
        match cause {
            Some(cause) => self.complain(&cause),
            None if self.trouble.take().is_some() => {
                tracing::info!(endpoint = %self.address, "the collector takes traces again");
            }
            None => {}
        }
    }

    fn complain(&mut self, cause: &str) {
        let now = Instant::now();
        let lost = self.metrics.spans.of(SpanFate::Lost).read();
        let told_lately = self.trouble.as_ref().is_some_and(|trouble| now - trouble.told < TELL_AGAIN);
        if told_lately {
            return;
        }
        let spans_lost = lost - self.trouble.as_ref().map_or(0, |trouble| trouble.lost_by_then);
        self.trouble = Some(Trouble { told: now, lost_by_then: lost });
        tracing::warn!(
            endpoint = %self.address,
            spans_lost,
            "traces do not reach telemetry.otlp_endpoint: {cause}; jobs are archived all the same"
        );
    }

    async fn send(&self, spans: Vec<Span>) -> Result<Taken, String> {
        let scope = InstrumentationScope {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let of_scope = ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() };
        let of_resource = ResourceSpans {
            resource: Some(self.resource.clone()),
            scope_spans: vec![of_scope],
            ..ResourceSpans::default()
        };
        let body = ExportTraceServiceRequest { resource_spans: vec![of_resource] }.encode_to_vec();
        let request = self.http.post(self.address.clone()).header(CONTENT_TYPE, "application/x-protobuf").body(body);
        let answer = request.send().await.map_err(|error| innermost(&error))?;
        let status = answer.status();
        if !status.is_success() {
            return Err(format!("it answers {status}"));
        }
        // An answer that cannot be read says nothing against the spans.
        let said = ExportTraceServiceResponse::decode(read(answer).await.as_slice()).unwrap_or_default();
        Ok(match said.partial_success {
            Some(partial) if partial.rejected_spans > 0 => Taken::But {
                rejected: partial.rejected_spans.unsigned_abs(),
                words: partial.error_message.chars().take(MAX_WORDS).collect(),
            },
            Some(_) | None => Taken::All,
        })
    }
}

/// Whether the collector answers as collectors do. No span is sent.
pub async fn reach(endpoint: &Url) -> Result<(), String> {
    let (_, nothing) = mpsc::unbounded_channel();
    let metrics = Arc::new(Metrics::new(Timestamp::now()));
    let exporter = Exporter::new(endpoint, nothing, metrics).map_err(|fault| fault.to_string())?;
    exporter.send(Vec::new()).await.map(drop)
}

enum Taken {
    All,
    But { rejected: u64, words: String },
}

async fn read(mut answer: Response) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        if bytes.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Vec::new();
        }
        bytes.extend_from_slice(&chunk);
    }
    bytes
}

const VERSION: &str = "service.version";

/// Describes the sender. What `OTEL_RESOURCE_ATTRIBUTES` says has precedence.
fn resource() -> Resource {
    use opentelemetry_sdk::Resource as Described;
    let described = Described::builder_empty()
        .with_service_name(env!("CARGO_PKG_NAME"))
        .with_detector(Box::new(EnvResourceDetector::new()))
        .build();
    let mut attributes: Vec<KeyValue> =
        described.iter().map(|(key, value)| text(key.as_str(), &value.as_str())).collect();
    if attributes.iter().all(|attribute| attribute.key != VERSION) {
        attributes.push(text(VERSION, env!("CARGO_PKG_VERSION")));
    }
    Resource { attributes, ..Resource::default() }
}

fn innermost(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
