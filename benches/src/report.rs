//! The whole run as data, for comparison between commits.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::bound::Bound;
use crate::ceiling::Limited;
use crate::duel::{Case, Standing};
use crate::forwarding::Forwarding;
use crate::half_load::HalfLoad;
use crate::idle::Idle;

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub commit: Option<String>,
    pub machine: Machine,
    pub rounds: usize,
    pub cases: Vec<CaseReport>,
    pub limited: Vec<Limited>,
    pub idle: Option<Idle>,
    pub half_load: Vec<HalfLoad>,
    pub forwarding: Option<Forwarding>,
    pub allocations_per_job: Option<f64>,
    pub bounds: Vec<Bound>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    pub processor: Option<String>,
    pub cores: usize,
    pub rabbitmq: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct CaseReport {
    pub case: Case,
    pub standings: Vec<Standing>,
}

impl Machine {
    pub fn here(rabbitmq: String) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let about = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let line = about.lines().find(|line| line.starts_with("model name"));
        let processor = line.and_then(|line| line.split_once(':')).map(|(_, name)| name.trim().to_owned());
        Self { processor, cores, rabbitmq }
    }
}

pub fn write_json(report: &impl Serialize, file: &Path) -> Result<()> {
    let text = serde_json::to_string_pretty(report)?;
    fs::write(file, text + "\n").with_context(|| format!("--json {} cannot be written", file.display()))
}

/// The commit that the sources are at; `None` outside a git checkout.
pub fn commit() -> Option<String> {
    let output = Command::new("git")
        .args(["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"])
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
