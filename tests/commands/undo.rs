//! `undo`: the jobs that bring back what the journal says went, and what is asked and told about them.

use std::collections::BTreeSet;
use std::path::Path;

use harness::{Client, Message, SimulatorProcess, Worker, job};
use serde_json::{Value, json};
use tokio::process::Command;

use super::journal::Removals;
use super::program::{JOBS, bare_ground, ground, on_a_terminal, run, run_with};

fn ids(jobs: &[Value]) -> BTreeSet<String> {
    jobs.iter().map(|job| job["jobId"].as_str().unwrap().to_owned()).collect()
}

/// Nobody should take the wait for a standstill.
const WAIT: &str =
    "HubSpot's reads lag behind removals: a pair that it still shows is looked at again, up to 22 s later, ";

async fn queued(client: &Client) -> Vec<Value> {
    let read = |message: Message| serde_json::from_slice(&message.body).unwrap();
    client.get_all(JOBS).await.unwrap().into_iter().map(read).collect()
}

#[tokio::test]
async fn what_it_prints_brings_everything_back_without_a_broker() {
    let (removals, file) = Removals::in_a_file().await;
    let settings =
        [&removals.hubspot()[..], &[("safety.journal", "file"), ("safety.journal_file", file.to_str().unwrap())]]
            .concat();
    let associations = async || removals.simulator.get("/_sim/associations").await.unwrap();
    let removed = associations().await;
    assert_ne!(removed, removals.before);
    let all = ["--since", "1h"];
    let undo = async |more: &[&str]| run(&[&["undo", "--print"][..], &all, more].concat(), &settings).await;

    let printed = undo(&[]).await;
    assert_eq!(ids(&printed.lines()), ids(&undo(&[]).await.lines()), "the same is brought back by the same jobs");
    assert!(printed.stderr.contains("contacts to companies: 5 pairs, 2 of them with labels\n  "), "{}", printed.stderr);
    assert!(printed.stderr.contains("left out, since nothing was there to be removed: 1\n"), "{}", printed.stderr);

    let planned = run_with(&["archive"], &settings, undo(&["--plan"]).await.fine()).await.lines();
    assert!(planned.iter().all(|outcome| outcome["status"] == "PLANNED"), "{planned:?}");
    assert_eq!(associations().await, removed, "a plan changes nothing");
    let restored = run_with(&["archive"], &settings, printed.fine()).await;
    assert!(restored.stderr.starts_with(WAIT), "{restored:?}");
    let restored = restored.lines();
    assert!(restored.iter().all(|outcome| outcome["status"] == "RESTORED"), "{restored:?}");
    assert_eq!(associations().await, removals.before);

    let jobs = undo(&["--as-group", "again", "--include-primary"]).await.lines();
    assert!(jobs.iter().all(|job| job["group"] == "again" && job["includePrimary"] == true), "{jobs:?}");
    assert!(ids(&jobs).is_disjoint(&ids(&printed.lines())), "other jobs have other ids");
    let jobs = run(&["undo", "--print", "--group", "spring", "--job-id", "labelled"], &settings).await.lines();
    assert_eq!((&jobs[0]["group"], jobs.len()), (&json!("undo-spring-labelled"), 1));
    assert_eq!(jobs[0]["inputs"][0]["from"]["id"], "3");
}

#[tokio::test]
async fn on_a_terminal_it_shows_what_would_come_back_and_asks() {
    let (client, uri) = ground("undo-asks").await;
    let (_removals, file) = Removals::in_a_file().await;
    let file = file.to_str().unwrap();
    let settings = [("amqp.uri", uri.as_str()), ("safety.journal", "file"), ("safety.journal_file", file)];
    let shown = on_a_terminal(&["undo", "--group", "spring"], &settings, "n\n").await;
    assert!(shown.contains("contacts to companies: 3 pairs, 1 of them with labels"), "{shown}");
    assert!(shown.contains("Put 1 job on association-archiver.jobs that restores them? [y/N]"), "{shown}");
    assert!(shown.contains("nothing was published"), "{shown}");
    assert_eq!(client.count(JOBS).await.unwrap(), 0);

    let shown = on_a_terminal(&["undo", "--group", "spring", "--plan"], &settings, "y\n").await;
    assert!(shown.contains("that looks what it would restore? [y/N]"), "{shown}");
    let jobs = queued(&client).await;
    assert!(jobs.len() == 1 && jobs[0]["dryRun"] == true, "{jobs:?}");
    client.purge(JOBS).await.unwrap();

    let shown = on_a_terminal(&["undo", "--group", "spring", "--yes"], &settings, "").await;
    assert!(!shown.contains("[y/N]"), "{shown}");
    assert!(shown.contains("1 job is on association-archiver.jobs; `outcomes --group` shows what becomes"), "{shown}");
    assert!(shown.contains(WAIT), "{shown}");
    let jobs = queued(&client).await;
    assert_eq!((&jobs[0]["action"], &jobs[0]["group"]), (&json!("restore"), &json!("undo-spring")));
    assert_eq!(jobs[0].get("dryRun"), None);

    // Nobody to ask, and for a program.
    let ran = run(&["undo", "--group", "spring", "--json"], &settings).await;
    let summary = json!({
        "pairs": 3, "back": 0, "refused": 0, "absent": 0, "changed": 0, "unknown": 0, "jobs": 1, "group": "undo-spring",
        "queue": "association-archiver.jobs",
    });
    assert_eq!(ran.lines(), [summary]);
    let none = run(&["undo", "--group", "summer", "--json"], &settings).await;
    let counts: Value = serde_json::from_str(&none.stdout).unwrap();
    assert_eq!((none.code, &counts["pairs"], &counts["jobs"]), (2, &json!(0), &json!(0)), "{none:?}");
}

/// Removed, brought back, changed, removed again and brought back; then the undo is taken back, and brought back itself.
#[tokio::test]
async fn each_undo_brings_back_what_was_there_before_the_latest_removal() {
    let (removals, file) = Removals::in_a_file().await;
    let settings =
        [&removals.hubspot()[..], &[("safety.journal", "file"), ("safety.journal_file", file.to_str().unwrap())]]
            .concat();
    let associations = async || removals.simulator.get("/_sim/associations").await.unwrap();
    let jobs_of = async |arguments: &[&str]| run(&[&["undo", "--print"], arguments].concat(), &settings).await;
    let done = async |jobs: &str, status: &str| {
        let outcomes = run_with(&["archive", "--yes"], &settings, jobs).await.lines();
        let right = |outcome: &Value| outcome["status"] == status && outcome["journaled"] == true;
        assert!(!outcomes.is_empty() && outcomes.iter().all(right), "{outcomes:?}");
    };
    let spring = ["--group", "spring"];
    let first = jobs_of(&spring).await;
    done(first.fine(), "RESTORED").await;
    let again = jobs_of(&spring).await;
    assert_eq!(ids(&again.lines()), ids(&first.lines()), "given again, it is the same undo");
    let back = "of these, already restored since: 3 (to restore them again changes nothing)\n";
    assert!(again.stderr.contains(back) && !first.stderr.contains("already restored"), "{again:?}");

    // Label 37 goes by another group's job, the rest of the pair by this one's.
    let label = job("label").field("group", "summer").labels(3, 9002, &[37]);
    done(&label.to_json().to_string(), "ARCHIVED").await;
    let before = associations().await;
    let rest = job("again").field("group", "spring").pair(3, 9002).pair(1, 9001).pair(2, 9001);
    done(&rest.to_json().to_string(), "ARCHIVED").await;
    let removed = associations().await;
    done(jobs_of(&spring).await.fine(), "RESTORED").await;
    assert_eq!(associations().await, before, "the label was taken away on purpose");

    // Without a terminal there is nobody to ask.
    let back = ["--restores", "--group", "undo-spring"];
    let ran = run(&[&["undo"][..], &back].concat(), &settings).await;
    assert!(ran.error(2).contains("give --yes"), "{ran:?}");
    let conflict = run(&["undo", "--restores", "--include-primary", "--group", "undo-spring"], &settings).await;
    assert_eq!(conflict.code, 2, "{conflict:?}");
    let plan = jobs_of(&[&back[..], &["--plan"]].concat()).await;
    let planned = run_with(&["archive"], &settings, plan.fine()).await.lines();
    assert!(planned.iter().all(|outcome| outcome["status"] == "PLANNED" && outcome["action"] == "archive"));
    assert_eq!(associations().await, before);
    let taken_back = jobs_of(&back).await;
    let said = &taken_back.stderr;
    assert!(said.contains("contacts to companies: 3 pairs, of 0 of them only labels that were added\n"), "{said}");
    done(taken_back.fine(), "ARCHIVED").await;
    assert_eq!(associations().await, removed);
    let nothing = jobs_of(&back).await;
    assert_eq!(nothing.fine(), "");
    assert!(nothing.stderr.contains("left out, since they were changed again since: "), "{nothing:?}");
    // The removal of what was restored has its own undo.
    let nothing = jobs_of(&spring).await;
    assert!(nothing.stderr.contains("removed them since: 3\n"), "{nothing:?}");
    // Removed once more, nothing is there. Each pair is left out for one reason.
    run_with(&["archive", "--yes"], &settings, &rest.to_json().to_string()).await.fine();
    let left_out = jobs_of(&spring).await.stderr;
    let left_out: Vec<&str> = left_out.lines().filter(|line| line.starts_with("left out, since ")).collect();
    assert!(left_out.len() == 1 && left_out[0].ends_with("removed them since: 3"), "{left_out:?}");
    done(jobs_of(&["--group", "undo-undo-spring"]).await.fine(), "RESTORED").await;
    assert_eq!(associations().await, before);
}

#[tokio::test]
async fn on_a_terminal_it_asks_before_a_restoration_is_taken_back() {
    let (client, uri) = ground("undo-restores").await;
    let (removals, file) = Removals::in_a_file().await;
    let file = file.to_str().unwrap();
    let settings = [("amqp.uri", uri.as_str()), ("safety.journal", "file"), ("safety.journal_file", file)];
    let jobs = run(&["undo", "--print", "--job-id", "one-label"], &settings).await;
    run_with(&["archive"], &[&removals.hubspot()[..], &settings].concat(), jobs.fine()).await.fine();
    let back = ["undo", "--restores", "--group", "undo-one-label"];
    let shown = on_a_terminal(&back, &settings, "n\n").await;
    assert!(shown.contains("contacts to companies: 1 pair, of 1 of them only labels that were added"), "{shown}");
    assert!(shown.contains("Put 1 job on association-archiver.jobs that removes what was restored? [y/N]"), "{shown}");
    assert_eq!(client.count(JOBS).await.unwrap(), 0);
    on_a_terminal(&back, &settings, "y\n").await;
    let jobs = queued(&client).await;
    assert_eq!((&jobs[0]["action"], &jobs[0]["group"]), (&json!("archive"), &json!("undo-undo-one-label")));
    let types = json!([{"associationCategory": "USER_DEFINED", "associationTypeId": 37}]);
    assert_eq!(jobs[0]["inputs"], json!([{"from": {"id": "4"}, "to": [{"id": "9002"}], "types": types}]));
}

#[tokio::test]
async fn from_the_stream_it_is_the_same() {
    let (client, uri) = ground("undo-stream").await;
    let settings = [("safety.journal", "stream"), ("amqp.uri", uri.as_str())];
    let removals = Removals::new(&settings).await;
    let ran = run(&["undo", "--group", "spring"], &settings).await;
    ran.fine();
    let jobs: String = queued(&client).await.iter().map(|job| format!("{job}\n")).collect();
    let settings = [&removals.hubspot()[..], &settings].concat();
    run_with(&["archive"], &settings, &jobs).await.fine();
    let rest = run(&["undo", "--group", "autumn", "--print"], &settings).await;
    run_with(&["archive"], &settings, rest.fine()).await.fine();
    let nameless = run(&["undo", "--job-id", "nameless", "--print"], &settings).await;
    run_with(&["archive"], &settings, nameless.fine()).await.fine();
    assert_eq!(removals.simulator.get("/_sim/associations").await.unwrap(), removals.before);
}

#[tokio::test]
async fn a_wrong_call_is_one_line_and_publishes_nothing() {
    let (_, uri) = bare_ground("undo-nowhere").await;
    let (_removals, file) = Removals::in_a_file().await;
    let file = file.to_str().unwrap();
    let settings = [("amqp.uri", uri.as_str()), ("safety.journal", "file"), ("safety.journal_file", file)];
    let nothing = run(&["undo"], &settings).await;
    assert!(nothing.error(2).starts_with("nothing says what is to be undone: give --job-id, "), "{nothing:?}");
    for (arguments, words) in [
        (&["undo", "--group", "spring", "--json", "--print"][..], "cannot be used with"),
        (&["undo", "--group", "spring", "--as-group", ""], "1 to 128 bytes"),
        (&["undo", "--since", "yesterday"], "such as 1h or 2d"),
        (&["undo", "--from-type", "con tacts"], "--from-type"),
        (&["undo", "--portal", "0"], "--portal"),
    ] {
        let ran = run(arguments, &settings).await;
        assert!(ran.code == 2 && ran.stderr.contains(words), "{ran:?}");
    }
    // No broker is there.
    let nowhere = [("amqp.uri", "amqp://127.0.0.1:1"), settings[1], settings[2]];
    let ran = run(&["undo", "--group", "spring", "--plan"], &nowhere).await;
    let words = "cannot be reached";
    assert!(
        ran.code == 1 && ran.stderr.contains(words) && ran.stderr.contains("association-archiver archive -` behind it"),
        "{ran:?}"
    );
    // The queue is not there yet.
    let ran = run(&["undo", "--group", "spring"], &settings).await;
    let error = ran.stderr.lines().last().unwrap();
    assert!(ran.code == 1 && error.contains("exchange \"association-archiver\" does not exist"), "{ran:?}");
    assert!(
        error.ends_with("0 of 1 jobs are enqueued: give the command again, which enqueues the same jobs"),
        "{error}"
    );
}

/// Whoever is asked before something goes must know whether it can come back.
#[tokio::test]
async fn the_question_before_a_removal_tells_whether_it_can_be_undone() {
    let (_, uri) = ground("undo-questions").await;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let pairs = path("pairs.csv");
    let rows =
        "from_object_type,from_id,to_object_type,to_id,portal_id\ncontacts,1,companies,2,1\ncontacts,1,companies,2,2\n";
    std::fs::write(Path::new(&pairs), rows).unwrap();
    let config = path("two.toml");
    let accounts = |first: &str, second: &str| {
        let account = |portal: u64, journal: &str| {
            format!(
                "[[hubspot.accounts]]\nportal_id = {portal}\naccess_token = \"x\"\nsafety.journal = \"{journal}\"\n"
            )
        };
        std::fs::write(Path::new(&config), account(1, first) + &account(2, second)).unwrap();
    };
    let settings = [("amqp.uri", uri.as_str()), ("hubspot.base_url", "http://127.0.0.1:1")];
    let asked = async |command: &str, more: &[&str]| {
        let shown =
            on_a_terminal(&[&[command, &pairs, "--config", &config][..], more].concat(), &settings, "n\n").await;
        let question = shown.lines().find(|line| line.contains("[y/N]")).unwrap_or_else(|| panic!("{shown}"));
        question.split_once("? ").unwrap().1.split(" [y/N]").next().unwrap().to_owned()
    };
    accounts("off", "off");
    assert_eq!(asked("archive", &[]).await, "It cannot be undone, since safety.journal is off.");
    let unless = "What goes cannot be brought back, unless the worker keeps a journal (safety.journal).";
    assert_eq!(asked("enqueue", &[]).await, unless);
    accounts("stream", "off");
    assert_eq!(
        asked("archive", &["--group", "g"]).await,
        "In the accounts without a journal (safety.journal) it cannot be undone."
    );
    assert_eq!(asked("enqueue", &[]).await, unless);
    accounts("stream", "stream");
    let program = Worker::command().unwrap().as_std().get_program().to_str().unwrap().to_owned();
    let (undo, archive) =
        (format!("`{program} undo --config {config}"), format!("{program} archive --config {config}"));
    let first = "The journal records it first: ";
    let if_kept = "If the worker keeps a journal as the settings here say, ";
    assert_eq!(
        asked("archive", &["--group", "clean-up"]).await,
        format!("{first}{undo} --group clean-up --print | {archive} -` brings it back.")
    );
    assert_eq!(
        asked("enqueue", &["--group", "it's mine"]).await,
        format!(r"{if_kept}{undo} --group 'it'\''s mine'` brings back what goes.")
    );
    assert_eq!(
        asked("archive", &["--group=-1"]).await,
        format!("{first}{undo} --group=-1 --print | {archive} -` brings it back.")
    );
    let asked_without_group = asked("enqueue", &[]).await;
    let command = asked_without_group.strip_prefix(&format!("{if_kept}{undo} --since 20"));
    let rest = command.and_then(|command| command.split_once("Z` ")).map(|(_, rest)| rest);
    let beside = "brings back what goes, with all else that was removed since then; --group NAME would keep it apart.";
    assert_eq!(rest, Some(beside), "{asked_without_group}");
}

/// The command that the question shows is pasted as it stands.
#[tokio::test]
async fn what_the_question_says_brings_it_back_does_so() {
    let simulator = SimulatorProcess::start(&["--existing", "nothing", "--limit", "off"]).await.unwrap();
    let seeds = json!([{"from": "contacts", "to": "companies", "fromIds": [1, 2], "toIds": 9001}]);
    simulator.associate(&seeds).await.unwrap();
    let before = simulator.get("/_sim/associations").await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (pairs, config) = (path("pairs.csv"), path("the settings.toml"));
    std::fs::write(&pairs, "Record ID - Contact,Associated Company IDs\n1,9001\n2,9001\n").unwrap();
    let (uri, journal) = (simulator.uri(), path("journal.ndjson"));
    let settings = format!(
        "[hubspot]\nbase_url = \"{uri}\"\naccess_token = \"x\"\n[safety]\njournal = \"file\"\njournal_file = \"{journal}\"\n"
    );
    std::fs::write(&config, settings).unwrap();
    for more in [&["--group", "it's mine"][..], &[]] {
        let shown = on_a_terminal(&[&["archive", &pairs, "--config", &config][..], more].concat(), &[], "y\n").await;
        assert_ne!(simulator.get("/_sim/associations").await.unwrap(), before, "{shown}");
        let shown = shown.split_once("records it first: `").and_then(|(_, command)| command.split_once('`'));
        let pasted = Command::new("sh").args(["-c", shown.unwrap().0]).output().await.unwrap();
        assert!(pasted.status.success(), "{pasted:?}");
        assert_eq!(simulator.get("/_sim/associations").await.unwrap(), before, "{pasted:?}");
    }
}
