//! Starting with something wrong: an exit code, and one line that names the cause and keeps the secrets.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use harness::port::free_port;
use harness::{Broker, Message, Rights, Worker};

use crate::stage::{JOBS, RESULTS, Stage, stop};

const SECRETS: [&str; 3] = ["hush-hush-password", "pat-na1-very-secret", "refresh-very-secret"];
const LIMIT: Duration = Duration::from_secs(60);

/// Name and value.
type Variable<'a> = (&'a str, &'a str);

struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

/// Runs it with these arguments and variables to its end.
async fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Ended> {
    let mut command = Worker::command()?;
    command.args(arguments).stdin(Stdio::null());
    for (name, value) in variables {
        command.env(name, value);
    }
    let output = tokio::time::timeout(LIMIT, command.output())
        .await
        .with_context(|| format!("{arguments:?} with {variables:?} did not end"))??;
    Ok(Ended {
        code: output.status.code().context("ended by a signal")?,
        stdout: String::from_utf8(output.stdout)?,
        stderr: String::from_utf8(output.stderr)?,
    })
}

/// One line for people, beside the log; it names what is wrong and no secret is told.
fn refused(ended: &Ended, code: i32, named: &[&str]) {
    let Ended { code: was, stdout, stderr } = ended;
    assert_eq!(*was, code, "{stderr}");
    let lines: Vec<&str> = stderr.lines().filter(|line| !line.starts_with('{')).collect();
    let [line] = lines[..] else { panic!("not one line: {stderr}") };
    assert!(line.starts_with("error: "), "{line}");
    for word in named {
        assert!(line.contains(word), "{word:?} is missing: {line}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
    for secret in SECRETS {
        assert!(!stderr.contains(secret) && !stdout.contains(secret), "{secret} is told: {stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_settings_are_refused_by_name() -> Result<()> {
    const TOKEN: (&str, &str) = ("ARCHIVER__HUBSPOT__ACCESS_TOKEN", "pat-na1-very-secret");
    const URI: (&str, &str) = ("ARCHIVER__AMQP__URI", "amqp://u:hush-hush-password@127.0.0.1:1/%2f");
    let cases: [(&[Variable], &[&str]); 14] = [
        (&[], &["hubspot.access_token"]),
        (&[TOKEN, ("ARCHIVER__AMQP__PREFTECH", "5")], &["amqp.preftech"]),
        (&[TOKEN, ("ARCHIVER__NONSENSE__KEY", "5")], &["nonsense"]),
        (&[TOKEN, ("ARCHIVER__AMQP__PREFETCH", "0")], &["amqp.prefetch", "65535"]),
        (&[TOKEN, ("ARCHIVER__AMQP__PREFETCH", "many")], &["amqp.prefetch"]),
        (&[TOKEN, ("ARCHIVER__BATCH__MAX_FROM", "101")], &["batch.max_from", "100"]),
        (&[TOKEN, ("ARCHIVER__JOBS__MAX_PAIRS", "10001")], &["jobs.max_pairs", "10000"]),
        (&[TOKEN, ("ARCHIVER__BATCH__LINGER", "soon")], &["batch.linger"]),
        (&[TOKEN, ("ARCHIVER__HUBSPOT__API_VERSION", "v3")], &["hubspot.api_version", "v4"]),
        (&[TOKEN, ("ARCHIVER__HUBSPOT__BASE_URL", "http://api.example.com")], &["hubspot.base_url", "allow_http"]),
        (&[TOKEN, ("ARCHIVER__AMQP__MAX_HOLD", "1m")], &["amqp.max_hold", "hubspot.request_timeout"]),
        (&[TOKEN, ("ARCHIVER__HUBSPOT__ACCESS_TOKEN_FILE", "/nowhere/token")], &["hubspot.access_token"]),
        (
            &[("ARCHIVER__HUBSPOT__ACCESS_TOKEN_FILE", "/nowhere/token")],
            &["hubspot.access_token_file", "/nowhere/token"],
        ),
        (&[TOKEN, ("ARCHIVER__AMQP__URI", "hush-hush-password")], &["amqp.uri"]),
    ];
    for (variables, named) in cases {
        let uri = (!variables.iter().any(|(name, _)| *name == URI.0)).then_some(URI);
        let variables: Vec<_> = variables.iter().copied().chain(uri).collect();
        refused(&run(&["run"], &variables).await?, 2, named);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_settings_file_is_refused_with_its_place() -> Result<()> {
    const TOKEN: &str = "pat-na1-very-secret";
    let cases: [(String, &[&str]); 6] = [
        (format!("[hubspot]\naccess_token = \"{TOKEN}\"\nbase_ulr = \"https://x\"\n"), &["hubspot.base_ulr"]),
        (format!("[hubspot]\naccess_token = \"{TOKEN}\n"), &["archiver.toml"]),
        (format!("[[hubspot.accounts]]\nportal_id = 1\naccess_token = \"{TOKEN}\"\noauth.client_id = \"c\"\n"), &["oauth"]),
        ("[[hubspot.accounts]]\nportal_id = 1\n".to_owned(), &["hubspot.accounts", "credentials"]),
        (
            format!("[[hubspot.accounts]]\nportal_id = 7\naccess_token = \"{TOKEN}\"\n").repeat(2),
            &["portal_id", "each portal once"],
        ),
        (
            "[[hubspot.accounts]]\nportal_id = 1\noauth.client_id = \"c\"\noauth.refresh_token = \"refresh-very-secret\"\n"
                .to_owned(),
            &["client_secret"],
        ),
    ];
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("archiver.toml");
    for (text, named) in cases {
        std::fs::write(&path, text)?;
        refused(&run(&["run", "--config", path.to_str().context("a path")?], &[]).await?, 2, named);
    }
    refused(&run(&["run", "--config", "/nowhere/archiver.toml"], &[]).await?, 2, &["/nowhere/archiver.toml"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_is_told_and_help_is_given() -> Result<()> {
    for arguments in [&[][..], &["fly"], &["run", "--wings"], &["archive", "a", "b"]] {
        let ended = run(arguments, &[]).await?;
        assert_eq!(ended.code, 2, "{arguments:?}: {}", ended.stderr);
        let told = ended.stderr.starts_with("error: ") || ended.stderr.contains("Usage");
        assert!(told, "{arguments:?}: {}", ended.stderr);
    }
    for arguments in [&["--help"][..], &["--version"], &["run", "--help"], &["archive", "--version"]] {
        let ended = run(arguments, &[]).await?;
        assert_eq!(ended.code, 0, "{arguments:?}");
        assert!(ended.stdout.contains("association-archiver"), "{arguments:?}: {}", ended.stdout);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_cannot_be_used_ends_the_start() -> Result<()> {
    const TOKEN: (&str, &str) = ("ARCHIVER__HUBSPOT__ACCESS_TOKEN", "pat-na1-very-secret");
    const PATIENCE: (&str, &str) = ("ARCHIVER__AMQP__CONNECT_TIMEOUT", "2s");
    let broker = Broker::shared().await?;
    let nobody = format!("amqp://u:hush-hush-password@127.0.0.1:{}/%2f", free_port()?);
    let cases = [
        (nobody, "cannot be reached"),
        (broker.uri_as("guest", "hush-hush-password", "%2f"), "user or password"),
        (broker.uri_as("nobody", "hush-hush-password", "%2f"), "user or password"),
        (broker.uri_as("guest", "guest", "nowhere"), "nowhere"),
    ];
    for (uri, named) in cases {
        let uri = ("ARCHIVER__AMQP__URI", uri.as_str());
        let ended = run(&["run"], &[TOKEN, PATIENCE, uri, ("ARCHIVER__ADMIN__LISTEN", "127.0.0.1:0")]).await?;
        refused(&ended, 1, &[named, "amqp.uri"]);
    }
    Ok(())
}

/// What is archived but cannot be answered helps nobody: probes and alerts must see it.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_can_publish_nothing_is_not_ready() -> Result<()> {
    let stage = Stage::set("unpublished", &[]).await?;
    // Ready means that the bindings are there too.
    let declaring = stage.worker().start()?;
    declaring.ready(LIMIT).await?;
    stop(&declaring).await?;
    let broker = Broker::shared().await?;
    let rights = Rights { configure: "^$", write: "^association-archiver$", read: ".*" };
    broker.add_user("mute", "secret", "unpublished", Rights { write: "^$", read: "^$", ..rights }).await?;
    let user = stage.worker().set("amqp.uri", broker.uri_as("mute", "secret", "unpublished"));
    // Without a lease, which could not be renewed either: nobody tries to publish before there is an answer.
    let worker = user.set("amqp.declare_topology", "false").set("amqp.lease", "false").start()?;

    let not_ready = async |trouble: &str, cause: &str| {
        harness::eventually(LIMIT, "readiness to be refused", async || {
            let (status, body) = worker.readiness().await?;
            let reasons = body["reasons"].to_string();
            let told = reasons.contains(trouble) && reasons.contains(cause);
            anyhow::ensure!(status == 503 && told, "{status} {body}");
            Ok(Some(()))
        })
        .await
    };
    // A missing right is named with its mend.
    let lacks =
        |right: &str| format!("lacks the right `{right}`; grant it the right with `rabbitmqctl set_permissions");
    not_ready("no jobs come in from the broker", &lacks("read")).await?;
    broker.set_rights("mute", "unpublished", Rights { write: "^$", ..rights }).await?;
    worker.ready(LIMIT).await?;
    // No jobs, so that only the broker has a part in it.
    stage.client.publish(JOBS, vec![Message::new("{}").id("first")?]).await?;
    let no_outcomes = "no outcomes can go out to the broker";
    not_ready(no_outcomes, &lacks("write")).await?;
    stage.client.delete(RESULTS).await?;
    broker.set_rights("mute", "unpublished", rights).await?;
    not_ready(no_outcomes, "association-archiver.results").await?;
    stage.client.declare_quorum(RESULTS, &[]).await?;
    stage.client.bind(RESULTS, "association-archiver", "results").await?;
    worker.ready(LIMIT).await?;
    assert_eq!(stage.outcomes(1, LIMIT).await?[0].job_id, "first");
    stop(&worker).await
}
