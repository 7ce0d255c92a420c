//! `archive`: jobs as lines, outcomes as lines, no broker.

use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use harness::simulator::SimulatorProcess;
use harness::{Outcome, Status, Worker, eventually, job};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use crate::stage::{archived_once, clean, number};

const LIMIT: Duration = Duration::from_secs(120);

fn archive(simulator: &SimulatorProcess) -> Result<Command> {
    let mut command = Worker::command()?;
    command.arg("archive").env("ARCHIVER__HUBSPOT__BASE_URL", simulator.uri());
    command.env("ARCHIVER__HUBSPOT__ACCESS_TOKEN", "pat-of-the-lines");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

fn lines(count: u64) -> String {
    let line = |n: u64| format!("{}\n", job(&format!("job-{n}")).pair(n + 1, 1).to_json());
    (0..count).map(line).collect()
}

/// Feeds it `input` and reads what it answers.
async fn fed(mut command: Command, input: &str) -> Result<Output> {
    let mut child = command.spawn()?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    let feeding = async {
        stdin.write_all(input.as_bytes()).await?;
        drop(stdin);
        anyhow::Ok(())
    };
    let (fed, output) = tokio::join!(feeding, tokio::time::timeout(LIMIT, child.wait_with_output()));
    fed?;
    Ok(output.context("it did not end")??)
}

fn outcomes(output: &Output) -> Result<Vec<Outcome>> {
    String::from_utf8(output.stdout.clone())?.lines().map(Outcome::from_json).collect()
}

fn statuses(outcomes: &[Outcome], wanted: Status) -> Vec<&str> {
    outcomes.iter().filter(|outcome| outcome.status == wanted).map(|outcome| outcome.job_id.as_str()).collect()
}

/// All that it says on stderr, of which `what` is the sign to interrupt it.
async fn interrupt_once_it_says(child: &mut Child, what: &str) -> Result<String> {
    let mut said = BufReader::new(child.stderr.take().context("no stderr")?);
    let mut text = String::new();
    while !text.contains(what) {
        assert_ne!(tokio::time::timeout(LIMIT, said.read_line(&mut text)).await??, 0, "{text}");
    }
    interrupt(child)?;
    while tokio::time::timeout(LIMIT, said.read_line(&mut text)).await?? > 0 {}
    Ok(text)
}

fn interrupt(child: &Child) -> Result<()> {
    signal(child, Signal::INT)
}

fn signal(child: &Child, signal: Signal) -> Result<()> {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw).context("it has ended")?;
    Ok(kill_process(pid, signal)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn all_archived_is_exit_0_from_a_file_and_from_stdin() -> Result<()> {
    const COUNT: u64 = 5_000;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("jobs.ndjson");
    std::fs::write(&file, lines(COUNT))?;
    let file = file.to_str().context("a path")?;
    for (arguments, input) in [(&[file][..], String::new()), (&[], lines(COUNT)), (&["-"], lines(COUNT))] {
        let simulator = SimulatorProcess::start(&["--limit", "off"]).await?;
        let mut command = archive(&simulator)?;
        command.args(arguments).env("ARCHIVER__RATE_LIMIT__INTERVAL", "1s");
        let output = fed(command, &input).await?;
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let outcomes = outcomes(&output)?;
        assert_eq!(outcomes.len() as u64, COUNT);
        assert_eq!(statuses(&outcomes, Status::Archived).len() as u64, COUNT);
        archived_once(&simulator.state().await?, COUNT);
    }
    Ok(())
}

/// Of the built program: the build of the tests has features of the reader of JSON that the program's might lack.
#[tokio::test(flavor = "multi_thread")]
async fn an_id_with_a_fraction_is_the_record_that_is_written() -> Result<()> {
    let simulator = SimulatorProcess::start(&[]).await?;
    let line = |id: &str, from: &str| {
        format!(
            r#"{{"jobId":"{id}","fromObjectType":"contacts","toObjectType":"companies","inputs":[{{"from":{{"id":{from}}},"to":[{{"id":"1"}}]}}]}}"#
        )
    };
    let input = [line("exact", "9007199254740991.0"), line("rounded", "9007199254740993.0")].join("\n");
    let output = fed(archive(&simulator)?, &input).await?;
    let outcomes = outcomes(&output)?;
    assert_eq!(statuses(&outcomes, Status::Archived), ["exact"]);
    assert_eq!(statuses(&outcomes, Status::Rejected), ["rounded"]);
    let archived = simulator.get("/_sim/archived?from=contacts&to=companies").await?.to_string();
    assert!(archived.contains("9007199254740991") && !archived.contains("9007199254740990"), "{archived}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_archived_is_exit_3_and_lines_without_an_id_have_their_number() -> Result<()> {
    let simulator = SimulatorProcess::start(&["--bad-id", "2"]).await?;
    let good = |id: &str, from: u64| job(id).pair(from, 1).to_json().to_string();
    let mut nameless = job("").pair(5, 5).to_json();
    nameless.as_object_mut().unwrap().remove("jobId");
    let input = [
        good("good", 1),
        String::new(),
        "not a job".to_owned(),
        good("refused", 2),
        nameless.to_string(),
        good("", 9),
        job("of-a-portal").portal(1).pair(3, 3).to_json().to_string(),
        format!("{}\r", good("windows", 4)),
        format!(r#"{{"jobId":"typo","inputz":[{}"#, "1".repeat(100)),
    ];
    // The last line has no line feed.
    let output = fed(archive(&simulator)?, &input.join("\n")).await?;
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    let outcomes = outcomes(&output)?;
    let mut rejected = statuses(&outcomes, Status::Rejected);
    rejected.sort_unstable();
    assert_eq!(rejected, ["line-3", "line-5", "line-6", "of-a-portal", "typo"]);
    let mut archived = statuses(&outcomes, Status::Archived);
    archived.sort_unstable();
    assert_eq!(archived, ["good", "windows"]);
    assert_eq!(statuses(&outcomes, Status::Failed), ["refused"]);
    let of = |id: &str| outcomes.iter().find(|outcome| outcome.job_id == id).unwrap();
    assert_eq!(of("of-a-portal").errors[0].category, "UNKNOWN_PORTAL");
    assert_eq!(of("line-3").errors[0].category, "MALFORMED_JOB");
    assert!(of("line-5").errors[0].message.starts_with("jobId: "), "{:?}", of("line-5"));
    archived_once(&simulator.state().await?, 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_read_is_exit_2() -> Result<()> {
    let simulator = SimulatorProcess::start(&[]).await?;
    let directory = tempfile::tempdir()?;
    for path in ["/nowhere/jobs.ndjson", directory.path().to_str().context("a path")?] {
        let mut command = archive(&simulator)?;
        command.arg(path);
        let output = fed(command, "").await?;
        let said = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.starts_with("error: ") && said.contains(path) && said.trim_end().lines().count() == 1, "{said}");
    }
    Ok(())
}

/// A script must be able to tell that nothing was in a file from that all of it is done. What another command lets pass
/// through a pipe may be nothing.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_in_a_file_is_exit_2_and_nothing_in_stdin_exit_0() -> Result<()> {
    let simulator = SimulatorProcess::start(&[]).await?;
    let directory = tempfile::tempdir()?;
    let header = "from_object_type,from_id,to_object_type,to_id\n";
    let without_ids = format!("{header}contacts,,companies,\ncontacts,,companies,\n");
    for rows in ["", "\n \n", header, &format!("{header},,,\n\n"), &without_ids] {
        let file = directory.path().join("jobs");
        std::fs::write(&file, rows)?;
        let mut command = archive(&simulator)?;
        command.arg(&file).args(["--failed", "failed.csv"]).current_dir(directory.path());
        let stdin = fed(archive(&simulator)?, rows).await?;
        for (name, code, output) in [("jobs", 2, fed(command, "").await?), ("stdin", 0, stdin)] {
            let said = String::from_utf8(output.stderr)?;
            assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0), "{said}");
            let words = format!("{name} has no jobs in it: nothing was done");
            let found = "rows left out because no id stands in them (from_id and to_id are empty): 2\n";
            let before = if rows == without_ids { found } else { "" };
            assert!(said.starts_with(before) && said.contains(&words), "{said}");
            assert_eq!(said.lines().count(), 1 + before.lines().count(), "{said}");
        }
        assert!(!directory.path().join("failed.csv").exists());
    }
    // Rows that ask for nothing are rows.
    let output = fed(archive(&simulator)?, &format!("{header}contacts,1,companies,\n")).await?;
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.starts_with("no row asks for anything; nothing was done\n"), "{said}");
    assert_eq!(number(&simulator.state().await?, "/requestsByKind/archive"), 0);
    Ok(())
}

/// Nobody reads the outcomes any more: archiving on would be archiving in silence.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_pipe_ends_it_with_1() -> Result<()> {
    let simulator = SimulatorProcess::start(&["--limit", "off", "--latency", "20ms"]).await?;
    let mut command = archive(&simulator)?;
    command.env("ARCHIVER__BATCH__MAX_FROM", "10").env("ARCHIVER__RATE_LIMIT__INTERVAL", "2s");
    let mut child = command.spawn()?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    let feeding = tokio::spawn(async move {
        // Ends when the program does.
        let _ = stdin.write_all(lines(50_000).as_bytes()).await;
    });
    let mut stdout = BufReader::new(child.stdout.take().context("no stdout")?);
    let mut first = String::new();
    tokio::time::timeout(LIMIT, stdout.read_line(&mut first)).await??;
    Outcome::from_json(&first)?;
    drop(stdout);
    let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await??;
    feeding.abort();
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("stdout") && !said.contains("panicked"), "{said}");
    let archived = number(&simulator.state().await?, "/pairsArchivedTotal");
    assert!(archived < 25_000, "{archived} were archived in silence");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_drains_what_is_in_flight() -> Result<()> {
    let simulator = SimulatorProcess::start(&["--limit", "off", "--latency", "500ms"]).await?;
    let mut command = archive(&simulator)?;
    command.env("ARCHIVER__RATE_LIMIT__REQUESTS", "10").env("ARCHIVER__RATE_LIMIT__INTERVAL", "1s");
    let mut child = command.spawn()?;
    let feeding = feed_on(child.stdin.take().context("no stdin")?, 20_000);
    requests(&simulator, 5).await?;
    interrupt(&child)?;
    let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await??;
    feeding.abort();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    let answered = outcomes(&output)?;
    assert_eq!(statuses(&answered, Status::Archived).len(), answered.len());
    archived_once(&simulator.state().await?, answered.len() as u64);
    assert!(!answered.is_empty() && answered.len() < 20_000, "{}", answered.len());
    assert!(said.lines().any(|line| line.contains("not answered")), "{said}");
    Ok(())
}

/// What is gone from HubSpot and not proven yet is not told as if nothing had happened.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_before_the_proof_says_what_was_sent_and_how_to_go_on() -> Result<()> {
    const COUNT: u64 = 2_000;
    let simulator = SimulatorProcess::start(&["--limit", "off"]).await?;
    let directory = tempfile::tempdir()?;
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("it's jobs.ndjson"), lines(COUNT))?;
    std::fs::write(path("settings.toml"), "")?;
    let mut command = archive(&simulator)?;
    command.args(["--failed", "failed.csv", "it's jobs.ndjson", "--group", "cleanup", "--config", "settings.toml"]);
    command.current_dir(directory.path());
    command.env("ARCHIVER__SAFETY__VERIFY", "true").env("ARCHIVER__SAFETY__JOURNAL", "file");
    command.env("ARCHIVER__SAFETY__JOURNAL_FILE", path("journal.ndjson"));
    command.env("ARCHIVER__RATE_LIMIT__REQUESTS", "4").env("ARCHIVER__RATE_LIMIT__INTERVAL", "2s");
    command.stdout(std::fs::File::create(path("outcomes.ndjson"))?);
    let child = command.spawn()?;
    requests(&simulator, 1).await?;
    interrupt(&child)?;
    let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await??;
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(3), "{said}");
    let counted = |words: &str| {
        let line = said.lines().find_map(|line| line.trim_start().strip_prefix(words)).unwrap_or(": 0");
        let digits: String = line[2..].chars().take_while(|c| *c != ';').filter(char::is_ascii_digit).collect();
        digits.parse::<u64>().unwrap()
    };
    let unanswered = counted("jobs that were read and not answered");
    let sent = counted("sent to HubSpot to archive, and perhaps done, but not answered or not proven yet");
    assert_eq!(unanswered, sent + counted("for which HubSpot has changed nothing"), "{said}");
    let answered = std::fs::read_to_string(path("outcomes.ndjson"))?.lines().count() as u64;
    assert_eq!(answered + unanswered, COUNT, "{said}");
    let gone = number(&simulator.state().await?, "/pairsArchivedTotal");
    assert!(gone > 0 && gone == sent + answered, "{gone}, {answered}: {said}");
    assert!(said.contains("association-archiver undo --config settings.toml --group cleanup --print | "), "{said}");
    assert!(said.contains("association-archiver archive --config settings.toml -` brings back what they removed\n"));
    assert!(said.contains("stopping (SIGINT): what is on its way to HubSpot is finished first"), "{said}");
    let resumed = if answered > 0 { " --resume outcomes.ndjson" } else { "" };
    let options = format!("--group cleanup --config settings.toml{resumed} --failed failed.csv");
    let way_on = format!(r" archive 'it'\''s jobs.ndjson' {options} > rest.ndjson");
    assert!(said.trim_end().ends_with(&way_on), "{way_on}: {said}");

    // As it is printed it goes on, with nothing left out and nothing to mend.
    let printed = said.lines().find_map(|line| line.strip_prefix("to go on: ")).context("no command")?;
    let mut pasted = Command::new("sh");
    pasted.args(["-c", printed]).current_dir(directory.path()).env("ARCHIVER__HUBSPOT__BASE_URL", simulator.uri());
    pasted.env("ARCHIVER__HUBSPOT__ACCESS_TOKEN", "pat-of-the-lines").stdin(Stdio::null()).stderr(Stdio::piped());
    let output = tokio::time::timeout(LIMIT, pasted.output()).await??;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let rest = std::fs::read_to_string(path("rest.ndjson"))?.lines().count() as u64;
    assert_eq!((rest, number(&simulator.state().await?, "/pairsArchivedDistinct")), (COUNT - answered, COUNT));
    Ok(())
}

/// What is told of repeated pairs is of the answered jobs, not of the whole file; and a report without rows is no file.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_counts_the_repeated_pairs_of_what_is_answered() -> Result<()> {
    const COUNT: u64 = 5_000;
    let simulator = SimulatorProcess::start(&["--limit", "off"]).await?;
    let directory = tempfile::tempdir()?;
    let path = |name: &str| directory.path().join(name);
    let line = |name: &str, n: u64| format!("{}\n", job(&format!("{name}-{n}")).pair(n + 1, 1).to_json());
    let twice: String = (0..COUNT).map(|n| line("first", n) + &line("again", n)).collect();
    std::fs::write(path("jobs.ndjson"), twice)?;
    let mut command = archive(&simulator)?;
    command.args(["jobs.ndjson", "--failed", "failed.csv"]).current_dir(directory.path());
    command.env("ARCHIVER__RATE_LIMIT__REQUESTS", "2").env("ARCHIVER__RATE_LIMIT__INTERVAL", "1s");
    let child = command.spawn()?;
    requests(&simulator, 1).await?;
    interrupt(&child)?;
    let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await??;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let answered = outcomes(&output)?;
    assert!((1..2 * COUNT).contains(&(answered.len() as u64)), "{said}");
    let again = answered.iter().filter(|outcome| outcome.job_id.starts_with("again-")).count();
    let told = said.lines().find_map(|line| line.trim_start().split_once(" of all these repeated"));
    assert_eq!(told.map(|(count, _)| count.replace(',', "")), Some(again.to_string()), "{said}");
    assert!(said.contains("so failed.csv is not made") && !path("failed.csv").exists(), "{said}");
    Ok(())
}

/// What was turned away before HubSpot could do it is not told as if it might be done.
#[tokio::test(flavor = "multi_thread")]
async fn what_found_no_connection_was_surely_not_done() -> Result<()> {
    let mut command = Worker::command()?;
    command.arg("archive").env("ARCHIVER__HUBSPOT__BASE_URL", "http://127.0.0.1:1");
    command.env("ARCHIVER__HUBSPOT__ACCESS_TOKEN", "pat-of-the-lines");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    stdin.write_all(lines(36).as_bytes()).await?;
    drop(stdin);
    let text = interrupt_once_it_says(&mut child, "did not do what a batch asked for").await?;
    tokio::time::timeout(LIMIT, child.wait()).await??;
    assert!(text.contains("  for which HubSpot has changed nothing: 36\n"), "{text}");
    assert!(!text.contains("perhaps done"), "{text}");
    Ok(())
}

/// A limit that others use too is everyday: it is told as a wait, and not as a failure.
#[tokio::test(flavor = "multi_thread")]
async fn a_429_reads_as_a_wait() -> Result<()> {
    let simulator = SimulatorProcess::start(&["--secondly", "1", "--no-headers"]).await?;
    let output = fed(archive(&simulator)?, &lines(400)).await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("HubSpot asks to wait (429)"), "{said}");
    assert!(!said.contains("WARN") && !said.contains("did not do") && !said.contains("waiting for 0 s"), "{said}");
    Ok(())
}

/// A second interruption is gone on from with both files; one that says nothing is not taken for one.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_before_is_told_by_several_files_and_never_by_an_emptied_one() -> Result<()> {
    let simulator = SimulatorProcess::start(&[]).await?;
    let directory = tempfile::tempdir()?;
    let path = |name: &str| directory.path().join(name);
    let resume = async |file: &str, outcomes: &[&str], stdout: &str| {
        let mut command = archive(&simulator)?;
        command.arg(file).args(outcomes.iter().flat_map(|name| ["--resume", name])).current_dir(directory.path());
        command.stdout(std::fs::OpenOptions::new().create(true).append(true).open(path(stdout))?);
        let output = fed(command, "").await?;
        anyhow::Ok((output.status.code(), String::from_utf8(output.stderr)?))
    };
    for (name, jobs) in [("jobs.ndjson", 30), ("a-third.ndjson", 10), ("the-next.ndjson", 20)] {
        std::fs::write(path(name), lines(jobs))?;
    }
    assert_eq!(resume("a-third.ndjson", &[], "first").await?.0, Some(0));
    let (code, said) = resume("the-next.ndjson", &["first"], "second").await?;
    assert!(code == Some(0) && said.contains("left out because they were done before: 10\n"), "{said}");
    let (code, said) = resume("jobs.ndjson", &["first", "second"], "third").await?;
    assert!(code == Some(0) && said.contains("left out because they were done before: 20\n"), "{said}");
    archived_once(&simulator.state().await?, 30);

    std::fs::write(path("empty"), "")?;
    std::fs::write(path("no-outcomes"), lines(1))?;
    for (outcomes, stdout, words) in [
        ("empty", "fourth", "--resume empty: has no outcomes in it"),
        ("no-outcomes", "fourth", "--resume no-outcomes: has no outcomes in it"),
        ("first", "first", "--resume first: stdout goes to the same file"),
    ] {
        let (code, said) = resume("jobs.ndjson", &[outcomes], stdout).await?;
        assert!(code == Some(2) && said.contains(words) && said.lines().count() == 1, "{said}");
    }
    archived_once(&simulator.state().await?, 30);
    Ok(())
}

/// Whoever looks in later must not find a part of a broken file done, as on a terminal.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_read_to_its_end_before_anything_is_sent() -> Result<()> {
    let simulator = SimulatorProcess::start(&[]).await?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("latin.csv");
    let mut rows = b"from_object_type,from_id,to_object_type,to_id\n".to_vec();
    rows.extend(b"contacts,1,companies,2\n".repeat(1_000));
    rows.extend(b"contacts,1,caf\xe9,2\n");
    std::fs::write(&file, rows)?;
    let mut command = archive(&simulator)?;
    command.arg(&file);
    let output = fed(command, "").await?;
    let said = String::from_utf8(output.stderr)?;
    assert_eq!((output.status.code(), output.stdout.len(), said.lines().count()), (Some(2), 0, 1), "{said}");
    assert!(said.contains("latin.csv cannot be read: line 1002 is not UTF-8"), "{said}");
    assert_eq!(number(&simulator.state().await?, "/requestsByKind/archive"), 0);
    Ok(())
}

/// Whoever says `nohup` wants it to go on without a terminal; nobody else does.
#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_drains_unless_it_was_to_be_ignored() -> Result<()> {
    let simulator = SimulatorProcess::start(&["--latency", "1s"]).await?;
    for hangup in ["--default-signal=HUP", "--ignore-signal=HUP"] {
        let plain = archive(&simulator)?;
        let mut command = Command::new("env");
        command.arg(hangup).arg(plain.as_std().get_program()).args(plain.as_std().get_args());
        command.envs(plain.as_std().get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let before = number(&simulator.state().await?, "/requestsByKind/archive");
        let mut stdin = child.stdin.take().context("no stdin")?;
        stdin.write_all(lines(10).as_bytes()).await?;
        requests(&simulator, before + 1).await?;
        signal(&child, Signal::HUP)?;
        let ignored = hangup.starts_with("--ignore");
        if ignored {
            // It reads on.
            stdin.write_all(lines(10).as_bytes()).await?;
            requests(&simulator, before + 2).await?;
            drop(stdin);
        }
        let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await??;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert_eq!(outcomes(&output)?.len(), if ignored { 20 } else { 10 }, "{said}");
        assert_eq!(said.contains("SIGHUP"), !ignored, "{said}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_interrupt_ends_it_at_once_and_counts_the_rest() -> Result<()> {
    let simulator = SimulatorProcess::start(&["--latency", "60s"]).await?;
    let mut command = archive(&simulator)?;
    // One request, which leaves when all of them are read.
    command.env("ARCHIVER__BATCH__LINGER", "10s");
    let mut child = command.spawn()?;
    let feeding = feed_on(child.stdin.take().context("no stdin")?, 100);
    requests(&simulator, 1).await?;
    interrupt(&child)?;
    let text = interrupt_once_it_says(&mut child, "stopping").await?;
    let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await??;
    feeding.abort();
    assert_eq!(output.status.code(), Some(1), "{text}");
    for words in [
        "jobs done: 0; answered, but not done: 0",
        "read and not answered: 100",
        "not proven yet: 100",
        "the same input and command again",
    ] {
        assert!(text.contains(words), "{words:?}: {text}");
    }
    assert!(!text.contains("--resume"), "nothing was answered: {text}");
    Ok(())
}

/// A file of what failed that ends in the middle, or has nothing in it, would be taken for all that failed.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_interrupt_leaves_no_half_file_of_what_failed() -> Result<()> {
    let simulator = SimulatorProcess::start(&["--latency", "60s"]).await?;
    for (number, no_jobs) in [900, 0].into_iter().enumerate() {
        let directory = tempfile::tempdir()?;
        let path = |name: &str| directory.path().join(name);
        let rows = "contacts,1,companies,x\n".repeat(no_jobs) + "contacts,1,companies,2\n";
        std::fs::write(path("pairs.csv"), format!("from_object_type,from_id,to_object_type,to_id\n{rows}"))?;
        let mut command = archive(&simulator)?;
        command.args(["pairs.csv", "--failed", "failed.csv"]).current_dir(directory.path());
        command.stdout(std::fs::File::create(path("outcomes.ndjson"))?);
        let mut child = command.spawn()?;
        requests(&simulator, number as u64 + 1).await?;
        let answered = || std::fs::read_to_string(path("outcomes.ndjson")).map(|text| text.lines().count());
        eventually(LIMIT, "the answers", async || Ok((answered()? == no_jobs).then_some(()))).await?;
        interrupt(&child)?;
        let text = interrupt_once_it_says(&mut child, "stopping").await?;
        tokio::time::timeout(LIMIT, child.wait()).await??;
        assert!(text.contains("jobs done: 0; answered, but not done: "), "{text}");
        if no_jobs == 0 {
            assert!(text.contains("so far, so failed.csv is not made") && !path("failed.csv").exists(), "{text}");
            continue;
        }
        let failed = std::fs::read_to_string(path("failed.csv"))?;
        let mut reader = csv::Reader::from_reader(failed.as_bytes());
        let rows = reader.records().collect::<Result<Vec<_>, _>>()?.len();
        // The last answer may have been written a moment before its row.
        assert!((no_jobs - 1..=no_jobs).contains(&rows) && failed.ends_with('\n'), "{rows}: {text}");
        let words = format!(
            "failed.csv has {rows} rows, one for each row that is no job; they stand in the order of the answers; what is not answered is not"
        );
        assert!(text.contains(&words), "{words}: {text}");
    }
    Ok(())
}

/// The one test that waits out the 30 seconds, for two causes at once.
#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_person_can_end_for_30_seconds_ends_it_with_3() -> Result<()> {
    let simulator = SimulatorProcess::start(&["--token", "4711=pat-another"]).await?;
    let mut paused = archive(&simulator)?;
    let directory = tempfile::tempdir()?;
    let config = directory.path().join("paused.toml");
    std::fs::write(&config, "[[hubspot.accounts]]\nportal_id = 4711\naccess_token = \"pat-another\"\npaused = true\n")?;
    paused.env_remove("ARCHIVER__HUBSPOT__ACCESS_TOKEN").arg("--config").arg(&config);
    let begun = std::time::Instant::now();
    let input = lines(300);
    let (refused, paused) = tokio::join!(fed(archive(&simulator)?, &input), fed(paused, &input));
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(29), "{took:?}");
    for (output, named) in [
        (refused?, &["unauthorized"][..]),
        (paused?, &["portal 4711 has been waiting for ", " s (operator: paused by"]),
    ] {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{said}");
        let answered = outcomes(&output)?;
        assert_eq!(statuses(&answered, Status::Failed).len(), 300);
        assert!(answered.iter().all(|outcome| outcome.errors.iter().all(|error| error.retryable)));
        assert!(named.iter().all(|words| said.contains(words)), "{said}");
        assert!(said.contains("only a person can end this"), "{said}");
        assert!(said.contains("WORKER ACCOUNT_REFUSED") && !said.contains("pat-of-the-lines"), "{said}");
    }
    let state = simulator.state().await?;
    clean(&state);
    assert_eq!(number(&state, "/pairsArchivedTotal"), 0);
    Ok(())
}

/// The spreadsheet's way: a CSV in, what failed as a CSV that goes back in, and on from where it was interrupted.
#[tokio::test(flavor = "multi_thread")]
async fn a_csv_ends_with_a_table_and_a_file_of_what_failed_which_goes_back_in() -> Result<()> {
    let simulator = SimulatorProcess::start(&["--bad-id", "7"]).await?;
    let directory = tempfile::tempdir()?;
    let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let pairs = "\u{feff}from_object_type;from_id;to_object_type;to_id;types;portal_id\r\n\
        contacts;1;companies;10;all;\r\ncontacts;7;companies;70;all;\r\ncontacts;7;companies;71;USER_DEFINED 37; \r\n\
        ;;;;;\r\ncontacts;2;companies;20;all;9\r\ncontacts;3;companies;x;all;\r\n";
    std::fs::write(path("pairs.csv"), pairs)?;
    let mut command = archive(&simulator)?;
    command.args([path("pairs.csv"), "--failed".to_owned(), path("failed.csv")]);
    let first = fed(command, "").await?;
    let said = String::from_utf8(first.stderr.clone())?;
    assert_eq!(first.status.code(), Some(3), "{said}");
    for words in [
        "ARCHIVED              1",
        "FAILED                2",
        "REJECTED              2",
        "rejected, 1 for what is no job",
    ] {
        assert!(said.contains(words), "{words:?}: {said}");
    }
    // In the order of the input, although what needs no request is answered first.
    let failed = std::fs::read_to_string(path("failed.csv"))?;
    let rows: Vec<&str> = failed.lines().skip(1).collect();
    for (row, wanted) in rows.iter().zip([
        ",contacts,7,companies,70,all,,FAILED,HUBSPOT,VALIDATION_ERROR,",
        ",contacts,7,companies,71,USER_DEFINED 37,,FAILED,HUBSPOT,",
        ",9,contacts,2,companies,20,all,,REJECTED,WORKER,UNKNOWN_PORTAL,",
        "7,,,contacts,3,companies,x,all,,REJECTED,WORKER,MALFORMED_JOB,,\"to_id: ",
    ]) {
        assert!(row.contains(wanted), "{row}");
    }
    assert_eq!(rows.len(), 4);

    // The record is mended, the hopeless rows are taken out: the rest is archived, the label as a label.
    let mended: Vec<&str> = failed.lines().filter(|line| !line.contains("REJECTED")).collect();
    std::fs::write(path("failed.csv"), mended.join("\n"))?;
    simulator.configure(&serde_json::json!({"everyAccount": {"badIds": []}})).await?;
    let mut command = archive(&simulator)?;
    command.arg(path("failed.csv"));
    let second = fed(command, "").await?;
    assert_eq!(second.status.code(), Some(0), "{}", String::from_utf8_lossy(&second.stderr));
    let by_kind = simulator.state().await?["requestsByKind"].clone();
    assert!(by_kind.to_string().to_lowercase().contains("label"), "{by_kind}");

    // Again from the start, but for what is archived.
    std::fs::write(path("outcomes.ndjson"), [first.stdout, second.stdout, b"{\"jobId\":\"cut o".to_vec()].concat())?;
    let mut command = archive(&simulator)?;
    command.args([path("pairs.csv"), "--resume".to_owned(), path("outcomes.ndjson")]);
    let third = fed(command, "").await?;
    let said = String::from_utf8(third.stderr.clone())?;
    assert_eq!(third.status.code(), Some(3), "{said}");
    assert!(said.contains("jobs left out because they were done before: 1"), "{said}");
    assert_eq!(statuses(&outcomes(&third)?, Status::Archived).len(), 2, "what once failed is sent again");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_refused_in_one_line_before_anything_is_sent() -> Result<()> {
    let simulator = SimulatorProcess::start(&[]).await?;
    let outcome = br#"{"jobId":"j","portalId":null,"fromObjectType":"contacts","toObjectType":"0-2","status":"ARCHIVED","numPairs":1,"numArchived":1,"errors":[],"completedAt":"2026-01-01T00:00:00.000Z"}"#;
    for (bytes, named) in [
        (&b"\xff\xfe\0\0a\0\0\0"[..], "stdin is UTF-32"),
        (b"sep=|\nfrom_id|to_id\n", "separator \"|\""),
        (outcome, "stdin has outcomes in it, not jobs: give the file that --failed has written"),
        (b"Record ID,Associated Company IDs\n1,2\n", "HubSpot's own export, and needs the type of its records"),
    ] {
        let mut child = archive(&simulator)?.spawn()?;
        child.stdin.take().context("no stdin")?.write_all(bytes).await?;
        let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await??;
        let said = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.trim_end().lines().count() == 1 && said.contains(named), "{said}");
    }
    assert_eq!(number(&simulator.state().await?, "/requestsByKind/archive"), 0);
    Ok(())
}

/// Keeps stdin open after the last line.
fn feed_on(mut stdin: ChildStdin, count: u64) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let _ = stdin.write_all(lines(count).as_bytes()).await;
        std::future::pending::<()>().await;
    })
}

async fn requests(simulator: &SimulatorProcess, count: u64) -> Result<()> {
    eventually(LIMIT, "requests", async || {
        Ok((number(&simulator.state().await?, "/requestsByKind/archive") >= count).then_some(()))
    })
    .await
}
