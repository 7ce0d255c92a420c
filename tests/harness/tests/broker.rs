//! The harness proves itself on a real broker before anything is proved with it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use harness::deadline::eventually;
use harness::keeper::{Keeper, MARK};
use harness::process::Process;
use harness::{Broker, Client, Cluster, Message, Options, Relay, Until, Way};

const SOON: Duration = Duration::from_secs(30);
const LATER: Duration = Duration::from_secs(60);
/// RabbitMQ 3.10 can lose a quorum queue whose node is killed within a second of its declaration.
const QUEUE_SETTLED: Duration = Duration::from_secs(2);

#[tokio::test]
async fn ten_thousand_messages_go_in_and_come_out() {
    let (client, _) = queue_in_own_vhost("ten-thousand").await;
    let begun = Instant::now();
    assert_eq!(client.publish("q", numbered(0..10_000)).await.unwrap(), 10_000);
    let published = begun.elapsed();
    assert_eq!(client.count("q").await.unwrap(), 10_000);
    let begun = Instant::now();
    let messages = client.collect("q", Until::Count(10_000), LATER).await.unwrap();
    println!("10,000 published in {published:.2?}, collected in {:.2?}", begun.elapsed());
    assert_eq!(ids(&messages), ids(&numbered(0..10_000)));
    assert_eq!(client.count("q").await.unwrap(), 0);
}

#[tokio::test]
async fn a_collection_takes_what_it_was_asked_for_and_leaves_the_rest() {
    let (client, _) = queue_in_own_vhost("leaves-the-rest").await;
    client.publish("q", numbered(0..1_000)).await.unwrap();
    assert_eq!(client.collect("q", Until::Count(300), LATER).await.unwrap().len(), 300);
    assert_eq!(client.count("q").await.unwrap(), 700);
    let rest = client.collect("q", Until::Idle(Duration::from_millis(500)), LATER).await.unwrap();
    assert_eq!(rest.len(), 700);
    client.publish("q", numbered(0..5)).await.unwrap();
    assert_eq!(client.get_all("q").await.unwrap().len(), 5);
    assert_eq!(client.count("q").await.unwrap(), 0);
    client.publish("q", numbered(0..3)).await.unwrap();
    assert_eq!(client.purge("q").await.unwrap(), 3);
    client.delete("q").await.unwrap();
    assert!(!client.exists("q").await.unwrap());
}

#[tokio::test]
async fn what_finds_no_route_is_published_until_it_does() {
    let (client, uri) = queue_in_own_vhost("no-route").await;
    let impatient = Client::new(&uri).with_patience(Duration::from_millis(300));
    let error = impatient.publish("missing", numbered(0..3)).await.unwrap_err();
    assert!(format!("{error:#}").contains("3 of 3"), "{error:#}");
    let nameless = impatient.publish("missing", [Message::new("x")]).await.unwrap_err();
    assert!(format!("{nameless:#}").contains("message_id"), "{nameless:#}");

    let (published, _) = tokio::join!(client.publish("late", numbered(0..3)), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        Client::new(&uri).declare_quorum("late", &[]).await.unwrap();
    });
    assert_eq!(published.unwrap(), 3);
    assert_eq!(client.count("late").await.unwrap(), 3);
}

#[tokio::test]
async fn a_killed_node_comes_back_with_all_that_was_confirmed() {
    let broker = Broker::start(Options::default()).await.unwrap();
    let client = Client::new(&broker.uri());
    client.declare_quorum("q", &[]).await.unwrap();
    tokio::time::sleep(QUEUE_SETTLED).await;
    client.publish("q", numbered(0..500)).await.unwrap();
    broker.kill9().await.unwrap();
    assert!(client.exists("q").await.is_err());
    broker.restart().await.unwrap();
    assert_eq!(client.count("q").await.unwrap(), 500);

    // Publishing and collecting go on through a kill in their midst.
    let (published, restarted) = tokio::join!(client.publish("q", numbered(500..30_000)), async {
        let under_way = async || Ok((client.count_now("q").await? > 500).then_some(()));
        eventually(LATER, "the run to be under way", under_way).await?;
        broker.kill9().await?;
        broker.restart().await
    });
    restarted.unwrap();
    published.unwrap();
    let (collected, restarted) = tokio::join!(client.collect("q", Until::Count(30_000), LATER), async {
        let under_way = async || Ok((client.count_now("q").await? < 30_000).then_some(()));
        eventually(LATER, "the collection to be under way", under_way).await?;
        broker.kill9().await?;
        broker.restart().await
    });
    restarted.unwrap();
    let mut collected = collected.unwrap();
    collected.extend(client.collect("q", Until::Idle(Duration::from_secs(1)), LATER).await.unwrap());
    let mut unique = ids(&collected);
    unique.dedup();
    assert_eq!(unique, ids(&numbered(0..30_000)));

    broker.freeze().unwrap();
    let frozen = tokio::time::timeout(Duration::from_secs(1), client.exists("q")).await;
    broker.thaw().unwrap();
    assert!(frozen.is_err(), "a frozen broker must not answer");
    broker.stop().await.unwrap();
    broker.restart().await.unwrap();
    assert!(client.exists("q").await.unwrap());
}

#[tokio::test]
async fn connections_close_and_alarms_block_as_told() {
    let broker = Broker::start(Options::default().consumer_timeout(Duration::from_secs(5))).await.unwrap();
    let client = Client::new(&broker.uri()).with_patience(Duration::from_secs(20));
    client.declare_quorum("q", &[]).await.unwrap();
    let channel = client.channel().await.unwrap();
    broker.close_all_connections().await.unwrap();
    eventually(SOON, "the connection to be closed", async || Ok((!channel.status().connected()).then_some(())))
        .await
        .unwrap();

    broker.raise_memory_alarm().await.unwrap();
    let blocked = tokio::time::timeout(Duration::from_secs(2), client.publish("q", numbered(0..1))).await;
    assert!(blocked.is_err(), "a publish went through in spite of the alarm");
    broker.clear_memory_alarm().await.unwrap();
    client.publish("q", numbered(1..2)).await.unwrap();

    let held = client.channel().await.unwrap();
    held.basic_consume("q".into(), "".into(), Default::default(), Default::default()).await.unwrap();
    let timeout = Duration::from_secs(30);
    eventually(timeout, "the acknowledgement timeout", async || Ok((!held.status().connected()).then_some(())))
        .await
        .unwrap();
}

#[tokio::test]
async fn the_relay_delays_cuts_silences_and_refuses() {
    let (_, uri) = queue_in_own_vhost("relay").await;
    let relay = Relay::start(Broker::shared().await.unwrap().address()).await.unwrap();
    let client = Client::new(&relay.through(&uri));
    client.publish("q", numbered(0..100)).await.unwrap();
    assert_eq!(relay.connections(), 1);

    relay.delay(Duration::from_millis(60));
    let begun = Instant::now();
    assert!(client.exists("q").await.unwrap());
    assert!(begun.elapsed() >= Duration::from_millis(120), "{:?}", begun.elapsed());
    relay.resume();

    let channel = client.channel().await.unwrap();
    relay.cut();
    eventually(SOON, "the cut to arrive", async || Ok((!channel.status().connected()).then_some(()))).await.unwrap();
    eventually(SOON, "the relay to be empty", async || Ok((relay.connections() == 0).then_some(()))).await.unwrap();

    // In the middle of the 2,000 messages, wherever in a frame that is; all arrive in the end, some perhaps twice.
    relay.cut_after(Way::ToServer, 54_321);
    client.publish("q", numbered(100..2_100)).await.unwrap();
    relay.cut_after(Way::ToClient, 54_321);
    let collected = client.collect("q", Until::Idle(Duration::from_secs(1)), LATER).await.unwrap();
    let mut unique = ids(&collected);
    unique.dedup();
    assert_eq!(unique, ids(&numbered(0..2_100)));

    relay.black_hole(Way::ToClient);
    let silent = tokio::time::timeout(Duration::from_secs(1), client.exists("q")).await;
    assert!(silent.is_err(), "an answer came out of the black hole");
    relay.refuse().await;
    relay.cut();
    let refused = client.exists("q").await.unwrap_err();
    assert!(format!("{refused:#}").contains("refused"), "{refused:#}");
    relay.resume();
    eventually(SOON, "the relay to listen again", async || client.exists("q").await.map(Some)).await.unwrap();
}

#[tokio::test]
async fn a_user_has_the_rights_it_was_given() {
    let broker = Broker::shared().await.unwrap();
    let vhost = broker.vhost("rights").await.unwrap();
    let reader = harness::Rights { configure: "^$", write: "^$", read: "^q$" };
    broker.add_user("reader", "secret", &vhost.name, reader).await.unwrap();
    Client::new(&vhost.uri).declare_quorum("q", &[]).await.unwrap();
    let client = Client::new(&broker.uri_as("reader", "secret", &vhost.name));
    assert!(client.exists("q").await.unwrap());
    let refused = client.declare_quorum("other", &[]).await.unwrap_err();
    assert!(format!("{refused:#}").contains("ACCESS_REFUSED"), "{refused:#}");
    broker.delete_user("reader").await.unwrap();
}

#[tokio::test]
async fn three_nodes_outlive_one() {
    let cluster = Cluster::start(3).await.unwrap();
    let [first, second, _third] = cluster.nodes.as_slice() else { panic!("three nodes") };
    let client = Client::new(&second.uri());
    client.declare_quorum("q", &[]).await.unwrap();
    tokio::time::sleep(QUEUE_SETTLED).await;
    client.publish("q", numbered(0..200)).await.unwrap();
    first.kill9().await.unwrap();
    client.publish("q", numbered(200..400)).await.unwrap();
    assert_eq!(client.count("q").await.unwrap(), 400);
}

#[tokio::test]
async fn nothing_is_left_of_a_dropped_broker() {
    let broker = Broker::start(Options::default().plugin("rabbitmq_management")).await.unwrap();
    assert!(broker.management_uri().is_some());
    let mark = directory_of(&broker);
    assert!(processes_of(&mark) >= 2, "the VM and its port mapper");
    broker.freeze().unwrap();
    let address = broker.address();
    drop(broker);
    assert_eq!(processes_of(&mark), 0);
    assert!(!fs::exists(&mark).unwrap());
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[tokio::test]
async fn nothing_is_left_when_the_owner_is_killed() {
    if let Ok(note) = std::env::var("HARNESS_TEST_VICTIM") {
        let keeper = Keeper::start("victim").unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 300 & sleep 300"]);
        let directory = keeper.directory().display().to_string();
        let _process = Process::start("sleepers", command, keeper).unwrap();
        fs::write(note, directory).unwrap();
        std::future::pending::<()>().await;
    }
    let note = tempfile::NamedTempFile::new().unwrap();
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "nothing_is_left_when_the_owner_is_killed"])
        .env("HARNESS_TEST_VICTIM", note.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mark = eventually(SOON, "the victim to start its processes", async || {
        let directory = fs::read_to_string(note.path())?;
        Ok((!directory.is_empty() && processes_of(&directory) >= 3).then_some(directory))
    })
    .await
    .unwrap();
    victim.kill().unwrap();
    victim.wait().unwrap();
    eventually(SOON, "everything to be gone", async || {
        Ok((processes_of(&mark) == 0 && !fs::exists(&mark)?).then_some(()))
    })
    .await
    .unwrap();
}

/// A client of the shared broker in a virtual host of its own with a quorum queue `q`, and its URI.
async fn queue_in_own_vhost(name: &str) -> (Client, String) {
    let vhost = Broker::shared().await.unwrap().vhost(name).await.unwrap();
    let client = Client::new(&vhost.uri);
    client.declare_quorum("q", &[]).await.unwrap();
    (client, vhost.uri)
}

fn numbered(range: std::ops::Range<u32>) -> Vec<Message> {
    range.map(|number| Message::new(vec![b'x'; 200]).id(&format!("{number:08}")).unwrap()).collect()
}

fn ids(messages: &[Message]) -> Vec<&str> {
    let mut ids: Vec<&str> = messages.iter().map(|message| message.message_id().unwrap()).collect();
    ids.sort_unstable();
    ids
}

/// The keeper's directory, read from the environment of a process with the node's AMQP port in it.
fn directory_of(broker: &Broker) -> String {
    let port = format!("RABBITMQ_NODE_PORT={}", broker.address().port());
    let environment = environments().find(|environment| environment.contains(&port)).unwrap();
    let mark = environment.into_iter().find_map(|entry| Some(entry.strip_prefix(MARK)?.strip_prefix('=')?.to_owned()));
    mark.unwrap()
}

fn processes_of(mark: &str) -> usize {
    let entry = format!("{MARK}={mark}");
    environments().filter(|environment| environment.contains(&entry)).count()
}

fn environments() -> impl Iterator<Item = Vec<String>> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let environments = processes.filter_map(|process| fs::read(process.path().join("environ")).ok());
    environments
        .map(|bytes| bytes.split(|byte| *byte == 0).map(|entry| String::from_utf8_lossy(entry).into()).collect())
}
