//! What is shipped depends on nothing that ARCHITECTURE.md does not argue for.

use std::collections::BTreeSet;
use std::fs;

use crate::corpus::{Document, nothing_wrong, root};

const ARCHITECTURE: &str = "ARCHITECTURE.md";

#[test]
fn every_dependency_is_argued_and_no_other() {
    let manifests = ["Cargo.toml", "policy/Cargo.toml"].map(read);
    let lines = manifests.iter().flat_map(|manifest| dependencies(manifest));
    let names = lines.filter_map(|line| line.split(['.', ' ', '=']).next());
    // A part of the product itself.
    let shipped: BTreeSet<&str> = names.filter(|name| *name != "policy").collect();
    assert!(["tokio", "tikv-jemallocator"].iter().all(|name| shipped.contains(name)), "{shipped:?}");
    let document = Document::read(ARCHITECTURE);
    let rows = document.text.lines().skip_while(|line| *line != "## Dependencies").skip(1);
    let rows = rows.take_while(|line| !line.starts_with("## ")).filter(|line| line.starts_with("| `"));
    let argued = rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2));
    let argued: BTreeSet<&str> = argued.collect();
    let unargued = shipped.difference(&argued).map(|name| format!("{ARCHITECTURE} does not argue for {name}"));
    let unused = argued.difference(&shipped).map(|name| format!("{ARCHITECTURE}: {name} is no dependency"));
    nothing_wrong(unargued.chain(unused));
}

/// What `deny.toml` refuses too; this needs no tool that may be missing.
#[test]
fn everything_comes_from_one_registry_and_there_is_one_tls_stack() {
    const REGISTRY: &str = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    let lock = read("Cargo.lock");
    let of_registry = lock.lines().filter(|line| *line == REGISTRY).count();
    assert!(of_registry > 100, "{of_registry} packages");
    let elsewhere = lock.lines().filter(|line| line.starts_with("source = ") && *line != REGISTRY);
    let second = ["native-tls", "openssl", "openssl-sys"];
    let second = second.iter().filter(|name| lock.lines().any(|line| line == format!("name = \"{name}\"")));
    nothing_wrong(elsewhere.map(str::to_owned).chain(second.map(|name| format!("{name} is a second TLS stack"))));
}

#[test]
fn no_crate_of_the_workspace_may_be_unsafe() {
    let workspace = read("Cargo.toml");
    assert!(section(&workspace, "[workspace.lints.rust]").any(|line| line == "unsafe_code = \"forbid\""));
    let members = section(&workspace, "[workspace]").find_map(|line| line.strip_prefix("members = ")).unwrap();
    let members = members.split('"').skip(1).step_by(2).map(|member| format!("{member}/Cargo.toml"));
    for manifest in members.chain(["Cargo.toml".to_owned()]) {
        assert!(section(&read(&manifest), "[lints]").any(|line| line == "workspace = true"), "{manifest}");
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// Those of all platforms and those of some.
fn dependencies(manifest: &str) -> impl Iterator<Item = &str> {
    let of_some = |line: &str| line.starts_with("[target.") && line.ends_with(".dependencies]");
    let headings = manifest.lines().filter(move |line| *line == "[dependencies]" || of_some(line));
    headings.flat_map(|heading| section(manifest, heading))
}

/// The lines below a heading of a manifest, up to the next one.
fn section<'a>(manifest: &'a str, heading: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = manifest.lines().skip_while(move |line| *line != heading).skip(1);
    lines.take_while(|line| !line.starts_with('[')).filter(|line| !line.is_empty() && !line.starts_with('#'))
}
