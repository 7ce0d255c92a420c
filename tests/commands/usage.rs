//! What is said to those who ask or err: one line, the right code, no secret.

use std::process::Stdio;

use super::program::{command, on_a_terminal, run, run_with};

#[tokio::test]
async fn every_command_explains_itself_and_its_version() {
    let version = run(&["--version"], &[]).await;
    let shown = version.fine();
    assert!(shown.starts_with(concat!("association-archiver ", env!("CARGO_PKG_VERSION"))), "{shown}");
    for name in [
        "run",
        "check",
        "archive",
        "enqueue",
        "outcomes",
        "dead-letters",
        "pause",
        "resume",
        "top",
        "schema",
        "completions",
        "man",
    ] {
        let help = run(&[name, "--help"], &[]).await;
        assert!(help.fine().contains("Usage:"), "{help:?}");
    }
}

#[tokio::test]
async fn wrong_usage_and_settings_end_with_2_and_one_line() {
    let cases: [(&[&str], &[(&str, &str)], &str); 14] = [
        (&["schema"], &[], "required arguments were not provided"),
        (&["schema", "all"], &[], "possible values: job, outcome, journal, asyncapi"),
        (&["pause", "4711", "--lane", "contacts"], &[], "FROM/TO"),
        (&["pause", "zero"], &[], "write the portal id, such as 4711, or the place in the settings, 0 for the first"),
        (&["dead-letters", "list", "--older-than", "yesterday"], &[], "write a time span, such as 90s"),
        (&["outcomes", "--since", "soon"], &[], "write a time, such as 2026-"),
        (&["archive", "--from", "cars"], &[], "\"cars\" is no standard name"),
        (&["pause", "4711", "--lane", "contacts/cars"], &[], "\"cars\" is no standard name"),
        (&["undo", "--portal", "sandbox"], &[], "write the portal id in digits, such as 4711"),
        (&["outcomes", "--limit", "1,000"], &[], "write a number without separators, such as 1000"),
        (&["enqueue", "no-such-file"], &[], "no-such-file cannot be read"),
        (&["check"], &[("amqp.prefetsch", "1")], "did you mean amqp.prefetch?"),
        (&["check", "--config", "no-such.toml"], &[], "no-such.toml"),
        (&["pause", "4711"], &[], "admin.token"),
    ];
    for (arguments, settings, words) in cases {
        let ran = run(arguments, settings).await;
        let error = ran.error(2);
        assert!(error.contains(words), "{arguments:?}: {error}");
        assert_eq!(ran.stdout, "", "{arguments:?}");
    }
}

#[tokio::test]
async fn a_tip_has_a_line_of_its_own() {
    let ran = run(&["enqeue"], &[]).await;
    assert_eq!(ran.code, 2);
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{ran:?}");
    assert!(
        lines[0].starts_with("error: unrecognized subcommand 'enqeue';") && lines[1].starts_with("tip: "),
        "{ran:?}"
    );
}

/// Whoever gives a column as an option is told where it goes, and not how to name a file like that.
#[tokio::test]
async fn a_tip_does_not_mislead() {
    for (arguments, tip) in [
        (&["archive", "--types", "USER_DEFINED 37"][..], Some("tip: types is no option but a column of the CSV")),
        (&["enqueue", "--not-after", "2026-12-31"], Some("tip: not_after is no option but a column of the CSV")),
        (&["archive", "--failes", "x.csv"], Some("tip: a similar argument exists: '--failed'")),
        (&["archive", "--no-confirm"], None),
        (&["archive", "--follow"], None),
    ] {
        let ran = run(arguments, &[]).await;
        let mut lines = ran.stderr.lines();
        let cause = format!("error: unexpected argument '{}' found;", arguments[1]);
        assert!(ran.code == 2 && lines.next().is_some_and(|line| line.starts_with(&cause)), "{ran:?}");
        match tip {
            Some(tip) => assert!(lines.next().is_some_and(|line| line.starts_with(tip)), "{tip}: {ran:?}"),
            None => assert_eq!(lines.next(), None, "{ran:?}"),
        }
    }
}

#[tokio::test]
async fn an_unreachable_broker_is_one_line_without_its_password() {
    let uri = "amqp://ann:hunter2@127.0.0.1:1/%2f";
    let job = r#"{"jobId":"a","fromObjectType":"contacts","toObjectType":"companies","inputs":[{"from":{"id":"1"},"to":[{"id":"2"}]}]}"#;
    for arguments in [
        &["enqueue"][..],
        &["dead-letters", "list"],
        &["dead-letters", "export"],
        &["dead-letters", "redrive", "--yes"],
    ] {
        let ran = run_with(arguments, &[("amqp.uri", uri)], job).await;
        let error = ran.error(1);
        assert!(error.contains("127.0.0.1:1") && error.contains("check amqp.uri"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn completions_and_manual_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&["completions", shell], &[]).await;
        assert!(script.fine().contains("dead-letters"), "{shell}");
    }
    let page = run(&["man"], &[]).await;
    assert!(page.fine().contains(".TH association-archiver"), "{page:?}");
    let directory = tempfile::tempdir().unwrap();
    run(&["man", directory.path().to_str().unwrap()], &[]).await.fine();
    for page in ["association-archiver.1", "association-archiver-dead-letters-redrive.1"] {
        assert!(directory.path().join(page).is_file(), "{page}");
    }
    let pages =
        std::fs::read_dir(directory.path()).unwrap().map(|page| page.unwrap().file_name().into_string().unwrap());
    let junk: Vec<String> = pages.filter(|page| page.contains("-help")).collect();
    assert_eq!(junk, Vec::<String>::new());
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_failure() {
    let mut command = command(&["schema", "asyncapi"], &[]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn run_on_a_terminal_is_for_people_and_says_first_what_it_is_about() {
    let settings = [
        ("amqp.uri", "amqp://127.0.0.1:1"),
        ("amqp.connect_timeout", "1s"),
        ("hubspot.access_token", "pat"),
        ("admin.listen", "127.0.0.1:0"),
    ];
    let shown = on_a_terminal(&["run"], &settings, "").await;
    let first = shown.lines().next().unwrap();
    for words in [
        "association-archiver starts",
        "version=",
        env!("CARGO_PKG_VERSION"),
        "http://127.0.0.1:0/",
        "association-archiver.jobs",
        "association-archiver.results",
        "association-archiver.dead-letters",
        "one without portal id",
    ] {
        assert!(first.contains(words), "{words:?}: {first}");
    }
    let as_json = on_a_terminal(&["run"], &[&settings[..], &[("log.format", "json")]].concat(), "").await;
    assert!(as_json.starts_with('{'), "{as_json}");
    let piped = run(&["run"], &settings).await;
    assert!(piped.code == 1 && piped.stderr.starts_with('{'), "{piped:?}");
}

/// Whoever looks why it does not start needs no lines about what it would have done.
#[tokio::test]
async fn a_run_that_cannot_start_says_why_and_nothing_else() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (free, taken) = ("127.0.0.1:0", taken.local_addr().unwrap().to_string());
    for (setting, value, listen, code, why) in [
        ("hubspot.access_token_file", "/nonexistent", free, 2, "hubspot.access_token_file"),
        ("hubspot.access_token", "pat", taken.as_str(), 1, "admin.listen"),
    ] {
        let ran = run(&["run"], &[(setting, value), ("admin.listen", listen)]).await;
        assert!(ran.error(code).contains(why), "{ran:?}");
    }
}

/// With one underscore too few, what was to be paused would archive.
#[tokio::test]
async fn a_variable_that_is_no_setting_is_named_by_every_command() {
    const MISSPELT: &str = "ARCHIVER_HUBSPOT__ACCOUNTS__0__PAUSED";
    let cases: [(&[&str], i32, &str); 3] = [
        (&["enqueue", "--dry-run", "-"], 0, "warning: these environment variables"),
        (&["dead-letters", "list"], 1, "warning: these environment variables"),
        (&["run"], 2, "\"level\":\"WARN\",\"message\":\"these environment variables"),
    ];
    for (arguments, code, words) in cases {
        let mut command = command(arguments, &[("amqp.uri", "amqp://127.0.0.1:1"), ("amqp.connect_timeout", "100ms")]);
        let output = command.env(MISSPELT, "true").stdin(Stdio::null()).output().await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(words) && said.contains(MISSPELT), "{arguments:?}: {said}");
    }
}
