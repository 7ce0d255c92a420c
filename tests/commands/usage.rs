//! What is said to those who ask or err: one line, the right code, no secret.

use super::program::{command, run, run_with};

#[tokio::test]
async fn every_command_explains_itself_and_its_version() {
    let version = run(&["--version"], &[]).await;
    let shown = version.fine();
    assert!(shown.starts_with(concat!("association-archiver ", env!("CARGO_PKG_VERSION"))), "{shown}");
    for name in
        ["run", "check", "archive", "enqueue", "dead-letters", "pause", "resume", "schema", "completions", "man"]
    {
        let help = run(&[name, "--help"], &[]).await;
        assert!(help.fine().contains("Usage:"), "{help:?}");
    }
}

#[tokio::test]
async fn wrong_usage_and_settings_end_with_2_and_one_line() {
    let cases: [(&[&str], &[(&str, &str)], &str); 9] = [
        (&["enqeue"], &[], "unrecognized subcommand 'enqeue'"),
        (&["schema"], &[], "required arguments were not provided"),
        (&["schema", "jobs"], &[], "possible values: job, outcome, asyncapi"),
        (&["pause", "4711", "--lane", "contacts"], &[], "FROM/TO"),
        (&["dead-letters", "list", "--older-than", "soon"], &[], "--older-than"),
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
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_failure() {
    let mut command = command(&["schema", "asyncapi"], &[]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}
