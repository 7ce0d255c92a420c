//! What can be wrong with settings, each in one line that says how to mend it and never shows a secret.

use std::path::PathBuf;

use super::{Origin, SettingKey};

/// The process cannot start with these settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A settings file that is not there or not readable.
    #[error("cannot read the settings file {}: {cause}", .file.display())]
    File { file: PathBuf, cause: String },
    /// A settings file that is no TOML.
    #[error("{origin} is not valid TOML: {cause}")]
    Toml { origin: Origin, cause: String },
    /// A key that nothing reads. `known` are those that could stand in its place, written as in the file.
    #[error("unknown setting {key}{}{}", places(.key, &[]), hint(.key, .known))]
    Unknown { key: SettingKey, known: Vec<String> },
    /// A value that breaks a rule; `problem` continues a sentence that begins with the key. `beside` are other settings that
    /// the rule is about.
    #[error("{key} {problem}{}", places(.key, .beside))]
    Invalid { key: SettingKey, problem: String, beside: Vec<SettingKey> },
}

impl SettingsError {
    /// The same, about another setting, too.
    #[must_use]
    pub(super) fn beside(self, dotted: &str) -> Self {
        self.beside_written(SettingKey::new(dotted))
    }

    #[must_use]
    pub(super) fn beside_written(mut self, key: SettingKey) -> Self {
        if let Self::Invalid { beside, .. } = &mut self {
            beside.push(key);
        }
        self
    }
}

/// Where the settings are written, the others by their names: ` (in worker.toml line 3; amqp.lease in the
/// environment)`. What is nowhere is as by default.
fn places(first: &SettingKey, others: &[SettingKey]) -> String {
    let first = first.origin().map(|origin| format!("in {origin}"));
    let others = others.iter().filter_map(|key| Some(format!("{} in {}", key.dotted(), key.origin()?)));
    let written: Vec<String> = first.into_iter().chain(others).collect();
    if written.is_empty() { String::new() } else { format!(" ({})", written.join("; ")) }
}

/// Whether somebody may well have meant `known` who wrote `typed`.
pub fn is_typo(typed: &str, known: &str) -> bool {
    typed.len() <= LONGEST_TYPO && edits(typed, known) * TYPO_SHARE <= known.len()
}

/// Names the nearest known key, or all of them where none is near.
fn hint(key: &SettingKey, known: &[String]) -> String {
    let comparable = known.iter().filter(|_| key.dotted().len() <= LONGEST_TYPO);
    let nearest = comparable.map(|name| (edits(key.dotted(), name), name)).min();
    match nearest {
        Some((distance, name)) if distance * TYPO_SHARE <= name.len() => format!("; did you mean {name}?"),
        Some(_) => format!("; known here: {}", known.join(", ")),
        None => String::new(),
    }
}

/// A typo changes at most one letter in this many.
const TYPO_SHARE: usize = 3;

/// Most bytes of a name that is compared with those of the settings. All of these are shorter.
const LONGEST_TYPO: usize = 100;

/// Levenshtein distance in characters.
fn edits(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(l != *r);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}
