//! Whether what is about to be removed can be brought back: said to whoever is asked whether it is to go.

use std::path::Path;

use jiff::Timestamp;

use super::introductions::account_of;
use super::jobs_file::survey::Survey;
use crate::config::Settings;
use crate::contract::ids::Group;
use crate::engine::lag::LONGEST;

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
pub fn of_archive(survey: &Survey, settings: &Settings, undo: &Undo) -> String {
    match Journal::of(survey, settings) {
        Journal::Everywhere => {
            let (command, beside) = (undo.without_broker(survey.group()), Undo::beside(survey.group()));
            format!("The journal records it first: `{command}` brings it back{beside}.")
        }
        Journal::InPlaces => "In the accounts without a journal (safety.journal) it cannot be undone.".to_owned(),
        Journal::Nowhere => "It cannot be undone, since safety.journal is off.".to_owned(),
    }
}

/// What follows "Put the jobs of pairs.csv on the queue?": the settings of the worker decide, and these may differ from
/// the settings here.
pub fn of_enqueue(survey: &Survey, settings: &Settings, undo: &Undo) -> String {
    match Journal::of(survey, settings) {
        Journal::Everywhere => {
            let (command, beside) = (undo.through_broker(survey.group()), Undo::beside(survey.group()));
            format!(
                "If the worker keeps a journal as the settings here say, `{command}` brings back what goes{beside}."
            )
        }
        Journal::InPlaces | Journal::Nowhere => {
            "What goes cannot be brought back, unless the worker keeps a journal (safety.journal).".to_owned()
        }
    }
}

/// The commands that bring back what a command removes, as a shell reads them.
#[derive(Clone, Debug)]
pub struct Undo {
    program: String,
    /// The option that each command needs, so that it finds the same settings.
    config: String,
    /// When the command began that removes.
    since: Timestamp,
}

impl Undo {
    /// Of a command that begins now.
    pub fn new(config: Option<&Path>) -> Self {
        let typed = std::env::args_os().next().map(|word| word.to_string_lossy().into_owned());
        Self {
            program: quoted(typed.as_deref().unwrap_or("association-archiver")),
            config: config.map(|path| format!(" --config {}", quoted(&path.to_string_lossy()))).unwrap_or_default(),
            since: Timestamp::now(),
        }
    }

    pub fn through_broker(&self, group: Option<&Group>) -> String {
        let Self { program, config, since } = self;
        let condition = match group.map(Group::as_str) {
            // A name like that would be taken for an option.
            Some(group) if group.starts_with('-') => format!("--group={}", quoted(group)),
            Some(group) => format!("--group {}", quoted(group)),
            None => format!("--since {since:.0}"),
        };
        format!("{program} undo{config} {condition}")
    }

    /// The way that needs no broker, which `archive` does without.
    pub fn without_broker(&self, group: Option<&Group>) -> String {
        format!("{} {}", self.through_broker(group), self.printed())
    }

    /// What stands behind an `undo` whose jobs no broker is to have.
    pub fn printed(&self) -> String {
        let Self { program, config, since: _ } = self;
        format!("--print | {program} archive{config} -")
    }

    /// What else comes back by these commands.
    pub fn beside(group: Option<&Group>) -> &'static str {
        match group {
            Some(_) => "",
            None => ", with all else that was removed since then; --group NAME would keep it apart",
        }
    }
}

/// Said before something is restored, since nothing may be seen to happen for a while.
pub fn lag_in_words() -> String {
    format!(
        "HubSpot's reads lag behind removals: a pair that it still shows is looked at again, up to {} s later, before it \
         counts as restored",
        LONGEST.as_secs()
    )
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_undo_begins_no_later_than_the_command_did() {
        let since = "2026-11-28T09:00:00.999Z".parse().unwrap();
        let undo = Undo { program: "archiver".to_owned(), config: String::new(), since };
        assert_eq!(undo.through_broker(None), "archiver undo --since 2026-11-28T09:00:00Z");
    }
}
