//! Where something stands in a TOML text. Values come without their lines, so the text is looked through again for them.

use std::collections::HashMap;

use toml::de::{DeTable, DeValue};

/// What keeps a text from being read. `cause` quotes nothing of it.
pub(super) struct Fault {
    /// Counted from 1.
    pub(super) line: Option<usize>,
    pub(super) cause: String,
}

/// The first fault in `text`, which is known to have one.
pub(super) fn fault(text: &str) -> Fault {
    let (offset, cause) = match DeTable::parse(text) {
        Err(error) => {
            let offset = error.span().map(|span| span.start);
            let is_bare = offset.is_some_and(|offset| is_bare_word(text, offset));
            (offset, if is_bare { BARE_WORD } else { "is a quote or a bracket missing, or a key given twice?" })
        }
        Ok(root) => (too_large(&DeValue::Table(root.into_inner()), 0), "a number does not fit into 64 bits"),
    };
    match offset.map(|offset| place_of(text, offset)) {
        Some((line, column)) => Fault { line: Some(line), cause: format!("see column {column} ({cause})") },
        None => Fault { line: None, cause: cause.to_owned() },
    }
}

const BARE_WORD: &str =
    "a bare word stands where a value belongs: text needs quotes, a number digits, and true and false small letters";

/// Whether a word without quotes stands at `offset` as a value.
fn is_bare_word(text: &str, offset: usize) -> bool {
    let (Some(before), Some(after)) = (text.get(..offset), text.get(offset..)) else { return false };
    let is_value = before.trim_end_matches([' ', '\t']).ends_with(['=', '[', ',']);
    let word: &str = after.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-')).next().unwrap_or_default();
    is_value && word.starts_with(char::is_alphabetic)
}

/// The line, counted from 1, of each key, by the levels that lead to it with dots between them; the number of a list's entry,
/// from 0, is a level.
pub(super) fn lines_of_keys(text: &str) -> HashMap<String, usize> {
    let mut starts = Vec::new();
    if let Ok(root) = DeTable::parse(text) {
        note_starts(&DeValue::Table(root.into_inner()), "", &mut starts);
    }
    starts.sort_unstable();
    let (mut line, mut from) = (1, 0);
    let lines = starts.into_iter().map(|(start, path)| {
        line += text.as_bytes().get(from..start).unwrap_or_default().iter().filter(|b| **b == b'\n').count();
        from = start;
        (path, line)
    });
    lines.collect()
}

fn note_starts(value: &DeValue<'_>, path: &str, starts: &mut Vec<(usize, String)>) {
    let below = |level: &str| if path.is_empty() { level.to_owned() } else { format!("{path}.{level}") };
    match value {
        DeValue::Table(table) => {
            for (key, value) in table {
                let path = below(key.get_ref());
                note_starts(value.get_ref(), &path, starts);
                starts.push((key.span().start, path));
            }
        }
        DeValue::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let path = below(&index.to_string());
                note_starts(item.get_ref(), &path, starts);
                starts.push((item.span().start, path));
            }
        }
        DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
    }
}

/// The byte at which a number begins that `config` cannot hold.
fn too_large(value: &DeValue<'_>, start: usize) -> Option<usize> {
    let breaks_bounds = match value {
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).is_err(),
        DeValue::Float(number) => {
            let text = number.as_str();
            !text.contains("inf") && text.parse().is_ok_and(f64::is_infinite)
        }
        DeValue::Table(table) => {
            return table.iter().find_map(|(_, value)| too_large(value.get_ref(), value.span().start));
        }
        DeValue::Array(items) => {
            return items.iter().find_map(|item| too_large(item.get_ref(), item.span().start));
        }
        DeValue::String(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => false,
    };
    breaks_bounds.then_some(start)
}

/// Line and column, in characters, of the byte at `offset`, both counted from 1.
fn place_of(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    (line, column)
}
