//! The program run to its end, and ground for it to work on.

use std::process::Stdio;
use std::time::Duration;

use association_archiver::amqp::edges::Outlet;
use association_archiver::config::{AmqpSettings, SecretSource, SettingKey};
use harness::{Broker, Client, Worker};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

pub const JOBS: &str = "association-archiver.jobs";
pub const BACKGROUND: &str = "association-archiver.jobs.background";
pub const DEAD_LETTERS: &str = "association-archiver.dead-letters";

const LONGEST_COMMAND: Duration = Duration::from_secs(120);
const LONGEST_CLOSE: Duration = Duration::from_secs(30);

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Its error, which must be one line; with `code`.
    pub fn error(&self, code: i32) -> &str {
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        self.stderr.trim_end().strip_prefix("error: ").unwrap_or_else(|| panic!("{self:?}"))
    }

    /// Stdout, where the command went well.
    pub fn fine(&self) -> &str {
        assert_eq!(self.code, 0, "{self:?}");
        &self.stdout
    }

    pub fn lines(&self) -> Vec<Value> {
        self.fine().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Settings by their dotted keys.
pub type Settings<'a> = &'a [(&'a str, &'a str)];

pub fn command(arguments: &[&str], settings: Settings<'_>) -> Command {
    let mut command = Worker::command().unwrap();
    command.args(arguments);
    for (key, value) in settings {
        command.env(format!("ARCHIVER__{}", key.to_uppercase().replace('.', "__")), value);
    }
    command
}

pub async fn run(arguments: &[&str], settings: Settings<'_>) -> Ran {
    run_with(arguments, settings, "").await
}

/// With variables that are no settings.
pub async fn run_with_variables(arguments: &[&str], settings: Settings<'_>, variables: &[(&str, &str)]) -> Ran {
    let mut command = command(arguments, settings);
    command.envs(variables.iter().copied());
    ended(command, arguments, "").await
}

/// With something on stdin.
pub async fn run_with(arguments: &[&str], settings: Settings<'_>, stdin: &str) -> Ran {
    ended(command(arguments, settings), arguments, stdin).await
}

async fn ended(mut command: Command, arguments: &[&str], stdin: &str) -> Ran {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let text = stdin.to_owned();
    let writing = tokio::spawn(async move {
        // A command that does not want it closes the pipe.
        let _ = pipe.write_all(text.as_bytes()).await;
    });
    let output = tokio::time::timeout(LONGEST_COMMAND, child.wait_with_output()).await;
    let output = output.unwrap_or_else(|_| panic!("{arguments:?} does not end")).unwrap();
    writing.await.unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The same on a terminal, as `script` of util-linux makes one: what is shown there. Nothing is drawn anew on it.
pub async fn on_a_terminal(arguments: &[&str], settings: Settings<'_>, typed: &str) -> String {
    on_a_terminal_of("dumb", arguments, settings, typed).await
}

/// On a terminal of this kind (`TERM`): with `xterm` all that is drawn and drawn over.
pub async fn on_a_terminal_of(kind: &str, arguments: &[&str], settings: Settings<'_>, typed: &str) -> String {
    let plain = command(arguments, settings);
    let quoted = std::iter::once(plain.as_std().get_program()).chain(plain.as_std().get_args());
    let quoted: Vec<String> =
        quoted.map(|word| format!("'{}'", word.to_str().unwrap().replace('\'', r"'\''"))).collect();
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--echo", "never", "--command", &quoted.join(" "), "/dev/null"]);
    script.env_clear().current_dir(std::env::temp_dir());
    // What is named without a value is left out on purpose.
    script.envs(plain.as_std().get_envs().filter_map(|(name, value)| Some((name, value?))));
    script.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("TERM", kind).env("NO_COLOR", "1");
    script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = script.spawn().unwrap();
    let (mut pipe, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let shown = async {
        let (mut shown, mut typed, mut bytes) = (Vec::new(), Some(typed), [0; 4096]);
        // The pipe stays open: its end would hang up the terminal.
        while let Ok(length @ 1..) = screen.read(&mut bytes).await {
            shown.extend_from_slice(&bytes[..length]);
            // What is typed before the question is no answer.
            if shown.windows(QUESTION.len()).any(|words| words == QUESTION)
                && let Some(typed) = typed.take()
            {
                pipe.write_all(typed.as_bytes()).await.unwrap();
            }
        }
        child.wait().await.unwrap();
        shown
    };
    let shown = tokio::time::timeout(LONGEST_COMMAND, shown).await;
    String::from_utf8(shown.unwrap_or_else(|_| panic!("{arguments:?} does not end on a terminal"))).unwrap()
}

/// How each question ends.
const QUESTION: &[u8] = b"[y/N]";

/// A virtual host without queues.
pub async fn bare_ground(name: &str) -> (Client, String) {
    bare_ground_on(Broker::shared().await.unwrap(), name).await
}

async fn bare_ground_on(broker: &Broker, name: &str) -> (Client, String) {
    let vhost = broker.vhost(name).await.unwrap();
    (Client::new(&vhost.uri), vhost.uri)
}

/// A virtual host in which a service has declared what it needs.
pub async fn ground(name: &str) -> (Client, String) {
    ground_on(Broker::shared().await.unwrap(), name).await
}

/// The same on a node of the test's own, for what disturbs the node.
pub async fn ground_on(broker: &Broker, name: &str) -> (Client, String) {
    let (client, uri) = bare_ground_on(broker, name).await;
    let settings = AmqpSettings {
        uri: SecretSource::inline(SettingKey::new("amqp.uri"), uri.as_str().into()),
        ..AmqpSettings::default()
    };
    let outlet = Outlet::start(&settings).await.unwrap();
    outlet.publisher.close(LONGEST_CLOSE).await;
    outlet.closer.close(Duration::from_secs(30)).await;
    (client, uri)
}
