//! The way back, while everything dies: worker, broker, and the command that brings it back. Afterwards HubSpot has what
//! it had before, pair by pair and label by label, and nothing else has changed.

use std::collections::HashSet;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::worker::WorkerBuilder;
use harness::{
    Broker, Client, Job, Message, Options, Outcome, Relay, SimulatorProcess, Status, Until, Worker, eventually, job,
};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::sleep;

use crate::nodes::disturbed;
use crate::stage::{ANSWERED, JOBS, RECOVERY, RESULTS, SOON, hubspot, settings};

/// RabbitMQ 3.10 can lose a quorum queue whose node is killed within a second of its declaration.
const QUEUE_SETTLED: Duration = Duration::from_secs(2);
const GROUP: &str = "clean-up";
const KINDS: u64 = 10;
/// From here on there are contacts whose associations another group removes: those stay away.
const ELSEWHERE: u64 = 1_000_000;
const JOBS_ELSEWHERE: u64 = 40;
/// Long enough that the command is killed before it has published everything.
const SLOW_LINE: Duration = Duration::from_millis(200);

/// What dies when a certain number of the jobs is answered.
#[derive(Clone, Copy, Debug)]
enum Strike {
    Worker,
    Broker,
    /// The broker, and the worker before the broker is back.
    Both,
}

/// How much is removed, how fast, and what dies meanwhile.
#[derive(Clone, Copy, Debug)]
struct Form {
    /// Jobs of each kind.
    of_kind: u64,
    /// Requests a second, few enough for the work to last until the last strike.
    pace_of_removal: u64,
    pace_of_return: u64,
    /// Pairs that a job of the undo may have: they are so many that the undo can be killed amid them.
    pairs_of_undo: u64,
    amid_removal: &'static [Strike],
    amid_return: &'static [Strike],
    /// Whether each worker waits until the lease of the one before has ended.
    lease: bool,
    /// Whether everything is brought back once more, which must change nothing.
    twice: bool,
}

const FULL: Form = Form {
    of_kind: 5_000,
    pace_of_removal: 60,
    pace_of_return: 10,
    pairs_of_undo: 20,
    amid_removal: &[Strike::Worker, Strike::Broker, Strike::Worker, Strike::Both, Strike::Worker, Strike::Broker],
    amid_return: &[Strike::Worker, Strike::Broker, Strike::Both],
    lease: true,
    twice: true,
};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_removed_comes_back_from_the_stream_though_worker_and_broker_die() -> Result<()> {
    let node = disturbed().await?;
    let vhost = node.vhost("way-back-stream").await?;
    let form = Form {
        of_kind: 200,
        pace_of_removal: 10,
        pace_of_return: 5,
        pairs_of_undo: 4,
        amid_removal: &[Strike::Worker, Strike::Both],
        amid_return: &[Strike::Worker],
        lease: false,
        twice: false,
    };
    removed_and_brought_back(&node, &vhost.uri, &[("safety.journal", "stream")], form).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_removed_comes_back_from_the_file_though_the_worker_dies() -> Result<()> {
    let node = Broker::shared().await?;
    let vhost = node.vhost("way-back-file").await?;
    let form = Form {
        of_kind: 200,
        pace_of_removal: 10,
        pace_of_return: 5,
        pairs_of_undo: 4,
        amid_removal: &[Strike::Worker, Strike::Worker, Strike::Worker],
        amid_return: &[Strike::Worker],
        lease: false,
        twice: false,
    };
    in_a_file(node, &vhost.uri, form).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "50,000 jobs and five starts of a broker take minutes"]
async fn fifty_thousand_removals_come_back_from_the_stream() -> Result<()> {
    let node = Broker::start(Options::default()).await?;
    removed_and_brought_back(&node, &node.uri(), &[("safety.journal", "stream")], FULL).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "50,000 jobs and five starts of a broker take minutes"]
async fn fifty_thousand_removals_come_back_from_the_file() -> Result<()> {
    let node = Broker::start(Options::default()).await?;
    in_a_file(&node, &node.uri(), FULL).await
}

async fn in_a_file(node: &Broker, uri: &str, form: Form) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("journal.ndjson").display().to_string();
    removed_and_brought_back(node, uri, &[("safety.journal", "file"), ("safety.journal_file", &file)], form).await
}

async fn removed_and_brought_back(node: &Broker, uri: &str, journal: &[(&str, &str)], form: Form) -> Result<()> {
    let begun = Instant::now();
    let mut scene = Scene::open(node, uri, journal, form).await?;
    scene.remove_elsewhere().await?;
    let before = scene.associations().await?;

    let jobs: Vec<Job> = (0..KINDS).flat_map(|kind| form.numbers(kind).map(move |n| removal(kind, n))).collect();
    let ids: Vec<String> = jobs.iter().map(|job| job.id().to_owned()).collect();
    // Every kind is in hand all the time.
    let spread = (0..form.of_kind as usize).flat_map(|n| jobs.iter().skip(n).step_by(form.of_kind as usize));
    let messages: Vec<Message> = spread.map(Job::to_message).collect::<Result<_>>()?;
    scene.client.publish(JOBS, messages).await?;
    scene.strike_amid(form.amid_removal, &ids).await?;
    scene.all_answered(&ids).await?;
    // Of the jobs that ask for whatever is there, one that comes again may find nothing.
    let is_journaled = |outcome: &Outcome| outcome.journaled || outcome.num_pairs == 0;
    scene.told(&ids, |outcome| outcome.status == Status::Archived && is_journaled(outcome))?;
    let removed = scene.associations().await?;
    let kept = (0..KINDS).map(|kind| form.kept(kind)).sum::<u64>();
    ensure!(removed.len() as u64 == 2 * kept, "{} of {} are left, not {kept} each way", removed.len(), before.len());
    let requests = scene.simulator.state().await?["requestsByKind"].clone();
    eprintln!("{} jobs removed in {:?}, requests {requests}", ids.len(), begun.elapsed());

    let ids = scene.undo_killed_half_way().await?;
    scene.builder = scene.builder.set("rate_limit.requests", form.pace_of_return);
    scene.worker = scene.builder.start()?;
    scene.undo(&scene.uri).await?;
    scene.strike_amid(form.amid_return, &ids).await?;
    scene.all_answered(&ids).await?;
    scene.told(&ids, |outcome| outcome.status == Status::Restored && outcome.journaled)?;
    scene.restores_are_recorded(&before, &removed).await?;
    scene.quiet().await?;
    same(&before, &scene.associations().await?)?;
    let state = scene.simulator.state().await?;
    eprintln!("brought back after {:?} by {} jobs, requests {}", begun.elapsed(), ids.len(), state["requestsByKind"]);

    if form.twice {
        scene.outcomes.clear();
        scene.undo(&scene.uri).await?;
        scene.all_answered(&ids).await?;
        scene.quiet().await?;
    }
    let again = scene.simulator.state().await?;
    ensure!(again["pairsCreated"] == state["pairsCreated"], "created: {} and {}", state["pairsCreated"], again);
    ensure!(again["violations"] == json!({}), "violations: {again}");
    scene.worker.term()?;
    ensure!(scene.worker.wait(RECOVERY).await? == 0, "{}", scene.worker.last_words());
    same(&before, &scene.associations().await?)
}

impl Form {
    /// The contacts, or deals, of a kind.
    fn numbers(self, kind: u64) -> std::ops::RangeInclusive<u64> {
        kind * self.of_kind + 1..=(kind + 1) * self.of_kind
    }

    /// Associations of a kind that no job takes away as a whole.
    fn kept(self, kind: u64) -> u64 {
        match kind {
            3..=5 => self.of_kind,
            9 => self.of_kind / 2,
            _ => 0,
        }
    }
}

fn primary() -> Value {
    json!({"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 1})
}

fn label(type_id: u64) -> Value {
    json!({"associationCategory": "USER_DEFINED", "associationTypeId": type_id})
}

/// What there is of a kind before anything is removed. Label 37 has another number at its other end, 39 the same.
fn seeds(kind: u64, numbers: &str) -> Vec<Value> {
    let company = 9_000 + 10 * kind;
    let contacts = |company: u64, types: Vec<Value>| json!({"from": "contacts", "to": "companies", "fromIds": numbers, "toIds": company, "types": types});
    match kind {
        0 => vec![contacts(company, vec![])],
        1 => {
            vec![json!({"from": "deals", "to": "tickets", "fromIds": numbers, "toIds": numbers, "pairing": "in-step"})]
        }
        2 => vec![contacts(company, vec![label(37)])],
        3 => vec![contacts(company, vec![label(37), label(39)])],
        4 => vec![contacts(company, vec![primary()]), contacts(company + 1, vec![])],
        5 => vec![contacts(company, vec![primary()])],
        6 => vec![contacts(company, vec![primary(), label(37)])],
        // Nothing is there.
        7 => vec![],
        8 => vec![contacts(company, vec![]), contacts(company + 1, vec![label(37), label(39)])],
        _ => vec![contacts(company, vec![label(37), label(39)])],
    }
}

/// The job of a kind with this number.
fn removal(kind: u64, number: u64) -> Job {
    let company = 9_000 + 10 * kind;
    let job = job(&format!("{kind}-{number}")).field("group", GROUP);
    let pair = |from: u64, to: u64| json!({"from": {"id": from.to_string()}, "to": [{"id": to.to_string()}]});
    match kind {
        0 | 2 | 4 | 7 => job.pair(number, company),
        1 => job.types("deals", "tickets").pair(number, number),
        3 => job.labels(number, company, &[37]),
        5 => {
            let mut input = pair(number, company);
            input["types"] = json!([primary()]);
            job.input(input)
        }
        // Seen from the other side.
        6 => job.types("companies", "contacts").pair(company, number),
        8 => job.input(json!({"from": {"id": number.to_string()}, "to": "all"})),
        // Of two jobs one takes a label, and one all of the same association.
        _ if number.is_multiple_of(2) => job.labels(number, company, &[37]),
        _ => job.pair(number + 1, company),
    }
}

struct Scene<'a> {
    node: &'a Broker,
    uri: String,
    client: Client,
    simulator: SimulatorProcess,
    builder: WorkerBuilder,
    /// For the commands.
    journal: Vec<(String, String)>,
    form: Form,
    worker: Worker,
    outcomes: Vec<Outcome>,
}

impl<'a> Scene<'a> {
    async fn open(node: &'a Broker, uri: &str, journal: &[(&str, &str)], form: Form) -> Result<Self> {
        let simulator = hubspot().await?;
        simulator.configure(&json!({"everyAccount": {"associations": {"labels": labels()}}})).await?;
        let mut seeds: Vec<Value> = Vec::new();
        for kind in 0..KINDS {
            let numbers = form.numbers(kind);
            let numbers = format!("{}-{}", numbers.start(), numbers.end());
            seeds.extend(self::seeds(kind, &numbers));
        }
        let elsewhere = format!("{ELSEWHERE}-{}", ELSEWHERE + JOBS_ELSEWHERE - 1);
        seeds.push(json!({"from": "contacts", "to": "companies", "fromIds": elsewhere, "toIds": 9_000}));
        simulator.associate(&seeds.into()).await?;
        let builder = settings(uri, &simulator)
            .set("amqp.lease", form.lease)
            .set("rate_limit.requests", form.pace_of_removal)
            .set("rate_limit.interval", "1s");
        let builder = journal.iter().fold(builder, |builder, (key, value)| builder.set(key, value));
        let worker = builder.start()?;
        worker.ready(SOON).await?;
        sleep(QUEUE_SETTLED).await;
        let client = Client::new(uri);
        let journal = journal.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Ok(Self { node, uri: uri.to_owned(), client, simulator, builder, journal, form, worker, outcomes: Vec::new() })
    }

    /// Removed with the journal on, by jobs of another group: an undo must leave it alone.
    async fn remove_elsewhere(&mut self) -> Result<()> {
        let numbers = ELSEWHERE..ELSEWHERE + JOBS_ELSEWHERE;
        let job = |number: u64| job(&format!("elsewhere-{number}")).field("group", "elsewhere").pair(number, 9_000);
        let jobs: Vec<Job> = numbers.map(job).collect();
        let messages: Vec<Message> = jobs.iter().map(Job::to_message).collect::<Result<_>>()?;
        self.client.publish(JOBS, messages).await?;
        let ids: Vec<String> = jobs.iter().map(|job| job.id().to_owned()).collect();
        self.all_answered(&ids).await
    }

    async fn associations(&self) -> Result<Vec<Value>> {
        let listed = self.simulator.get("/_sim/associations").await?;
        listed.as_array().cloned().context("no list")
    }

    /// Kills one after the other, evenly over the work, at moments that nobody chose.
    async fn strike_amid(&mut self, strikes: &[Strike], ids: &[String]) -> Result<()> {
        for (index, strike) in strikes.iter().enumerate() {
            let share = ids.len() * (index + 1) / (strikes.len() + 2);
            self.until_answered(ids, share).await?;
            sleep(Duration::from_millis(fastrand::u64(0..250))).await;
            self.strike(*strike).await?;
            self.gather().await?;
            let answered = self.answered(ids);
            eprintln!("{strike:?} died when less than {answered} of {} jobs were answered", ids.len());
            ensure!(answered < ids.len(), "it came too late to harm anything: {strike:?}");
        }
        Ok(())
    }

    async fn strike(&mut self, strike: Strike) -> Result<()> {
        match strike {
            Strike::Worker => {
                self.worker.kill9().await?;
                self.worker = self.builder.start()?;
            }
            Strike::Broker => {
                self.node.kill9().await?;
                self.node.restart().await?;
            }
            Strike::Both => {
                self.node.kill9().await?;
                self.worker.kill9().await?;
                self.node.restart().await?;
                self.worker = self.builder.start()?;
            }
        }
        Ok(())
    }

    async fn gather(&mut self) -> Result<()> {
        let ready = self.client.count_now(RESULTS).await?;
        let messages = self.client.collect(RESULTS, Until::Count(ready as usize), SOON).await?;
        self.outcomes.extend(messages.iter().map(Outcome::from_message).collect::<Result<Vec<_>>>()?);
        Ok(())
    }

    fn answered(&self, ids: &[String]) -> usize {
        let answered: HashSet<&str> = self.outcomes.iter().map(|outcome| outcome.job_id.as_str()).collect();
        ids.iter().filter(|id| answered.contains(id.as_str())).count()
    }

    async fn all_answered(&mut self, ids: &[String]) -> Result<()> {
        self.until_answered(ids, ids.len()).await
    }

    async fn until_answered(&mut self, ids: &[String], count: usize) -> Result<()> {
        let what = format!("{count} of {} jobs to be answered", ids.len());
        eventually(ANSWERED, &what, async || {
            self.gather().await?;
            Ok((self.answered(ids) >= count).then_some(()))
        })
        .await
        .with_context(|| self.worker.last_words())
    }

    /// Each job has the answer that is expected, however often it was answered.
    fn told(&self, ids: &[String], is_right: impl Fn(&Outcome) -> bool) -> Result<()> {
        let wanted: HashSet<&str> = ids.iter().map(String::as_str).collect();
        let mut answers = 0;
        for outcome in self.outcomes.iter().filter(|outcome| wanted.contains(outcome.job_id.as_str())) {
            answers += 1;
            let is_right = is_right(outcome) && outcome.num_errors == 0;
            ensure!(is_right, "{}", String::from_utf8_lossy(&outcome.message.body));
        }
        eprintln!("{} jobs with {answers} answers", ids.len());
        Ok(())
    }

    /// Waits until nothing is in the jobs queue, in hand or on the wire.
    async fn quiet(&self) -> Result<()> {
        eventually(RECOVERY, "a worker with nothing to do", async || {
            let held = self.worker.status().await?["backlog"]["jobsHeld"].as_u64();
            Ok((held == Some(0) && self.client.count(JOBS).await? == 0).then_some(()))
        })
        .await
    }

    fn command(&self, uri: &str, arguments: &[&str]) -> Result<Command> {
        let mut command = Worker::command()?;
        command.args(arguments).env("ARCHIVER__AMQP__URI", uri);
        command.env("ARCHIVER__JOBS__MAX_PAIRS", self.form.pairs_of_undo.to_string());
        for (key, value) in &self.journal {
            command.env(format!("ARCHIVER__{}", key.to_uppercase().replace('.', "__")), value);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(command)
    }

    async fn run(&self, uri: &str, arguments: &[&str]) -> Result<String> {
        let output = self.command(uri, arguments)?.output().await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{arguments:?}: {said}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The journal has a restore of everything that was missing.
    async fn restores_are_recorded(&self, before: &[Value], removed: &[Value]) -> Result<()> {
        let group = format!("undo-{GROUP}");
        let exported = self.run(&self.uri, &["journal", "export", "--group", &group]).await?;
        let rows: Vec<Value> = exported.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        ensure!(rows.iter().all(|row| row["change"] == "restoration"), "a removal in the group of the undo");
        let end = |row: &Value, of: &str| [row[format!("{of}ObjectType")].to_string(), row[of]["id"].to_string()];
        let recorded: HashSet<[[String; 2]; 2]> = rows
            .iter()
            .map(|row| {
                let mut ends = ["from", "to"].map(|of| end(row, of));
                ends.sort();
                ends
            })
            .collect();
        let left: HashSet<&Value> = removed.iter().collect();
        // Each association is listed from both of its sides.
        let missing = before.iter().filter(|association| !left.contains(association)).count() / 2;
        ensure!(recorded.len() >= missing, "{missing} were missing, the journal has restores of {}", recorded.len());
        Ok(())
    }

    async fn undo(&self, uri: &str) -> Result<()> {
        self.run(uri, &["undo", "--group", GROUP, "--yes"]).await.map(drop)
    }

    /// The worker is dead meanwhile, so that it can be seen how far the command came. Returns the ids of all of its jobs.
    async fn undo_killed_half_way(&mut self) -> Result<Vec<String>> {
        self.worker.kill9().await?;
        let printed = self.run(&self.uri, &["undo", "--group", GROUP, "--print"]).await?;
        let id = |line: &str| {
            let job: Value = serde_json::from_str(line)?;
            job["jobId"].as_str().map(str::to_owned).context("a job without an id")
        };
        let ids: Vec<String> = printed.lines().map(id).collect::<Result<_>>()?;
        let relay = Relay::start(self.node.address()).await?;
        relay.delay(SLOW_LINE);
        let mut killed = self.command(&relay.through(&self.uri), &["undo", "--group", GROUP, "--yes"])?.spawn()?;
        let published = eventually(ANSWERED, "the first jobs of the undo", async || {
            ensure!(killed.try_wait()?.is_none(), "it has ended before");
            Ok(Some(self.client.count_now(JOBS).await?).filter(|count| *count > 0))
        })
        .await?;
        killed.kill().await?;
        let all = ids.len();
        ensure!((published as usize) < all, "all {all} jobs were published before the command was killed");
        eprintln!("the undo was killed when {published} of its {all} jobs were on the queue");
        Ok(ids)
    }
}

fn labels() -> Value {
    json!([
        {"from": "contacts", "to": "companies", "typeId": 37, "label": "Buyer", "inverseTypeId": 38, "inverseLabel": "Buys"},
        {"from": "contacts", "to": "companies", "typeId": 39, "label": "Partner", "inverseTypeId": 39},
    ])
}

fn same(before: &[Value], after: &[Value]) -> Result<()> {
    let (known, found): (HashSet<&Value>, HashSet<&Value>) = (before.iter().collect(), after.iter().collect());
    let missing: Vec<_> = known.difference(&found).take(3).collect();
    let foreign: Vec<_> = found.difference(&known).take(3).collect();
    ensure!(before == after, "HubSpot is not as it was: missing {missing:?}, not there before {foreign:?}");
    Ok(())
}
