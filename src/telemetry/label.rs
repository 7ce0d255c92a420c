//! The labels of metrics: only sets that are closed when the program is compiled.

use crate::contract::outcome::Status;
use crate::contract::refusal::{Source, WorkerCategory};
use crate::engine::command::{CallResult, Sealed};
use crate::engine::guard::GuardState;
use crate::engine::pause::{PauseKind, Tier};
use crate::engine::verdict::{Policy, Transient};

/// A label and all its values.
pub trait Label: Copy {
    /// The label's name, alone in a slice as a [`super::exposition::Description`] wants it.
    const NAMES: &'static [&'static str];

    /// Every value, in the order of [`Label::index`].
    fn all() -> Vec<Self>;

    fn index(self) -> usize;

    fn word(self) -> &'static str;
}

/// What a request to HubSpot came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HttpResult {
    Batch(CallResult),
    TokenRefresh,
    /// The question whose token it is.
    Identify,
}

/// Who refused a pair: HubSpot, or the worker and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorLabel {
    Hubspot,
    Worker(WorkerCategory),
}

impl ErrorLabel {
    pub fn of(source: &Source) -> Self {
        match source {
            Source::Hubspot { category: _ } => Self::Hubspot,
            Source::Worker(category) => Self::Worker(*category),
        }
    }
}

/// What became of a span.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpanFate {
    /// The collector took it.
    Exported,
    /// The collector did not take it, or did not keep up.
    Lost,
}

impl SpanFate {
    pub const ALL: [Self; 2] = [Self::Exported, Self::Lost];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exported => "exported",
            Self::Lost => "lost",
        }
    }
}

/// What was seen when an archived pair was read back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProofResult {
    Gone,
    /// It is still there, after a second removal too.
    NotGone,
    /// It was gone, and was there again.
    Reappeared,
}

impl ProofResult {
    pub const ALL: [Self; 3] = [Self::Gone, Self::NotGone, Self::Reappeared];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::NotGone => "not_gone",
            Self::Reappeared => "reappeared",
        }
    }
}

impl Label for HttpResult {
    const NAMES: &'static [&'static str] = &["result"];

    fn all() -> Vec<Self> {
        let settled = [
            CallResult::Archived,
            CallResult::Partial,
            CallResult::Refused,
            CallResult::Throttled,
            CallResult::LanePaused,
            CallResult::AccountPaused,
            CallResult::Unknown,
        ];
        let transient = Transient::ALL.map(CallResult::Transient);
        let others =
            [Self::TokenRefresh, Self::Identify, Self::Batch(CallResult::LookedUp), Self::Batch(CallResult::Restored)];
        settled.into_iter().map(Self::Batch).chain(others).chain(transient.map(Self::Batch)).collect()
    }

    fn index(self) -> usize {
        match self {
            Self::Batch(CallResult::Archived) => 0,
            Self::Batch(CallResult::Partial) => 1,
            Self::Batch(CallResult::Refused) => 2,
            Self::Batch(CallResult::Throttled) => 3,
            Self::Batch(CallResult::LanePaused) => 4,
            Self::Batch(CallResult::AccountPaused) => 5,
            Self::Batch(CallResult::Unknown) => 6,
            Self::TokenRefresh => 7,
            Self::Identify => 8,
            Self::Batch(CallResult::LookedUp) => 9,
            Self::Batch(CallResult::Restored) => 10,
            Self::Batch(CallResult::Transient(cause)) => 11 + cause as usize,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Batch(CallResult::Archived) => "archived",
            Self::Batch(CallResult::LookedUp) => "looked_up",
            Self::Batch(CallResult::Restored) => "restored",
            Self::Batch(CallResult::Partial) => "partial",
            Self::Batch(CallResult::Refused) => "refused",
            Self::Batch(CallResult::Throttled) => "throttled",
            Self::Batch(CallResult::LanePaused) => "lane_paused",
            Self::Batch(CallResult::AccountPaused) => "account_paused",
            Self::Batch(CallResult::Unknown) => "unknown",
            Self::TokenRefresh => "token_refresh",
            Self::Identify => "identify",
            Self::Batch(CallResult::Transient(cause)) => cause.as_str(),
        }
    }
}

impl Label for ErrorLabel {
    const NAMES: &'static [&'static str] = &["cause"];

    fn all() -> Vec<Self> {
        std::iter::once(Self::Hubspot).chain(WorkerCategory::ALL.map(Self::Worker)).collect()
    }

    fn index(self) -> usize {
        match self {
            Self::Hubspot => 0,
            Self::Worker(category) => 1 + category as usize,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Hubspot => "HUBSPOT",
            Self::Worker(category) => category.as_str(),
        }
    }
}

/// For an enum with `ALL` and `as_str`.
macro_rules! label {
    ($label:ty, $name:literal) => {
        impl Label for $label {
            const NAMES: &'static [&'static str] = &[$name];

            fn all() -> Vec<Self> {
                Self::ALL.to_vec()
            }

            fn index(self) -> usize {
                self as usize
            }

            fn word(self) -> &'static str {
                self.as_str()
            }
        }
    };
}

label!(Status, "status");
label!(Sealed, "sealed");
label!(Policy, "policy");
label!(Tier, "tier");
label!(PauseKind, "kind");
label!(GuardState, "state");
label!(SpanFate, "result");
label!(ProofResult, "result");

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn check<L: Label>() {
        let all = L::all();
        assert!(all.iter().enumerate().all(|(place, &value)| value.index() == place), "{:?}", L::NAMES);
        assert_eq!(all.iter().map(|&value| value.word()).collect::<HashSet<_>>().len(), all.len(), "{:?}", L::NAMES);
    }

    #[test]
    fn every_value_has_its_place_and_a_word_of_its_own() {
        check::<HttpResult>();
        check::<ErrorLabel>();
        check::<ProofResult>();
        check::<Status>();
        check::<Sealed>();
        check::<Policy>();
        check::<Tier>();
        check::<PauseKind>();
        check::<GuardState>();
        check::<SpanFate>();
    }
}
