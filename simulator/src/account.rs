//! An account ("portal"): who may speak for it, what it allows, what is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::association::Associations;
use crate::definition::End;
use crate::limits::Limits;
use crate::oauth::{OAuth, Standing};
use crate::object_type::{Lane, ObjectType};
use crate::refusal::BadRecords;
use crate::sighting::Seen;

/// One HubSpot account.
#[derive(Debug)]
pub struct Account {
    pub portal_id: u64,
    pub tokens: Tokens,
    pub oauth: Option<OAuth>,
    pub time_zone: TimeZone,
    /// As HubSpot calls it: `STANDARD`, `SANDBOX`, `DEVELOPER_TEST`, `APP_DEVELOPER`.
    pub account_type: String,
    /// How much later than by the world's clock this account's day turns.
    pub clock_behind: Duration,
    pub limits: Limits,
    /// Scopes that the app lacks for each object type; a request that touches the type is answered 403.
    pub missing_scopes: BTreeMap<ObjectType, Vec<String>>,
    /// Custom types that this account does not have.
    pub unknown_types: BTreeSet<ObjectType>,
    /// Records that were deleted: reads do not show them, and nothing can be associated with them.
    pub missing_records: BTreeMap<ObjectType, BTreeSet<u64>>,
    pub bad_records: BadRecords,
    pub associations: Associations,
    pub seen: Seen,
}

/// Static bearer tokens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tokens {
    /// Whatever comes, so that a demo needs no configuration.
    Any,
    These(BTreeSet<String>),
}

impl Account {
    /// An account that accepts no static token until it is [given](Self::with_token) one.
    pub fn new(portal_id: u64) -> Self {
        Self {
            portal_id,
            tokens: Tokens::These(BTreeSet::new()),
            oauth: None,
            time_zone: TimeZone::UTC,
            account_type: "STANDARD".to_owned(),
            clock_behind: Duration::ZERO,
            limits: Limits::default(),
            missing_scopes: BTreeMap::new(),
            unknown_types: BTreeSet::new(),
            missing_records: BTreeMap::new(),
            bad_records: BadRecords::default(),
            associations: Associations::default(),
            seen: Seen::default(),
        }
    }

    #[must_use]
    pub fn with_token(mut self, token: &str) -> Self {
        match &mut self.tokens {
            Tokens::Any => self.tokens = Tokens::These([token.to_owned()].into()),
            Tokens::These(tokens) => {
                tokens.insert(token.to_owned());
            }
        }
        self
    }

    pub(crate) fn standing(&self, token: &str, now: Duration) -> Standing {
        match &self.tokens {
            Tokens::Any => return Standing::Valid(Duration::MAX),
            Tokens::These(tokens) if tokens.contains(token) => return Standing::Valid(Duration::MAX),
            Tokens::These(_) => {}
        }
        self.oauth.as_ref().map_or(Standing::Unknown, |oauth| oauth.standing(token, now))
    }

    pub(crate) fn is_missing(&self, lane: &Lane, end: End, record: u64) -> bool {
        let object_type = match end {
            End::From => &lane.from,
            End::To => &lane.to,
        };
        self.missing_records.get(object_type).is_some_and(|records| records.contains(&record))
    }

    /// The scopes that a request on this lane lacks.
    pub(crate) fn scopes_missing(&self, lane: &Lane) -> BTreeSet<&str> {
        let types = [&lane.from, &lane.to];
        let missing = types.into_iter().filter_map(|object_type| self.missing_scopes.get(object_type));
        missing.flatten().map(String::as_str).collect()
    }
}
