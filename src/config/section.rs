//! Reads one section of the settings key by key. A key that nobody has asked for by the end is unknown.

use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::node::{Kind, Node, Origin, Table};
use super::{SecretSource, SettingsError, quantity, secret};

/// The full name of a setting. `Display` gives both of its spellings: `amqp.prefetch (ARCHIVER__AMQP__PREFETCH)`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SettingKey(String);

impl SettingKey {
    /// `dotted` as in the file: `amqp.prefetch`, `hubspot.accounts[0].portal_id`.
    pub fn new(dotted: &str) -> Self {
        Self(dotted.to_owned())
    }

    pub fn dotted(&self) -> &str {
        &self.0
    }

    /// An error about the setting; `problem` continues a sentence that begins with its name.
    pub(super) fn refused(&self, problem: impl Into<String>) -> SettingsError {
        SettingsError::Invalid { key: self.clone(), origin: None, problem: problem.into() }
    }
}

impl Display for SettingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(dotted) = self;
        let plain = dotted.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-[]".contains(&b));
        if !plain || dotted.len() > LONGEST_SHOWN_KEY {
            let cut: String = dotted.chars().take(LONGEST_SHOWN_KEY).collect();
            return write!(f, "{cut:?}");
        }
        let variable = dotted.replace(['.', '['], "__").replace(']', "").to_ascii_uppercase();
        write!(f, "{dotted} ({}{variable})", super::variables::PREFIX)
    }
}

/// Most characters of a key that a message shows. A real key is far shorter.
const LONGEST_SHOWN_KEY: usize = 100;

pub(super) struct Section {
    path: String,
    entries: Table,
    known: Vec<String>,
}

impl Section {
    pub(super) fn root(entries: Table) -> Self {
        Self { path: String::new(), entries, known: Vec::new() }
    }

    /// The section's own name.
    pub(super) fn key(&self) -> SettingKey {
        SettingKey(self.path.clone())
    }

    /// The full name of `key` in this section.
    pub(super) fn key_of(&self, key: &str) -> SettingKey {
        if self.path.is_empty() { SettingKey::new(key) } else { SettingKey(format!("{}.{key}", self.path)) }
    }

    /// A section in this one; empty where it is not set.
    pub(super) fn section(&mut self, key: &'static str) -> Result<Self, SettingsError> {
        let path = self.key_of(key);
        let entries = match self.take(key) {
            None => Table::new(),
            Some(Node { kind: Kind::Table(entries), origin: _ }) => entries,
            Some(other) => return Err(invalid(&path, other.origin, "must be a section")),
        };
        Ok(Self { path: path.0, entries, known: Vec::new() })
    }

    /// Sections in a list, from the file or numbered from 0 in the environment; empty where it is not set.
    pub(super) fn list(&mut self, key: &'static str, most: usize) -> Result<Vec<Self>, SettingsError> {
        let path = self.key_of(key);
        let Some(node) = self.take(key) else { return Ok(Vec::new()) };
        let origin = node.origin.clone();
        let Some(items) = node.into_list() else {
            return Err(invalid(
                &path,
                origin,
                "must be a list of sections, numbered from 0 without a gap in the environment",
            ));
        };
        if items.len() > most {
            return Err(invalid(&path, origin, format!("must not have more than {most} entries")));
        }
        let sections = items.into_iter().enumerate().map(|(index, item)| {
            let path = SettingKey(format!("{}[{index}]", path.dotted()));
            match item {
                Node { kind: Kind::Table(entries), origin: _ } => Ok(Self { path: path.0, entries, known: Vec::new() }),
                other => Err(invalid(&path, other.origin, "must be a section")),
            }
        });
        sections.collect()
    }

    pub(super) fn integer<T>(&mut self, key: &'static str, range: RangeInclusive<T>) -> Result<Option<T>, SettingsError>
    where
        T: FromStr + PartialOrd + Display,
    {
        let rule = format!("must be a whole number from {} to {}", range.start(), range.end());
        self.scalar(key, &rule, |text| text.parse().ok().filter(|number| range.contains(number)))
    }

    /// Reads a number, or the word `none`.
    pub(super) fn integer_or_none<T>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<T>,
    ) -> Result<Option<Option<T>>, SettingsError>
    where
        T: FromStr + PartialOrd + Display,
    {
        let rule = format!("must be \"none\" or a whole number from {} to {}", range.start(), range.end());
        self.scalar(key, &rule, |text| match text {
            "none" => Some(None),
            number => number.parse().ok().filter(|number| range.contains(number)).map(Some),
        })
    }

    pub(super) fn duration(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Result<Option<Duration>, SettingsError> {
        let [from, to] = [range.start(), range.end()].map(|end| humantime::format_duration(*end));
        self.measured(key, quantity::duration, &range, &format!("must be a duration from {from} to {to}"))
    }

    pub(super) fn bytes(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, SettingsError> {
        let rule = format!("must be a size from {} to {} bytes", range.start(), range.end());
        self.measured(key, quantity::bytes, &range, &rule)
    }

    pub(super) fn flag(&mut self, key: &'static str) -> Result<Option<bool>, SettingsError> {
        self.scalar(key, "must be true or false", |text| text.parse().ok())
    }

    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, SettingsError> {
        let words: Vec<String> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let rule = format!("must be {}", words.join(" or "));
        self.scalar(key, &rule, |text| choices.iter().find(|(word, _)| *word == text).map(|(_, choice)| *choice))
    }

    pub(super) fn parsed<T: FromStr>(&mut self, key: &'static str, rule: &str) -> Result<Option<T>, SettingsError> {
        self.scalar(key, rule, |text| text.parse().ok())
    }

    /// Text that `convert` understands. What it does not understand is not shown: it could be a secret in the wrong place.
    pub(super) fn converted<T>(
        &mut self,
        key: &'static str,
        rule: &str,
        convert: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, SettingsError> {
        let path = self.key_of(key);
        let Some(node) = self.take(key) else { return Ok(None) };
        let converted = match &node.kind {
            Kind::Text(text) => convert(text),
            Kind::Scalar(_) | Kind::List(_) | Kind::Table(_) | Kind::Unset => None,
        };
        converted.map(Some).ok_or_else(|| invalid(&path, node.origin, rule))
    }

    pub(super) fn checked_text(
        &mut self,
        key: &'static str,
        rule: &str,
        fits: impl FnOnce(&str) -> bool,
    ) -> Result<Option<String>, SettingsError> {
        self.converted(key, rule, |text| fits(text).then(|| text.to_owned()))
    }

    /// Items of a list, from the file or numbered from 0 in the environment, each of which `parse` understands; `rule` says
    /// what an item must be.
    pub(super) fn items<T>(
        &mut self,
        key: &'static str,
        rule: &str,
        most: usize,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<Vec<T>>, SettingsError> {
        let path = self.key_of(key);
        let Some(node) = self.take(key) else { return Ok(None) };
        let origin = node.origin.clone();
        let Some(items) = node.into_list() else {
            let problem = "must be a list, numbered from 0 without a gap in the environment";
            return Err(invalid(&path, origin, problem));
        };
        if items.len() > most {
            return Err(invalid(&path, origin, format!("must not have more than {most} entries")));
        }
        let items = items.into_iter().enumerate().map(|(index, item)| {
            let path = SettingKey(format!("{}[{index}]", path.dotted()));
            let Some(text) = item.as_scalar() else { return Err(invalid(&path, item.origin, rule)) };
            parse(text).ok_or_else(|| invalid(&path, item.origin.clone(), format!("{rule}, not {}", shown(text))))
        });
        items.collect::<Result<Vec<T>, SettingsError>>().map(Some)
    }

    pub(super) fn path(&mut self, key: &'static str) -> Result<Option<PathBuf>, SettingsError> {
        self.converted(key, "must be the path of a file", |text| (!text.is_empty()).then(|| PathBuf::from(text)))
    }

    /// A secret given as `key` or, in a file of its own, as `key_file`.
    pub(super) fn secret(&mut self, key: &'static str) -> Result<Option<SecretSource>, SettingsError> {
        let inline_key = self.key_of(key);
        let inline = self.converted(key, "must be text in quotes", |text| Some(text.to_owned()))?;
        let twin = format!("{key}_file");
        let file_key = self.key_of(&twin);
        let file = match self.take(&twin) {
            None => None,
            Some(Node { kind: Kind::Text(path), origin: _ }) if !path.is_empty() => Some(PathBuf::from(path)),
            Some(other) => return Err(invalid(&file_key, other.origin, "must be the path of a file")),
        };
        match (inline, file) {
            (Some(_), Some(_)) => {
                Err(inline_key.refused(format!("and {} are both set: keep one of them", file_key.dotted())))
            }
            (Some(text), None) => {
                Ok(Some(SecretSource::inline(inline_key.clone(), secret::checked(&inline_key, &text)?)))
            }
            (None, Some(path)) => Ok(Some(SecretSource::file(file_key, path))),
            (None, None) => Ok(None),
        }
    }

    /// Refuses what is left.
    pub(super) fn finish(self) -> Result<(), SettingsError> {
        let Some((key, node)) = self.entries.iter().next() else { return Ok(()) };
        let mut path = self.key_of(key);
        let mut node = node;
        // A variable is known to its author by its whole name.
        while let (Some(Origin::Environment), Kind::Table(below)) = (&node.origin, &node.kind)
            && let Some((key, next)) = below.iter().next()
        {
            path = SettingKey(format!("{}.{key}", path.dotted()));
            node = next;
        }
        let known = self.known.iter().map(|key| self.key_of(key).0).collect();
        Err(SettingsError::Unknown { key: path, origin: node.origin.clone(), known })
    }

    fn take(&mut self, key: &str) -> Option<Node> {
        self.known.push(key.to_owned());
        self.entries.remove(key).filter(|node| !matches!(node.kind, Kind::Unset))
    }

    fn measured<T: PartialOrd>(
        &mut self,
        key: &'static str,
        parse: fn(&str) -> Result<T, &'static str>,
        range: &RangeInclusive<T>,
        rule: &str,
    ) -> Result<Option<T>, SettingsError> {
        let path = self.key_of(key);
        let Some(node) = self.take(key) else { return Ok(None) };
        let Some(text) = node.as_scalar() else { return Err(invalid(&path, node.origin, rule)) };
        match parse(text) {
            Ok(value) if range.contains(&value) => Ok(Some(value)),
            Ok(_) => Err(invalid(&path, node.origin.clone(), format!("{rule}, not {}", shown(text)))),
            Err(form) => Err(invalid(&path, node.origin.clone(), format!("{form}, not {}", shown(text)))),
        }
    }

    /// A value that is no secret, written with or without quotes: the environment knows only text.
    pub(super) fn scalar<T>(
        &mut self,
        key: &'static str,
        rule: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, SettingsError> {
        let path = self.key_of(key);
        let Some(node) = self.take(key) else { return Ok(None) };
        let Some(text) = node.as_scalar() else { return Err(invalid(&path, node.origin, rule)) };
        match parse(text) {
            Some(value) => Ok(Some(value)),
            None => Err(invalid(&path, node.origin.clone(), format!("{rule}, not {}", shown(text)))),
        }
    }
}

fn invalid(key: &SettingKey, origin: Option<Origin>, problem: impl Into<String>) -> SettingsError {
    SettingsError::Invalid { key: key.clone(), origin, problem: problem.into() }
}

/// What was written, unless it is so long that it could be a secret in the wrong place.
fn shown(text: &str) -> String {
    if text.chars().count() > LONGEST_SHOWN_VALUE { "what is written there".to_owned() } else { format!("{text:?}") }
}

/// Most characters of a value that a message shows. Every valid number, duration, size or word is shorter, and every
/// token is longer.
const LONGEST_SHOWN_VALUE: usize = 24;
