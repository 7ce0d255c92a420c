//! Who may know whom. What ARCHITECTURE.md promises about imports is checked here, so that it stays true.

use std::fs;
use std::path::{Path, PathBuf};

use crate::corpus::{nothing_wrong, root};

/// Each module of the worker and the modules that it may name. An arrow that is missing here has no reason yet: find
/// the seam that makes it unnecessary before you add it.
const ARROWS: [(&str, &[&str]); 7] = [
    ("config", &["contract"]),
    ("amqp", &["config", "contract", "engine"]),
    ("hubspot", &["config", "contract", "engine"]),
    ("telemetry", &["config", "contract", "engine", "hubspot"]),
    ("admin", &["contract", "engine", "telemetry", "worker"]),
    ("worker", &["admin", "amqp", "config", "contract", "engine", "hubspot", "telemetry"]),
    ("cli", &["admin", "amqp", "config", "contract", "engine", "hubspot", "telemetry", "worker"]),
];

/// Libraries that belong to one edge, and where they may be named.
const EDGES: [(&str, &[&str]); 5] = [
    // The settings refuse a broker's address as lapin would, before anything is dialled.
    ("lapin", &["src/amqp/", "src/config/amqp_uri.rs"]),
    ("reqwest", &["src/hubspot/", "src/telemetry/traces"]),
    ("axum", &["src/admin/"]),
    ("clap", &["src/cli/"]),
    ("ratatui", &["src/cli/top"]),
];

/// What would make the policy depend on anything but its inputs.
const IMPURE: [&str; 11] = [
    "async fn",
    ".await",
    "Instant::now",
    "SystemTime",
    "Timestamp::now",
    "Zoned::now",
    "std::env",
    "std::fs",
    "std::net",
    "std::thread",
    "tracing::",
];

/// Crates that would bring a clock, a task or a socket with them.
const IMPURE_CRATES: [&str; 7] = ["tokio", "tokio-util", "futures-util", "lapin", "reqwest", "hyper", "tracing"];

#[test]
fn modules_name_only_those_they_may() {
    let mut wrong = Vec::new();
    for (module, may) in ARROWS {
        let files = sources(&format!("src/{module}"));
        assert!(!files.is_empty(), "src/{module} has no file");
        for (path, text) in files {
            for name in text.split("crate::").skip(1).map(first_word).filter(|name| *name != module) {
                let known = ARROWS.iter().any(|(other, _)| *other == name) || ["contract", "engine"].contains(&name);
                if known && !may.contains(&name) {
                    wrong.push(format!("{path} names crate::{name}, which {module} may not"));
                }
            }
        }
    }
    nothing_wrong(wrong);
}

#[test]
fn libraries_of_an_edge_are_named_there_only() {
    let mut wrong = Vec::new();
    for (library, places) in EDGES {
        let path_of = format!("{library}::");
        let uses = sources("src").into_iter().filter(|(_, text)| names(text, &path_of)).map(|(path, _)| path);
        let (inside, outside): (Vec<_>, Vec<_>) =
            uses.partition(|path| places.iter().any(|place| path.starts_with(place)));
        assert!(!inside.is_empty(), "nobody names {library}");
        wrong.extend(outside.iter().map(|path| format!("{path} names {library}, which belongs in {places:?}")));
    }
    nothing_wrong(wrong);
}

#[test]
fn the_loop_knows_neither_the_broker_nor_the_page_nor_the_metrics() {
    let text = fs::read_to_string(root().join("src/worker/policy_loop.rs")).unwrap();
    let named = ["admin", "amqp", "hubspot", "telemetry"].map(|module| format!("crate::{module}::"));
    nothing_wrong(named.iter().filter(|name| text.contains(*name)).map(|name| format!("policy_loop.rs names {name}")));
}

#[test]
fn the_policy_is_told_the_time_and_does_nothing_itself() {
    let manifest = fs::read_to_string(root().join("policy/Cargo.toml")).unwrap();
    let crates = manifest.lines().filter_map(|line| line.split(['.', ' ', '=']).next());
    let crates = crates.filter(|name| IMPURE_CRATES.contains(name)).map(|name| format!("policy depends on {name}"));
    let mut files = sources("policy/src");
    // Tests may look at a clock.
    files.retain(|(path, _)| !path.ends_with("/tests.rs") && !path.contains("/tests/"));
    assert!(files.len() > 20, "{} files", files.len());
    let uses = files.iter().flat_map(|(path, text)| {
        IMPURE.iter().filter(|word| says(text, word)).map(move |word| format!("{path} uses {word}"))
    });
    nothing_wrong(crates.chain(uses));
}

/// Who looks for an idea of the engine finds its file in the code map.
#[test]
fn the_code_map_names_every_file_of_the_engine() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let map = map.split("## Code map").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    let files = sources("policy/src/engine").into_iter().map(|(path, _)| path["policy/src/engine/".len()..].to_owned());
    let ideas = files.filter(|file| !file.contains('/') && !["mod.rs", "tests.rs", "expected.rs"].contains(&&**file));
    let is_missing = |file: &String| !map.contains(&format!("`{file}`")) && !map.contains(&format!("`engine/{file}`"));
    nothing_wrong(ideas.filter(is_missing).map(|file| format!("ARCHITECTURE.md's code map does not name {file}")));
}

/// `word`, and not the beginning of a longer one: `.awaits()` is no `.await`.
fn says(text: &str, word: &str) -> bool {
    let goes_on = |rest: &str| rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    text.match_indices(word).any(|(at, _)| word.ends_with(':') || !goes_on(&text[at + word.len()..]))
}

/// `name` as a path of its own, not as the end of a longer word.
fn names(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        text[..at].chars().next_back().is_none_or(|before| !before.is_alphanumeric() && !"_:".contains(before))
    })
}

fn first_word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

/// Every Rust file below a directory: its path from the root, and its text.
pub fn sources(directory: &str) -> Vec<(String, String)> {
    let (mut found, mut waiting): (Vec<(String, String)>, Vec<PathBuf>) = (Vec::new(), vec![root().join(directory)]);
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((from_root(&path), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn from_root(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned()
}
