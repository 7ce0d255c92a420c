//! Where something stands in a TOML text. Values come without their lines, so the text is looked through again for
//! them, but only once there is something to complain about.

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
        Err(error) => (error.span().map(|span| span.start), "is a quote or a bracket missing, or a key given twice?"),
        Ok(root) => (too_large(&DeValue::Table(root.into_inner()), 0), "a number does not fit into 64 bits"),
    };
    match offset.map(|offset| place_of(text, offset)) {
        Some((line, column)) => Fault { line: Some(line), cause: format!("see column {column} ({cause})") },
        None => Fault { line: None, cause: cause.to_owned() },
    }
}

/// The line, counted from 1, of the key at the end of `levels`; the number of a list's entry, from 0, is a level.
pub(super) fn line_of_key<'k>(text: &str, levels: impl IntoIterator<Item = &'k str>) -> Option<usize> {
    let root = DeValue::Table(DeTable::parse(text).ok()?.into_inner());
    let (mut here, mut start) = (&root, 0);
    for level in levels {
        (here, start) = match here {
            DeValue::Table(table) => {
                let (key, value) = table.get_key_value(level)?;
                (value.get_ref(), key.span().start)
            }
            DeValue::Array(items) => {
                let item = items.get(level.parse::<usize>().ok()?)?;
                (item.get_ref(), item.span().start)
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => return None,
        };
    }
    Some(place_of(text, start).0)
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
