//! The settings as a tree, with the place where each of them was written.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use ::config::{Map, Value, ValueKind};

pub(super) type Table = BTreeMap<String, Node>;

pub(super) struct Node {
    pub(super) kind: Kind,
    /// `None` only where no file has it and no variable.
    pub(super) origin: Option<Origin>,
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
        line: Option<usize>,
    },
    Environment,
}

/// What `config` calls the origin of every variable.
const ENVIRONMENT: &str = "the environment";

impl Origin {
    fn named(name: &str) -> Self {
        if name == ENVIRONMENT { Self::Environment } else { Self::File { path: Path::new(name).into(), line: None } }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line: Some(line) } => write!(f, "{} line {line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Environment => f.write_str(ENVIRONMENT),
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

/// Where the key is written to which a path leads, of which it may be known in which file.
type Placing<'a> = &'a dyn Fn(Option<Origin>, &str) -> Option<Origin>;

/// What the layers say, read into our own form.
pub(super) fn from_config(settings: Map<String, Value>, placing: Placing<'_>) -> Table {
    table(settings, "", placing)
}

fn table(entries: Map<String, Value>, path: &str, placing: Placing<'_>) -> Table {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    entries.into_iter().map(|(key, value)| (key.clone(), node(value, &below(&key), placing))).collect()
}

/// `path`: the levels that lead to it, with dots between them; the number of a list's entry is a level.
fn node(value: Value, path: &str, placing: Placing<'_>) -> Node {
    let origin = value.origin().map(Origin::named);
    let kind = match value.kind {
        ValueKind::Nil => Kind::Unset,
        ValueKind::String(text) if text.is_empty() && origin == Some(Origin::Environment) => Kind::Unset,
        ValueKind::String(text) => Kind::Text(text),
        ValueKind::Boolean(flag) => Kind::Scalar(flag.to_string()),
        ValueKind::I64(number) => Kind::Scalar(number.to_string()),
        ValueKind::I128(number) => Kind::Scalar(number.to_string()),
        ValueKind::U64(number) => Kind::Scalar(number.to_string()),
        ValueKind::U128(number) => Kind::Scalar(number.to_string()),
        // 1.0 is no whole number and must not look like one.
        ValueKind::Float(number) => Kind::Scalar(format!("{number:?}")),
        ValueKind::Array(items) => {
            let items = items.into_iter().enumerate();
            Kind::List(items.map(|(index, item)| node(item, &format!("{path}.{index}"), placing)).collect())
        }
        ValueKind::Table(entries) => Kind::Table(table(entries, path, placing)),
    };
    let origin = placing(origin.or_else(|| kind.first_origin()), path);
    Node { kind, origin }
}

impl Kind {
    /// Merging leaves a table without an origin of its own.
    fn first_origin(&self) -> Option<Origin> {
        match self {
            Self::Table(entries) => entries.values().find_map(|entry| entry.origin.clone()),
            Self::Text(_) | Self::Scalar(_) | Self::List(_) | Self::Unset => None,
        }
    }
}
