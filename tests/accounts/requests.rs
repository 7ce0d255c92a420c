//! Which requests jobs become: labels, versions, sizes, shared pairs, and those that become none.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use harness::outcome::Source;
use harness::{Message, Status, Until, Worker, job};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::stage::{DEAD_LETTERS, JOBS, Stage, archived_once, clean, ids, number, single_pairs, stop};

const LIMIT: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread")]
async fn labels_are_removed_and_the_association_stays() -> Result<()> {
    const COUNT: u64 = 300;
    let stage = Stage::set("labels", &["--limit", "off"]).await?;
    stage.simulator.configure(&json!({"arrivalsKept": 10_000})).await?;
    stage.declare().await?;
    let mut jobs: Vec<Message> =
        (1..=COUNT).map(|n| job(&format!("label-{n}")).labels(n, 1, &[37, 38]).to_message()).collect::<Result<_>>()?;
    // The same pairs of other records, whole.
    jobs.extend(single_pairs("whole", 1_001..=1_000 + COUNT)?);
    jobs.push(job("both").labels(5_001, 1, &[37]).pair(5_002, 1).to_message()?);
    stage.client.publish(JOBS, jobs).await?;
    // The linger is for full requests, however slowly the machine takes the jobs in.
    let worker = stage.start(&stage.worker().set("rate_limit.interval", "2s").set("batch.linger", "5s")).await?;
    let mut published: Vec<String> = (1..=COUNT).map(|n| format!("label-{n}")).collect();
    published.extend(ids("whole", COUNT));
    published.push("both".to_owned());
    let report = stage.tally(&published, LIMIT).await?;
    report.exactly_once()?;
    assert_eq!(report.by_status, BTreeMap::from([(Status::Archived, published.len())]));
    let state = stage.simulator.state().await?;
    clean(&state);
    assert_eq!(number(&state, "/pairsArchivedTotal"), COUNT + 1, "{state}");
    assert_eq!(number(&state, "/labelsRemoved"), 2 * COUNT + 1, "{state}");
    // 301 inputs, at most 100 a request; different labels may or may not share one.
    let of_labels = number(&state, "/requestsByKind/labels-archive");
    assert!((4..=8).contains(&of_labels), "{state}");
    stop(&worker).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_stands_inside_the_path() -> Result<()> {
    for (version, path) in [
        ("v4", "POST /crm/v4/associations/contacts/companies/batch/archive HTTP/1.1"),
        ("2026-03", "POST /crm/associations/2026-03/contacts/companies/batch/archive HTTP/1.1"),
        ("2026-09", "POST /crm/associations/2026-09/contacts/companies/batch/archive HTTP/1.1"),
    ] {
        let stage = Stage::set(&format!("version-{version}"), &[]).await?;
        let far_end = FarEnd::listen().await?;
        let worker = Worker::builder().set("amqp.uri", &stage.uri).set("hubspot.base_url", &far_end.uri);
        let worker = worker.set("hubspot.access_token", "pat-x").set("hubspot.api_version", version);
        let worker = stage.start(&worker).await?;
        stage.client.publish(JOBS, single_pairs("job", 1..=3)?).await?;
        stage.tally(&ids("job", 3), LIMIT).await?.exactly_once()?;
        let lines = far_end.archives();
        assert!(!lines.is_empty() && lines.iter().all(|line| line == path), "{version}: {lines:?}");
        // v4 ends, and whoever starts with it is told.
        assert_eq!(worker.stderr().contains("2027"), version == "v4", "{}", worker.stderr());
        stop(&worker).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_too_late_or_names_a_stranger_is_never_sent() -> Result<()> {
    let stage = Stage::set("unsent", &["--token", "4711=pat-one"]).await?;
    let account = "[[hubspot.accounts]]\nportal_id = 4711\naccess_token = \"pat-one\"\n";
    let worker = stage.start(&stage.worker_without_account().config(account)).await?;
    let expired =
        job("expired").portal(4711).pairs([(1, 1), (1, 2)]).not_after("2026-01-01T00:00:00+01:00").to_message()?;
    let in_time = job("in-time").portal(4711).pair(2, 1).not_after("2099-01-01T00:00:00Z").to_message()?;
    let stranger = job("stranger").portal(4712).pair(3, 1).to_message()?;
    stage.client.publish(JOBS, [expired, in_time, stranger.clone()]).await?;
    let outcomes = stage.outcomes(3, LIMIT).await?;
    let of = |id: &str| outcomes.iter().find(|outcome| outcome.job_id == id).unwrap();
    assert_eq!((of("expired").status, of("expired").num_errors, of("expired").attempts), (Status::Expired, 2, 0));
    assert_eq!(of("in-time").status, Status::Archived);
    let refused = of("stranger");
    assert_eq!((refused.status, refused.portal_id), (Status::Rejected, Some(4712)));
    assert_eq!((refused.errors[0].source, refused.errors[0].category.as_str()), (Source::Worker, "UNKNOWN_PORTAL"));
    assert!(refused.errors[0].message.contains("portalId"), "{refused:?}");
    let dead = stage.client.collect(DEAD_LETTERS, Until::Count(1), LIMIT).await?;
    assert_eq!((dead.len(), &dead[0].body), (1, &stranger.body));
    assert_eq!(dead[0].header("x-reject-category").as_deref(), Some("UNKNOWN_PORTAL"));
    archived_once(&stage.simulator.state().await?, 1);
    stop(&worker).await
}

/// The only account is configured without a portal id: nobody can know whether it is the one that a job names.
#[tokio::test(flavor = "multi_thread")]
async fn a_named_portal_is_refused_where_the_account_has_none() -> Result<()> {
    let stage = Stage::set("portal-without", &[]).await?;
    let worker = stage.start(&stage.worker()).await?;
    stage.client.publish(JOBS, [job("named").portal(4711).pair(1, 1).to_message()?]).await?;
    let outcomes = stage.outcomes(1, LIMIT).await?;
    assert_eq!((outcomes[0].status, outcomes[0].errors[0].category.as_str()), (Status::Rejected, "UNKNOWN_PORTAL"));
    stop(&worker).await?;
    assert_eq!(number(&stage.simulator.state().await?, "/requestsByKind/archive"), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_larger_than_a_batch_are_answered_once() -> Result<()> {
    let stage = Stage::set("large", &["--limit", "off", "--bad-id", "77"]).await?;
    let worker = stage.start(&stage.worker().set("rate_limit.interval", "2s")).await?;
    // 250 `from` records with 4 `to` each, one `from` with 2,500 `to`, and the most pairs that a job may have.
    let wide = job("wide").pairs((1..=250).flat_map(|from| (1..=4).map(move |to| (from, 10_000 + to))));
    let deep = job("deep").pairs((1..=2_500).map(|to| (1_000, 20_000 + to)));
    let most = job("most").pairs((0..10_000).map(|n| (2_000 + n / 100, 30_000 + n)));
    let jobs = [wide, deep, most].iter().map(harness::Job::to_message).collect::<Result<Vec<_>>>()?;
    stage.client.publish(JOBS, jobs).await?;
    let outcomes = stage.outcomes(3, LIMIT).await?;
    let of = |id: &str| outcomes.iter().find(|outcome| outcome.job_id == id).unwrap();
    assert_eq!((of("wide").status, of("wide").num_pairs, of("wide").num_archived), (Status::Partial, 1_000, 996));
    assert!(of("wide").errors.iter().all(|error| error.from.as_ref().unwrap().id == "77"));
    assert_eq!((of("deep").status, of("deep").num_archived), (Status::Archived, 2_500));
    assert_eq!((of("most").status, of("most").num_archived), (Status::Archived, 10_000));
    assert!(of("deep").attempts >= 3 && of("most").attempts >= 10);
    let state = stage.simulator.state().await?;
    archived_once(&state, 996 + 2_500 + 10_000);
    assert!(number(&state, "/pairsPerRequest/max") <= 1_000, "{state}");
    stop(&worker).await
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_pairs_of_different_jobs_are_sent_once() -> Result<()> {
    let stage = Stage::set("equal-pairs", &["--limit", "off", "--bad-id", "13"]).await?;
    stage.declare().await?;
    // 40 jobs ask for the same ten pairs, spelt in several ways, and one of them twice.
    let spellings = [("contacts", "companies"), ("contact", "Company"), ("0-1", "0-2"), ("CONTACTS", "0-2")];
    let jobs: Vec<Message> = (0..40)
        .map(|n: u64| {
            let types = spellings[(n % 4) as usize];
            job(&format!("job-{n}"))
                .types(types.0, types.1)
                .pairs((10..20).map(|from| (from, 1)))
                .pair(10, 1)
                .to_message()
        })
        .collect::<Result<_>>()?;
    stage.client.publish(JOBS, jobs).await?;
    let worker = stage.start(&stage.worker().set("batch.linger", "5s")).await?;
    let outcomes = stage.outcomes(40, LIMIT).await?;
    for outcome in &outcomes {
        assert_eq!((outcome.status, outcome.num_pairs, outcome.num_archived), (Status::Partial, 10, 9), "{outcome:?}");
        assert_eq!(outcome.errors[0].from.as_ref().unwrap().id, "13");
    }
    let state = stage.simulator.state().await?;
    archived_once(&state, 9);
    assert!(number(&state, "/requestsByKind/archive") <= 3, "{state}");
    stop(&worker).await
}

/// A far end that answers everything 204 and keeps the request lines.
struct FarEnd {
    uri: String,
    lines: Arc<Mutex<Vec<String>>>,
}

impl FarEnd {
    async fn listen() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let uri = format!("http://{}", listener.local_addr()?);
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let heard = Arc::clone(&lines);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&heard)));
            }
        });
        Ok(Self { uri, lines })
    }

    fn archives(&self) -> Vec<String> {
        self.lines.lock().unwrap().iter().filter(|line| line.contains("archive")).cloned().collect()
    }
}

/// One request, then the connection is closed.
async fn answer(mut stream: TcpStream, heard: Arc<Mutex<Vec<String>>>) -> Result<()> {
    let mut read = Vec::new();
    let head = loop {
        if stream.read_buf(&mut read).await? == 0 {
            return Ok(());
        }
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let text = String::from_utf8_lossy(&read[..head]).to_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok()).unwrap_or(0);
    while read.len() < head + length && stream.read_buf(&mut read).await? > 0 {}
    let first = String::from_utf8_lossy(&read).lines().next().unwrap_or_default().to_owned();
    heard.lock().unwrap().push(first);
    stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await?;
    Ok(())
}
