//! Reads one section of the settings key by key. A key that nobody has asked for by the end is unknown.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::node::{Kind, Node, Origin, Table};
use super::{NamedFile, SecretSource, SettingsError, quantity, secret};
use crate::contract::as_set::AsSet;

/// The full name of a setting, and where it is written. `Display` gives both of its spellings: `amqp.prefetch
/// (ARCHIVER__AMQP__PREFETCH)`.
#[derive(Clone, PartialEq, Eq)]
pub struct SettingKey {
    dotted: String,
    /// `None` where it is not known, or written nowhere.
    origin: Option<Origin>,
}

impl SettingKey {
    /// `dotted` as in the file: `amqp.prefetch`, `hubspot.accounts[0].portal_id`.
    pub fn new(dotted: &str) -> Self {
        Self { dotted: dotted.to_owned(), origin: None }
    }

    pub(super) fn written(self, origin: Option<Origin>) -> Self {
        Self { origin, ..self }
    }

    pub fn dotted(&self) -> &str {
        &self.dotted
    }

    pub(super) fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// The entry of a list.
    fn entry(&self, index: usize) -> Self {
        Self::new(&format!("{}[{index}]", self.dotted))
    }

    /// An error about the setting; `problem` continues a sentence that begins with its name.
    pub fn refused(&self, problem: impl Into<String>) -> SettingsError {
        SettingsError::Invalid { key: self.clone(), problem: problem.into(), beside: Vec::new() }
    }
}

/// Without the place, which is no part of what is set.
impl fmt::Debug for SettingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SettingKey").field(&self.dotted).finish()
    }
}

impl Display for SettingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dotted, origin: _ } = self;
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
    key: SettingKey,
    entries: Table,
    known: Vec<String>,
    /// Where the keys are written that were asked for.
    origins: BTreeMap<String, Origin>,
}

impl Section {
    pub(super) fn root(entries: Table) -> Self {
        Self::of(SettingKey::new(""), entries)
    }

    fn of(key: SettingKey, entries: Table) -> Self {
        Self { key, entries, known: Vec::new(), origins: BTreeMap::new() }
    }

    /// The section's own name.
    pub(super) fn key(&self) -> SettingKey {
        self.key.clone()
    }

    /// The full name of `key` in this section, and where it is written if it was asked for.
    pub(super) fn key_of(&self, key: &str) -> SettingKey {
        let section = self.key.dotted();
        let name = if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
        SettingKey::new(&name).written(self.origins.get(key).cloned())
    }

    /// A section in this one; empty where it is not set.
    pub(super) fn section(&mut self, key: &'static str) -> Result<Self, SettingsError> {
        let node = self.take(key);
        let path = self.key_of(key);
        match node {
            None => Ok(Self::of(path, Table::new())),
            Some(Node { kind: Kind::Table(entries), origin: _ }) => Ok(Self::of(path, entries)),
            Some(_) => Err(path.refused("must be a section")),
        }
    }

    /// Sections in a list, from the file or numbered from 0 in the environment; empty where it is not set.
    pub(super) fn list(&mut self, key: &'static str, most: usize) -> Result<Vec<Self>, SettingsError> {
        let Some((path, node)) = self.asked(key) else { return Ok(Vec::new()) };
        let Some(items) = node.into_list() else {
            return Err(path.refused("must be a list of sections, numbered from 0 without a gap in the environment"));
        };
        if items.len() > most {
            return Err(path.refused(format!("must not have more than {most} entries")));
        }
        let sections = items.into_iter().enumerate().map(|(index, item)| {
            let path = path.entry(index).written(item.origin);
            match item.kind {
                Kind::Table(entries) => Ok(Self::of(path, entries)),
                Kind::Text(_) | Kind::Scalar(_) | Kind::List(_) | Kind::Unset => Err(path.refused("must be a section")),
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
        let [from, to] = [range.start(), range.end()].map(|end| AsSet(*end));
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
        let Some((path, node)) = self.asked(key) else { return Ok(None) };
        let converted = match &node.kind {
            Kind::Text(text) => convert(text),
            Kind::Scalar(_) | Kind::List(_) | Kind::Table(_) | Kind::Unset => None,
        };
        converted.map(Some).ok_or_else(|| path.refused(rule))
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
        let Some((path, node)) = self.asked(key) else { return Ok(None) };
        let Some(items) = node.into_list() else {
            return Err(path.refused("must be a list, numbered from 0 without a gap in the environment"));
        };
        if items.len() > most {
            return Err(path.refused(format!("must not have more than {most} entries")));
        }
        let items = items.into_iter().enumerate().map(|(index, item)| {
            let path = path.entry(index).written(item.origin.clone());
            let Some(text) = item.as_scalar() else { return Err(path.refused(rule)) };
            parse(text).ok_or_else(|| path.refused(format!("{rule}, not {}", shown(text))))
        });
        items.collect::<Result<Vec<T>, SettingsError>>().map(Some)
    }

    /// A file that is read later, when it is needed.
    pub(super) fn file(&mut self, key: &'static str) -> Result<Option<NamedFile>, SettingsError> {
        Ok(self.path(key)?.map(|path| NamedFile::new(self.key_of(key), path)))
    }

    pub(super) fn path(&mut self, key: &'static str) -> Result<Option<PathBuf>, SettingsError> {
        self.converted(key, "must be the path of a file", |text| (!text.is_empty()).then(|| PathBuf::from(text)))
    }

    /// A secret given as `key` or, in a file of its own, as `key_file`.
    pub(super) fn secret(&mut self, key: &'static str) -> Result<Option<SecretSource>, SettingsError> {
        let inline = self.converted(key, "must be text in quotes", |text| Some(text.to_owned()))?;
        let inline_key = self.key_of(key);
        let twin = format!("{key}_file");
        let file = self.take(&twin);
        let file_key = self.key_of(&twin);
        let file = match file {
            None => None,
            Some(Node { kind: Kind::Text(path), origin: _ }) if !path.is_empty() => Some(PathBuf::from(path)),
            Some(_) => return Err(file_key.refused("must be the path of a file")),
        };
        match (inline, file) {
            (Some(_), Some(_)) => {
                let both = format!("and {} are both set: keep one of them", file_key.dotted());
                Err(inline_key.refused(both).beside_written(file_key))
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
            path = SettingKey::new(&format!("{}.{key}", path.dotted()));
            node = next;
        }
        let known = self.known.iter().map(|key| self.key_of(key).dotted).collect();
        Err(SettingsError::Unknown { key: path.written(node.origin.clone()), known })
    }

    /// What is set as `key`, and its full name.
    fn asked(&mut self, key: &str) -> Option<(SettingKey, Node)> {
        let node = self.take(key)?;
        Some((self.key_of(key), node))
    }

    fn take(&mut self, key: &str) -> Option<Node> {
        self.known.push(key.to_owned());
        let node = self.entries.remove(key).filter(|node| !matches!(node.kind, Kind::Unset))?;
        self.origins.extend(node.origin.clone().map(|origin| (key.to_owned(), origin)));
        Some(node)
    }

    fn measured<T: PartialOrd>(
        &mut self,
        key: &'static str,
        parse: fn(&str) -> Result<T, &'static str>,
        range: &RangeInclusive<T>,
        rule: &str,
    ) -> Result<Option<T>, SettingsError> {
        let Some((path, node)) = self.asked(key) else { return Ok(None) };
        let Some(text) = node.as_scalar() else { return Err(path.refused(rule)) };
        match parse(text) {
            Ok(value) if range.contains(&value) => Ok(Some(value)),
            Ok(_) => Err(path.refused(format!("{rule}, not {}", shown(text)))),
            Err(form) => Err(path.refused(format!("{form}, not {}", shown(text)))),
        }
    }

    /// A value that is no secret, written with or without quotes: the environment knows only text.
    pub(super) fn scalar<T>(
        &mut self,
        key: &'static str,
        rule: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, SettingsError> {
        let Some((path, node)) = self.asked(key) else { return Ok(None) };
        let Some(text) = node.as_scalar() else { return Err(path.refused(rule)) };
        match parse(text) {
            Some(value) => Ok(Some(value)),
            None => Err(path.refused(format!("{rule}, not {}", shown(text)))),
        }
    }
}

/// What was written, unless it is so long that it could be a secret in the wrong place.
fn shown(text: &str) -> String {
    if text.chars().count() > LONGEST_SHOWN_VALUE { "what is written there".to_owned() } else { format!("{text:?}") }
}

/// Most characters of a value that a message shows. A number, duration, size or word as people usually write it is
/// shorter, and every token is longer.
const LONGEST_SHOWN_VALUE: usize = 24;
