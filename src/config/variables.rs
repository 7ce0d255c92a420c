//! The environment variables that are settings.

use std::ffi::OsString;

use ::config::{Environment, Value, ValueKind};

use super::node::Origin;
use super::{SettingKey, SettingsError};

/// What every environment variable that is a setting begins with.
pub(super) const PREFIX: &str = "ARCHIVER__";

/// What one that was meant to be a setting probably begins with, in whatever case.
const MEANT: &str = "ARCHIVER";

/// Most of them named in a warning.
const MAX_NAMED: usize = 10;

/// A warning about variables that look like settings and are not read. Where somebody has written
/// `ARCHIVER_HUBSPOT__...` for `ARCHIVER__HUBSPOT__...`, an account that was to be paused would archive.
pub(super) fn unread(environment: &[(OsString, OsString)]) -> Option<String> {
    let names = environment.iter().map(|(name, _)| name.to_string_lossy());
    let meant = |name: &str| name.get(..MEANT.len()).is_some_and(|start| start.eq_ignore_ascii_case(MEANT));
    // Kubernetes sets such variables for every service of the namespace; no setting has either word in its name.
    let links_a_service = |name: &str| name.split('_').any(|part| part == "SERVICE" || part == "PORT");
    let unread = |name: &str| meant(name) && !name.starts_with(PREFIX) && !links_a_service(name);
    let mut names: Vec<_> = names.filter(|name| unread(name)).collect();
    names.sort();
    let more = match names.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named = names.iter().take(MAX_NAMED).map(AsRef::as_ref).collect::<Vec<&str>>().join(", ");
    (!names.is_empty()).then(|| {
        format!(
            "these environment variables are not read: {named}{more}; a setting's variable begins with {PREFIX} \
             (capitals, two underscores), as in ARCHIVER__AMQP__PREFETCH"
        )
    })
}

/// A warning about an empty address of HubSpot. Empty variables set nothing, as compose files pass them; but where a simulator
/// was to be named and was not, this is the one by which a real portal loses associations.
pub(super) fn empty_address(environment: &[(OsString, OsString)]) -> Option<String> {
    let is_empty = |(name, value): &(OsString, OsString)| name == BASE_URL && value.is_empty();
    environment.iter().any(is_empty).then(|| {
        format!(
            "the environment variable {BASE_URL} is empty, which sets nothing: requests go where the settings file says, \
             or else to HubSpot itself; name the address there, or unset it"
        )
    })
}

const BASE_URL: &str = "ARCHIVER__HUBSPOT__BASE_URL";

/// Checked one by one and against each other, so that their order does not matter.
pub(super) struct Variables(Vec<Variable>);

struct Variable {
    name: String,
    levels: Vec<String>,
    value: String,
}

impl Variables {
    /// Those of `environment` that begin with [`PREFIX`].
    pub(super) fn among(environment: &[(OsString, OsString)]) -> Result<Self, SettingsError> {
        let mut variables = Vec::new();
        for (name, value) in environment {
            let name = name.to_string_lossy();
            if let Some(key) = name.strip_prefix(PREFIX) {
                variables.push(Variable::new(&name, key, value)?);
            }
        }
        variables.sort_by(|a, b| a.levels.cmp(&b.levels));
        for pair in variables.windows(2) {
            if pair[1].levels.starts_with(&pair[0].levels) {
                return Err(pair[1].key().refused(CLASH));
            }
        }
        Ok(Self(variables))
    }

    /// The levels of those that say something, with dots between them.
    pub(super) fn paths(&self) -> Vec<String> {
        self.0.iter().filter(|variable| !variable.value.is_empty()).map(|variable| variable.levels.join(".")).collect()
    }

    /// The layer to lie over `lower`, where the lists that a variable reaches into become tables with numbers for
    /// keys: so the variable meets the entry of its number.
    ///
    /// An empty variable hides nothing: compose files and shells pass one for what is not set. Where there is nothing
    /// to hide it is kept, for its name must be known.
    pub(super) fn over(self, lower: &mut Value) -> Environment {
        for variable in &self.0 {
            number_lists(lower, &variable.levels);
        }
        let speaking =
            self.0.into_iter().filter(|variable| !variable.value.is_empty() || !has(lower, &variable.levels));
        Environment::with_prefix("ARCHIVER")
            .prefix_separator(SEPARATOR)
            .separator(SEPARATOR)
            .source(Some(speaking.map(|variable| (variable.name, variable.value)).collect()))
    }
}

impl Variable {
    fn new(name: &str, key: &str, value: &OsString) -> Result<Self, SettingsError> {
        let levels: Vec<String> = key.split(SEPARATOR).map(str::to_ascii_lowercase).collect();
        let path = SettingKey::new(&levels.join(".")).written(Some(Origin::Environment));
        if levels.len() > MOST_LEVELS || !levels.iter().all(|level| is_plain(level)) {
            return Err(SettingsError::Unknown { key: path, known: Vec::new() });
        }
        let value = value.to_str().ok_or_else(|| path.refused("is not UTF-8 text"))?;
        Ok(Self { name: name.to_owned(), levels, value: value.to_owned() })
    }

    fn key(&self) -> SettingKey {
        SettingKey::new(&self.levels.join(".")).written(Some(Origin::Environment))
    }
}

/// Stands between the levels of a key.
const SEPARATOR: &str = "__";

/// The deepest setting is `hubspot.accounts[0].oauth.client_secret`.
const MOST_LEVELS: usize = 5;

const CLASH: &str = "is set twice, or once as a value and once as a section: drop one of the variables";

/// The crate takes names for path expressions: `x[999999999]` would make room for 999,999,999 entries.
fn is_plain(level: &str) -> bool {
    !level.is_empty() && level.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn number_lists(value: &mut Value, levels: &[String]) {
    let Some((level, below)) = levels.split_first() else { return };
    if let ValueKind::Array(items) = &mut value.kind {
        let items = std::mem::take(items).into_iter().enumerate();
        value.kind = ValueKind::Table(items.map(|(index, item)| (index.to_string(), item)).collect());
    }
    if let ValueKind::Table(table) = &mut value.kind
        && let Some(next) = table.get_mut(level)
    {
        number_lists(next, below);
    }
}

fn has(value: &Value, levels: &[String]) -> bool {
    let Some((level, below)) = levels.split_first() else { return true };
    match &value.kind {
        ValueKind::Table(table) => table.get(level).is_some_and(|next| has(next, below)),
        ValueKind::Nil
        | ValueKind::Boolean(_)
        | ValueKind::I64(_)
        | ValueKind::I128(_)
        | ValueKind::U64(_)
        | ValueKind::U128(_)
        | ValueKind::Float(_)
        | ValueKind::String(_)
        | ValueKind::Array(_) => false,
    }
}
