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
    #[error("unknown setting {key}{}{}", Origin::suffix(.origin.as_ref()), hint(.key, .known))]
    Unknown { key: SettingKey, origin: Option<Origin>, known: Vec<String> },
    /// A value that breaks a rule; `problem` continues a sentence that begins with the key.
    #[error("{key} {problem}{}", Origin::suffix(.origin.as_ref()))]
    Invalid { key: SettingKey, origin: Option<Origin>, problem: String },
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
