//! No circle of imports among the files of a crate: whoever reads one of them need not read on until he is back at it.
//!
//! A file and those in its own directory are one idea in several files, so arrows between these do not count.

use std::collections::{BTreeMap, BTreeSet};

use crate::borders::sources;
use crate::corpus::nothing_wrong;

/// Each file by its module's path, and the modules that it imports from.
type Arrows = BTreeMap<String, BTreeSet<String>>;

#[test]
fn no_files_import_each_other_in_a_circle() {
    let wrong = ["src", "policy/src", "simulator/src", "benches/src"].into_iter().flat_map(|directory| {
        let arrows = arrows(directory);
        let count: usize = arrows.values().map(BTreeSet::len).sum();
        assert!(count > arrows.len() / 2, "{directory}: {count} imports in {} files", arrows.len());
        in_circles(arrows).into_iter().map(move |(file, imports)| format!("{directory}: {file} -> {imports:?}"))
    });
    nothing_wrong(wrong);
}

#[test]
fn a_circle_is_found() {
    let of = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let arrows = [("a", of(&["b"])), ("b", of(&["c"])), ("c", of(&["b", "d"])), ("d", of(&[]))];
    let left = in_circles(arrows.map(|(name, imports)| (name.to_owned(), imports)).into());
    assert_eq!(left.into_keys().collect::<Vec<_>>(), ["b", "c"]);
    assert_eq!(expand("super::a::{b, c::{D, e as f}}"), ["super::a::b", "super::a::c::D", "super::a::c::e"]);
}

/// What remains when files are taken away, one after the other, that import from none that is left, or that none that is
/// left imports from.
fn in_circles(mut arrows: Arrows) -> Arrows {
    loop {
        let before = arrows.len();
        arrows.retain(|_, imports| !imports.is_empty());
        let imported: BTreeSet<String> = arrows.values().flatten().cloned().collect();
        arrows.retain(|file, _| imported.contains(file));
        let left: BTreeSet<String> = arrows.keys().cloned().collect();
        arrows.values_mut().for_each(|imports| imports.retain(|import| left.contains(import)));
        if arrows.len() == before {
            return arrows;
        }
    }
}

fn arrows(directory: &str) -> Arrows {
    let files: BTreeMap<String, String> = sources(directory)
        .into_iter()
        .filter(|(path, _)| !path.contains("/tests/") && !path.ends_with("/tests.rs"))
        .map(|(path, text)| (module(&path[directory.len() + 1..]), text))
        .collect();
    let imports = |module: &str, text: &str| {
        let found = paths(text).into_iter().filter_map(|path| resolve(module, &path, &files));
        found.filter(|other| !is_of_one_idea(module, other)).collect()
    };
    files.iter().map(|(module, text)| (module.clone(), imports(module, text))).collect()
}

/// `engine/pace/ceiling.rs` is `engine::pace::ceiling`; the root of the crate has an empty name.
fn module(path: &str) -> String {
    let path = path.trim_end_matches(".rs").replace('/', "::");
    match path.as_str() {
        "lib" | "main" => String::new(),
        _ => path.strip_suffix("::mod").unwrap_or(&path).to_owned(),
    }
}

fn is_of_one_idea(one: &str, other: &str) -> bool {
    let is_within = |inner: &str, outer: &str| inner.starts_with(&format!("{outer}::"));
    one == other || one.is_empty() || other.is_empty() || is_within(one, other) || is_within(other, one)
}

/// The paths that a file names, in its `use` and elsewhere, without those of its comments and of its tests.
fn paths(text: &str) -> Vec<String> {
    let text = text.split("mod tests {").next().unwrap_or_default();
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let uses = code.split("use ").skip(1).filter_map(|rest| rest.split_once(';')).flat_map(|(path, _)| expand(path));
    let mut found: Vec<String> = uses.collect();
    for (at, _) in code.match_indices("crate::").chain(code.match_indices("super::")) {
        let is_of_path = |c: char| c.is_alphanumeric() || "_:".contains(c);
        let path = code[at..].split(|c: char| !is_of_path(c)).next().unwrap_or_default();
        found.push(path.to_owned());
    }
    found
}

/// `a::{b, c::d}` is `a::b` and `a::c::d`.
fn expand(path: &str) -> Vec<String> {
    let path = path.trim();
    let Some((start, rest)) = path.split_once('{') else {
        return vec![path.split(" as ").next().unwrap_or_default().to_owned()];
    };
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for c in rest[..rest.rfind('}').unwrap_or(rest.len())].chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        match (c, depth) {
            (',', 0) => parts.push(String::new()),
            _ => parts.iter_mut().last().unwrap().push(c),
        }
    }
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| expand(&format!("{start}{}", part.trim()))).collect()
}

/// The file of the crate that a path leads into, if there is one.
fn resolve(module: &str, path: &str, files: &BTreeMap<String, String>) -> Option<String> {
    let mut at: Vec<&str> = module.split("::").filter(|name| !name.is_empty()).collect();
    for name in path.split("::").filter(|name| !name.is_empty()) {
        match name {
            "crate" => at.clear(),
            "super" => drop(at.pop()),
            "self" => {}
            _ => at.push(name),
        }
    }
    (1..=at.len()).rev().map(|length| at[..length].join("::")).find(|name| files.contains_key(name))
}
