//! The programs of `docs/producers.md`, run as they stand there against a real broker and worker.
//!
//! They need a package each: Debian's, which `make test` installs, or one from PyPI or npm, which stays under `target`.
//! Where it is neither here nor to be had, the test says so and stops.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::eventually;
use harness::keeper::Keeper;
use harness::process::Process;

use crate::corpus::Document;
use crate::stage::{Stage, stop};

/// A job to its outcome, and an interpreter that starts on a busy machine.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// The portal that the programs name; the simulator's too.
const ACCOUNT: &str = "[[hubspot.accounts]]\nportal_id = 4711\naccess_token = \"pat-of-the-quick-starts\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_one_in_python_works() -> Result<()> {
    let keeper = Keeper::start("quick-start-python")?;
    let Some(python) = python_with_pika() else { return not_run("Python", "python3 with pika") };
    let program = keeper.directory().join("quick_start.py");
    fs::write(&program, quick_start("Python", "python"))?;
    let mut command = Command::new(python);
    command.arg(program);
    answers("documents-python", command, keeper, "crm-sync-1 ARCHIVED []").await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_one_in_node_works() -> Result<()> {
    let keeper = Keeper::start("quick-start-node")?;
    let Some(modules) = node_with_amqplib() else { return not_run("Node", "node with amqplib") };
    let program = keeper.directory().join("quick_start.js");
    fs::write(&program, quick_start("Node", "js"))?;
    let mut command = Command::new("node");
    command.arg(program).env("NODE_PATH", modules);
    answers("documents-node", command, keeper, "crm-sync-2 ARCHIVED []").await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_one_in_ruby_works() -> Result<()> {
    let keeper = Keeper::start("quick-start-ruby")?;
    if !succeeds(Command::new("ruby").args(["-r", "bunny", "-e", ""])) {
        return not_run("Ruby", "ruby with bunny");
    }
    let program = keeper.directory().join("quick_start.rb");
    fs::write(&program, quick_start("Ruby", "ruby"))?;
    let mut command = Command::new("ruby");
    command.arg(program);
    answers("documents-ruby", command, keeper, "crm-sync-5 ARCHIVED []").await
}

#[test]
fn there_is_one_for_each_language() {
    for (heading, language) in [("Python", "python"), ("Node", "js"), ("Go", "go"), ("Java", "java"), ("Ruby", "ruby")]
    {
        let program = quick_start(heading, language);
        for needed in ["AMQP_URI", "association-archiver.results", "jobs", "jobId", "inputs"] {
            assert!(program.contains(needed), "{heading}: {needed}");
        }
    }
}

/// Runs the program until it has printed the answer to its job.
async fn answers(vhost: &str, mut command: Command, keeper: Keeper, expected: &str) -> Result<()> {
    let stage = Stage::set(vhost, &[]).await?;
    let worker = stage.start(&stage.worker_without_account().config(ACCOUNT)).await?;
    command.env("AMQP_URI", &stage.uri);
    let program = Process::start("quick start", command, keeper)?;
    eventually(ANSWER_LIMIT, &format!("the answer {expected:?}"), async || {
        if let Some(code) = program.ended()? {
            anyhow::bail!("it ended with code {code}");
        }
        let printed = program.stdout();
        ensure!(printed.is_empty() || printed.trim() == expected, "it printed {printed:?}");
        Ok((!printed.is_empty()).then_some(()))
    })
    .await
    .with_context(|| format!("{}\n{}", program.last_words(), worker.last_words()))?;
    program.kill9().await?;
    stop(&worker).await
}

fn quick_start(heading: &str, language: &str) -> String {
    let fences = Document::read("docs/producers.md").fences();
    let found = fences.into_iter().find(|fence| fence.heading == heading && fence.language == language);
    found.unwrap_or_else(|| panic!("docs/producers.md has no {language} under {heading}")).text
}

fn not_run(language: &str, needed: &str) -> Result<()> {
    eprintln!("NOT RUN: the quick start in {language}: {needed} is not here and could not be installed");
    Ok(())
}

/// An interpreter that has pika: the system's, or that of a virtual environment.
fn python_with_pika() -> Option<PathBuf> {
    let system = PathBuf::from("python3");
    // Debian's package is for Debian's Python, which need not be the first on the path.
    let debian = PathBuf::from("/usr/bin/python3");
    let venv = installed().join("venv");
    let python = venv.join("bin/python");
    let has_pika = |python: &Path| {
        let found = Command::new(python).args(["-c", "import pika"]).output();
        found.is_ok_and(|output| output.status.success())
    };
    if let Some(python) = [&system, &debian, &python].into_iter().find(|python| has_pika(python)) {
        return Some(python.clone());
    }
    let made = succeeds(Command::new(&system).args(["-m", "venv"]).arg(&venv));
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "pika"];
    (made && succeeds(Command::new(&python).args(install)) && has_pika(&python)).then_some(python)
}

/// The directory of modules that has amqplib.
fn node_with_amqplib() -> Option<PathBuf> {
    let directory = installed().join("node");
    let modules = directory.join("node_modules");
    let has_amqplib = || {
        let found = Command::new("node").args(["-e", "require('amqplib')"]).env("NODE_PATH", &modules).output();
        found.is_ok_and(|output| output.status.success())
    };
    if has_amqplib() {
        return Some(modules);
    }
    let install = ["install", "--no-audit", "--no-fund", "--silent", "--prefix"];
    let installed = succeeds(Command::new("npm").args(install).arg(directory).arg("amqplib"));
    (installed && has_amqplib()).then_some(modules)
}

/// Where what was installed stays until `cargo clean`.
fn installed() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("quick-starts")
}

/// Whether it can be run and ends well; what it says is of interest only if not.
fn succeeds(command: &mut Command) -> bool {
    match command.output() {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            eprintln!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
            false
        }
        Err(error) => {
            eprintln!("{command:?}: {error}");
            false
        }
    }
}
