//! What goes in wrong, and how everything that comes out is labelled.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use harness::lapin::types::{AMQPValue, FieldArray, FieldTable};
use harness::outcome::Source;
use harness::{Broker, Message, Outcome, Status, Tally, Until, eventually, job, raw};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::stage::{
    DEAD_LETTERS, JOBS, RESULTS, START_LIMIT, Stage, archived_once, delay_queue, ids, single_pairs, stop,
};

const LIMIT: Duration = Duration::from_secs(60);

/// Of the ids of outcomes; part of the promise that a job's copies carry the same one across versions.
const NAMESPACE: Uuid = Uuid::from_u128(0x914b_b787_b5f4_46a0_ba11_8afd_76b3_e61f);

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_malformed_message_is_answered_and_dead_lettered() -> Result<()> {
    const GOOD: u64 = 200;
    let stage = Stage::set("malformed", &["--limit", "off"]).await?;
    let builder = stage.worker().set("jobs.max_bytes", 20_000).set("jobs.max_pairs", 50);
    let worker = stage.start(&builder).await?;
    let kinds = malformed()?;
    assert!(kinds.len() >= 30);
    let mut messages = Vec::new();
    let mut good = single_pairs("good", 1..=GOOD)?.into_iter();
    for kind in &kinds {
        messages.push(kind.message.clone());
        messages.extend(good.by_ref().take(3));
    }
    messages.extend(good);
    stage.client.publish(JOBS, messages).await?;

    let mut published = ids("good", GOOD);
    published.extend(kinds.iter().map(|kind| kind.id.clone()));
    let messages = stage.client.collect(RESULTS, Until::Count(published.len()), LIMIT).await?;
    let dead = stage.client.collect(DEAD_LETTERS, Until::Count(kinds.len()), LIMIT).await?;
    let report = Tally::of_published(published).outcomes(&messages)?.report();
    report.exactly_once()?;
    assert_eq!(dead.len(), kinds.len());
    assert_eq!(report.by_status, BTreeMap::from([(Status::Archived, GOOD as usize), (Status::Rejected, kinds.len())]));
    let outcomes: BTreeMap<String, Outcome> = messages
        .iter()
        .map(|message| Outcome::from_message(message).map(|o| (o.job_id.clone(), o)))
        .collect::<Result<_>>()?;
    for kind in &kinds {
        told(kind, &outcomes[&kind.id]);
        let copy = dead.iter().find(|copy| copy.body == kind.message.body && copy.message_id() == Some(&kind.id));
        let copy = copy.with_context(|| format!("no dead letter of {}", kind.id))?;
        assert_eq!(copy.header("x-reject-category").as_deref(), Some("MALFORMED_JOB"), "{}", kind.id);
        assert_eq!(copy.header("x-reject-message").unwrap(), outcomes[&kind.id].errors[0].message, "{}", kind.id);
        assert_eq!(copy.properties.content_encoding(), kind.message.properties.content_encoding(), "{}", kind.id);
        is_time(&copy.header("x-rejected-at").unwrap());
    }
    archived_once(&stage.simulator.state().await?, GOOD);
    stop(&worker).await?;
    stage.jobs_wait(0).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_any_id_is_dead_lettered_and_not_answered() -> Result<()> {
    let stage = Stage::set("no-id", &[]).await?;
    let worker = stage.start(&stage.worker()).await?;
    let mut valid = job("x").pair(1, 2).to_json();
    valid.as_object_mut().unwrap().remove("jobId");
    let bodies = [b"\xff\xfe not a job".to_vec(), valid.to_string().into_bytes(), Vec::new()];
    let mut messages: Vec<Message> = bodies.iter().map(|body| Message::new(body.clone())).collect();
    messages.extend(single_pairs("job", 1..=5)?);
    stage.client.publish(JOBS, messages).await?;

    let mut dead = stage.client.collect(DEAD_LETTERS, Until::Count(3), LIMIT).await?;
    dead.sort_by_key(|copy| bodies.iter().position(|body| *body == copy.body));
    assert_eq!(dead.iter().map(|copy| copy.body.clone()).collect::<Vec<_>>(), bodies);
    for copy in &dead {
        assert_eq!(copy.header("x-reject-category").as_deref(), Some("MALFORMED_JOB"));
        assert_eq!(*copy.properties.delivery_mode(), Some(2));
        assert_eq!(copy.message_id(), None);
    }
    assert!(dead[1].header("x-reject-message").unwrap().starts_with("jobId: "), "{dead:?}");
    stage.tally(&ids("job", 5), LIMIT).await?.exactly_once()?;
    stop(&worker).await?;
    assert_eq!(stage.client.count(RESULTS).await?, 0);
    stage.jobs_wait(0).await
}

/// A producer may write short strings that are not UTF-8, and headers nested beyond reason; neither may stop the worker.
#[tokio::test(flavor = "multi_thread")]
async fn properties_that_are_no_text_are_taken_like_others() -> Result<()> {
    let stage = Stage::set("illegible", &[]).await?;
    let worker = stage.start(&stage.worker()).await?;
    let address = Broker::shared().await?.address();
    let publish = async |properties: &[u8], body: &str| {
        // A busy broker may refuse a message for now.
        eventually(LIMIT, "the broker to take a message", async || {
            raw::publish(address, "illegible", JOBS, properties, body.as_bytes()).await.map(Some)
        })
        .await
    };
    let body = |id: &str| job(id).pair(1, 2).to_json().to_string();
    let mut nameless = job("x").pair(1, 2).to_json();
    nameless.as_object_mut().unwrap().remove("jobId");

    let flags = |bits: &[u8]| bits.iter().fold(0_u16, |flags, bit| flags | 1 << bit).to_be_bytes();
    let message_id = |id: &[u8]| -> Result<Vec<u8>> { Ok([&flags(&[7])[..], &raw::short(id)?].concat()) };
    let headers = |table: &[u8]| -> Result<Vec<u8>> { Ok([&flags(&[13])[..], &raw::long(table)?].concat()) };
    let mut nested = b"V".to_vec();
    for _ in 0..20_000 {
        nested = [b"A".to_vec(), raw::long(&nested)?].concat();
    }
    publish(&message_id(b"\xff\xfe")?, &body("id")).await?;
    publish(&message_id(b"\xff\xfe")?, &nameless.to_string()).await?;
    publish(&headers(&[raw::short(b"\xffkey")?, b"t\x01".to_vec()].concat())?, &body("key")).await?;
    publish(&headers(&[raw::short(b"deep")?, nested].concat())?, &body("deep")).await?;
    // As much as fits into a frame: with what the worker adds it would not fit any more.
    let large = raw::long(&vec![b'v'; 130_900])?;
    publish(&headers(&[raw::short(b"tracestate")?, b"S".to_vec(), large.clone()].concat())?, &body("trace")).await?;
    publish(&headers(&[raw::short(b"large")?, b"S".to_vec(), large].concat())?, &nameless.to_string()).await?;
    publish(&headers(b"")?, &body("plain")).await?;

    let known = ["id", "key", "deep", "trace", "plain"].map(str::to_owned);
    stage.tally(&known, LIMIT).await?.exactly_once()?;
    let dead = stage.client.collect(DEAD_LETTERS, Until::Count(2), LIMIT).await?;
    assert!(dead.iter().all(|copy| copy.body == nameless.to_string().into_bytes()));
    let (without_id, illegible): (Vec<_>, Vec<_>) = dead.iter().partition(|copy| copy.message_id().is_none());
    assert_eq!(illegible[0].message_id(), Some("\u{1a}\u{1a}"), "which is no job id, so that there is no outcome");
    assert!(without_id[0].properties.headers().as_ref().unwrap().inner().contains_key("x-headers-dropped"));
    stop(&worker).await?;
    stage.jobs_wait(0).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_carries_the_promised_properties() -> Result<()> {
    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let stage = Stage::set("properties", &["--bad-id", "13"]).await?;
    let worker = stage
        .start(
            &stage
                .worker_without_account()
                .config("[[hubspot.accounts]]\nportal_id = 4711\naccess_token = \"pat-x\"\n"),
        )
        .await?;
    let before = jiff::Timestamp::now().as_second();

    let mut correlated = job("correlated").portal(4711).types("Contact", "0-2").pair(1, 2).to_message()?;
    correlated.properties = correlated.properties.with_correlation_id("the-job's-own".into());
    let correlated = correlated.with_header("traceparent", PARENT)?.with_header("tracestate", "vendor=1")?;
    let named = job("named").pairs([(13, 2), (14, 2)]).to_message()?.id("message-of-named")?;
    let bare = Message::json(&job("bare").pair(13, 5).to_json());
    let mut of_message_id = job("").pair(1, 9).to_json();
    of_message_id.as_object_mut().unwrap().remove("jobId");
    let of_message_id = Message::json(&of_message_id).id("only-the-message")?;
    let mut stamped = job("stamped").pair(1, 6).to_message()?;
    stamped.properties = stamped.properties.with_timestamp(1_800_000_000).with_content_encoding("UTF-8".into());
    stamped.body.splice(0..0, *b"\xef\xbb\xbf");
    let redriven = job("redriven").pair(1, 3).to_message()?.with_header("x-redriven", "2")?;
    let expired = job("expired").pair(1, 4).not_after("2020-01-01T00:00:00Z").to_message()?;
    let rejected = Message::new("{}").id("rejected")?;
    // (job id, message, expected correlation id, expected status, portal in the id, times redriven)
    let expected = [
        ("correlated", &correlated, "the-job's-own", "ARCHIVED", 4711, 0),
        ("named", &named, "message-of-named", "PARTIAL", 0, 0),
        ("bare", &bare, "bare", "FAILED", 0, 0),
        ("only-the-message", &of_message_id, "only-the-message", "ARCHIVED", 0, 0),
        ("stamped", &stamped, "stamped", "ARCHIVED", 0, 0),
        ("redriven", &redriven, "redriven", "ARCHIVED", 0, 2),
        ("expired", &expired, "expired", "EXPIRED", 0, 0),
        ("rejected", &rejected, "rejected", "REJECTED", 0, 0),
    ];
    stage.client.publish(JOBS, expected.iter().map(|one| one.1.clone())).await?;
    let outcomes = stage.outcomes(expected.len(), LIMIT).await?;
    for (id, sent, correlation, status, portal, times_redriven) in expected {
        let outcome = outcomes.iter().find(|outcome| outcome.job_id == id).with_context(|| id.to_owned())?;
        let (message, properties) = (&outcome.message, &outcome.message.properties);
        let text = |value: &Option<harness::lapin::types::ShortString>| value.as_ref().map(|v| v.as_str().to_owned());
        assert_eq!(text(properties.content_type()).as_deref(), Some("application/json"), "{id}");
        assert_eq!(*properties.delivery_mode(), Some(2), "{id}");
        assert_eq!(text(properties.kind()).as_deref(), Some("association-archive.outcome.v1"), "{id}");
        assert_eq!(text(properties.app_id()).as_deref(), Some("association-archiver"), "{id}");
        assert_eq!(message.correlation_id(), Some(correlation), "{id}");
        assert_eq!(message.header("x-job-status").as_deref(), Some(status), "{id}");
        let stamped = i64::try_from(properties.timestamp().context("no timestamp")?)?;
        assert!((before..=before + 600).contains(&stamped), "{id}: {stamped}");
        assert_eq!(message.message_id(), Some(message_id(portal, id, sent, times_redriven).as_str()), "{id}");
        assert_eq!(message.header("traceparent"), sent.header("traceparent"), "{id}");
        assert_eq!(message.header("tracestate"), sent.header("tracestate"), "{id}");
        for time in
            [Some(&outcome.received_at), outcome.started_at.as_ref(), Some(&outcome.completed_at)].into_iter().flatten()
        {
            is_time(time);
        }
        fields_of(outcome, status);
    }
    let correlated = outcomes.iter().find(|outcome| outcome.job_id == "correlated").unwrap();
    assert_eq!(correlated.portal_id, Some(4711));
    assert_eq!(correlated.from_object_type.as_deref(), Some("Contact"));
    assert_eq!(correlated.to_object_type.as_deref(), Some("0-2"));
    stop(&worker).await
}

/// A lane that may not be archived parks its jobs; a message that is no job is dead-lettered: neither copy may be
/// closed upon, expire, be routed twice or be counted by the broker.
#[tokio::test(flavor = "multi_thread")]
async fn copies_keep_what_they_came_with_except_what_would_do_harm() -> Result<()> {
    let stage = Stage::set("copies", &[]).await?;
    let scopes =
        json!({"accounts": {"4711": {"tokens": ["pat-of-the-stage"], "missingScopes": {"contacts": ["crm.x"]}}}});
    stage.simulator.configure(&scopes).await?;
    let worker = stage.start(&stage.worker()).await?;
    // The first few stay in hand to find out whether the lane goes on.
    let mut parked = single_pairs("job", 1..=300)?;
    parked.iter_mut().for_each(adorn);
    let mut dead = Message::new("{").id("dead")?;
    adorn(&mut dead);
    stage.client.publish(JOBS, parked).await?;
    stage.client.publish(JOBS, [dead]).await?;

    let dead = stage.client.collect(DEAD_LETTERS, Until::Count(1), LIMIT).await?;
    assert_eq!(dead.len(), 1);
    harmless(&dead[0]);
    assert_eq!(dead[0].body, b"{");
    let waiting = eventually(LIMIT, "parked copies", async || {
        let waiting = stage.client.get_all(&delay_queue("10s")).await?;
        Ok((!waiting.is_empty()).then_some(waiting))
    })
    .await?;
    for copy in &waiting {
        harmless(copy);
        assert!(copy.header("x-archiver-received").is_some(), "{copy:?}");
        let sent = single_pairs("job", 1..=300)?;
        assert!(sent.iter().any(|sent| sent.body == copy.body && sent.message_id() == copy.message_id()));
    }
    stop(&worker).await
}

/// A time to live is a deadline: the job is not sent after it, also when it has waited in a delay queue, where the broker
/// would know nothing of it any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_time_to_live_is_a_deadline_that_travels() -> Result<()> {
    let stage = Stage::set("time-to-live", &["--limit", "off"]).await?;
    let scopes = |missing: serde_json::Value| json!({"accounts": {"4711": {"tokens": ["pat-of-the-stage"], "missingScopes": missing}}});
    stage.simulator.configure(&scopes(json!({"contacts": ["crm.x"]}))).await?;
    let worker = stage.start(&stage.worker()).await?;
    // Else their time could be over in the queue, where the broker ends them.
    worker.ready(LIMIT).await?;
    let mut jobs = single_pairs("job", 1..=300)?;
    for message in &mut jobs {
        message.properties = message.properties.clone().with_expiration("4000".into());
    }
    stage.client.publish(JOBS, jobs).await?;
    // From now on the worker has all of them, and knows the deadline of each.
    stage.client.count_becomes(JOBS, 0).await?;
    let taken_in = jiff::Timestamp::now().as_millisecond();
    let parked = eventually(LIMIT, "parked jobs", async || {
        let parked = stage.client.get_all(&delay_queue("10s")).await?;
        Ok((!parked.is_empty()).then_some(parked))
    })
    .await?;
    let mut deadlines = HashMap::new();
    for copy in &parked {
        let deadline: i64 = copy.header("x-archiver-deadline").context("no deadline")?.parse()?;
        let received: i64 = copy.header("x-archiver-received").context("no receipt")?.parse()?;
        assert_eq!((deadline - received, copy.properties.expiration()), (4_000, &None));
        deadlines.insert(copy.message_id().context("no id")?.to_owned(), jiff::Timestamp::from_millisecond(deadline)?);
    }
    // They come back after their time, when HubSpot would take them.
    let late = eventually(LIMIT, "the end of their time", async || {
        Ok((jiff::Timestamp::now().as_millisecond() > taken_in + 4_000).then_some(()))
    });
    late.await?;
    stage.simulator.configure(&scopes(json!({}))).await?;
    stage.client.publish(JOBS, parked.clone()).await?;
    let outcomes = stage.outcomes(300, LIMIT).await?;
    for outcome in &outcomes {
        let Some(deadline) = deadlines.get(&outcome.job_id) else { continue };
        assert_eq!(outcome.errors[0].category, "EXPIRED", "{outcome:?}");
        // The job has no `notAfter`.
        let given =
            format!("the property expiration (4000 ms from the first receipt, until {deadline:.3}) has passed; ");
        assert!(outcome.errors[0].message.starts_with(&given), "{outcome:?}");
    }
    assert_eq!(outcomes.iter().filter(|outcome| outcome.status != Status::Archived).count(), outcomes.len());
    stop(&worker).await?;
    // In the queue the broker counts it as well. Nobody has read the job then, so nobody answers it.
    let mut unread = job("unread").pair(1, 1).to_message()?;
    unread.properties = unread.properties.with_expiration("100".into());
    stage.client.publish(JOBS, [unread.clone()]).await?;
    let dead = stage.client.collect(DEAD_LETTERS, Until::Count(1), LIMIT).await?;
    assert_eq!((&dead[0].body, dead[0].header("x-reject-category")), (&unread.body, None));
    assert_eq!(stage.client.count_now(RESULTS).await?, 0);
    Ok(())
}

fn adorn(message: &mut Message) {
    let mut headers = FieldTable::default();
    let text = |text: &str| AMQPValue::LongString(text.into());
    let nowhere = || AMQPValue::FieldArray(FieldArray::from(vec![text("nowhere")]));
    let mut death = FieldTable::default();
    death.insert("queue".into(), text("elsewhere"));
    headers.insert("CC".into(), nowhere());
    headers.insert("x-death".into(), AMQPValue::FieldArray(FieldArray::from(vec![AMQPValue::FieldTable(death)])));
    headers.insert("x-first-death-queue".into(), text("elsewhere"));
    headers.insert("x-last-death-reason".into(), text("expired"));
    headers.insert("x-delivery-count".into(), AMQPValue::LongLongInt(7));
    headers.insert("x-acquired-count".into(), AMQPValue::LongLongInt(7));
    headers.insert("x-of-the-sender".into(), text("kept"));
    headers.insert("traceparent".into(), text("00-trace"));
    message.properties = message
        .properties
        .clone()
        .with_headers(headers)
        .with_user_id("guest".into())
        .with_expiration("3600000".into())
        .with_priority(3)
        .with_reply_to("someone".into())
        .with_app_id("the sender".into())
        .with_type("job".into())
        .with_correlation_id("correlation".into());
}

fn harmless(copy: &Message) {
    let properties = &copy.properties;
    assert_eq!(*properties.delivery_mode(), Some(2));
    assert_eq!(*properties.user_id(), None);
    assert_eq!(*properties.expiration(), None);
    assert_eq!(copy.header("x-original-user-id").as_deref(), Some("guest"));
    assert_eq!(copy.header("x-original-expiration").as_deref(), Some("3600000"));
    let deadline = copy.header("x-archiver-deadline").and_then(|millis| millis.parse().ok());
    let left = deadline.map(|millis: i64| millis - jiff::Timestamp::now().as_millisecond());
    assert!(left.is_some_and(|left| (0..=3_600_000).contains(&left)), "{left:?}");
    for dropped in ["CC", "BCC", "x-death", "x-first-death-queue", "x-last-death-reason", "x-acquired-count"] {
        assert_eq!(copy.header(dropped), None, "{dropped}");
    }
    // The broker may count anew.
    assert_ne!(copy.header("x-delivery-count").as_deref(), Some("7"));
    assert_eq!(copy.header("x-of-the-sender").as_deref(), Some("kept"));
    assert_eq!(copy.header("traceparent").as_deref(), Some("00-trace"));
    assert_eq!(*properties.priority(), Some(3));
    assert_eq!(properties.app_id().as_ref().map(|id| id.as_str()), Some("the sender"));
    assert_eq!(properties.kind().as_ref().map(|kind| kind.as_str()), Some("job"));
    assert_eq!(copy.correlation_id(), Some("correlation"));
    assert_eq!(properties.reply_to().as_ref().map(|to| to.as_str()), Some("someone"));
}

/// The sums that must hold for each status.
fn fields_of(outcome: &Outcome, status: &str) {
    let Outcome { num_pairs, num_archived, num_errors, errors, attempts, .. } = outcome;
    match status {
        "REJECTED" => assert_eq!((*num_pairs, *num_archived, *num_errors, errors.len(), *attempts), (0, 0, 0, 1, 0)),
        "EXPIRED" => {
            assert_eq!((*num_archived, *attempts, &outcome.started_at), (0, 0, &None));
            assert!(errors.iter().all(|error| error.source == Source::Worker && error.category == "EXPIRED"));
        }
        _ => {
            assert_eq!(*num_pairs, num_archived + num_errors);
            assert_eq!(*num_errors, errors.len() as u64);
            assert!(*attempts >= 1);
            assert!(outcome.started_at.is_some());
        }
    }
    if let ("PARTIAL" | "FAILED", [error]) = (status, &errors[..]) {
        assert_eq!(error.from.as_ref().map(|record| record.id.as_str()), Some("13"));
        assert_eq!((error.source, error.category.as_str()), (Source::Hubspot, "VALIDATION_ERROR"));
        assert!(!error.retryable);
        assert!(error.correlation_id.is_some());
    }
}

/// RFC 3339, UTC, milliseconds.
fn is_time(text: &str) {
    assert!(text.parse::<jiff::Timestamp>().is_ok(), "{text}");
    assert!(text.len() == 24 && text.ends_with('Z'), "{text} is not in milliseconds");
}

fn message_id(portal: u64, job_id: &str, sent: &Message, redriven: u64) -> String {
    let digest: [u8; 32] = Sha256::digest(&sent.body).into();
    let mut name = [&portal.to_be_bytes()[..], &digest, &redriven.to_be_bytes(), job_id.as_bytes()].concat();
    let timestamp = *sent.properties.timestamp();
    if timestamp.is_some() || sent.message_id().is_some() {
        name.extend([0, u8::from(timestamp.is_some())]);
        name.extend(timestamp.unwrap_or(0).to_be_bytes());
        name.extend(sent.message_id().unwrap_or_default().as_bytes());
    }
    Uuid::new_v5(&NAMESPACE, &name).to_string()
}

struct Kind {
    id: String,
    message: Message,
    /// The field that must be named, at the beginning of the message.
    field: &'static str,
    /// A word of the rule.
    rule: &'static str,
}

fn told(kind: &Kind, outcome: &Outcome) {
    let Kind { id, field, rule, .. } = kind;
    assert_eq!(outcome.status, Status::Rejected, "{id}");
    fields_of(outcome, "REJECTED");
    let error = &outcome.errors[0];
    assert_eq!((error.source, error.category.as_str()), (Source::Worker, "MALFORMED_JOB"), "{id}");
    assert!(!error.retryable, "{id}");
    assert!(
        error.message.starts_with(&format!("{field}: ")) && error.message.contains(rule),
        "{id}: {}",
        error.message
    );
    assert!(error.message.len() <= 500, "{id}");
}

/// Each with its id in the property `message_id`.
fn malformed() -> Result<Vec<Kind>> {
    let record = |id: &str| format!(r#"{{"id":{id}}}"#);
    let inputs = |from: &str, to: &str| format!(r#"[{{"from":{},"to":[{}]}}]"#, record(from), record(to));
    let whole = |rest: &str| format!(r#"{{"fromObjectType":"contacts","toObjectType":"companies",{rest}}}"#);
    let with_inputs = |inputs: &str| whole(&format!(r#""inputs":{inputs}"#));
    let and = |field: &str| whole(&format!(r#""inputs":{},{field}"#, inputs("\"1\"", "\"2\"")));
    let typed = |from: &str, to: &str| {
        format!(r#"{{"fromObjectType":{from},"toObjectType":{to},"inputs":{}}}"#, inputs("\"1\"", "\"2\""))
    };
    let labelled =
        |types: &str| with_inputs(&format!(r#"[{{"from":{{"id":"1"}},"to":[{{"id":"2"}}],"types":{types}}}]"#));
    let many: Vec<String> = (1..=51).map(|id| record(&id.to_string())).collect();
    let many = with_inputs(&format!(r#"[{{"from":{{"id":"1"}},"to":[{}]}}]"#, many.join(",")));
    let texts: Vec<(String, &'static str, &'static str)> = vec![
        (String::new(), "body", "JSON"),
        ("null".into(), "body", "object"),
        ("[]".into(), "body", "object"),
        ("jobs, please".into(), "body", "JSON"),
        (format!("{} {{}}", and(r#""portalId":1"#)), "body", "trailing"),
        (format!("\u{feff}\u{feff}{}", and(r#""notAfter":"2099-01-01T00:00:00Z""#)), "body", "JSON"),
        (format!("{}{}", with_inputs(&inputs("\"1\"", "\"2\"")), " ".repeat(20_000)), "body", "max_bytes"),
        (and(r#""simulate":true"#), "body", "simulate"),
        (and(r#""fromObjectType":"contacts""#), "body", "twice"),
        (and(r#""jobId":"""#), "jobId", "1 to 128"),
        (and(r#""jobId":17"#), "jobId", "string"),
        (and(r#""jobId":null"#), "jobId", "null"),
        (and(r#""jobId":"a\u0000b""#), "jobId", "control"),
        (and(r#""portalId":0"#), "portalId", "integer"),
        (and(r#""portalId":-3"#), "portalId", "integer"),
        (and(r#""portalId":"4711""#), "portalId", "integer"),
        (and(r#""portalId":null"#), "portalId", "null"),
        (and(r#""notAfter":"tomorrow""#), "notAfter", "RFC 3339"),
        (and(r#""notAfter":1767225600"#), "notAfter", "RFC 3339"),
        (typed("\"\"", "\"companies\""), "fromObjectType", "empty"),
        (typed("\"contacts/../deals\"", "\"companies\""), "fromObjectType", "character"),
        (typed("\"contacts\"", "\"companies%2f\""), "toObjectType", "character"),
        (typed("\"contacts\"", "\"two words\""), "toObjectType", "character"),
        (typed("\"contacts\"", "\"cars\""), "toObjectType", "cars"),
        (typed("1", "\"companies\""), "fromObjectType", "object type"),
        (r#"{"toObjectType":"companies"}"#.into(), "fromObjectType", "missing"),
        (r#"{"fromObjectType":"contacts","toObjectType":"companies"}"#.into(), "inputs", "missing"),
        (with_inputs("[]"), "inputs", "empty"),
        (with_inputs("{}"), "inputs", "list of inputs"),
        (with_inputs(r#"[{"from":{"id":"1"},"to":[]}]"#), "inputs[0].to", "empty"),
        (with_inputs(r#"[{"from":{"id":"1"},"to":{"id":"2"}}]"#), "inputs[0].to", "list of records"),
        (with_inputs(r#"[{"from":{"id":"1"},"to":[{"id":"2"}],"labels":[]}]"#), "inputs[0]", "labels"),
        (with_inputs(&inputs("\"0\"", "\"2\"")), "inputs[0].from.id", "0"),
        (with_inputs(&inputs("\"007\"", "\"2\"")), "inputs[0].from.id", "007"),
        (with_inputs(&inputs("\"1\"", "\"-2\"")), "inputs[0].to[0].id", "-2"),
        (with_inputs(&inputs("\"1\"", "\"18446744073709551616\"")), "inputs[0].to[0].id", "18446744073709551616"),
        (with_inputs(&inputs("1.5", "\"2\"")), "inputs[0].from.id", "1.5"),
        (with_inputs(&inputs("\"1\"", "null")), "inputs[0].to[0].id", "null"),
        (many, "inputs", "50"),
        (labelled("[]"), "inputs[0].types", "empty"),
        (
            labelled(r#"[{"associationCategory":"MINE","associationTypeId":1}]"#),
            "inputs[0].types[0].associationCategory",
            "MINE",
        ),
        (labelled(r#"[{"associationCategory":"USER_DEFINED"}]"#), "inputs[0].types[0].associationTypeId", "missing"),
    ];
    let mut kinds = Vec::new();
    for (index, (body, field, rule)) in texts.into_iter().enumerate() {
        let id = format!("malformed-{index}");
        kinds.push(Kind { message: Message::new(body).id(&id)?, id, field, rule });
    }
    let id = "malformed-utf-8".to_owned();
    let message = Message::new(
        and(r#""portalId":"x""#)
            .replace('x', "\u{1}")
            .into_bytes()
            .iter()
            .map(|&b| if b == 1 { 0xff } else { b })
            .collect::<Vec<u8>>(),
    );
    kinds.push(Kind { message: message.id(&id)?, id, field: "portalId", rule: "" });
    let id = "malformed-encoding".to_owned();
    let mut message = Message::new(and(r#""portalId":1"#)).id(&id)?;
    message.properties = message.properties.with_content_encoding("gzip".into());
    kinds.push(Kind { message, id, field: "content_encoding", rule: "gzip" });
    Ok(kinds)
}

/// Whoever comes later sees that outcomes are lost, how many, and since when.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_was_deleted_is_told_of_with_what_was_in_it() -> Result<()> {
    let stage = Stage::set("queue-deleted", &["--limit", "off"]).await?;
    let worker = stage.start(&stage.worker()).await?;
    worker.ready(START_LIMIT).await?;
    stage.client.publish(JOBS, single_pairs("job", 1..=300)?).await?;
    let counted = async || Ok((worker.status().await?["broker"]["resultsReady"] == 300).then_some(()));
    eventually(LIMIT, "the outcomes to be counted", counted).await?;
    stage.client.delete(RESULTS).await?;
    stage.client.publish(JOBS, [job("later").pair(1, 9001).to_message()?]).await?;
    stage.outcomes_waiting(1, LIMIT).await?;
    let lost = eventually(LIMIT, "the loss to be told", async || {
        Ok(Some(worker.status().await?["broker"]["lostQueues"][0].clone()).filter(|lost| lost.is_object()))
    })
    .await?;
    assert_eq!((&lost["queue"], &lost["times"], &lost["messages"]), (&json!(RESULTS), &json!(1), &json!(300)));
    let words = "is declared again; about 300 messages that were in it when last looked at are lost";
    let warned = async || {
        let (status, readiness) = worker.readiness().await?;
        Ok((status == 200 && readiness["warnings"].to_string().contains(words)).then_some(()))
    };
    eventually(LIMIT, "a warning", warned).await?;
    worker.says(&[words, RESULTS]).await?;
    stop(&worker).await
}

/// One `grep` by a job's id leads to its requests, and from there to what HubSpot answered.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_leads_from_a_job_to_its_requests() -> Result<()> {
    let stage = Stage::set("log-of-a-job", &["--limit", "off", "--bad-id", "7"]).await?;
    let mut refused = Vec::new();
    let builder = stage.worker().set("log.filter", "info,association_archiver::worker=debug");
    let worker = stage.start(&builder).await?;
    let jobs = ["mine", "of-another-lane"].into_iter().zip(["companies", "deals"]);
    let jobs = jobs.map(|(id, to)| job(id).types("contacts", to).pair(1, 9001).to_message());
    stage.client.publish(JOBS, jobs.collect::<Result<Vec<_>>>()?).await?;
    stage.client.collect(RESULTS, Until::Count(2), LIMIT).await?;
    // The same trouble again and again: it is told once in a while, but each answer can be found.
    let bad = (0..3).map(|number| job(&format!("bad-{number}")).pair(7, 10 + number).to_message());
    for message in bad.collect::<Result<Vec<_>>>()? {
        stage.client.publish(JOBS, [message]).await?;
        refused.extend(stage.outcomes(1, LIMIT).await?);
    }
    stop(&worker).await?;
    let log = worker.stderr();
    let log: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let mine: Vec<&Value> = log.iter().filter(|line| line["job_id"] == "mine").collect();
    let [sent, answered] = mine[..] else { bail!("not two lines about the job: {mine:?}") };
    assert_eq!(
        (&sent["message"], &answered["message"]),
        (&json!("goes out with this request"), &json!("job answered"))
    );
    assert_eq!(sent["lane"], "contacts/companies");
    let of_request = log.iter().filter(|line| line["batch"] == sent["batch"] && line["message"] == "answered");
    let of_request: Vec<&Value> = of_request.collect();
    let [request] = of_request[..] else { bail!("not one answer to its request: {of_request:?}") };
    assert!(request["correlation_id"].is_string() && request["lane"] == "contacts/companies", "{request}");
    for outcome in &refused {
        let correlation_id = outcome.errors[0].correlation_id.as_deref().context("HubSpot's correlation id")?;
        let of_error = log.iter().filter(|line| line["correlation_id"] == correlation_id);
        let of_error: Vec<&Value> = of_error.collect();
        let [request] = of_error[..] else { bail!("not one line of {correlation_id}: {of_error:?}") };
        let sent =
            log.iter().find(|line| line["job_id"] == outcome.job_id.as_str() && line["batch"] == request["batch"]);
        assert!(sent.is_some() && request["category"] == "VALIDATION_ERROR", "{request}");
    }
    assert_eq!(log.iter().filter(|line| line["level"] == "WARN" && line["batch"].is_u64()).count(), 1);
    Ok(())
}
