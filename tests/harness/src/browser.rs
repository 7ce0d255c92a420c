//! A real browser without a window, driven over its debugging protocol: one page, at any size, with its complaints kept.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::timeout;

use crate::keeper::Keeper;

/// Debian's package of that name: `deploy/install.sh chromium`.
const BINARY: &str = "chromium";
/// For one answer; a busy machine needs some seconds for the first.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// A picture is some hundred kilobytes of base64.
const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;

/// Ended when dropped.
#[derive(Debug)]
pub struct Browser {
    _child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    session: Option<String>,
    sent: u64,
    complaints: Vec<String>,
    _keeper: Keeper,
}

/// The colours that the person at the screen asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    Light,
    Dark,
}

impl Scheme {
    fn word(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

impl Browser {
    /// Starts it with an empty page.
    pub async fn start() -> Result<Self> {
        let keeper = Keeper::start("browser")?;
        let mut command = std::process::Command::new("sh");
        // The protocol is spoken on the descriptors 3 and 4.
        command.args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1", BINARY]);
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe"]);
        // It would else speak to its maker.
        command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
        command.args(["--disable-quic", "--no-proxy-server", "--hide-scrollbars", "--force-device-scale-factor=1"]);
        command.arg(format!("--user-data-dir={}", keeper.directory().display()));
        keeper.guard(&mut command);
        let mut command = tokio::process::Command::from(command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("{BINARY} runs: deploy/install.sh {BINARY}"))?;
        let requests = child.stdin.take().context("no stdin")?;
        let answers = BufReader::new(child.stdout.take().context("no stdout")?);
        let (session, sent, complaints) = (None, 0, Vec::new());
        let mut browser = Self { _child: child, requests, answers, session, sent, complaints, _keeper: keeper };
        let target = browser.ask("Target.createTarget", json!({"url": "about:blank"})).await?;
        let target = json!({"targetId": target["targetId"], "flatten": true});
        let session = browser.ask("Target.attachToTarget", target).await?;
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.ask(domain, json!({})).await?;
        }
        Ok(browser)
    }

    /// What the screen is like, in CSS pixels.
    pub async fn screen(&mut self, width: u32, height: u32, scheme: Scheme) -> Result<()> {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.ask("Emulation.setDeviceMetricsOverride", metrics).await?;
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme.word()}]});
        self.ask("Emulation.setEmulatedMedia", media).await?;
        Ok(())
    }

    pub async fn open(&mut self, address: &str) -> Result<()> {
        let answer = self.ask("Page.navigate", json!({"url": address})).await?;
        ensure!(answer.get("errorText").is_none(), "{address} cannot be opened: {answer}");
        let there = format!("location.href.startsWith({address:?}) && document.readyState === 'complete'");
        self.until(ANSWER_LIMIT, &there).await
    }

    /// What a script comes to on the page, once its promise is kept.
    pub async fn run(&mut self, script: &str) -> Result<Value> {
        let request = json!({"expression": script, "awaitPromise": true, "returnByValue": true});
        let mut answer = self.ask("Runtime.evaluate", request).await?;
        ensure!(answer.get("exceptionDetails").is_none(), "{script}: {answer}");
        Ok(answer["result"]["value"].take())
    }

    /// Waits until a script comes to `true`.
    pub async fn until(&mut self, limit: Duration, script: &str) -> Result<()> {
        let end = tokio::time::Instant::now() + limit;
        while self.run(script).await? != true {
            if tokio::time::Instant::now() > end {
                bail!("never came true on the page: {script}\n{}", self.run("document.body.innerText").await?);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// A picture of the page from its top, at most so high.
    pub async fn picture(&mut self, file: &Path, most_height: u32) -> Result<()> {
        let size = "({width: innerWidth, height: document.documentElement.scrollHeight})";
        let size = self.run(size).await?;
        let height = size["height"].as_u64().unwrap_or_default().min(most_height.into());
        let clip = json!({"x": 0, "y": 0, "width": size["width"], "height": height, "scale": 1});
        let request = json!({"format": "png", "captureBeyondViewport": true, "clip": clip, "optimizeForSpeed": false});
        let answer = self.ask("Page.captureScreenshot", request).await?;
        let bytes = STANDARD.decode(answer["data"].as_str().context("no picture")?)?;
        std::fs::write(file, bytes).with_context(|| format!("{} cannot be written", file.display()))
    }

    /// Errors and warnings on the page's console so far.
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }

    async fn ask(&mut self, method: &str, parameters: Value) -> Result<Value> {
        timeout(ANSWER_LIMIT, self.converse(method, parameters))
            .await
            .with_context(|| format!("the browser does not answer {method}"))?
    }

    async fn converse(&mut self, method: &str, parameters: Value) -> Result<Value> {
        self.sent += 1;
        let mut request = json!({"id": self.sent, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            request["sessionId"] = json!(session);
        }
        let mut line = request.to_string().into_bytes();
        line.push(0);
        self.requests.write_all(&line).await.context("the browser has ended")?;
        loop {
            let mut message = Vec::new();
            let length = self.answers.read_until(0, &mut message).await?;
            ensure!(length > 0, "the browser has ended");
            ensure!(length < MAX_MESSAGE_BYTES, "the browser says too much");
            message.pop();
            let mut message: Value = serde_json::from_slice(&message)?;
            if message["id"] == self.sent {
                ensure!(message.get("error").is_none(), "{method}: {}", message["error"]);
                return Ok(message["result"].take());
            }
            self.hear(&message);
        }
    }

    fn hear(&mut self, event: &Value) {
        let parameters = &event["params"];
        let complaint = match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => Some(parameters["exceptionDetails"].to_string()),
            Some("Runtime.consoleAPICalled") if parameters["type"] != "log" => Some(parameters["args"].to_string()),
            Some("Log.entryAdded") => Some(parameters["entry"].to_string()),
            _ => None,
        };
        self.complaints.extend(complaint);
    }
}
