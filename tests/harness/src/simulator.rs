//! The built `hubspot-simulator` as a process of its own.

use std::ops::Deref;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::deadline::eventually;
use crate::keeper::Keeper;
use crate::process::{Process, find_binary};

const BINARY: &str = "hubspot-simulator";
/// Names another build of the simulator.
const BINARY_VARIABLE: &str = "HUBSPOT_SIMULATOR_BIN";
const GREETING: &str = "listening on ";
const START_LIMIT: Duration = Duration::from_secs(30);
const HTTP_LIMIT: Duration = Duration::from_secs(30);

/// Signals, exit code, output and cost are those of its [`Process`].
#[derive(Debug)]
pub struct SimulatorProcess {
    process: Process,
    uri: String,
    http: reqwest::Client,
}

impl SimulatorProcess {
    /// Starts it with these flags (see its `--help`) and waits for its address. It listens on a free port unless told.
    pub async fn start(flags: &[&str]) -> Result<Self> {
        let mut command = Command::new(find_binary(BINARY, BINARY_VARIABLE)?);
        if !flags.iter().any(|flag| flag.starts_with("--listen") || flag.starts_with("--port")) {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        command.args(flags);
        let process = Process::start(BINARY, command, Keeper::start("simulator")?)?;
        let uri = greeting(&process).await.with_context(|| process.last_words())?;
        let http = reqwest::Client::builder().no_proxy().timeout(HTTP_LIMIT).build()?;
        Ok(Self { process, uri, http })
    }

    /// Its base URL, for `hubspot.base_url`.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// What it has seen so far: `GET /_sim/state`.
    pub async fn state(&self) -> Result<Value> {
        self.get("/_sim/state").await
    }

    /// Any other of its own endpoints.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let response = self.http.get(format!("{}{path}", self.uri)).send().await?;
        Ok(response.error_for_status()?.json().await?)
    }

    /// Asks whose a token is, as any client of HubSpot may; the answer comes after the latency that was set.
    pub async fn identify(&self, token: &str) -> Result<Value> {
        let request = self.http.get(format!("{}/account-info/v3/details", self.uri)).bearer_auth(token);
        Ok(request.send().await?.error_for_status()?.json().await?)
    }

    /// Replaces its scripted faults: `PUT /_sim/faults`.
    pub async fn put_faults(&self, faults: &Value) -> Result<()> {
        let response = self.http.put(format!("{}/_sim/faults", self.uri)).json(faults).send().await?;
        response.error_for_status()?;
        Ok(())
    }

    /// Makes associations beside those there are: `POST /_sim/associations`.
    pub async fn associate(&self, seeds: &Value) -> Result<()> {
        let response = self.http.post(format!("{}/_sim/associations", self.uri)).json(seeds).send().await?;
        response.error_for_status()?;
        Ok(())
    }

    /// Edits tokens, limits, latency and bad ids while it runs: `POST /_sim/config`.
    pub async fn configure(&self, changes: &Value) -> Result<()> {
        let response = self.http.post(format!("{}/_sim/config", self.uri)).json(changes).send().await?;
        response.error_for_status()?;
        Ok(())
    }
}

impl Deref for SimulatorProcess {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

async fn greeting(process: &Process) -> Result<String> {
    let uri = eventually(START_LIMIT, "the simulator's first line", async || {
        let stdout = process.stdout();
        match stdout.lines().next() {
            Some(line) => {
                let uri = line.strip_prefix(GREETING);
                Ok(Some(Ok(uri.with_context(|| format!("its first line is {line:?}"))?.trim().to_owned())))
            }
            None => Ok(process.ended()?.map(Err)),
        }
    })
    .await?;
    match uri {
        Ok(uri) => Ok(uri),
        Err(code) => bail!("the simulator ended with code {code} while starting"),
    }
}
