//! The broker's edges against a real broker: nothing is acknowledged before its answer is safe, and nothing is lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "amqp/journal.rs"]
mod journal;

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use association_archiver::amqp::connection::{ConnectFault, Dial};
use association_archiver::amqp::consumer::IntakeEvent;
use association_archiver::amqp::edges::{Edges, Outlet, Source, StartFault};
use association_archiver::amqp::lease::LeaseNews;
use association_archiver::amqp::link::{Depth, Link, Purpose};
use association_archiver::amqp::message::{
    Delivered, Deposit, Envelope, HeaderValue, OutcomeEnvelope, Outgoing, Properties,
};
use association_archiver::amqp::publisher::Report;
use association_archiver::amqp::receipt::Generation;
use association_archiver::amqp::route::Route;
use association_archiver::amqp::topology::{Found, Kind, Topology, TopologyFault};
use association_archiver::config::{AmqpSettings, QueueName, SecretSource, SettingKey};
use association_archiver::contract::ids::JobId;
use association_archiver::contract::message::{BodyDigest, MessageId, Request};
use association_archiver::contract::outcome::Status;
use association_archiver::engine::pause::Tier;
use futures_util::StreamExt;
use futures_util::future::join_all;
use harness::{Broker, Client, Message, Options, Relay, Rights, Until, Way, eventually};
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use smallvec::SmallVec;
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(30);
/// Far less than `SOON`, so that a test does not last for long where it is waited out.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const LATER: Duration = Duration::from_secs(90);
/// RabbitMQ 3.10 can lose a quorum queue whose node is killed within a second of its declaration.
const QUEUE_SETTLED: Duration = Duration::from_secs(2);
const IDLE: Duration = Duration::from_millis(700);

const JOBS: &str = "association-archiver.jobs";
const BACKGROUND: &str = "association-archiver.jobs.background";
const RESULTS: &str = "association-archiver.results";
const DEAD_LETTERS: &str = "association-archiver.dead-letters";

#[tokio::test]
async fn the_whole_topology_is_declared_and_used_as_it_is_the_next_time() {
    let (client, settings) = own_vhost("declared").await;
    let first = Edges::start(&settings).await.unwrap();
    let names: Vec<&str> = first.topology.items.iter().map(|item| item.name.as_str()).collect();
    let delays = |queue: &str| ["10s", "1m", "10m", "1h"].map(|tier| format!("{queue}.delay.{tier}"));
    let (delays, of_background) = (delays(JOBS), delays(BACKGROUND));
    let mut expected = vec!["association-archiver", JOBS, RESULTS, DEAD_LETTERS];
    expected.extend(delays.iter().map(String::as_str));
    expected.push(BACKGROUND);
    expected.extend(of_background.iter().map(String::as_str));
    assert_eq!(names, expected);
    assert!(first.topology.items.iter().all(|item| item.found == Found::Declared), "{:?}", first.topology);
    assert_eq!(first.topology.warnings, Vec::<String>::new());
    stop(first).await;

    client.publish(JOBS, jobs(0..3)).await.unwrap();
    let second = Edges::start(&settings).await.unwrap();
    assert!(second.topology.items.iter().all(|item| matches!(item.found, Found::Existing { .. })));
    assert_eq!(second.topology.warnings, Vec::<String>::new());
    assert_eq!(second.topology.items[1].found, Found::Existing { ready: 3, consumers: 0 });
    stop(second).await;
}

/// Then each job goes to both, which AMQP tells nobody.
#[tokio::test]
async fn a_second_jobs_queue_on_the_same_exchange_is_warned_about_when_it_is_declared() {
    let (_, settings) = own_vhost("second-queue").await;
    stop(Edges::start(&settings).await.unwrap()).await;
    let other = AmqpSettings { jobs_queue: QueueName::new("other.jobs").unwrap(), ..settings };
    let first = Edges::start(&other).await.unwrap();
    let warnings = first.topology.warnings.concat();
    assert!(warnings.contains("\"other.jobs\"") && warnings.contains("each job goes to both"), "{warnings}");
    stop(first).await;
    let second = Edges::start(&other).await.unwrap();
    assert_eq!(second.topology.warnings, Vec::<String>::new(), "once");
    stop(second).await;
}

#[tokio::test]
async fn a_jobs_queue_without_dead_letter_target_is_used_and_warned_about() {
    let (client, settings) = own_vhost("plain-queue").await;
    client.declare_quorum(JOBS, &[]).await.unwrap();
    let edges = Edges::start(&settings).await.unwrap();
    assert_eq!(edges.topology.warnings.len(), 1, "{:?}", edges.topology.warnings);
    assert!(edges.topology.warnings[0].contains("dead-letter target"), "{:?}", edges.topology.warnings);
    stop(edges).await;
}

#[tokio::test]
async fn without_the_right_to_declare_a_missing_queue_is_named() {
    let (_, mut settings) = own_vhost("only-check").await;
    settings.declare_topology = false;
    let fault = Edges::start(&settings).await.unwrap_err();
    let StartFault::Topology(TopologyFault::Missing { kind: Kind::Exchange, name }) = &fault else {
        panic!("{fault}");
    };
    assert_eq!(name, "association-archiver");
    assert!(fault.to_string().contains("amqp.declare_topology"), "{fault}");
}

/// As after an upgrade, where the broker was given queues and rights for the version before.
#[tokio::test]
async fn a_worker_without_background_queue_or_the_right_to_it_works_all_the_same() {
    let broker = Broker::shared().await.unwrap();
    let (client, settings) = own_vhost("no-background").await;
    stop(Edges::start(&settings).await.unwrap()).await;
    client.delete(BACKGROUND).await.unwrap();
    let read = "^association-archiver\\.jobs(\\.lease)?$";
    let rights = Rights { configure: "^$", write: "^association-archiver(\\..*)?$", read };
    broker.add_user("before", "secret", "no-background", rights).await.unwrap();
    let before = with_uri(settings, &broker.uri_as("before", "secret", "no-background"));
    client.publish(JOBS, jobs(0..5)).await.unwrap();
    let mut edges = Edges::start(&before).await.unwrap();
    let warnings = edges.topology.warnings.join(" ");
    assert!(warnings.contains("amqp.background_queue = \"none\""), "{warnings}");
    edges.background.as_ref().unwrap().send_replace(true);
    for job in take(&mut edges, 5).await {
        edges.publisher.publish(vec![outcome(job)]).await;
    }
    assert_eq!(published(&edges, 5).await.published.len(), 5);
    eventually(SOON, "the cause", async || {
        Ok(edges.health.background().trouble.get().filter(|why| why.contains(BACKGROUND)).map(drop))
    })
    .await
    .unwrap();
    stop(edges).await;
    assert_eq!(client.count(JOBS).await.unwrap(), 0);
}

#[tokio::test]
async fn a_user_with_the_least_rights_can_work_on_a_topology_that_is_there() {
    let broker = Broker::shared().await.unwrap();
    let (client, settings) = own_vhost("least").await;
    stop(Edges::start(&settings).await.unwrap()).await;
    let rights = Rights { configure: "^$", write: "^association-archiver$", read: "^association-archiver\\.jobs$" };
    broker.add_user("least", "secret", "least", rights).await.unwrap();
    let least = with_uri(settings, &broker.uri_as("least", "secret", "least"));

    client.publish(JOBS, jobs(0..5)).await.unwrap();
    let mut edges = Edges::start(&least).await.unwrap();
    assert!(!edges.topology.warnings.is_empty());
    for job in take(&mut edges, 5).await {
        edges.publisher.publish(vec![outcome(job)]).await;
    }
    assert_eq!(published(&edges, 5).await.published.len(), 5);
    stop(edges).await;
    assert_eq!(client.count(JOBS).await.unwrap(), 0);
    assert_eq!(client.count(RESULTS).await.unwrap(), 5);
}

#[tokio::test]
async fn what_is_wrong_with_the_connection_is_told_apart() {
    let broker = Broker::shared().await.unwrap();
    let (_, mut settings) = own_vhost("faults").await;
    settings.connect_timeout = LATER;
    let begun = Instant::now();
    let fault = start_fault(&with_uri(settings.clone(), &broker.uri_as("guest", "hunter2", "faults"))).await;
    assert!(matches!(fault, ConnectFault::AccessRefused { .. }), "{fault}");
    assert!(!fault.to_string().contains("hunter2"), "{fault}");
    assert!(!fault.to_string().contains("%25"), "{fault}");
    let fault = start_fault(&with_uri(settings.clone(), &broker.uri_as("guest", "a%41b", "faults"))).await;
    assert!(fault.to_string().contains("a literal % is written %25"), "{fault}");
    let fault = start_fault(&with_uri(settings.clone(), &broker.uri_as("guest", "guest", "nowhere"))).await;
    assert!(matches!(&fault, ConnectFault::VhostRefused { vhost, .. } if vhost == "nowhere"), "{fault}");
    assert!(begun.elapsed() < SOON, "a refusal is final");

    let mut impatient = settings.clone();
    impatient.connect_timeout = Duration::from_secs(2);
    let closed = harness::port::free_port().unwrap();
    let fault = start_fault(&with_uri(impatient.clone(), &format!("amqp://127.0.0.1:{closed}"))).await;
    assert!(matches!(fault, ConnectFault::Unreachable { .. }), "{fault}");
    let plain = with_uri(impatient, &broker.uri().replace("amqp://", "amqps://"));
    let fault = start_fault(&plain).await;
    assert!(matches!(fault, ConnectFault::Tls { .. }), "{fault}");
}

/// A rolling deploy meets one: the old worker still has its connections.
#[tokio::test]
async fn a_limit_of_connections_or_channels_is_named_and_waited_for() {
    let broker = Broker::shared().await.unwrap();
    let (_, settings) = own_vhost("limits").await;
    let mut impatient = settings.clone();
    impatient.connect_timeout = Duration::from_secs(5);

    // The first of its two connections is all that it may have.
    broker.ctl(&["set_vhost_limits", "-p", "limits", r#"{"max-connections": 1}"#]).await.unwrap();
    let fault = start_fault(&impatient).await;
    assert!(matches!(&fault, ConnectFault::NotNow { .. }), "{fault}");
    assert!(fault.to_string().contains("connection limit (1) is reached"), "{fault}");
    let mut patient = settings.clone();
    patient.connect_timeout = LATER;
    let (edges, cleared) = tokio::join!(Edges::start(&patient), broker.ctl(&["clear_vhost_limits", "-p", "limits"]));
    cleared.unwrap();
    stop(edges.unwrap()).await;

    broker.add_user("limited", "secret", "limits", Rights::ALL).await.unwrap();
    let limited = with_uri(impatient, &broker.uri_as("limited", "secret", "limits"));
    broker.ctl(&["set_user_limits", "limited", r#"{"max-connections": 1}"#]).await.unwrap();
    let fault = start_fault(&limited).await;
    assert!(matches!(&fault, ConnectFault::NotNow { .. }), "{fault}");
    assert!(fault.to_string().contains("user connection limit (1) is reached"), "{fault}");
    broker.ctl(&["set_user_limits", "limited", r#"{"max-connections": 2, "max-channels": 0}"#]).await.unwrap();
    let fault = Edges::start(&limited).await.unwrap_err();
    assert!(matches!(&fault, StartFault::Topology(TopologyFault::Lost(cause)) if cause.contains("limit")), "{fault}");
}

/// A broker that starts or stops closes connections that it has just greeted.
#[tokio::test]
async fn a_broker_that_is_about_to_stop_or_start_is_waited_for() {
    let broker = Broker::shared().await.unwrap();
    let vhost = broker.vhost("turned-away").await.unwrap();
    for (code, text) in [
        (320, "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"),
        (320, "CONNECTION_FORCED - Node is being put into maintenance mode"),
        (541, "INTERNAL_ERROR - an internal error"),
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = vhost.uri.replace(&broker.address().to_string(), &listener.local_addr().unwrap().to_string());
        let mut impatient = settings(&uri);
        impatient.connect_timeout = Duration::from_secs(3);
        let turning_away = async {
            while let Ok((line, _)) = listener.accept().await {
                harness::raw::turn_away(line, code, text).await.unwrap();
            }
        };
        let fault = tokio::select! {
            fault = start_fault(&impatient) => fault,
            () = turning_away => unreachable!("it listens without end"),
        };
        assert!(matches!(&fault, ConnectFault::NotNow { cause, .. } if cause == text), "{fault}");

        // Twice, and then it is there.
        let serving = async {
            for _ in 0..2 {
                let (line, _) = listener.accept().await.unwrap();
                harness::raw::turn_away(line, code, text).await.unwrap();
            }
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let mut far = tokio::net::TcpStream::connect(broker.address()).await.unwrap();
                tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
            }
        };
        let patient = settings(&uri);
        let edges = tokio::select! {
            edges = Edges::start(&patient) => edges.unwrap(),
            () = serving => unreachable!("it listens without end"),
        };
        stop(edges).await;
    }
}

#[tokio::test]
async fn an_address_that_stays_silent_costs_its_share_of_the_time_and_comes_last_thereafter() {
    let broker = Broker::shared().await.unwrap();
    let (_, settings) = own_vhost("silent-address").await;
    // The system takes connections, and nobody ever says a word.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addresses = vec![silent.local_addr().unwrap(), broker.address()];
    let dial = Dial::new(&settings, "test");
    let mut took = Vec::new();
    for _ in 0..2 {
        let begun = Instant::now();
        let connection = dial.connect_at(addresses.clone(), CONNECT_TIMEOUT).await.unwrap();
        took.push(begun.elapsed());
        connection.close(200, "OK".into()).await.unwrap();
    }
    assert!(took[0] >= CONNECT_TIMEOUT / 2 && took[1] < took[0], "{took:?}");
}

#[tokio::test]
async fn the_broker_may_be_named_by_an_address_of_ipv6() {
    let broker = Broker::shared().await.unwrap();
    let (_, settings) = own_vhost("ipv6").await;
    let Ok(listener) = tokio::net::TcpListener::bind("[::1]:0").await else {
        eprintln!("this machine has no IPv6");
        return;
    };
    let port = listener.local_addr().unwrap().port();
    let relaying = tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut server = tokio::net::TcpStream::connect(broker.address()).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    let edges = Edges::start(&with_uri(settings, &format!("amqp://guest:guest@[::1]:{port}/ipv6"))).await.unwrap();
    stop(edges).await;
    relaying.abort();
}

#[tokio::test]
async fn a_hung_attempt_to_connect_leaves_no_thread() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_, mut settings) = own_vhost("hung").await;
    settings.connect_timeout = Duration::from_millis(500);
    let silent = with_uri(settings, &format!("amqp://{}", listener.local_addr().unwrap()));
    let fault = start_fault(&silent).await;
    assert!(fault.to_string().contains("does not answer"), "{fault}");
    // The other tests of this process have connections of their own, and so threads; but none to this port.
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(SOON, tokio::io::AsyncReadExt::read_to_end(&mut socket, &mut rest)).await;
    assert!(ended.is_ok(), "the attempt still holds its socket");
}

#[tokio::test]
async fn every_job_is_acknowledged_when_its_outcome_is_safe() {
    let (client, settings) = own_vhost("many").await;
    let mut edges = Edges::start(&settings).await.unwrap();
    client.publish(JOBS, jobs(0..20_000)).await.unwrap();
    answer_all(&mut edges, 20_000).await;
    // A task of its own acknowledges what is published.
    eventually(
        SOON,
        "the last acknowledgement",
        async || Ok((edges.health.acknowledged.get() == 20_000).then_some(())),
    )
    .await
    .unwrap();
    assert_eq!(edges.health.published.get(), 20_000);
    assert_eq!((edges.held.jobs(), edges.held.bytes()), (0, 0));
    stop(edges).await;

    assert_eq!(client.count(JOBS).await.unwrap(), 0);
    let outcomes = client.collect(RESULTS, Until::Count(20_000), LATER).await.unwrap();
    assert_eq!(bodies(&outcomes), bodies(&jobs(0..20_000)));
    let outcome = &outcomes[0];
    assert_eq!(outcome.properties.content_type().as_ref().unwrap().as_str(), "application/json");
    assert_eq!(outcome.properties.kind().as_ref().unwrap().as_str(), "association-archive.outcome.v1");
    assert_eq!(outcome.properties.app_id().as_ref().unwrap().as_str(), "association-archiver");
    assert_eq!(*outcome.properties.delivery_mode(), Some(2));
    assert_eq!(*outcome.properties.timestamp(), Some(1_800_000_000));
    assert_eq!(outcome.header("x-job-status").unwrap(), "ARCHIVED");
    assert_eq!(outcome.header("traceparent").unwrap(), "00-1-2-01");
}

#[tokio::test]
async fn a_returned_message_among_good_ones_is_not_taken_for_published() {
    let (client, settings) = own_vhost("returned").await;
    let mut edges = Edges::start(&settings).await.unwrap();
    let delay = format!("{JOBS}.delay.1h");
    client.delete(&delay).await.unwrap();
    client.publish(JOBS, jobs(0..2_000)).await.unwrap();
    let mut answers = Vec::new();
    for (job, number) in take(&mut edges, 2_000).await.into_iter().zip(0..) {
        answers.push(if number % 10 == 3 { parked(job, Tier::OneHour) } else { outcome(job) });
    }
    edges.publisher.publish(answers).await;
    // The topology is mended by the publisher, and then the rest goes out too.
    assert_eq!(published(&edges, 2_000).await.published.len(), 2_000);
    assert!(edges.health.returned.get() > 0);
    stop(edges).await;
    assert_eq!(client.count(JOBS).await.unwrap(), 0);
    assert_eq!(client.count(RESULTS).await.unwrap(), 1_800);
    assert_eq!(client.count(&delay).await.unwrap(), 200);
}

#[tokio::test]
async fn what_has_no_route_waits_until_somebody_makes_one() {
    let (client, mut settings) = own_vhost("no-route").await;
    stop(Edges::start(&settings).await.unwrap()).await;
    settings.declare_topology = false;
    let mut edges = Edges::start(&settings).await.unwrap();
    client.delete(RESULTS).await.unwrap();
    client.publish(JOBS, jobs(0..50)).await.unwrap();
    let answers = take(&mut edges, 50).await.into_iter().map(outcome).collect();
    edges.publisher.publish(answers).await;
    eventually(SOON, "a word about the missing queue", async || {
        Ok(edges
            .health
            .publishing_trouble
            .get()
            .filter(|trouble| trouble.contains(RESULTS) || trouble.contains("results")))
    })
    .await
    .unwrap();
    assert_eq!(edges.health.acknowledged.get(), 0);
    assert_eq!(edges.held.jobs(), 50);

    client.declare_quorum(RESULTS, &[]).await.unwrap();
    client.bind(RESULTS, "association-archiver", "results").await.unwrap();
    assert_eq!(published(&edges, 50).await.published.len(), 50);
    let is_mended = async || Ok(edges.health.publishing_trouble.get().is_none().then_some(()));
    eventually(SOON, "the end of the trouble", is_mended).await.unwrap();
    stop(edges).await;
    assert_eq!(client.count(RESULTS).await.unwrap(), 50);
    assert_eq!(client.count(JOBS).await.unwrap(), 0);
}

#[tokio::test]
async fn a_full_results_queue_holds_outcomes_back_and_parked_jobs_not() {
    let (client, settings) = own_vhost("full").await;
    let full = [("x-max-length", 5_i32.into()), ("x-overflow", long_string("reject-publish"))];
    client.declare_quorum(RESULTS, &full).await.unwrap();
    // One by one: the first beyond the limit is still taken, and a hasty second might not be.
    for one in jobs(100..106) {
        client.publish(RESULTS, [one]).await.unwrap();
    }
    let mut edges = Edges::start(&settings).await.unwrap();
    client.publish(JOBS, jobs(0..100)).await.unwrap();
    let mut held = take(&mut edges, 100).await;
    let late = held.split_off(90);
    edges.publisher.publish(held.into_iter().map(outcome).collect()).await;
    eventually(SOON, "refused outcomes", async || Ok((edges.health.refused.get() > 0).then_some(()))).await.unwrap();
    edges.publisher.publish(late.into_iter().map(|job| parked(job, Tier::OneHour)).collect()).await;
    let delay = format!("{JOBS}.delay.1h");
    eventually(SOON, "the parked jobs", async || Ok((client.count(&delay).await? == 10).then_some(()))).await.unwrap();
    // One of them asks whether there is room, not all again and again.
    let refused = edges.health.refused.get();
    assert!(refused <= 110, "{refused} refused of 90");

    let collected = client.collect(RESULTS, Until::Count(96), LATER).await.unwrap();
    let mut expected = jobs(0..90);
    expected.extend(jobs(100..106));
    assert_eq!(bodies(&collected), bodies(&expected));
    assert_eq!(published(&edges, 100).await.published.len(), 100);
    stop(edges).await;
    assert_eq!(client.count(JOBS).await.unwrap(), 0);
}

#[tokio::test]
async fn an_answer_of_two_messages_needs_both() {
    let (client, mut settings) = own_vhost("two").await;
    stop(Edges::start(&settings).await.unwrap()).await;
    settings.declare_topology = false;
    let mut edges = Edges::start(&settings).await.unwrap();
    client.delete(DEAD_LETTERS).await.unwrap();
    client.publish(JOBS, [message("no job").with_header("x-death", "forged").unwrap()]).await.unwrap();
    let job = take(&mut edges, 1).await.remove(0);
    let category = ("x-reject-category", HeaderValue::Text("MALFORMED_JOB".into()));
    let letter = Outgoing {
        route: Route::DeadLetters,
        body: job.body.clone().into(),
        envelope: Envelope::Copy(job.properties.republished(None, [category])),
    };
    edges.publisher.publish(vec![outcome(job).and(letter)]).await;
    eventually(SOON, "the outcome", async || Ok((client.count(RESULTS).await? == 1).then_some(()))).await.unwrap();
    assert_eq!(edges.health.acknowledged.get(), 0);
    client.declare_quorum(DEAD_LETTERS, &[]).await.unwrap();
    client.bind(DEAD_LETTERS, "association-archiver", "dead-letters").await.unwrap();
    assert_eq!(published(&edges, 1).await.published.len(), 1);
    stop(edges).await;
    let letters = client.get_all(DEAD_LETTERS).await.unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].header("x-reject-category").unwrap(), "MALFORMED_JOB");
    assert_eq!((letters[0].body.as_slice(), letters[0].header("x-death")), (b"no job".as_slice(), None));
    assert_eq!(client.count(RESULTS).await.unwrap(), 1, "the outcome is not published again");
    assert_eq!(client.count(JOBS).await.unwrap(), 0);
}

#[tokio::test]
async fn a_stuck_job_holds_up_no_other() {
    let (client, settings) = own_vhost("stuck").await;
    let mut edges = Edges::start(&settings).await.unwrap();
    client.publish(JOBS, jobs(0..1_000)).await.unwrap();
    let mut held = take(&mut edges, 1_000).await;
    let stuck = held.remove(0);
    edges.publisher.publish(held.into_iter().map(outcome).collect()).await;
    published(&edges, 999).await;
    eventually(SOON, "999 acknowledgements", async || {
        let unacknowledged =
            Broker::shared().await?.ctl(&["list_queues", "-p", "stuck", "messages_unacknowledged", "name"]).await?;
        Ok(unacknowledged.lines().any(|line| line == format!("1\t{JOBS}")).then_some(()))
    })
    .await
    .unwrap();
    edges.settler.settle(vec![stuck.receipt.hand_back()]).await;
    let again = take(&mut edges, 1).await.remove(0);
    assert!(again.redelivered);
    edges.publisher.publish(vec![outcome(again)]).await;
    published(&edges, 1).await;
    stop(edges).await;
    assert_eq!(client.count(JOBS).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_back_to_one_task_is_not_taken_for_anothers() {
    // As many as a task publishes before it waits.
    const LIST: usize = 1_000;
    let (client, mut settings) = own_vhost("publishing-tasks").await;
    stop(Edges::start(&settings).await.unwrap()).await;
    settings.declare_topology = false;
    let mut edges = Edges::start(&settings).await.unwrap();
    let delays = Tier::ALL.map(|tier| (tier, format!("{JOBS}.delay.{}", tier.as_str())));
    for (_, delay) in &delays {
        client.delete(delay).await.unwrap();
    }
    let all = 2 * LIST * delays.len();
    client.publish(JOBS, jobs(0..all)).await.unwrap();
    let mut held = take(&mut edges, all).await;
    // Lists go to the publishing tasks in turn: one gets all that comes back. What came back once is tried again one by one, so each
    // list has another queue.
    for (tier, _) in &delays {
        let parks = held.split_off(held.len() - LIST);
        let outcomes = held.split_off(held.len() - LIST);
        edges.publisher.publish(outcomes.into_iter().map(outcome).collect()).await;
        edges.publisher.publish(parks.into_iter().map(|job| parked(job, *tier)).collect()).await;
    }
    let half = (all / 2) as u64;
    eventually(SOON, "a half published, the other one returned", async || {
        let health = &edges.health;
        Ok((health.acknowledged.get() == half && health.returned.get() >= half).then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(edges.health.unknown.get(), 0, "the queues that are missing cost no channel");
    for (_, delay) in &delays {
        client.declare_quorum(delay, &[]).await.unwrap();
        client.bind(delay, "association-archiver", delay).await.unwrap();
    }
    published(&edges, all).await;
    stop(edges).await;
    assert_eq!(u64::from(client.count(RESULTS).await.unwrap()), half);
    for (_, delay) in &delays {
        assert_eq!(client.count(delay).await.unwrap() as usize, LIST, "{delay}");
    }
    assert_eq!(client.count(JOBS).await.unwrap(), 0);
}

/// The broker answers each of these looks by closing a channel, some of them just when the library closes it too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looks_that_are_given_up_cost_no_connection() {
    const GIVEN_UP: u32 = 400;
    let (_client, mut settings) = own_vhost("given-up").await;
    stop(Edges::start(&settings).await.unwrap()).await;
    settings.declare_topology = false;
    settings.results_queue = QueueName::new("nobody-made-this").unwrap();
    settings.dead_letter_queue = QueueName::new("nor-this").unwrap();
    let topology = Topology::new(&settings);
    let connection = Dial::new(&settings, "test").connect(SOON).await.unwrap();
    for i in 0..GIVEN_UP {
        // Some are given up by their caller, the others by the first fault.
        let patience = if i % 2 == 0 { Duration::from_micros(u64::from(i) * 25) } else { SOON };
        if let Ok(found) = tokio::time::timeout(patience, topology.ensure(&connection)).await {
            assert!(matches!(found, Err(TopologyFault::Missing { .. })), "{found:?}");
        }
    }
    assert!(connection.status().connected());
}

/// A number whose channel the broker has closed, as after a look at a missing queue, can never be used again on that
/// connection.
#[tokio::test]
async fn a_connection_out_of_channel_numbers_is_replaced_and_what_works_on_it_goes_on() {
    let broker = Broker::shared().await.unwrap();
    let vhost = broker.vhost("numbers").await.unwrap();
    let client = Client::new(&vhost.uri);
    // A broker gives 2,047.
    let mut settings = settings(&format!("{}?channel_max=40", vhost.uri));
    stop(Edges::start(&settings).await.unwrap()).await;
    client.publish(JOBS, jobs(0..1)).await.unwrap();
    let topology = Topology::new(&settings);
    settings.declare_topology = false;
    settings.results_queue = QueueName::new("nobody-made-this").unwrap();
    let lacking = Topology::new(&settings);
    let link = Link::new(Dial::new(&settings, "test"), Purpose::Consume, &Arc::default(), CancellationToken::new());
    link.connect_first(SOON).await.unwrap();
    let (working, first) = link.channel().await.unwrap();
    let (queue, options) = (ShortString::from(JOBS), BasicConsumeOptions::default());
    let mut consumer = working.basic_consume(queue, "".into(), options, FieldTable::default()).await.unwrap();
    let delivery = consumer.next().await.unwrap().unwrap();

    let missing = vec![ShortString::from("nobody-made-this"); 25];
    assert_eq!(link.depths(&missing).await, vec![None; 25]);
    // Numbers are given out a second time, and then there are none left.
    link.ensure(&topology).await.unwrap().unwrap();
    for _ in 0..100 {
        match link.ensure(&lacking).await {
            Some(Err(TopologyFault::Missing { name, .. })) => assert_eq!(name, "nobody-made-this"),
            other => panic!("{other:?}"),
        }
    }
    let (another, second) = link.channel().await.unwrap();
    assert_ne!(first, second);
    for _ in 0..3 {
        assert_eq!(link.depths(&missing).await, vec![None; 25]);
        assert_eq!(link.depths(&[ShortString::from(JOBS)]).await, [Some(Depth { ready: 0, consumers: 1 })]);
    }
    assert!(working.status().connected());
    working.basic_ack(delivery.delivery_tag, BasicAckOptions::default()).await.unwrap();
    working.close(200, "OK".into()).await.unwrap();
    assert_eq!(client.count(JOBS).await.unwrap(), 0);

    // The connections on which nothing works any more are closed.
    another.close(200, "OK".into()).await.unwrap();
    link.channel().await.unwrap();
    eventually(SOON, "the end of earlier connections", async || {
        let all = broker.ctl(&["list_connections", "vhost", "client_properties"]).await?;
        let of_link =
            all.lines().filter(|line| line.starts_with("numbers") && line.contains("association-archiver test"));
        Ok((of_link.count() == 1).then_some(()))
    })
    .await
    .unwrap();
    link.close().await;
}

/// The broker goes on delivering on a channel that it has closed, until it hears that the library knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_channel_that_the_broker_closes_costs_no_connection() {
    const BUSY: &str = "busy";
    const IN_HAND: u16 = 1_000;
    let (client, settings) = own_vhost("busy-channel").await;
    client.declare_classic(BUSY).await.unwrap();
    client.publish(BUSY, jobs(0..8_000)).await.unwrap();
    let connection = Dial::new(&settings, "test").connect(SOON).await.unwrap();
    for round in 0..8 {
        let channel = connection.create_channel().await.unwrap();
        channel.basic_qos(IN_HAND, BasicQosOptions::default()).await.unwrap();
        let (queue, options) = (ShortString::from(BUSY), BasicConsumeOptions::default());
        let consumer = channel.basic_consume(queue, "".into(), options, FieldTable::default()).await.unwrap();
        let mut deliveries = consumer.take_while(|delivery| std::future::ready(delivery.is_ok()));
        assert_eq!(deliveries.by_ref().take(IN_HAND.into()).count().await, usize::from(IN_HAND));
        // The last is acknowledged already, and the broker closes the channel for that.
        let tags = (1..=200).chain([1]);
        join_all(tags.map(|tag| channel.basic_ack(tag, BasicAckOptions::default()))).await;
        tokio::time::timeout(SOON, deliveries.count()).await.unwrap();
        for _ in 0..3 {
            let another = connection.create_channel().await.unwrap();
            another.close(200, "OK".into()).await.unwrap();
        }
        assert!(connection.status().connected(), "round {round}");
    }
}

#[tokio::test]
async fn draining_hands_back_what_nobody_has_seen_and_settles_the_rest() {
    let (client, mut settings) = own_vhost("drain").await;
    settings.prefetch = NonZeroU16::new(6_000).unwrap();
    let mut edges = Edges::start(&settings).await.unwrap();
    client.publish(JOBS, jobs(0..30_000)).await.unwrap();
    let held = take(&mut edges, 500).await;
    edges.intakes[0].drain();
    let mut seen = held;
    let mut begun = 0;
    while let Some(event) = edges.intakes[0].next().await {
        match event {
            IntakeEvent::Jobs(jobs) => seen.extend(jobs),
            IntakeEvent::Began(_) => begun += 1,
            IntakeEvent::Lost(_) | IntakeEvent::Overfull => panic!("{event:?}"),
        }
    }
    assert_eq!(begun, 0);
    let answered = seen.len();
    assert!(!edges.health.consuming());
    // At once, not only when the channel closes: others wait for the work.
    let rest = eventually(SOON, "the rest of the jobs back in their queue", async || {
        let ready = client.count(JOBS).await? as usize;
        Ok((ready == 30_000 - answered).then_some(ready))
    });
    rest.await.unwrap();
    edges.publisher.publish(seen.into_iter().map(outcome).collect()).await;
    stop(edges).await;
    assert_eq!(client.count(RESULTS).await.unwrap() as usize, answered);
    assert_eq!(client.count(JOBS).await.unwrap() as usize, 30_000 - answered);
}

#[tokio::test]
async fn a_deleted_jobs_queue_is_declared_again_and_what_was_in_hand_is_answered() {
    let (client, settings) = own_vhost("deleted").await;
    let mut edges = Edges::start(&settings).await.unwrap();
    client.publish(JOBS, jobs(0..10)).await.unwrap();
    let in_hand = take(&mut edges, 10).await;
    client.delete(JOBS).await.unwrap();
    eventually(SOON, "a new jobs queue", async || Ok(client.exists(JOBS).await?.then_some(()))).await.unwrap();
    client.publish(JOBS, jobs(10..20)).await.unwrap();
    edges.publisher.publish(in_hand.into_iter().map(outcome).collect()).await;
    published(&edges, 10).await;
    answer_all(&mut edges, 10).await;
    stop(edges).await;
    let outcomes = client.get_all(RESULTS).await.unwrap();
    assert_eq!(bodies(&outcomes), bodies(&jobs(0..20)));
}

/// Small jobs have raised what is asked for in advance when large ones come, so that all of those are on their way.
#[tokio::test]
async fn large_jobs_do_not_fill_the_memory() {
    const MIB: u64 = 1024 * 1024;
    let (client, mut settings) = own_vhost("large").await;
    settings.max_held_bytes = 8 * MIB;
    let mut edges = Edges::start(&settings).await.unwrap();
    client.publish(JOBS, jobs(0..3_000)).await.unwrap();
    answer_all(&mut edges, 3_000).await;
    let large = (0..60).map(|number| message(&format!("{}{number}", "x".repeat(262_144))));
    client.publish(JOBS, large).await.unwrap();
    let (mut answered, mut overfull, mut held) = (0, 0, Vec::new());
    while answered < 60 {
        match tokio::time::timeout(SOON, edges.intakes[0].next()).await.expect("more jobs").unwrap() {
            IntakeEvent::Began(_) => {}
            IntakeEvent::Jobs(jobs) => held.extend(jobs),
            IntakeEvent::Overfull => overfull += 1,
            IntakeEvent::Lost(_) => panic!("lost"),
        }
        // One more look at memory, and the job that was the last of it.
        assert!(edges.held.bytes() < 12 * MIB, "{} bytes held", edges.held.bytes());
        if overfull > 0 && !held.is_empty() {
            answered += held.len();
            edges.publisher.publish(held.drain(..).map(outcome).collect()).await;
        }
    }
    assert!(overfull > 0);
    stop(edges).await;
    assert_eq!(client.count(JOBS).await.unwrap(), 0);
    assert_eq!(client.count(RESULTS).await.unwrap(), 3_060);
}

/// Nothing is known yet of how large jobs are: no more come in advance than fit, though they may be as large as can be.
#[tokio::test]
async fn a_subscription_begins_with_few_jobs_and_soon_has_all_that_it_may() {
    let (client, mut settings) = own_vhost("few-first").await;
    settings.max_held_bytes = 16 * 1024 * 1024;
    client.declare_quorum(JOBS, &[]).await.unwrap();
    let large = (0..40).map(|number| message(&format!("{}{number}", "x".repeat(1_000_000))));
    client.publish(JOBS, large).await.unwrap();
    let mut edges = Edges::start(&settings).await.unwrap();
    let first = take(&mut edges, 3).await;
    let unseen = tokio::time::timeout(IDLE, edges.intakes[0].next()).await;
    assert!(unseen.is_err(), "{unseen:?}");
    edges.publisher.publish(first.into_iter().map(outcome).collect()).await;
    let mut answered = 3;
    while answered < 40 {
        let jobs = take(&mut edges, 1).await;
        answered += jobs.len();
        edges.publisher.publish(jobs.into_iter().map(outcome).collect()).await;
    }
    published(&edges, 40).await;
    assert_eq!(edges.health.handed_back.get(), 0, "none came that did not fit");
    stop(edges).await;

    client.publish(JOBS, jobs(0..5_000)).await.unwrap();
    let mut edges = Edges::start(&settings).await.unwrap();
    assert_eq!(take(&mut edges, 5_000).await.len(), 5_000, "all of them at once");
    let own = edges.health.queues()[0].consumers.get();
    assert!(own > 1, "more are asked for by more consumers");
    let passive = lapin::options::QueueDeclareOptions { passive: true, ..Default::default() };
    let channel = client.channel().await.unwrap();
    eventually(SOON, "as many consumers in the eyes of others", async || {
        let there = channel.queue_declare(JOBS.into(), passive, lapin::types::FieldTable::default()).await?;
        Ok((u64::from(there.consumer_count()) == edges.health.queues()[0].consumers.get()).then_some(()))
    })
    .await
    .unwrap();
    stop(edges).await;
}

#[tokio::test]
async fn connections_closed_by_the_broker_cost_nothing() {
    let broker = Broker::start(Options::default()).await.unwrap();
    let client = Client::new(&broker.uri());
    let mut edges = Edges::start(&settings(&broker.uri())).await.unwrap();
    client.publish(JOBS, jobs(0..5_000)).await.unwrap();
    let mut closed = false;
    answer_while(&mut edges, &client, 5_000, async |edges, answered| {
        if answered > 1_000 && !closed {
            closed = true;
            broker.close_all_connections().await?;
        }
        let _ = edges;
        Ok(())
    })
    .await;
    stop(edges).await;
    assert_at_least_once(&client, 5_000).await;
}

#[tokio::test]
async fn a_broker_killed_and_restarted_loses_nothing() {
    let broker = Broker::start(Options::default()).await.unwrap();
    let client = Client::new(&broker.uri());
    let mut edges = Edges::start(&settings(&broker.uri())).await.unwrap();
    let mut journal = journal::Stage::start(&broker.uri(), &[]);
    journal.try_one(1).await.unwrap();
    client.publish(JOBS, jobs(0..5_000)).await.unwrap();
    tokio::time::sleep(QUEUE_SETTLED).await;
    let mut killed = false;
    answer_while(&mut edges, &client, 5_000, async |edges, answered| {
        if answered > 1_000 && !killed {
            killed = true;
            broker.kill9().await?;
            eventually(SOON, "truth about the loss", async || Ok((!edges.health.consuming()).then_some(()))).await?;
            broker.restart().await?;
        }
        Ok(())
    })
    .await;
    assert!(edges.health.consuming() && edges.health.publishing.get());
    stop(edges).await;
    assert_at_least_once(&client, 5_000).await;
    journal.try_one(2).await.unwrap();
    journal.holds(&[1, 2]).await;
}

#[tokio::test]
async fn a_memory_alarm_stops_publishing_and_not_acknowledging() {
    let broker = Broker::start(Options::default()).await.unwrap();
    let client = Client::new(&broker.uri());
    let mut edges = Edges::start(&settings(&broker.uri())).await.unwrap();
    client.publish(JOBS, jobs(0..200)).await.unwrap();
    let mut held = take(&mut edges, 200).await;
    let mut journal = journal::Stage::start(&broker.uri(), &[]);
    journal.try_one(1).await.unwrap();
    broker.raise_memory_alarm().await.unwrap();
    let given_back = held.split_off(100);
    edges.publisher.publish(held.into_iter().map(outcome).collect()).await;
    eventually(SOON, "the block", async || Ok(edges.health.blocked.get().then_some(()))).await.unwrap();
    edges.settler.settle(given_back.into_iter().map(|job| job.receipt.hand_back()).collect()).await;
    let again = take(&mut edges, 100).await;
    assert!(again.iter().all(|job| job.redelivered));
    let complaint = journal.try_one(2).await.unwrap_err();
    assert!(complaint.contains("a memory or disk alarm"), "{complaint}");
    broker.clear_memory_alarm().await.unwrap();
    journal.try_one(3).await.unwrap();
    assert_eq!(published(&edges, 100).await.published.len(), 100);
    eventually(SOON, "the end of the block", async || Ok((!edges.health.blocked.get()).then_some(()))).await.unwrap();
    edges.publisher.publish(again.into_iter().map(outcome).collect()).await;
    published(&edges, 100).await;
    stop(edges).await;
    assert_eq!(bodies(&client.get_all(RESULTS).await.unwrap()), bodies(&jobs(0..200)));
}

#[tokio::test]
async fn a_connection_cut_in_the_middle_of_a_frame_is_made_again() {
    let broker = Broker::shared().await.unwrap();
    let (client, _) = own_vhost("cut").await;
    let relay = Relay::start(broker.address()).await.unwrap();
    let mut edges = Edges::start(&settings(&relay.through(&broker.uri_as("guest", "guest", "cut")))).await.unwrap();
    client.publish(JOBS, jobs(0..5_000)).await.unwrap();
    let mut cut = false;
    answer_while(&mut edges, &client, 5_000, async |_, answered| {
        if answered > 500 && !cut {
            cut = true;
            relay.cut_after(Way::ToServer, 40_001);
        }
        Ok(())
    })
    .await;
    stop(edges).await;
    assert_at_least_once(&client, 5_000).await;
}

#[tokio::test]
async fn a_message_that_costs_the_connection_holds_up_no_other() {
    let (client, settings) = own_vhost("poison").await;
    let mut edges = Edges::start(&settings).await.unwrap();
    client.publish(JOBS, jobs(0..300)).await.unwrap();
    let mut held = take(&mut edges, 300).await;
    let poison = held.remove(150);
    let oversize = ("x-more-than-a-frame", HeaderValue::Text("x".repeat(200_000)));
    let copy = Envelope::Copy(poison.properties.republished(None, [oversize]));
    let letter = Outgoing { route: Route::DeadLetters, body: poison.body.into(), envelope: copy };
    let mut answers: Vec<Deposit> = held.into_iter().map(outcome).collect();
    answers.insert(150, Deposit::new(7, Some(poison.receipt), letter));
    edges.publisher.publish(answers).await;
    let report = published(&edges, 299).await;
    assert!(report.published.iter().all(|answer| answer.key == 0));
    eventually(SOON, "a complaint", async || Ok(edges.health.publishing_trouble.get())).await.unwrap();
    assert_eq!(edges.held.jobs(), 1);
    edges.intakes[0].drain();
    while edges.intakes[0].next().await.is_some() {}
    edges.publisher.close(Duration::ZERO).await;
    edges.closer.close(Duration::from_secs(30)).await;
    assert_eq!(client.count(JOBS).await.unwrap(), 1, "the job itself is kept");
}

#[tokio::test]
async fn a_frozen_broker_is_noticed_and_costs_nothing() {
    let broker = Broker::start(Options::default()).await.unwrap();
    let client = Client::new(&broker.uri());
    let uri = format!("{}?heartbeat=2", broker.uri());
    let mut edges = Edges::start(&settings(&uri)).await.unwrap();
    client.publish(JOBS, jobs(0..5_000)).await.unwrap();
    let mut frozen = false;
    answer_while(&mut edges, &client, 5_000, async |edges, answered| {
        if answered > 1_000 && !frozen {
            frozen = true;
            broker.freeze()?;
            eventually(SOON, "the silence noticed", async || Ok((!edges.health.consuming()).then_some(()))).await?;
            broker.thaw()?;
        }
        Ok(())
    })
    .await;
    stop(edges).await;
    assert_at_least_once(&client, 5_000).await;
}

#[tokio::test]
async fn jobs_held_beyond_the_brokers_patience_come_again() {
    let broker = Broker::start(Options::default().consumer_timeout(Duration::from_secs(6))).await.unwrap();
    let client = Client::new(&broker.uri());
    let mut edges = Edges::start(&settings(&broker.uri())).await.unwrap();
    client.publish(JOBS, jobs(0..10)).await.unwrap();
    let mut held = take(&mut edges, 10).await;
    let kept = held.split_off(5);
    let again = tokio::time::timeout(LATER, edges.intakes[0].next()).await.unwrap();
    // RabbitMQ closes the channel. From 4.3 on it ends the consumer alone, and acknowledgements that come after that
    // are made in vain, so those that were answered are answered again.
    let closed = match again {
        Some(IntakeEvent::Lost(Generation { number: 1, .. })) => true,
        Some(IntakeEvent::Jobs(mut again)) => {
            let rest = take(&mut edges, 10 - again.len()).await;
            again.extend(rest);
            edges.publisher.publish(again.into_iter().map(outcome).collect()).await;
            false
        }
        Some(IntakeEvent::Began(_) | IntakeEvent::Lost(_) | IntakeEvent::Overfull) | None => panic!("{again:?}"),
    };
    edges.publisher.publish(held.into_iter().map(outcome).collect()).await;
    if closed {
        assert_eq!(stale(&edges, 5).await.len(), 5);
        let again = take(&mut edges, 10).await;
        assert!(again.iter().all(|job| job.redelivered));
        // Their tags are by now those of deliveries that are in hand.
        edges.settler.settle(kept.into_iter().map(|job| job.receipt.hand_back()).collect()).await;
        edges.publisher.publish(again.into_iter().map(outcome).collect()).await;
        published(&edges, 10).await;
    } else {
        edges.publisher.publish(kept.into_iter().map(outcome).collect()).await;
        published(&edges, 20).await;
    }
    let (health, answered) = (Arc::clone(&edges.health), if closed { 10 } else { 20 });
    let acknowledged = async || Ok((health.acknowledged.get() == answered).then_some(()));
    eventually(SOON, "all acknowledgements", acknowledged).await.unwrap();
    // When all that was late is acknowledged, 4.3 gives the consumer jobs again unless it was cancelled.
    client.publish(JOBS, jobs(10..30)).await.unwrap();
    answer_all(&mut edges, 20).await;
    stop(edges).await;
    let settled = (health.settled_too_late.get(), health.acknowledged.get(), health.handed_back.get());
    assert_eq!(settled, (if closed { 5 } else { 0 }, answered + 20, 0));
    assert_eq!(u64::from(client.count(RESULTS).await.unwrap()), answered + 20);
    assert_eq!(client.count(JOBS).await.unwrap(), 0);
}

/// RabbitMQ 4.3 does so when an acknowledgement is late: it goes on with the consumer as soon as that has come.
#[tokio::test]
async fn a_consumer_that_the_broker_has_only_told_to_be_cancelled_takes_no_jobs_away() {
    let broker = Broker::shared().await.unwrap();
    let vhost = broker.vhost("told-cancelled").await.unwrap();
    broker.add_user("told", "secret", &vhost.name, Rights::ALL).await.unwrap();
    let client = Client::new(&vhost.uri);
    let mut edges = Edges::start(&settings(&broker.uri_as("told", "secret", &vhost.name))).await.unwrap();
    client.publish(JOBS, jobs(0..1)).await.unwrap();
    answer_all(&mut edges, 1).await;
    assert!(broker.call_consumers_cancelled("told").await.unwrap() > 0, "there is no consumer");
    let health = Arc::clone(&edges.health);
    let again = async || Ok((health.resubscriptions.get() == 1).then_some(()));
    eventually(SOON, "another subscription", again).await.unwrap();
    client.publish(JOBS, jobs(1..101)).await.unwrap();
    answer_all(&mut edges, 100).await;
    stop(edges).await;
    assert_eq!(client.count(JOBS).await.unwrap(), 0);
}

#[tokio::test]
async fn parked_jobs_come_back_by_themselves() {
    let (client, settings) = own_vhost("parked").await;
    let mut edges = Edges::start(&settings).await.unwrap();
    client.publish(JOBS, jobs(0..20)).await.unwrap();
    let begun = Instant::now();
    let jobs_to_park = take(&mut edges, 20).await;
    edges.publisher.publish(jobs_to_park.into_iter().map(|job| parked(job, Tier::TenSeconds)).collect()).await;
    published(&edges, 20).await;
    assert_eq!(edges.held.jobs(), 0);
    let mut back = Vec::new();
    while back.len() < 20 {
        match tokio::time::timeout(LATER, edges.intakes[0].next()).await.unwrap().unwrap() {
            IntakeEvent::Jobs(jobs) => back.extend(jobs),
            IntakeEvent::Began(_) | IntakeEvent::Lost(_) | IntakeEvent::Overfull => panic!("interrupted"),
        }
    }
    assert!(begun.elapsed() >= Duration::from_secs(9), "{:?}", begun.elapsed());
    assert!(back.iter().all(|job| job.properties.integer_header("x-archiver-tier") == Some(1)));
    assert_eq!(back[0].properties.message_id(), Some("job 0"));
    edges.publisher.publish(back.into_iter().map(outcome).collect()).await;
    published(&edges, 20).await;
    stop(edges).await;
}

#[tokio::test]
async fn dead_letters_are_put_back_by_the_same_means() {
    let (client, settings) = own_vhost("redrive").await;
    let mut letters = Edges::start_on(&settings, Source::DeadLetters).await.unwrap();
    client.publish(DEAD_LETTERS, jobs(0..100)).await.unwrap();
    let mut taken = take(&mut letters, 100).await;
    let kept = taken.split_off(60);
    let mut moved: Vec<Vec<u8>> = taken.iter().map(|letter| letter.body.to_vec()).collect();
    moved.sort_unstable();
    let again = taken.into_iter().map(|letter| {
        let copy = Envelope::Copy(letter.properties.republished(None, [("x-redriven", HeaderValue::Integer(1))]));
        let message = Outgoing { route: Route::Jobs, body: letter.body.into(), envelope: copy };
        Deposit::new(0, Some(letter.receipt), message)
    });
    letters.publisher.publish(again.collect()).await;
    published(&letters, 60).await;
    letters.settler.settle(kept.into_iter().map(|letter| letter.receipt.hand_back()).collect()).await;
    stop(letters).await;
    assert_eq!(client.count(DEAD_LETTERS).await.unwrap(), 40);
    assert_eq!(bodies(&client.get_all(JOBS).await.unwrap()), moved);
}

#[tokio::test]
async fn jobs_are_enqueued_without_consuming() {
    let (client, settings) = own_vhost("enqueue").await;
    let outlet = Outlet::start(&settings).await.unwrap();
    let answers = (0..500_u64).map(|number| {
        let envelope = Envelope::Copy(Properties::of_job(&format!("job {number}")));
        Deposit::new(number, None, Outgoing { route: Route::Jobs, body: format!("job {number}").into(), envelope })
    });
    outlet.publisher.publish(answers.collect()).await;
    assert_eq!(outlet.publisher.waiting(), 500);
    let mut keys = Vec::new();
    while keys.len() < 500 {
        keys.extend(outlet.publisher.report().await.published.into_iter().map(|answer| answer.key));
    }
    assert_eq!(outlet.publisher.waiting(), 0);
    keys.sort_unstable();
    assert!(keys.into_iter().eq(0..500));
    outlet.publisher.close(SOON).await;
    outlet.closer.close(Duration::from_secs(30)).await;
    let queued = client.get_all(JOBS).await.unwrap();
    assert_eq!(bodies(&queued), bodies(&jobs(0..500)));
    assert_eq!(queued[0].message_id(), Some("job 0"));
}

/// Messages of the lease queue come on the connection of the jobs, and must not fill what may be read ahead of them.
#[tokio::test]
async fn lease_messages_do_not_stop_the_jobs() {
    let (client, mut settings) = own_vhost("lease-messages").await;
    settings.lease = true;
    let mut edges = Edges::start(&settings).await.unwrap();
    let lease = edges.lease.as_mut().unwrap();
    let begins = async { while !matches!(lease.news.recv().await, Some((_, LeaseNews::Hold(_)))) {} };
    tokio::time::timeout(SOON, begins).await.expect("the lease");
    // Nobody needs to understand them.
    let large = (0..12).map(|_| Message::new(vec![b'x'; 1024 * 1024]));
    client.publish(&format!("{JOBS}.lease"), large).await.unwrap();
    client.publish(JOBS, jobs(0..3)).await.unwrap();
    assert_eq!(take(&mut edges, 3).await.len(), 3);
    stop(edges).await;
}

async fn own_vhost(name: &str) -> (Client, AmqpSettings) {
    let vhost = Broker::shared().await.unwrap().vhost(name).await.unwrap();
    (Client::new(&vhost.uri), settings(&vhost.uri))
}

fn settings(uri: &str) -> AmqpSettings {
    let mut settings = with_uri(AmqpSettings::default(), uri);
    settings.connect_timeout = CONNECT_TIMEOUT;
    // What is shown here holds for one worker; `blackbox` shows several.
    settings.lease = false;
    assert_eq!(settings.jobs_queue, QueueName::new(JOBS).unwrap());
    settings
}

fn with_uri(mut settings: AmqpSettings, uri: &str) -> AmqpSettings {
    settings.uri = SecretSource::inline(SettingKey::new("amqp.uri"), uri.into());
    settings
}

async fn start_fault(settings: &AmqpSettings) -> ConnectFault {
    match Edges::start(settings).await {
        Err(StartFault::Connect(fault)) => fault,
        Err(fault) => panic!("{fault}"),
        Ok(_) => panic!("connected"),
    }
}

async fn stop(mut edges: Edges) {
    edges.intakes[0].drain();
    while edges.intakes[0].next().await.is_some() {}
    edges.publisher.close(SOON).await;
    assert!(edges.closer.close(SOON).await, "it is closed in good order");
}

/// Waits for this many jobs of the present generation.
async fn take(edges: &mut Edges, number: usize) -> Vec<Delivered> {
    let mut taken = Vec::new();
    while taken.len() < number {
        match tokio::time::timeout(SOON, edges.intakes[0].next()).await.expect("more jobs").expect("not drained") {
            IntakeEvent::Jobs(jobs) => taken.extend(jobs),
            IntakeEvent::Began(_) => {}
            IntakeEvent::Lost(_) | IntakeEvent::Overfull => panic!("interrupted"),
        }
    }
    taken
}

async fn published(edges: &Edges, number: usize) -> Report {
    let mut all = Report::default();
    while all.published.len() < number {
        let report = tokio::time::timeout(LATER, edges.publisher.report()).await.expect("more reports");
        all.published.extend(report.published);
        all.stale.extend(report.stale);
    }
    all
}

async fn stale(edges: &Edges, number: usize) -> Vec<Deposit> {
    let mut all = Vec::new();
    while all.len() < number {
        all.extend(tokio::time::timeout(SOON, edges.publisher.report()).await.expect("more reports").stale);
    }
    all
}

async fn answer_all(edges: &mut Edges, number: usize) {
    let mut answered = 0;
    while answered < number {
        match tokio::time::timeout(SOON, edges.intakes[0].next()).await.expect("more jobs").expect("not drained") {
            IntakeEvent::Jobs(jobs) => {
                answered += jobs.len();
                edges.publisher.publish(jobs.into_iter().map(outcome).collect()).await;
            }
            IntakeEvent::Began(_) => {}
            IntakeEvent::Lost(_) | IntakeEvent::Overfull => panic!("interrupted"),
        }
    }
    published(edges, number).await;
}

/// Answers jobs until none is left and none is in hand, whatever `disturb` does, which is told how many were answered.
async fn answer_while(
    edges: &mut Edges,
    client: &Client,
    number: usize,
    mut disturb: impl AsyncFnMut(&Edges, usize) -> Result<()>,
) {
    let end = Instant::now() + LATER;
    let mut answered = 0;
    loop {
        assert!(Instant::now() < end, "{answered} answered of {number}");
        match tokio::time::timeout(IDLE, edges.intakes[0].next()).await {
            Ok(Some(IntakeEvent::Jobs(jobs))) => {
                answered += jobs.len();
                edges.publisher.publish(jobs.into_iter().map(outcome).collect()).await;
            }
            Ok(Some(IntakeEvent::Began(_) | IntakeEvent::Lost(_) | IntakeEvent::Overfull)) => {}
            Ok(None) => panic!("drained"),
            Err(_idle) => {
                let quiet = edges.health.consuming() && edges.held.jobs() == 0;
                if answered >= number && quiet && client.count(JOBS).await.unwrap_or(1) == 0 {
                    return;
                }
            }
        }
        disturb(edges, answered).await.unwrap();
    }
}

async fn assert_at_least_once(client: &Client, number: usize) {
    assert_eq!(client.count(JOBS).await.unwrap(), 0);
    let outcomes = client.collect(RESULTS, Until::Idle(IDLE), LATER).await.unwrap();
    let distinct: HashSet<&[u8]> = outcomes.iter().map(|message| message.body.as_slice()).collect();
    assert_eq!(distinct.len(), number, "outcomes missing");
    let mut ids: HashMap<&[u8], HashSet<&str>> = HashMap::new();
    for outcome in &outcomes {
        ids.entry(&outcome.body).or_default().insert(outcome.message_id().unwrap());
    }
    assert!(ids.values().all(|ids| ids.len() == 1), "a copy under another id");
    println!("{} copies of {number} outcomes", outcomes.len() - number);
}

fn jobs(numbers: std::ops::Range<usize>) -> Vec<Message> {
    numbers.map(|number| message(&format!("job {number}"))).collect()
}

fn message(body: &str) -> Message {
    Message::new(body).id(&body[..body.len().min(100)]).unwrap()
}

fn bodies(messages: &[Message]) -> Vec<&[u8]> {
    let mut bodies: Vec<&[u8]> = messages.iter().map(|message| message.body.as_slice()).collect();
    bodies.sort_unstable();
    bodies
}

/// An outcome whose body is the job's, so that it can be matched.
fn outcome(job: Delivered) -> Deposit {
    let job_id = JobId::new(job.properties.message_id().unwrap()).unwrap();
    let mut trace = SmallVec::new();
    trace.push(("traceparent", "00-1-2-01".to_owned()));
    let envelope = OutcomeEnvelope {
        message_id: MessageId::of_outcome(&Request {
            portal: None,
            job_id: &job_id,
            body: &BodyDigest::of(&job.body),
            redriven: 0,
            message_id: job.properties.message_id(),
            timestamp: job.properties.timestamp(),
        }),
        correlation_id: job_id.as_str().to_owned(),
        status: Status::Archived,
        timestamp: 1_800_000_000,
        of_background: false,
        trace,
    };
    let message = Outgoing { route: Route::Results, body: job.body.into(), envelope: Envelope::Outcome(envelope) };
    Deposit::new(0, Some(job.receipt), message)
}

fn parked(job: Delivered, tier: Tier) -> Deposit {
    let copy: Properties = job.properties.republished(None, [("x-archiver-tier", HeaderValue::Integer(1))]);
    let message = Outgoing { route: Route::Delay(tier), body: job.body.into(), envelope: Envelope::Copy(copy) };
    Deposit::new(0, Some(job.receipt), message)
}

fn long_string(text: &str) -> lapin::types::AMQPValue {
    lapin::types::AMQPValue::LongString(text.into())
}
