//! The journal's stream on a real broker: what counts as recorded is there, and is read to its end.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use association_archiver::config::{JournalStore, Layers, Settings};
use association_archiver::contract::association::{Extent, Pair, RecordId};
use association_archiver::contract::ids::{AccountIndex, JobId};
use association_archiver::contract::journal::{
    ChangeKind, Completion, Entry, EntryId, EntryPair, JobName, Places, ReadFrom, Record,
};
use association_archiver::contract::object_type::ObjectType;
use association_archiver::engine::command::CallKey;
use association_archiver::journal::reading::Reader;
use association_archiver::journal::task::{Journals, Recorded, Recording, Writing};
use harness::{Broker, Client, Relay, Rights, Way};
use jiff::Timestamp;
use slotmap::KeyData;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::SOON;

/// The time-out for connecting, and less than whatever else might be waited out.
const AT_ONCE: Duration = Duration::from_secs(10);

const STREAM: &str = "association-archiver.journal";
const ACCOUNT: AccountIndex = AccountIndex(0);

pub struct Stage {
    settings: Settings,
    orders: mpsc::UnboundedSender<Writing>,
    recorded: mpsc::UnboundedReceiver<Recorded>,
    task: JoinHandle<()>,
}

impl Stage {
    pub fn start(uri: &str, more: &[(&str, &str)]) -> Self {
        let settings = settings(uri, more);
        let journals = Journals::new(settings.hubspot.accounts().unwrap(), &settings.amqp).unwrap();
        let (orders, orders_out) = mpsc::unbounded_channel();
        let (recorded_in, recorded) = mpsc::unbounded_channel();
        Self { settings, orders, recorded, task: tokio::spawn(journals.run(orders_out, recorded_in)) }
    }

    fn record(&self, number: u64) {
        let recording =
            Recording { call: KeyData::from_ffi(number).into(), account: ACCOUNT, entries: vec![entry(number)] };
        self.orders.send(Writing::Record(Box::new(recording))).unwrap();
    }

    async fn recorded(&mut self) -> (CallKey, Result<(), String>) {
        let Recorded { call, result, .. } = timeout(super::LATER, self.recorded.recv()).await.unwrap().unwrap();
        (call, result)
    }

    /// Records one entry; the error is what the operator reads.
    pub async fn try_one(&mut self, number: u64) -> Result<(), String> {
        self.record(number);
        self.recorded().await.1
    }

    /// What it recorded, and nothing else.
    pub async fn holds(self, numbers: &[u64]) {
        let settings = self.end().await;
        let expected: Vec<Record> = numbers.iter().map(|number| Record::Entry(entry(*number))).collect();
        assert_eq!(read(&settings).await, expected);
    }

    async fn end(self) -> Settings {
        let Self { settings, orders, recorded: _, task } = self;
        drop(orders);
        timeout(SOON, task).await.unwrap().unwrap();
        settings
    }
}

fn settings(uri: &str, more: &[(&str, &str)]) -> Settings {
    let fixed = [
        ("ARCHIVER__AMQP__URI", uri),
        ("ARCHIVER__AMQP__CONNECT_TIMEOUT", "10s"),
        ("ARCHIVER__HUBSPOT__ACCESS_TOKEN", "token"),
        ("ARCHIVER__SAFETY__JOURNAL", "stream"),
    ];
    let environment = fixed.iter().chain(more).map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Settings::from_layers(&Layers { environment, ..Layers::default() }).unwrap()
}

fn entry(number: u64) -> Entry {
    let record = |id| RecordId(NonZeroU64::new(id).unwrap());
    Entry {
        id: EntryId::from_random(number.into()),
        kind: ChangeKind::Removal,
        at: Timestamp::from_second(1_800_000_000).unwrap(),
        portal: None,
        from_type: ObjectType::parse("contacts").unwrap(),
        to_type: ObjectType::parse("companies").unwrap(),
        read: ReadFrom::From,
        extent: Extent::Whole,
        jobs: vec![JobName { id: JobId::new("a").unwrap(), group: None, correlation_id: None }],
        first: 0,
        pairs: vec![EntryPair {
            pair: Pair { from: record(number), to: record(7) },
            types: [].into(),
            creates: [].into(),
            jobs: [0].as_slice().into(),
        }],
    }
}

async fn read(settings: &Settings) -> Vec<Record> {
    let store = &settings.hubspot.accounts().unwrap()[0].safety.journal;
    let mut reader = Reader::open(store, &settings.amqp, None).await.unwrap();
    let mut found = Vec::new();
    while let Some(record) = timeout(SOON, reader.next()).await.unwrap().unwrap() {
        found.push(record.unwrap());
    }
    reader.close().await;
    found.retain(|record| !matches!(record, Record::Mark(_)));
    found
}

#[tokio::test]
async fn what_counts_as_recorded_is_read_from_the_stream_to_its_end() {
    let vhost = Broker::shared().await.unwrap().vhost("journal").await.unwrap();
    let mut stage = Stage::start(&vhost.uri, &[]);
    for number in 1..=400 {
        stage.record(number);
    }
    for number in 1..=400 {
        assert_eq!(stage.recorded().await, (KeyData::from_ffi(number).into(), Ok(())));
    }
    let completion = Completion {
        entry: EntryId::from_random(1),
        at: Timestamp::from_second(1_800_000_001).unwrap(),
        archived: Places::of(vec![0]),
        restored: Places::default(),
        refused: Places::default(),
        unknown: Places::default(),
    };
    stage.orders.send(Writing::Complete { account: ACCOUNT, completion: completion.clone() }).unwrap();
    let settings = stage.end().await;
    let begun = Instant::now();
    let mut expected: Vec<Record> = (1..=400).map(|number| Record::Entry(entry(number))).collect();
    expected.push(Record::Completion(completion));
    assert_eq!(read(&settings).await, expected);
    assert_eq!(read(&settings).await.len(), 401, "reading leaves everything there");
    assert!(begun.elapsed() < AT_ONCE, "the end is known, not waited for");
    let declared = Broker::shared().await.unwrap();
    let declared = declared.ctl(&["list_queues", "-p", "journal", "name", "type", "arguments"]).await.unwrap();
    assert!(declared.contains("stream") && declared.contains("7776000s"), "{declared}");
}

#[tokio::test]
async fn a_broken_line_is_told_at_once_and_mended_with_the_next_record() {
    let broker = Broker::shared().await.unwrap();
    let vhost = broker.vhost("journal-line").await.unwrap();
    let relay = Relay::start(broker.address()).await.unwrap();
    let mut stage = Stage::start(&relay.through(&vhost.uri), &[]);
    stage.try_one(1).await.unwrap();
    relay.refuse().await;
    relay.cut();
    let begun = Instant::now();
    let complaint = stage.try_one(2).await.unwrap_err();
    let again = stage.try_one(3).await.unwrap_err();
    assert!(complaint.starts_with("the journal cannot be written: "), "{complaint}");
    assert!(again.contains("cannot be reached"), "{again}");
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    relay.resume();
    stage.try_one(4).await.unwrap();
    // The confirm is lost on its way: the record is there, and counts as not recorded.
    relay.cut_after(Way::ToClient, 1);
    stage.try_one(5).await.unwrap_err();
    relay.resume();
    stage.try_one(5).await.unwrap();
    let settings = stage.end().await;
    let recorded = [1, 4, 5].map(|number| Record::Entry(entry(number)));
    let found = read(&settings).await;
    assert!(recorded.iter().all(|record| found.contains(record)), "{found:?}");
}

#[tokio::test]
async fn a_stream_that_was_deleted_is_declared_again_and_another_queue_is_not_taken_for_one() {
    let vhost = Broker::shared().await.unwrap().vhost("journal-queue").await.unwrap();
    let client = Client::new(&vhost.uri);
    client.declare_quorum(STREAM, &[]).await.unwrap();
    let mut stage = Stage::start(&vhost.uri, &[]);
    let complaint = stage.try_one(1).await.unwrap_err();
    assert!(complaint.contains("is no stream: delete it"), "{complaint}");
    client.delete(STREAM).await.unwrap();
    stage.try_one(2).await.unwrap();
    client.delete(STREAM).await.unwrap();
    let complaint = stage.try_one(3).await.unwrap_err();
    assert!(complaint.contains("no queue is bound"), "{complaint}");
    stage.try_one(4).await.unwrap();
    let settings = stage.end().await;
    assert_eq!(read(&settings).await, [Record::Entry(entry(4))]);
}

#[tokio::test]
async fn whoever_may_declare_nothing_uses_the_stream_that_is_there() {
    let broker = Broker::shared().await.unwrap();
    let vhost = broker.vhost("journal-least").await.unwrap();
    let rights = Rights { configure: "^$", write: "^association-archiver$", read: "^$" };
    broker.add_user("journal-least", "secret", "journal-least", rights).await.unwrap();
    let least = broker.uri_as("journal-least", "secret", "journal-least");
    let mut poor = Stage::start(&least, &[("ARCHIVER__AMQP__DECLARE_TOPOLOGY", "false")]);
    let complaint = poor.try_one(1).await.unwrap_err();
    // RabbitMQ 4.3 does not let this user look, so the record comes back.
    assert!(
        ["does not exist: create it", "no exchange", "NOT_FOUND"].iter().any(|words| complaint.contains(words)),
        "{complaint}"
    );

    let mut rich = Stage::start(&vhost.uri, &[]);
    rich.try_one(2).await.unwrap();
    let all = rich.end().await;
    poor.try_one(3).await.unwrap();
    let settings = poor.end().await;
    assert_eq!(read(&all).await, [2, 3].map(|number| Record::Entry(entry(number))));

    let JournalStore::Stream { .. } = settings.safety.journal else { panic!("a stream") };
    let refused = Reader::open(&settings.safety.journal, &settings.amqp, None).await.unwrap_err().to_string();
    assert!(refused.contains("may not read stream"), "{refused}");
}
