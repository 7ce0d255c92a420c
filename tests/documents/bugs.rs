//! The bugs that `make bite` seeds, and the table of them.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::corpus::{Document, nothing_wrong, root};

const TABLE: &str = "tests/README.md";
const PATCHES: &str = "tests/bite";

#[test]
fn the_table_names_every_bug_with_the_test_that_catches_it() {
    let text = Document::read(TABLE).text;
    let rows: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("| bug |")).skip(2).collect();
    let mut wrong = Vec::new();
    let mut known = BTreeSet::new();
    for entry in fs::read_dir(root().join(PATCHES)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let patch = fs::read_to_string(&path).unwrap();
        let field = |name: &str| patch.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
        let (bug, test) = (field("Bug:"), field("Test:"));
        let test = test.rsplit(' ').next().unwrap_or_default();
        let row = rows.iter().find(|row| row.starts_with(&format!("| `{name}` |")));
        match row {
            None => wrong.push(format!("{TABLE} has no row for {name}")),
            Some(row) if !row.contains(&format!("| {bug} |")) => {
                wrong.push(format!("{TABLE}: {name} is told in other words than {bug:?}"));
            }
            Some(row) if !row.contains(&format!("`{test}`")) => {
                wrong.push(format!("{TABLE}: {name} is caught by {test}"));
            }
            Some(_) => {}
        }
        known.insert(name);
    }
    let named = rows.iter().filter_map(|row| row.strip_prefix("| `")?.split('`').next());
    wrong.extend(named.filter(|name| !known.contains(*name)).map(|name| format!("{TABLE}: there is no {name}.patch")));
    nothing_wrong(wrong);
}

/// A bug that is seeded where its place is gone would be found by nobody.
#[test]
fn every_bug_still_has_its_place_in_the_code() {
    let mut wrong = Vec::new();
    for entry in fs::read_dir(root().join(PATCHES)).unwrap() {
        let path = entry.unwrap().path();
        let check = Command::new("git").args(["apply", "--check"]).arg(&path).current_dir(root()).output().unwrap();
        if !check.status.success() {
            wrong.push(format!("{}: {}", path.display(), String::from_utf8_lossy(&check.stderr)));
        }
    }
    nothing_wrong(wrong);
}
