//! Settings, by their dotted names and as variables.

use std::collections::BTreeSet;

use association_archiver::config::{Layers, Settings, documented_settings};

use crate::corpus::{all, for_users, nothing_wrong, root};

const PREFIX: &str = "ARCHIVER__";
/// What stands for any variable.
const ANY_VARIABLE: &str = "ARCHIVER__SECTION__KEY";
/// A routing key, and no setting.
const KEY_OF_BACKGROUND: &str = "jobs.background";
/// The section whose names the documents also write without it.
const ACCOUNT: &str = "hubspot.accounts[].";
/// A name that ends so is one of a file.
const FILE_ENDINGS: [&str; 6] = [".ndjson", ".csv", ".rs", ".toml", ".json", ".md"];

fn keys() -> BTreeSet<String> {
    documented_settings().into_iter().map(|setting| setting.key).collect()
}

/// A setting, or a section of them.
fn exists(mention: &str, keys: &BTreeSet<String>) -> bool {
    let mention = mention.trim_end_matches(".*");
    [mention.to_owned(), format!("{ACCOUNT}{mention}")].iter().any(|name| {
        keys.iter().any(|key| {
            key.strip_prefix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    })
}

#[test]
fn every_setting_named_exists() {
    let keys = keys();
    let sections: BTreeSet<&str> =
        keys.iter().filter_map(|key| key.split(['.', '[']).next()).chain(["oauth"]).collect();
    let mut named = 0;
    let mut wrong = Vec::new();
    for document in all() {
        for span in document.spans() {
            for word in span.split([' ', ',', '(', ')', '=', '"', ':']) {
                let word = word.trim_start_matches('[').trim_end_matches("]]");
                let is_name =
                    word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._*[]".contains(&b));
                let of_settings = word.split_once('.').is_some_and(|(section, _)| sections.contains(section));
                if word == KEY_OF_BACKGROUND
                    || !is_name
                    || !of_settings
                    || FILE_ENDINGS.iter().any(|ending| word.ends_with(ending))
                {
                    continue;
                }
                named += 1;
                if !exists(word, &keys) {
                    wrong.push(format!("{}: there is no setting {word}", document.path));
                }
            }
        }
    }
    assert!(named > 50, "only {named} names of settings were found: this test looks past them");
    nothing_wrong(wrong);
}

#[test]
fn every_variable_named_exists() {
    let keys = keys();
    let mut wrong = Vec::new();
    for document in all() {
        for (at, _) in document.text.match_indices(PREFIX) {
            let is_variable = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
            let variable = document.text[at..].split(|c| !is_variable(c)).next().unwrap();
            let levels = variable[PREFIX.len()..].split("__").map(|level| match level.parse::<u32>() {
                Ok(_) => "[]".to_owned(),
                Err(_) => format!(".{}", level.to_ascii_lowercase()),
            });
            let key: String = levels.collect();
            if variable != ANY_VARIABLE && !keys.contains(key.trim_start_matches('.')) {
                wrong.push(format!("{}: there is no setting of the name {variable}", document.path));
            }
        }
    }
    nothing_wrong(wrong);
}

#[test]
fn every_setting_is_documented() {
    let keys = keys();
    let page = for_users().into_iter().find(|document| document.path == "docs/settings.md").unwrap();
    nothing_wrong(keys.iter().filter_map(|key| {
        let name = key.strip_prefix(ACCOUNT).unwrap_or_else(|| key.split_once('.').unwrap().1);
        let row = format!("| `{name}` |");
        (!page.text.contains(&row)).then(|| format!("{key} is not in {}", page.path))
    }));
}

#[test]
fn every_example_of_settings_loads() {
    let directory = tempfile::tempdir().unwrap();
    let mut loaded = 0;
    let mut wrong = Vec::new();
    let mut load = |what: String, text: &str| {
        let file = directory.path().join("settings.toml");
        std::fs::write(&file, text).unwrap();
        loaded += 1;
        if let Err(error) = Settings::from_layers(&Layers { file: Some(file), ..Layers::default() }) {
            wrong.push(format!("{what}: {error}"));
        }
    };
    for document in all() {
        for fence in document.fences().into_iter().filter(|fence| fence.language == "toml") {
            load(format!("{}:{}", document.path, fence.line), &fence.text);
        }
    }
    for path in [
        "config/default.toml",
        "deploy/systemd/config.toml",
        "deploy/compose/worker.toml",
        "deploy/docker/default.toml",
    ] {
        load(path.to_owned(), &std::fs::read_to_string(root().join(path)).unwrap());
    }
    assert!(loaded > 4, "no example was found in the documents");
    nothing_wrong(wrong);
}
