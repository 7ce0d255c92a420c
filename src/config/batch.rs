//! `[batch]`: how much goes into one request.

use std::num::NonZeroU32;
use std::time::Duration;

use super::SettingsError;
use super::section::Section;
use crate::contract::object_type::{ObjectType, TypePair};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchSettings {
    /// Unique `from` records a request; HubSpot takes at most 100.
    pub max_from: NonZeroU32,
    /// Pairs a request.
    pub max_pairs: NonZeroU32,
    /// Longest wait of a job for company, counted from the first job of its batch, while quota is free.
    pub linger: Duration,
    /// Types between which a pair may be sent from either of its records.
    pub fold: Vec<TypePair>,
}

impl Default for BatchSettings {
    fn default() -> Self {
        Self {
            max_from: Self::MOST_FROM,
            max_pairs: DEFAULT_MAX_PAIRS,
            linger: Duration::from_millis(200),
            fold: Vec::new(),
        }
    }
}

const DEFAULT_MAX_PAIRS: NonZeroU32 = NonZeroU32::new(1_000).unwrap();
const MOST_PAIRS: NonZeroU32 = NonZeroU32::new(100_000).unwrap();
const LONGEST_LINGER: Duration = Duration::from_secs(10 * 60);
const MOST_FOLDED: usize = 100;
const FOLD_RULE: &str = "must be two different object types that HubSpot has, such as \"contacts/companies\"";

/// `contacts/companies`.
fn folded(text: &str) -> Option<TypePair> {
    let (one, other) = text.split_once('/')?;
    TypePair::new(ObjectType::parse(one).ok()?, ObjectType::parse(other).ok()?)
}

impl BatchSettings {
    /// HubSpot refuses a request with more unique `from` records than this.
    pub const MOST_FROM: NonZeroU32 = NonZeroU32::new(100).unwrap();

    pub(super) fn read(mut section: Section) -> Result<Self, SettingsError> {
        let default = Self::default();
        let settings = Self {
            max_from: section.integer("max_from", NonZeroU32::MIN..=Self::MOST_FROM)?.unwrap_or(default.max_from),
            max_pairs: section.integer("max_pairs", NonZeroU32::MIN..=MOST_PAIRS)?.unwrap_or(default.max_pairs),
            linger: section.duration("linger", Duration::ZERO..=LONGEST_LINGER)?.unwrap_or(default.linger),
            fold: section.items("fold", FOLD_RULE, MOST_FOLDED, folded)?.unwrap_or_default(),
        };
        section.finish()?;
        Ok(settings)
    }
}
