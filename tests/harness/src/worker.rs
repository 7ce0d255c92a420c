//! The built `association-archiver`, run as users run it.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::deadline::eventually;
use crate::keeper::Keeper;
use crate::metrics::Metrics;
use crate::port::free_port;
use crate::process::{Process, find_binary};

const BINARY: &str = "association-archiver";
/// Names another build of the worker to test.
const BINARY_VARIABLE: &str = "ARCHIVER_BIN";
const SETTING_PREFIX: &str = "ARCHIVER__";
const HTTP_LIMIT: Duration = Duration::from_secs(20);

/// A running `association-archiver run`; signals, exit code, output and cost are those of its [`Process`].
#[derive(Debug)]
pub struct Worker {
    process: Process,
    admin: String,
    http: reqwest::Client,
}

/// What a worker is started with; can be started any number of times.
#[derive(Clone, Debug, Default)]
pub struct WorkerBuilder {
    settings: BTreeMap<String, String>,
    config: Option<String>,
    files: BTreeMap<String, String>,
    admin_port: Option<u16>,
    program: Option<PathBuf>,
}

impl WorkerBuilder {
    /// A setting by its dotted key (`amqp.uri`), handed over as an environment variable.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl ToString) -> Self {
        let variable = format!("{SETTING_PREFIX}{}", key.to_uppercase().replace('.', "__"));
        self.settings.insert(variable, value.to_string());
        self
    }

    /// The text of a settings file, named by `--config`. Accounts can only be given here.
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        self.config = Some(toml.to_owned());
        self
    }

    /// A file in the directory where it runs, which settings name without a directory.
    #[must_use]
    pub fn file(mut self, name: &str, text: &str) -> Self {
        self.files.insert(name.to_owned(), text.to_owned());
        self
    }

    /// A variable of its environment that is no setting.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.settings.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Fixes the port of the admin endpoints, which is else a free one chosen at each start.
    #[must_use]
    pub fn admin_port(mut self, port: u16) -> Self {
        self.admin_port = Some(port);
        self
    }

    /// Another program that understands what the worker does.
    #[must_use]
    pub fn program(mut self, path: PathBuf) -> Self {
        self.program = Some(path);
        self
    }

    /// Starts the process without waiting until it is ready.
    pub fn start(&self) -> Result<Worker> {
        let keeper = Keeper::start("archiver")?;
        let admin = format!("127.0.0.1:{}", self.admin_port.map_or_else(free_port, Ok)?);
        let mut command = match &self.program {
            Some(program) => plain(program),
            None => plain_command()?,
        };
        command.arg("run").env(format!("{SETTING_PREFIX}ADMIN__LISTEN"), &admin).envs(&self.settings);
        if let Some(toml) = &self.config {
            let path = keeper.directory().join("archiver.toml");
            fs::write(&path, toml).with_context(|| format!("writing {}", path.display()))?;
            command.arg("--config").arg(path);
        }
        for (name, text) in &self.files {
            let path = keeper.directory().join(name);
            fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        }
        // An ambient proxy would be asked for loopback addresses.
        let http = reqwest::Client::builder().no_proxy().timeout(HTTP_LIMIT).build()?;
        let process = Process::start(BINARY, command, keeper)?;
        Ok(Worker { process, admin: format!("http://{admin}"), http })
    }
}

impl Worker {
    /// Whoever follows a killed worker waits for its lease to end: short, since many tests kill one.
    pub fn builder() -> WorkerBuilder {
        WorkerBuilder::default().set("amqp.lease_time", "2s")
    }

    /// For the commands that end by themselves: the binary without arguments, without settings from the test's own
    /// environment, with the system's temporary directory as its own. Killed if the future of its output is dropped.
    pub fn command() -> Result<tokio::process::Command> {
        let mut plain = plain_command()?;
        plain.current_dir(std::env::temp_dir());
        let mut command = tokio::process::Command::from(plain);
        command.kill_on_drop(true);
        Ok(command)
    }

    /// Base of the admin endpoints.
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// Waits until `/readyz` answers 200; a worker that ends instead is reported with what it said.
    pub async fn ready(&self, deadline: Duration) -> Result<()> {
        let ended = eventually(deadline, "the worker to be ready", async || {
            if let Some(code) = self.ended()? {
                return Ok(Some(Some(code)));
            }
            let response = self.http.get(format!("{}/readyz", self.admin)).send().await?;
            let status = response.status();
            ensure!(status == 200, "/readyz answers {status}: {}", response.text().await?);
            Ok(Some(None))
        })
        .await
        .with_context(|| self.last_words())?;
        match ended {
            None => Ok(()),
            Some(code) => bail!("the worker ended with code {code} before it was ready\n{}", self.last_words()),
        }
    }

    /// The status code and JSON of `/readyz` now.
    pub async fn readiness(&self) -> Result<(u16, Value)> {
        let response = self.http.get(format!("{}/readyz", self.admin)).send().await?;
        Ok((response.status().as_u16(), response.json().await?))
    }

    /// `/metrics` now.
    pub async fn metrics(&self) -> Result<Metrics> {
        Metrics::parse(&self.get("/metrics").await?.text().await?)
    }

    /// `/status` now.
    pub async fn status(&self) -> Result<Value> {
        Ok(self.get("/status").await?.json().await?)
    }

    async fn get(&self, path: &str) -> Result<reqwest::Response> {
        let response = self.http.get(format!("{}{path}", self.admin)).send().await?;
        Ok(response.error_for_status()?)
    }
}

impl Deref for Worker {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

/// The binary without arguments and without the settings of the test's own environment.
fn plain_command() -> Result<Command> {
    Ok(plain(&find_binary(BINARY, BINARY_VARIABLE)?))
}

fn plain(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (variable, _) in std::env::vars_os() {
        if variable.to_str().is_some_and(|name| name.starts_with(SETTING_PREFIX) || name == BINARY_VARIABLE) {
            command.env_remove(variable);
        }
    }
    command
}
