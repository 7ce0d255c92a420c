//! Whether what is about to be removed can be brought back: said to whoever is asked whether it is to go.

use std::path::Path;

use super::introductions::account_of;
use super::jobs_file::survey::Survey;
use crate::config::Settings;
use crate::contract::ids::Group;

/// What the settings here say of the accounts in which something is to be removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Journal {
    Everywhere,
    InPlaces,
    Nowhere,
}

impl Journal {
    fn of(survey: &Survey, settings: &Settings) -> Self {
        let accounts = settings.hubspot.listed();
        // A machine that only sends jobs has no accounts in its settings.
        let is_kept = |portal| match account_of(portal, accounts) {
            Some(account) => account.safety.journal.is_on(),
            None if accounts.is_empty() => settings.safety.journal.is_on(),
            None => accounts.iter().all(|account| account.safety.journal.is_on()),
        };
        let kept: Vec<bool> = survey.archived_in().map(is_kept).collect();
        match (kept.contains(&true), kept.contains(&false)) {
            (true, false) => Self::Everywhere,
            (true, true) => Self::InPlaces,
            (false, _) => Self::Nowhere,
        }
    }
}

/// What follows "Archive what is in pairs.csv?": the settings here decide.
pub fn of_archive(survey: &Survey, settings: &Settings, config: Option<&Path>) -> String {
    match Journal::of(survey, settings) {
        Journal::Everywhere => {
            format!("The journal records it first: {} brings it back.", undo_without_broker(survey.group(), config))
        }
        Journal::InPlaces => "In the accounts without a journal (safety.journal) it cannot be undone.".to_owned(),
        Journal::Nowhere => "It cannot be undone, since safety.journal is off.".to_owned(),
    }
}

/// What follows "Put the jobs of pairs.csv on the queue?": the settings of the worker decide, and these may differ from
/// the settings here.
pub fn of_enqueue(survey: &Survey, settings: &Settings, config: Option<&Path>) -> String {
    match Journal::of(survey, settings) {
        Journal::Everywhere => {
            format!(
                "If the worker keeps a journal as the settings here say, {} brings back what goes.",
                undo(survey, config)
            )
        }
        Journal::InPlaces | Journal::Nowhere => {
            "What goes cannot be brought back, unless the worker keeps a journal (safety.journal).".to_owned()
        }
    }
}

fn undo(survey: &Survey, config: Option<&Path>) -> String {
    let config = option(config);
    match survey.group().filter(|group| is_plain(group)) {
        Some(group) => format!("`undo{config} --group {}`", group.as_str()),
        None => format!("`undo{config}`"),
    }
}

/// What each command needs that is to find the same settings.
fn option(config: Option<&Path>) -> String {
    config.map(|path| format!(" --config {}", quoted(&path.to_string_lossy()))).unwrap_or_default()
}

/// The way that needs no broker, which `archive` does without.
pub fn undo_without_broker(group: Option<&Group>, config: Option<&Path>) -> String {
    let config = option(config);
    match group.filter(|group| is_plain(group)) {
        Some(group) => {
            format!(
                "`association-archiver undo{config} --group {} --print | association-archiver archive{config} -`",
                group.as_str()
            )
        }
        None => format!("`undo{config}` with --print, whose stdout `archive{config} -` takes,"),
    }
}

/// It needs no quotes in a shell.
fn is_plain(group: &Group) -> bool {
    group.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// As a shell reads it.
pub fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:,@%+=".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
