//! Packages from npm, installed under `target` where they are not there yet.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::quick_starts::{installed, succeeds};

/// The directory of modules that has these packages, each with its version; `None` where node or npm cannot do it.
///
/// `of` names the directory, so that tests that run at once do not install into the same.
pub fn modules(of: &str, packages: &[&str]) -> Option<PathBuf> {
    let directory = installed().join(of);
    let modules = directory.join("node_modules");
    if has_all(&modules, packages) {
        return Some(modules);
    }
    let install = ["install", "--no-audit", "--no-fund", "--silent", "--prefix"];
    let installed = succeeds(Command::new("npm").args(install).arg(directory).args(packages));
    (installed && has_all(&modules, packages)).then_some(modules)
}

fn has_all(modules: &Path, packages: &[&str]) -> bool {
    let names = packages.iter().map(|package| package.rsplit_once('@').map_or(*package, |(name, _)| name));
    let requires: Vec<String> = names.map(|name| format!("require('{name}');")).collect();
    let found = Command::new("node").args(["-e", &requires.concat()]).env("NODE_PATH", modules).output();
    found.is_ok_and(|output| output.status.success())
}
