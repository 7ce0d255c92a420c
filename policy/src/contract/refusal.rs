//! Why a job was not done for a pair, in the words in which the outcome tells it to the job's producer.

use super::text::{MESSAGE_MAX_BYTES, TEXT_MAX_BYTES, cut};

/// Why a job was not done for a pair, in HubSpot's words or ours; shared by all pairs for which this is the reason.
///
/// Texts are cut at a character boundary when the refusal is made: the message at
/// [`MESSAGE_MAX_BYTES`], every other text at [`TEXT_MAX_BYTES`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    pub source: Source,
    /// HubSpot's `subCategory`.
    pub sub_category: Option<Box<str>>,
    pub message: Box<str>,
    /// Status of the HTTP answer that gave the reason; `None` where no answer did.
    pub http_status: Option<u16>,
    /// HubSpot's name for the request, for its support.
    pub correlation_id: Option<Box<str>>,
    /// Whether the same job, sent again later, may succeed.
    pub retryable: bool,
}

/// Who refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// HubSpot, with its `category`; [`Refusal::NO_CATEGORY`] where it gave none.
    Hubspot {
        category: Box<str>,
    },
    Worker(WorkerCategory),
}

/// The worker's own reasons: a closed, documented set.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum WorkerCategory {
    /// The message is not a valid job.
    MalformedJob,
    /// No account is configured for the job's portal.
    UnknownPortal,
    /// Transient failures went on for longer than `retry.max_age`.
    RetriesExhausted,
    /// HubSpot refused a batch without saying which pair, and the requests allowed for finding it were spent.
    Unattributed,
    /// `notAfter` or the property `expiration` passed.
    Expired,
    /// HubSpot refuses the account or the lane until its operator mends something: a token, scopes, the API version.
    AccountRefused,
    /// More associations were found for `to` `"all"` than a job may have.
    TooManyPairs,
    /// The pair was archived, read back several times, and is still there.
    NotGone,
    /// The pair was seen gone, and then there again: something else creates it anew.
    Reappeared,
    /// The guard stopped the account, and its operator rejected what waited.
    GuardRejected,
    /// What was removed cannot be created again, or not without taking it from another record.
    NotRestorable,
}

impl Refusal {
    /// Stands for the category that HubSpot did not give.
    pub const NO_CATEGORY: &str = "UNKNOWN";

    /// A refusal in HubSpot's words, not retryable.
    pub fn hubspot(category: &str, message: &str, http_status: u16) -> Self {
        Self {
            source: Source::Hubspot { category: cut(category, TEXT_MAX_BYTES).into() },
            sub_category: None,
            message: cut(message, MESSAGE_MAX_BYTES).into(),
            http_status: Some(http_status),
            correlation_id: None,
            retryable: false,
        }
    }

    /// A refusal in the worker's words, retryable as its category is.
    pub fn worker(category: WorkerCategory, message: &str) -> Self {
        Self {
            source: Source::Worker(category),
            sub_category: None,
            message: cut(message, MESSAGE_MAX_BYTES).into(),
            http_status: None,
            correlation_id: None,
            retryable: category.retryable(),
        }
    }

    pub fn with_sub_category(mut self, sub_category: Option<&str>) -> Self {
        self.sub_category = sub_category.map(|text| cut(text, TEXT_MAX_BYTES).into());
        self
    }

    pub fn with_correlation_id(mut self, correlation_id: Option<&str>) -> Self {
        self.correlation_id = correlation_id.map(|text| cut(text, TEXT_MAX_BYTES).into());
        self
    }

    pub fn with_http_status(mut self, http_status: u16) -> Self {
        self.http_status = Some(http_status);
        self
    }

    /// Whether a copy of a job that ends for this reason goes to the dead letters.
    pub fn is_dead_lettered(&self) -> bool {
        match &self.source {
            Source::Hubspot { category: _ } => false,
            Source::Worker(category) => category.is_dead_lettered(),
        }
    }
}

impl Source {
    /// The `source` of an outcome's error.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Hubspot { category: _ } => "HUBSPOT",
            Self::Worker(_) => "WORKER",
        }
    }

    /// The `category` of an outcome's error.
    pub fn category(&self) -> &str {
        match self {
            Self::Hubspot { category } => category,
            Self::Worker(category) => category.as_str(),
        }
    }
}

impl WorkerCategory {
    pub const ALL: [Self; 11] = [
        Self::MalformedJob,
        Self::UnknownPortal,
        Self::RetriesExhausted,
        Self::Unattributed,
        Self::Expired,
        Self::AccountRefused,
        Self::TooManyPairs,
        Self::NotGone,
        Self::Reappeared,
        Self::GuardRejected,
        Self::NotRestorable,
    ];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MalformedJob => "MALFORMED_JOB",
            Self::UnknownPortal => "UNKNOWN_PORTAL",
            Self::RetriesExhausted => "RETRIES_EXHAUSTED",
            Self::Unattributed => "UNATTRIBUTED",
            Self::Expired => "EXPIRED",
            Self::AccountRefused => "ACCOUNT_REFUSED",
            Self::TooManyPairs => "TOO_MANY_PAIRS",
            Self::NotGone => "NOT_GONE",
            Self::Reappeared => "REAPPEARED",
            Self::GuardRejected => "GUARD_REJECTED",
            Self::NotRestorable => "NOT_RESTORABLE",
        }
    }

    /// Whether the same job, sent again later, may succeed.
    pub fn retryable(self) -> bool {
        match self {
            Self::MalformedJob
            | Self::UnknownPortal
            | Self::Expired
            | Self::TooManyPairs
            | Self::NotRestorable
            // Something else creates the pair anew: if it were sent again, it would only be removed once more.
            | Self::Reappeared
            // A person has said no. A program that sends it again would remove after all what was rejected, as soon as
            // the guard is open again.
            | Self::GuardRejected => false,
            Self::RetriesExhausted | Self::Unattributed | Self::AccountRefused | Self::NotGone => true,
        }
    }

    /// Whether a copy of the message goes to the dead letters when its job ends for this reason.
    pub fn is_dead_lettered(self) -> bool {
        match self {
            Self::MalformedJob | Self::UnknownPortal | Self::RetriesExhausted | Self::GuardRejected => true,
            Self::Unattributed
            | Self::Expired
            | Self::AccountRefused
            | Self::TooManyPairs
            | Self::NotGone
            | Self::Reappeared
            | Self::NotRestorable => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters() {
        let long = "é".repeat(400);
        let refusal = Refusal::hubspot(&long, &format!("x{long}"), 400)
            .with_sub_category(Some(&long))
            .with_correlation_id(Some(&format!("x{long}")));

        assert_eq!(refusal.message.len(), 499);
        assert_eq!(refusal.source.category().len(), 128);
        assert_eq!(refusal.sub_category.map(|text| text.len()), Some(128));
        assert_eq!(refusal.correlation_id.map(|text| text.len()), Some(127));
    }

    #[test]
    fn a_worker_refusal_is_as_retryable_as_its_category() {
        for category in WorkerCategory::ALL {
            let refusal = Refusal::worker(category, "why");
            assert_eq!(refusal.retryable, category.retryable());
            assert_eq!((refusal.source.as_str(), refusal.source.category()), ("WORKER", category.as_str()));
        }
    }

    #[test]
    fn only_what_passing_failures_ended_is_both_in_the_dead_letters_and_retryable() {
        let both =
            WorkerCategory::ALL.into_iter().filter(|category| category.retryable() && category.is_dead_lettered());
        assert_eq!(both.collect::<Vec<_>>(), [WorkerCategory::RetriesExhausted]);
        assert!(!Refusal::hubspot("VALIDATION_ERROR", "why", 400).is_dead_lettered());
    }
}
