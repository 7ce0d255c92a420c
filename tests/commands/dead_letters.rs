//! `dead-letters`: looking takes nothing away, and moving loses nothing.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use harness::lapin::options::{BasicGetOptions, BasicRejectOptions};
use harness::lapin::types::AMQPValue;
use harness::{Broker, Message, Rights, Until, eventually, job};
use serde_json::{Value, json};

use super::program::{
    BACKGROUND, DEAD_LETTERS, JOBS, bare_ground, command, ground, on_a_terminal, on_a_terminal_of, run,
};
use super::terminal::Terminal;

const RESULTS: &str = "association-archiver.results";

const SOON: Duration = Duration::from_secs(30);
const LATER: Duration = Duration::from_secs(90);

#[tokio::test]
async fn a_list_shows_all_and_leaves_them_there() {
    let (client, uri) = ground("letters-list").await;
    client.publish(DEAD_LETTERS, (0..300).map(|number| letter(number, "MALFORMED_JOB"))).await.unwrap();
    let listed = run(&["dead-letters", "list", "--json"], &[("amqp.uri", &uri)]).await.lines();
    assert_eq!(listed.len(), 300);
    assert_eq!(
        listed[7],
        json!({
            "id": "job-7", "messageId": "job-7", "reason": "MALFORMED_JOB", "message": "why 7", "group": null, "portalId": 4711,
            "fromObjectType": "contacts", "toObjectType": "companies",
            "rejectedAt": "2026-01-02T03:04:05.678Z", "redriven": 0, "deadline": null,
        })
    );
    assert_eq!(client.count(DEAD_LETTERS).await.unwrap(), 300);

    let table = run(&["dead-letters", "list", "--limit", "70"], &[("amqp.uri", &uri)]).await;
    assert_eq!(table.fine().lines().count(), 71);
    assert!(table.stdout.starts_with("REJECTED AT"), "{}", table.stdout);
    assert!(!table.stdout.contains('\u{1b}'), "colours in a pipe: {}", table.stdout);
    assert!(table.stderr.contains("70 of 300 dead letters"), "{}", table.stderr);
    assert!(table.stderr.trim_end().ends_with(": MALFORMED_JOB 70"), "{}", table.stderr);
    let again = run(&["dead-letters", "list", "--json"], &[("amqp.uri", &uri)]).await.lines();
    // RabbitMQ 3.10 may change the order of what it is given back, but none is missing and none is there twice.
    let (mut again, mut listed) = (ids(&again), ids(&listed));
    again.sort_unstable();
    listed.sort_unstable();
    assert_eq!(again, listed);
}

/// How many messages a queue has is told to everybody: a right that is missing must not show with the first message only.
#[tokio::test]
async fn an_empty_queue_that_may_not_be_read_is_no_empty_answer() {
    let (client, _) = ground("letters-unread").await;
    let broker = Broker::shared().await.unwrap();
    let rights = Rights { read: "^$", ..Rights::ALL };
    broker.add_user("blind", "hush", "letters-unread", rights).await.unwrap();
    let uri = broker.uri_as("blind", "hush", "letters-unread");
    let settings = [("amqp.uri", uri.as_str())];
    for (arguments, queue) in [
        (&["outcomes"][..], "association-archiver.results"),
        (&["dead-letters", "list"], DEAD_LETTERS),
        (&["dead-letters", "export"], DEAD_LETTERS),
        (&["dead-letters", "redrive", "--yes"], DEAD_LETTERS),
    ] {
        let ran = run(arguments, &settings).await;
        let error = ran.error(1);
        let (names, mend) = (
            format!("may not read queue {queue:?}: ACCESS_REFUSED"),
            "grant it the right with `rabbitmqctl set_permissions",
        );
        assert!(error.contains(&names) && error.contains(mend), "{error}");
    }
    broker.set_rights("blind", "letters-unread", Rights::ALL).await.unwrap();
    let table = run(&["dead-letters", "list"], &settings).await;
    assert!(table.fine().is_empty() && table.stderr.ends_with(" is empty: there are no dead letters\n"), "{table:?}");
    assert_eq!(client.count(DEAD_LETTERS).await.unwrap(), 0);
    let table = run(&["outcomes"], &settings).await;
    assert!(table.fine().is_empty() && table.stderr.contains("results is empty: nothing was answered"), "{table:?}");
}

/// Nothing can be shown before all was read.
#[tokio::test]
async fn on_a_terminal_it_says_how_far_it_has_looked() {
    let (client, uri) = ground("letters-progress").await;
    let settings = [("amqp.uri", uri.as_str())];
    client.publish(DEAD_LETTERS, (0..300).map(|number| letter(number, "MALFORMED_JOB"))).await.unwrap();
    client.publish(RESULTS, (0..300).map(|_| Message::new("no outcome"))).await.unwrap();
    let shown = on_a_terminal_of("xterm", &["dead-letters", "list", "--limit", "2"], &settings, "").await;
    assert!(shown.contains("of 300 dead letters looked at"), "{shown}");
    assert!(
        shown.trim_end().ends_with("2 of 300 dead letters in association-archiver.dead-letters: MALFORMED_JOB 2"),
        "{shown}"
    );
    let shown = on_a_terminal_of("xterm", &["outcomes"], &settings, "").await;
    assert!(shown.contains("of 300 messages looked at"), "{shown}");
    assert!(shown.trim_end().ends_with("300 messages are no outcomes"), "{shown}");
}

#[tokio::test]
async fn what_is_meant_can_be_told_apart() {
    let (client, uri) = ground("letters-filter").await;
    let broken = Message::new(b"\xff{".to_vec()).id("broken").unwrap();
    let letters = [
        letter(1, "MALFORMED_JOB"),
        dead(job("job-2").portal(4711).pair(2, 2), "RETRIES_EXHAUSTED", "2026-01-02T03:04:06.000Z"),
        dead(
            job("other-lane").portal(7).types("contact", "0-3").pair(1, 2),
            "RETRIES_EXHAUSTED",
            "2999-01-01T00:00:00Z",
        ),
        broken,
    ];
    // The newest lie in front, which is an order that the broker may make.
    client.publish(DEAD_LETTERS, letters.into_iter().rev()).await.unwrap();
    let nonsense = run(&["dead-letters", "list", "--reason", "NONSENSE"], &[("amqp.uri", &uri)]).await;
    assert!(nonsense.code == 2 && nonsense.stderr.contains("GUARD_REJECTED, delivery_limit"), "{nonsense:?}");
    for (filter, expected) in [
        (&[][..], &["job-1", "job-2", "other-lane", "broken"][..]),
        (&["--reason", "retries_exhausted"], &["job-2", "other-lane"]),
        (&["--portal", "4711"], &["job-1", "job-2"]),
        (&["--lane", "contacts/deals"], &["other-lane"]),
        (&["--older-than", "1h"], &["job-1", "job-2"]),
        (&["--newer-than", "1h"], &["other-lane"]),
        (&["--portal", "4711", "--reason", "MALFORMED_JOB"], &["job-1"]),
        (&["--id", "job-2", "--id", "broken"], &["job-2", "broken"]),
        (&["--limit", "1"], &["job-1"]),
        (&["--limit", "3"], &["job-1", "job-2", "other-lane"]),
        (&["--limit", "1", "--reason", "RETRIES_EXHAUSTED"], &["job-2"]),
    ] {
        let arguments = [&["dead-letters", "list", "--json"][..], filter].concat();
        let listed = run(&arguments, &[("amqp.uri", &uri)]).await.lines();
        assert_eq!(ids(&listed), expected, "{filter:?}");
    }
}

#[tokio::test]
async fn an_export_keeps_body_properties_and_headers() {
    let (client, uri) = ground("letters-export").await;
    let bytes = Message::new(vec![0xff, 0x00]).id("bytes").unwrap();
    client.publish(DEAD_LETTERS, [letter(1, "MALFORMED_JOB"), bytes]).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("letters.ndjson");
    let export = ["dead-letters", "export", "--output", file.to_str().unwrap()];
    run(&export, &[("amqp.uri", &uri)]).await.fine();
    let text = std::fs::read_to_string(&file).unwrap();
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records[0]["body"], json!(job("job-1").portal(4711).pair(1, 2).to_json().to_string()));
    assert_eq!(records[0]["properties"]["messageId"], json!("job-1"));
    assert_eq!(records[0]["properties"]["headers"]["x-reject-message"], json!("why 1"));
    assert_eq!(records[1]["body"], json!({"base64": "/wA="}));

    let again = run(&export, &[("amqp.uri", &uri)]).await;
    assert!(again.error(2).contains("name a new file"), "{again:?}");
    assert_eq!(client.count(DEAD_LETTERS).await.unwrap(), 2);
}

#[tokio::test]
async fn what_is_redriven_comes_back_as_it_was_but_counted() {
    let (client, uri) = ground("letters-redrive").await;
    let mut second = letter(2, "RETRIES_EXHAUSTED");
    let mut headers = second.properties.headers().clone().unwrap();
    for name in ["x-archiver-age", "x-redriven"] {
        headers.insert(name.into(), AMQPValue::LongLongInt(4));
    }
    headers.insert("traceparent".into(), AMQPValue::LongString("00-1".into()));
    second.properties = second.properties.with_headers(headers).with_correlation_id("c".into());
    let body = second.body.clone();
    client.publish(DEAD_LETTERS, [letter(1, "MALFORMED_JOB"), second]).await.unwrap();

    let unasked = run(&["dead-letters", "redrive"], &[("amqp.uri", &uri)]).await;
    assert!(unasked.error(2).contains("--yes"), "{unasked:?}");
    let redrive = ["dead-letters", "redrive", "--yes", "--json", "--reason", "RETRIES_EXHAUSTED"];
    let summary = run(&redrive, &[("amqp.uri", &uri)]).await.lines();
    assert_eq!(
        summary[0],
        json!({"redriven": 1, "deadLetters": 2, "queue": JOBS, "toBackgroundQueue": 0, "pastDeadline": 0, "notLookedAt": 0})
    );

    let jobs = client.get_all(JOBS).await.unwrap();
    assert_eq!(jobs.len(), 1);
    assert_eq!(
        (jobs[0].body.clone(), jobs[0].message_id(), jobs[0].correlation_id()),
        (body, Some("job-2"), Some("c"))
    );
    // The broker adds its own count to what is read one by one.
    let headers = jobs[0].properties.headers().as_ref().unwrap().inner().keys().map(|name| name.as_str());
    let headers: Vec<&str> = headers.filter(|name| *name != "x-delivery-count").collect();
    assert_eq!(headers, ["traceparent", "x-redriven"]);
    assert_eq!(jobs[0].header("x-redriven").as_deref(), Some("5"));
    let left = client.get_all(DEAD_LETTERS).await.unwrap();
    assert_eq!(left.iter().map(Message::message_id).collect::<Vec<_>>(), [Some("job-1")]);
}

/// What is not selected shifts the acknowledgements into the middle of what is being read.
#[tokio::test]
async fn each_letter_that_was_there_is_looked_at_however_few_are_selected() {
    const LETTERS: u64 = 3_000;
    let (client, uri) = ground("letters-each").await;
    let reason = |number| if number % 100 == 0 { "MALFORMED_JOB" } else { "GUARD_REJECTED" };
    client.publish(DEAD_LETTERS, (0..LETTERS).map(|number| letter(number, reason(number)))).await.unwrap();
    let redrive = ["dead-letters", "redrive", "--yes", "--reason", "GUARD_REJECTED"];
    let ran = run(&redrive, &[("amqp.uri", &uri)]).await;
    let told = format!("2970 of 3000 dead letters are back: 2970 on {JOBS}; 30 were not selected\n");
    assert_eq!(ran.fine(), told);
    let left = client.get_all(DEAD_LETTERS).await.unwrap();
    let left: Vec<&str> = left.iter().filter_map(Message::message_id).collect();
    let expected: Vec<String> = (0..LETTERS).step_by(100).map(|number| format!("job-{number}")).collect();
    assert_eq!(left, expected, "in their order");
}

#[tokio::test]
async fn letters_that_another_holds_when_their_turn_comes_are_told() {
    let (client, uri) = ground("letters-held").await;
    client.publish(DEAD_LETTERS, (0..20_000).map(|number| letter(number, "MALFORMED_JOB"))).await.unwrap();
    let redrive = command(&["dead-letters", "redrive", "--yes"], &[("amqp.uri", &uri)]).output();
    let other = async {
        eventually(SOON, "letters to be moved", async || Ok((client.count_now(JOBS).await? > 0).then_some(())))
            .await
            .unwrap();
        client.purge(DEAD_LETTERS).await.unwrap()
    };
    let (output, taken) = tokio::join!(redrive, other);
    let said = String::from_utf8(output.unwrap().stdout).unwrap();
    let told = format!("; {taken} could not be looked at, since another consumer has or had them: redrive again\n");
    assert!(taken > 0 && said.ends_with(&told), "{said}");
    assert!(!said.contains("selected"), "{said}");
}

/// Whether the worker gave it up, which says so in a header, or the broker, which does when it was delivered too often.
#[tokio::test]
async fn what_came_from_the_background_goes_back_there() {
    let (client, uri) = ground("letters-background").await;
    let by_worker = letter(1, "RETRIES_EXHAUSTED").with_header("x-archiver-background", "true").unwrap();
    client.publish(DEAD_LETTERS, [by_worker, letter(2, "RETRIES_EXHAUSTED")]).await.unwrap();
    client.publish(BACKGROUND, [letter(3, "RETRIES_EXHAUSTED")]).await.unwrap();
    let channel = client.channel().await.unwrap();
    let given_up = channel.basic_get(BACKGROUND.into(), BasicGetOptions::default()).await.unwrap().unwrap();
    channel.basic_reject(given_up.delivery.delivery_tag, BasicRejectOptions { requeue: false }).await.unwrap();
    eventually(SOON, "the broker's dead letter", async || Ok((client.count(DEAD_LETTERS).await? == 3).then_some(())))
        .await
        .unwrap();

    let ran = run(&["dead-letters", "redrive", "--yes"], &[("amqp.uri", &uri)]).await;
    assert_eq!(ran.fine(), format!("3 of 3 dead letters are back: 1 on {JOBS}, 2 on {BACKGROUND}\n"));
    let names = |messages: &[Message]| -> BTreeSet<String> {
        messages.iter().map(|message| message.message_id().unwrap().to_owned()).collect()
    };
    let background = client.get_all(BACKGROUND).await.unwrap();
    assert_eq!(names(&background), BTreeSet::from(["job-1".to_owned(), "job-3".to_owned()]));
    assert!(background.iter().all(|message| message.header("x-archiver-background").is_none()));
    assert_eq!(names(&client.get_all(JOBS).await.unwrap()), BTreeSet::from(["job-2".to_owned()]));
}

/// Whoever made it a dead letter: the worker, which writes the deadline down, or the broker, which takes the property off
/// and keeps it in a note of its own.
#[tokio::test]
async fn a_deadline_survives_the_dead_letters() {
    let (client, uri) = ground("letters-late").await;
    let living = |number: u64, millis: &str| {
        let mut message = job(&format!("job-{number}")).portal(4711).pair(number, 2).to_message().unwrap();
        message.properties = message.properties.with_expiration(millis.into());
        message
    };
    client.publish(JOBS, [living(1, "3600000")]).await.unwrap();
    let channel = client.channel().await.unwrap();
    let given_up = channel.basic_get(JOBS.into(), BasicGetOptions::default()).await.unwrap().unwrap();
    channel.basic_reject(given_up.delivery.delivery_tag, BasicRejectOptions { requeue: false }).await.unwrap();
    client.publish(JOBS, [living(2, "1")]).await.unwrap();
    let by_worker = letter(3, "GUARD_REJECTED").with_header("x-archiver-deadline", "32503680000123").unwrap();
    let not_after = job("job-4").portal(4711).pair(4, 2).not_after("2020-01-01T00:00:00Z");
    let by_body = dead(not_after, "GUARD_REJECTED", "2026-01-02T03:04:05.678Z");
    client.publish(DEAD_LETTERS, [by_worker, by_body, letter(5, "RETRIES_EXHAUSTED")]).await.unwrap();
    eventually(SOON, "the broker's dead letters", async || Ok((client.count(DEAD_LETTERS).await? == 5).then_some(())))
        .await
        .unwrap();

    let late = "2 of them are past their deadline (notAfter, or the property expiration) and";
    let listed = run(&["dead-letters", "list"], &[("amqp.uri", &uri)]).await;
    assert!(listed.stderr.contains(&format!("{late} would be answered EXPIRED if redriven")), "{listed:?}");
    let redrive = ["dead-letters", "redrive"];
    let shown = on_a_terminal(&redrive, &[("amqp.uri", &uri)], "n\n").await;
    assert!(shown.contains(&format!("{late} will be answered EXPIRED")), "{shown}");
    let ran = run(&["dead-letters", "redrive", "--yes"], &[("amqp.uri", &uri)]).await;
    assert!(ran.fine().ends_with(&format!("{late} will be answered EXPIRED\n")), "{ran:?}");

    let jobs = client.get_all(JOBS).await.unwrap();
    let now = i64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let left = |id: &str| {
        let message = jobs.iter().find(|message| message.message_id() == Some(id)).unwrap();
        let number = |name: &str| message.header(name).map(|text| text.parse::<i64>().unwrap());
        (number("x-archiver-deadline").map(|at| at - now), number("x-original-expiration"))
    };
    let (given_up, expired) = (left("job-1"), left("job-2"));
    // The broker notes whole seconds.
    assert!(given_up.0.is_some_and(|left| (3_000_000..=3_600_000).contains(&left)), "{given_up:?}");
    assert!(expired.0.is_some_and(|left| (-600_000..=0).contains(&left)), "{expired:?}");
    assert_eq!((given_up.1, expired.1), (Some(3_600_000), Some(1)));
    assert_eq!(left("job-3"), (Some(32_503_680_000_123 - now), None));
    assert_eq!((left("job-4"), left("job-5")), ((None, None), (None, None)));
}

#[tokio::test]
async fn a_redrive_on_a_terminal_counts_what_it_is_about_to_put_back() {
    let (client, uri) = ground("letters-asks").await;
    client.publish(DEAD_LETTERS, [letter(1, "MALFORMED_JOB"), letter(2, "RETRIES_EXHAUSTED")]).await.unwrap();
    let redrive = ["dead-letters", "redrive", "--reason", "RETRIES_EXHAUSTED"];
    let shown = on_a_terminal(&redrive, &[("amqp.uri", &uri)], "n\n").await;
    assert!(shown.contains("Put 1 of 2 dead letters in association-archiver.dead-letters back on"), "{shown}");
    assert!(shown.contains("nothing was redriven"), "{shown}");
    assert_eq!(client.count(DEAD_LETTERS).await.unwrap(), 2);
    // Ctrl-C is a no, and nothing is on its way that would have to be finished.
    let mut terminal = Terminal::start(&redrive, &[("amqp.uri", &uri)], (120, 40));
    for (said, key) in [("[y/N] ", "\u{3}"), ("nothing was redriven", "")] {
        let shown = async || Ok(terminal.raw().contains(said).then_some(()));
        eventually(SOON, said, shown).await.unwrap_or_else(|_| panic!("{}", terminal.raw()));
        terminal.press(key);
    }
    assert!(!terminal.raw().contains("finished first"), "{}", terminal.raw());
    eventually(SOON, "the letters are back", async || Ok((client.count(DEAD_LETTERS).await? == 2).then_some(())))
        .await
        .unwrap();
    let shown = on_a_terminal(&redrive, &[("amqp.uri", &uri)], "yes\n").await;
    assert!(
        shown.contains("1 of 2 dead letters is back: 1 on association-archiver.jobs; 1 was not selected"),
        "{shown}"
    );
}

#[tokio::test]
async fn a_redrive_without_a_jobs_queue_leaves_everything_where_it_is() {
    let (client, uri) = ground("letters-nowhere").await;
    client.publish(DEAD_LETTERS, (0..5).map(|number| letter(number, "MALFORMED_JOB"))).await.unwrap();
    client.delete(JOBS).await.unwrap();
    let ran = run(&["dead-letters", "redrive", "--yes"], &[("amqp.uri", &uri)]).await;
    let error = ran.error(1);
    assert!(error.starts_with("no queue is bound") && error.contains("0 were redriven"), "{error}");
    assert_eq!(client.count(DEAD_LETTERS).await.unwrap(), 5);
}

#[tokio::test]
async fn a_missing_queue_is_named() {
    let (_, uri) = bare_ground("letters-missing").await;
    let ran = run(&["dead-letters", "list"], &[("amqp.uri", &uri)]).await;
    assert!(ran.error(1).starts_with(&format!("queue {DEAD_LETTERS:?} does not exist")), "{ran:?}");
}

#[tokio::test]
async fn a_redrive_that_is_killed_loses_none_and_the_next_one_moves_the_rest() {
    const LETTERS: u64 = 20_000;
    let (client, uri) = ground("letters-killed").await;
    client.publish(DEAD_LETTERS, (0..LETTERS).map(|number| letter(number, "MALFORMED_JOB"))).await.unwrap();
    let redrive = ["dead-letters", "redrive", "--yes"];
    for moved in [1, 4_000, 8_000] {
        let mut killed = command(&redrive, &[("amqp.uri", &uri)]);
        let mut killed = killed.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        eventually(LATER, "letters to be moved", async || Ok((client.count_now(JOBS).await? >= moved).then_some(())))
            .await
            .unwrap();
        assert_eq!(killed.try_wait().unwrap(), None, "it was over before it could be killed");
        killed.kill().await.unwrap();
        // The broker has what it held back as soon as it has noticed its end.
        eventually(LATER, "all letters in one of the queues", async || {
            let count = client.count(JOBS).await? + client.count(DEAD_LETTERS).await?;
            Ok((u64::from(count) >= LETTERS).then_some(()))
        })
        .await
        .unwrap();
    }
    run(&redrive, &[("amqp.uri", &uri)]).await.fine();
    assert_eq!(client.count(DEAD_LETTERS).await.unwrap(), 0);
    let jobs = client.collect(JOBS, Until::Idle(Duration::from_secs(2)), LATER).await.unwrap();
    let moved: BTreeSet<&str> = jobs.iter().filter_map(Message::message_id).collect();
    assert_eq!(moved.len() as u64, LETTERS);
    let twice = jobs.len() as u64 - LETTERS;
    assert!(twice <= 3 * 256, "{twice} letters were moved twice, more than were in hand when it was killed");
}

#[tokio::test]
async fn a_signal_ends_a_redrive_in_good_order() {
    let (client, uri) = ground("letters-signal").await;
    client.publish(DEAD_LETTERS, (0..20_000).map(|number| letter(number, "MALFORMED_JOB"))).await.unwrap();
    let mut redrive = command(&["dead-letters", "redrive", "--yes"], &[("amqp.uri", &uri)]);
    let child = redrive.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    eventually(SOON, "letters to be moved", async || Ok((client.count_now(JOBS).await? > 0).then_some(())))
        .await
        .unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    let jobs = client.count(JOBS).await.unwrap();
    let told =
        format!("error: stopped by a signal; {jobs} were redriven, the others are still among the dead letters\n");
    assert!(said.starts_with("stopping (SIGTERM): ") && said.ends_with(&told), "{said}");
    client.count_becomes(DEAD_LETTERS, 20_000 - jobs).await.unwrap();
}

fn letter(number: u64, reason: &str) -> Message {
    let job = job(&format!("job-{number}")).portal(4711).pair(number.max(1), 2);
    dead(job, reason, "2026-01-02T03:04:05.678Z").with_header("x-reject-message", &format!("why {number}")).unwrap()
}

fn dead(job: harness::Job, reason: &str, rejected_at: &str) -> Message {
    let message = job.to_message().unwrap().with_header("x-reject-category", reason).unwrap();
    message.with_header("x-rejected-at", rejected_at).unwrap()
}

fn ids(listed: &[Value]) -> Vec<&str> {
    listed.iter().map(|letter| letter["id"].as_str().unwrap()).collect()
}
