//! The names of things, each a type of its own so that two of them cannot be swapped.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;

/// A HubSpot account ("portal", "hub"): a positive integer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct PortalId(pub NonZeroU64);

impl fmt::Display for PortalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The producer's name for a job: 1 to 128 bytes of UTF-8 without control characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct JobId(Arc<str>);

/// Longest job id, and longest name of a group, in bytes.
const MAX_NAME_BYTES: usize = 128;

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}

impl JobId {
    /// Longest job id, in bytes.
    pub const MAX_BYTES: usize = MAX_NAME_BYTES;

    /// Returns `None` where the text breaks the rule above.
    pub fn new(text: &str) -> Option<Self> {
        is_name(text).then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the producer calls the jobs that belong together, such as one import: 1 to 128 bytes of UTF-8 without control
/// characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Group(Arc<str>);

impl Group {
    /// Longest name, in bytes.
    pub const MAX_BYTES: usize = MAX_NAME_BYTES;

    /// Returns `None` where the text breaks the rule above.
    pub fn new(text: &str) -> Option<Self> {
        is_name(text).then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The configured account a job belongs to: an index into the settings' list, valid for one life of the process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct AccountIndex(pub u32);
