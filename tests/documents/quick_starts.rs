//! The programs of `docs/producers.md`, run as they stand there against a real broker and worker.
//!
//! They need a package each from PyPI or npm. Where it is neither here nor to be had, the test says so and stops.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

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
    let Some(python) = python_with_pika(keeper.directory()) else { return not_run("Python", "python3 with pika") };
    let program = keeper.directory().join("quick_start.py");
    fs::write(&program, quick_start("Python", "python"))?;
    let mut command = Command::new(python);
    command.arg(program);
    answers("documents-python", command, keeper, "crm-sync-1 ARCHIVED []").await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_one_in_node_works() -> Result<()> {
    let keeper = Keeper::start("quick-start-node")?;
    let Some(modules) = node_with_amqplib(keeper.directory()) else { return not_run("Node", "node with amqplib") };
    let program = keeper.directory().join("quick_start.js");
    fs::write(&program, quick_start("Node", "js"))?;
    let mut command = Command::new("node");
    command.arg(program).env("NODE_PATH", modules);
    answers("documents-node", command, keeper, "crm-sync-2 ARCHIVED []").await
}

#[test]
fn there_is_one_for_each_language() {
    for (heading, language) in [("Python", "python"), ("Node", "js"), ("Go", "go"), ("Java", "java"), ("Ruby", "ruby")] {
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

/// An interpreter that has pika: the system's, or one of a virtual environment in `directory`.
fn python_with_pika(directory: &Path) -> Option<PathBuf> {
    let system = PathBuf::from("python3");
    let has_pika = |python: &Path| succeeds(Command::new(python).args(["-c", "import pika"]));
    if has_pika(&system) {
        return Some(system);
    }
    let venv = directory.join("venv");
    let made = succeeds(Command::new(&system).args(["-m", "venv"]).arg(&venv));
    let python = venv.join("bin/python");
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "pika"];
    (made && succeeds(Command::new(&python).args(install)) && has_pika(&python)).then_some(python)
}

/// The directory of modules that has amqplib: one that is there, or one in `directory`.
fn node_with_amqplib(directory: &Path) -> Option<PathBuf> {
    let found = env::var_os("NODE_PATH").map(PathBuf::from).filter(|modules| modules.join("amqplib").is_dir());
    if found.is_some() && succeeds(Command::new("node").arg("--version")) {
        return found;
    }
    let install = ["install", "--no-audit", "--no-fund", "--silent", "--prefix"];
    let installed = succeeds(Command::new("npm").args(install).arg(directory).arg("amqplib"));
    installed.then(|| directory.join("node_modules"))
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
