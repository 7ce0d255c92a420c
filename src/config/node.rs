//! The settings as a tree, with the place where each of them was written.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

pub(super) type Table = BTreeMap<String, Node>;

pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) origin: Origin,
}

pub(super) enum Kind {
    Text(String),
    /// A number, a flag or a time, in its text form.
    Scalar(String),
    List(Vec<Node>),
    Table(Table),
    /// An empty variable: compose files and shells pass one for what is not set. It hides nothing beneath it.
    Unset,
}

/// Where a setting was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The line counts from 1.
    File {
        path: Arc<Path>,
        line: usize,
    },
    Environment,
}

impl Origin {
    pub(super) fn suffix(origin: Option<&Self>) -> String {
        origin.map(|origin| format!(" (in {origin})")).unwrap_or_default()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{} line {line}", path.display()),
            Self::Environment => f.write_str("the environment"),
        }
    }
}

impl Node {
    /// The text of a value that is neither a list nor a table.
    pub(super) fn as_scalar(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) | Kind::Scalar(text) => Some(text),
            Kind::List(_) | Kind::Table(_) | Kind::Unset => None,
        }
    }

    /// A list as it is, a table whose keys count from 0 without a gap as the list it stands for.
    pub(super) fn into_list(self) -> Option<Vec<Self>> {
        match self.kind {
            Kind::List(items) => Some(items),
            Kind::Table(mut items) => {
                let count = items.len();
                (0..count).map(|index| items.remove(&index.to_string())).collect()
            }
            Kind::Text(_) | Kind::Scalar(_) | Kind::Unset => None,
        }
    }
}

pub(super) fn parse_toml(text: &str, path: &Arc<Path>) -> Result<Table, toml::de::Error> {
    Ok(Reader { lines: line_starts(text), path }.table(DeTable::parse(text)?.into_inner()))
}

/// Lays `upper` over `lower`: tables are merged key by key, a numbered key of the environment meets the list entry of
/// that number, and anything else is replaced.
pub(super) fn merge(lower: &mut Table, upper: Table) {
    for (key, over) in upper {
        match lower.remove(&key) {
            Some(under) => {
                lower.insert(key, merged(under, over));
            }
            None => {
                lower.insert(key, over);
            }
        }
    }
}

fn merged(under: Node, over: Node) -> Node {
    if matches!(over.kind, Kind::Unset) {
        return under;
    }
    let kind = match (under.kind, over.kind) {
        (Kind::Table(mut under), Kind::Table(over)) => {
            merge(&mut under, over);
            Kind::Table(under)
        }
        (Kind::List(under), Kind::Table(over)) => {
            let mut numbered = under.into_iter().enumerate().map(|(index, node)| (index.to_string(), node)).collect();
            merge(&mut numbered, over);
            Kind::Table(numbered)
        }
        (Kind::Table(_) | Kind::List(_) | Kind::Text(_) | Kind::Scalar(_) | Kind::Unset, over) => over,
    };
    Node { kind, origin: over.origin }
}

struct Reader<'a> {
    lines: Vec<usize>,
    path: &'a Arc<Path>,
}

impl Reader<'_> {
    fn table(&self, table: DeTable<'_>) -> Table {
        let entries = table.into_iter().map(|(key, value)| {
            let start = key.span().start;
            (key.into_inner().into_owned(), self.node(value.into_inner(), start))
        });
        entries.collect()
    }

    fn node(&self, value: DeValue<'_>, start: usize) -> Node {
        let kind = match value {
            DeValue::String(text) => Kind::Text(text.into_owned()),
            DeValue::Integer(number) => {
                let value = i128::from_str_radix(number.as_str(), number.radix());
                // What does not even fit here breaks every range, so its text serves as well.
                Kind::Scalar(value.map_or_else(|_| number.as_str().to_owned(), |value| value.to_string()))
            }
            DeValue::Float(number) => Kind::Scalar(number.as_str().to_owned()),
            DeValue::Boolean(flag) => Kind::Scalar(flag.to_string()),
            DeValue::Datetime(time) => Kind::Scalar(time.to_string()),
            DeValue::Array(items) => Kind::List(
                items
                    .into_iter()
                    .map(|item| {
                        let start = item.span().start;
                        self.node(item.into_inner(), start)
                    })
                    .collect(),
            ),
            DeValue::Table(table) => Kind::Table(self.table(table)),
        };
        Node { kind, origin: Origin::File { path: Arc::clone(self.path), line: line_of(&self.lines, start) } }
    }
}

/// The byte at which each line begins.
pub(super) fn line_starts(text: &str) -> Vec<usize> {
    let breaks = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1);
    std::iter::once(0).chain(breaks).collect()
}

/// The line, counted from 1, that holds the byte at `offset`.
pub(super) fn line_of(line_starts: &[usize], offset: usize) -> usize {
    line_starts.partition_point(|start| *start <= offset)
}
