//! Traces, through the built program: a real broker, a simulated HubSpot, and a collector that decodes what arrives.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use harness::{Broker, Client, Job, Message, SimulatorProcess, Until, Worker, eventually, job};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as SpanStatus;
use prost::Message as _;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

const JOBS: &str = "association-archiver.jobs";
const RESULTS: &str = "association-archiver.results";
const SOON: Duration = Duration::from_secs(60);

/// Two jobs of one batch with traces of their own, as their producers made them.
const TRACES: [(&str, &str); 2] = [
    ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"),
    ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"),
];

#[tokio::test]
async fn a_batch_is_a_trace_of_its_own_linked_to_those_of_its_jobs() {
    let stage = Stage::set("traces", &["--latency", "300ms"]).await;
    let (endpoint, mut spans) = collector(StatusCode::OK).await;
    // Long enough that all of them are in one batch.
    let worker = stage.start(&endpoint, "3s").await;
    let mut messages: Vec<Message> = TRACES.iter().zip(1..).map(|(trace, n)| traced(&pair(n), trace)).collect();
    messages.push(pair(3).to_message().unwrap());
    messages.push(pair(4).to_message().unwrap().with_header("traceparent", "made up").unwrap());
    stage.answered(messages).await;

    // Stopped before the second is over in which spans wait for company: the last ones are sent all the same.
    worker.term().unwrap();
    assert_eq!(worker.wait(SOON).await.unwrap(), 0);
    let spans = all_of(&mut spans).await;

    let [batch, request] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!((batch.name.as_str(), batch.kind()), ("process association-archiver.jobs", SpanKind::Consumer));
    assert!(batch.parent_span_id.is_empty(), "a batch adopts no parent");
    let linked: BTreeSet<(String, String)> =
        batch.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect();
    assert_eq!(linked, TRACES.map(|(trace, span)| (trace.to_owned(), span.to_owned())).into());
    assert!(TRACES.iter().all(|(trace, _)| hex(&batch.trace_id) != *trace));
    let ids: BTreeSet<String> =
        batch.links.iter().map(|link| text(&link.attributes, "messaging.message.id").unwrap()).collect();
    assert_eq!(ids, ["job-1".to_owned(), "job-2".to_owned()].into());
    assert_eq!(batch.links[0].trace_state, "vendor=opaque");
    let said = |name: &str| text(&batch.attributes, name).unwrap_or_default();
    assert_eq!(said("messaging.system"), "rabbitmq");
    assert_eq!(
        (said("messaging.operation.name"), said("messaging.operation.type")),
        ("process".into(), "process".into())
    );
    assert_eq!(said("messaging.destination.name"), JOBS);
    assert_eq!(
        (said("messaging.batch.message_count"), said("pairs"), said("attempt")),
        ("4".into(), "4".into(), "1".into())
    );
    assert_eq!((said("lane"), said("result")), ("contacts/companies".into(), "archived".into()));

    assert_eq!(request.kind(), SpanKind::Client);
    assert_eq!(request.name, "POST /crm/v4/associations/{fromObjectType}/{toObjectType}/batch/archive");
    assert_eq!((&request.parent_span_id, &request.trace_id), (&batch.span_id, &batch.trace_id));
    let said = |name: &str| text(&request.attributes, name).unwrap_or_default();
    assert_eq!(
        said("url.full"),
        format!("{}/crm/v4/associations/contacts/companies/batch/archive", stage.simulator.uri())
    );
    assert_eq!((said("http.request.method"), said("http.response.status_code")), ("POST".into(), "204".into()));
    assert_eq!(format!("http://{}:{}", said("server.address"), said("server.port")), stage.simulator.uri());
    assert!(!said("http.response.header.x-hubspot-correlation-id").is_empty());
    assert_eq!((said("error.type"), request.status.as_ref().unwrap().code()), (String::new(), SpanStatus::Unset));
    let took = Duration::from_nanos(request.end_time_unix_nano - request.start_time_unix_nano);
    assert!((Duration::from_millis(300)..SOON).contains(&took), "{took:?}");
    assert!(batch.start_time_unix_nano <= request.start_time_unix_nano);
}

#[tokio::test]
async fn a_request_that_fails_says_so_and_the_next_one_is_counted() {
    let stage = Stage::set("traces-of-failures", &[]).await;
    stage
        .simulator
        .put_faults(&json!([{ "when": { "requests": [1, 1] }, "then": { "answer": { "status": 503 } } }]))
        .await
        .unwrap();
    let (endpoint, mut spans) = collector(StatusCode::OK).await;
    let worker = stage.start(&endpoint, "10ms").await;
    stage.answered(vec![traced(&pair(1), &TRACES[0])]).await;
    worker.term().unwrap();
    assert_eq!(worker.wait(SOON).await.unwrap(), 0);

    let spans = all_of(&mut spans).await;
    let [failed, of_failed, again, of_again] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!(failed.status.as_ref().unwrap().code(), SpanStatus::Error);
    assert_eq!(text(&failed.attributes, "error.type").as_deref(), Some("server_error"));
    assert_eq!(of_failed.status.as_ref().unwrap().code(), SpanStatus::Error);
    assert_eq!(text(&of_failed.attributes, "error.type").as_deref(), Some("503"));
    assert_eq!(text(&again.attributes, "attempt").as_deref(), Some("2"));
    assert_eq!(text(&of_again.attributes, "http.request.resend_count").as_deref(), Some("1"));
    assert_eq!(failed.links, again.links, "the job takes part in both");
}

#[tokio::test]
async fn a_collector_that_refuses_is_told_of_once_and_holds_nothing_up() {
    let stage = Stage::set("traces-refused", &[]).await;
    let (endpoint, mut spans) = collector(StatusCode::SERVICE_UNAVAILABLE).await;
    let worker = stage.start(&endpoint, "10ms").await;
    for number in 1..=2_u32 {
        stage.answered(vec![traced(&pair(number.into()), &TRACES[0])]).await;
        let lost = f64::from(number) * 2.0;
        eventually(SOON, "the spans to be counted as lost", async || {
            let metrics = worker.metrics().await?;
            Ok((metrics.sum("association_archiver_spans_total", &[("result", "lost")]) >= lost).then_some(()))
        })
        .await
        .unwrap();
    }
    worker.term().unwrap();
    assert_eq!(worker.wait(SOON).await.unwrap(), 0);
    let log = worker.stderr();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("traces do not reach")).collect();
    assert!(told.len() == 1 && told[0].contains("503"), "{told:?}");
    assert_eq!(all_of(&mut spans).await.len(), 4, "each was sent once");
}

struct Stage {
    simulator: SimulatorProcess,
    client: Client,
    uri: String,
}

impl Stage {
    async fn set(name: &str, flags: &[&str]) -> Self {
        let uri = Broker::shared().await.unwrap().vhost(name).await.unwrap().uri;
        let simulator = SimulatorProcess::start(flags).await.unwrap();
        Self { simulator, client: Client::new(&uri), uri }
    }

    async fn start(&self, endpoint: &str, linger: &str) -> Worker {
        let builder = Worker::builder()
            .set("amqp.uri", &self.uri)
            .set("hubspot.base_url", self.simulator.uri())
            .set("hubspot.access_token", "pat-of-the-traces")
            .set("batch.linger", linger)
            .set("retry.base_delay", "50ms")
            .set("telemetry.otlp_endpoint", endpoint);
        let worker = builder.start().unwrap();
        worker.ready(SOON).await.unwrap();
        worker
    }

    async fn answered(&self, jobs: Vec<Message>) {
        let count = jobs.len();
        assert_eq!(self.client.publish(JOBS, jobs).await.unwrap(), count);
        let outcomes = self.client.collect(RESULTS, Until::Count(count), SOON).await.unwrap();
        assert_eq!(outcomes.len(), count);
    }
}

fn pair(number: u64) -> Job {
    job(&format!("job-{number}")).pair(number, 9_000 + number)
}

fn traced(job: &Job, (trace, span): &(&str, &str)) -> Message {
    let message = job.to_message().unwrap().with_header("traceparent", &format!("00-{trace}-{span}-01")).unwrap();
    message.with_header("tracestate", "vendor=opaque").unwrap()
}

/// Answers all that is sent to it with this status.
async fn collector(status: StatusCode) -> (String, mpsc::UnboundedReceiver<Span>) {
    let (spans, received) = mpsc::unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let take = async move |State(spans): State<mpsc::UnboundedSender<Span>>, headers: HeaderMap, body: Bytes| {
        assert_eq!(headers["content-type"], "application/x-protobuf");
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        for of_resource in request.resource_spans {
            let resource = of_resource.resource.unwrap();
            assert_eq!(text(&resource.attributes, "service.name").as_deref(), Some("association-archiver"));
            assert!(text(&resource.attributes, "service.version").is_some());
            for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                spans.send(span).unwrap();
            }
        }
        status
    };
    let router = Router::new().route("/v1/traces", post(take)).with_state(spans);
    tokio::spawn(async move { axum::serve(listener, router).await });
    (endpoint, received)
}

/// Of a worker that has ended.
async fn all_of(spans: &mut mpsc::UnboundedReceiver<Span>) -> Vec<Span> {
    let mut all = Vec::new();
    while let Ok(span) = spans.try_recv() {
        all.push(span);
    }
    all
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text(attributes: &[KeyValue], name: &str) -> Option<String> {
    let value = attributes.iter().find(|attribute| attribute.key == name)?.value.clone()?.value?;
    match value {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        Value::ArrayValue(list) => list.values.into_iter().find_map(|value| match value.value? {
            Value::StringValue(text) => Some(text),
            _ => None,
        }),
        _ => None,
    }
}
