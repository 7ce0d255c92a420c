//! HubSpot's reply to a batch, judged: what became of each pair, and what to do next.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::contract::refusal::Refusal;
use crate::engine::reply::RetryAfter;

mod asked;
mod attribution;
mod body;
mod creation;
mod look;
mod record;
mod results;
mod table;
mod wording;

pub use creation::{Creation, judge_creation};
pub use look::judge_look;
pub use record::{Found, LookAsked, RecordVerdict, RecordView};
pub use table::judge;

/// What a reply means for the request it answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Judgement {
    /// Every pair of the request is archived.
    Archived,
    /// One verdict a pair: as many as the request had pairs, in its order.
    Each(Vec<PairVerdict>),
    /// No pair was archived, and the reply does not say which of them (two or more) is at fault: a search begins.
    Suspect(Arc<Refusal>),
    /// The object type does not exist: every pair of the lane is refused, whether it was sent or not.
    LaneRefused(Arc<Refusal>),
    /// Passing, or unknown whether it was done: the whole request again. Spends an attempt.
    Again(Again),
    /// Over a limit of the account: nothing was done, and no attempt is spent.
    Throttled(Throttled),
    /// This lane gets nowhere until an operator mends something; its jobs are kept.
    PauseLane(LanePause),
    /// This account gets nowhere for now; its jobs are kept.
    PauseAccount(AccountPause),
}

/// What became of one pair.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PairVerdict {
    Archived,
    /// HubSpot will not archive this pair.
    Refused(Arc<Refusal>),
    /// Something in the request is wrong, and it may be this pair: the pairs with this verdict are searched.
    Suspect(Arc<Refusal>),
    /// Not done for a passing reason: send again after a back-off, spending an attempt.
    Again(Arc<Again>),
    /// Not done only because of its neighbours: send again without them, spending no attempt.
    ///
    /// Never the verdict of all pairs of a request, so that each such round makes the request smaller.
    Untouched,
}

/// A request, or some pairs of it, are to be sent again after a back-off.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Again {
    pub cause: Transient,
    pub retry_after: Option<RetryAfter>,
    /// What to say if this was the last try: `RETRIES_EXHAUSTED`, retryable.
    pub refusal: Arc<Refusal>,
}

/// Why a request must be sent again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Transient {
    /// 5xx without a row of its own.
    ServerError,
    /// 522, 525, 526: the connection or TLS between HubSpot's edge and its servers. Worth an alert.
    EdgeConnection,
    /// 504 or 524, or no answer within the request's time-out.
    TimedOut,
    /// 408, 409, 425.
    NotNow,
    /// 413, 414.
    TooLarge,
    /// 423: a sync holds the records.
    Locked,
    /// No connection.
    Unreachable,
    /// The connection is not trusted. Worth an alert.
    Tls,
    /// The connection broke while the answer was awaited.
    Reset,
    /// An answer that is none: not HTTP's statuses, or a success whose body cannot be read.
    Garbage,
    /// A success that says `PENDING`, `PROCESSING` or `CANCELED`, or that says nothing of what was asked for.
    Unfinished,
    /// A success whose body is larger than is read: fewer records are to be asked for.
    AnswerTooLarge,
}

/// 429: the account is over one of its limits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Throttled {
    pub policy: Policy,
    pub retry_after: Option<RetryAfter>,
    /// What to say if the job ends while it waits: `RETRIES_EXHAUSTED`, retryable.
    pub refusal: Arc<Refusal>,
}

/// Which limit a 429 is about: HubSpot's `policyName`, or the message where that is missing or new.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Policy {
    TenSecondly,
    Secondly,
    /// Spent until the account's midnight.
    Daily,
    /// A limit that is not named, or that has a new name: nobody knows how long it lasts.
    Unknown,
}

/// A lane must wait for its operator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LanePause {
    pub kind: LanePauseKind,
    /// What to say if the job ends while it waits: `ACCOUNT_REFUSED`, retryable.
    pub refusal: Arc<Refusal>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LanePauseKind {
    /// 403: the token lacks these scopes (HubSpot's names, perhaps none, at most [`LanePauseKind::MAX_SCOPES`]).
    MissingScopes(Box<[Box<str>]>),
    /// Any other 403.
    Forbidden,
    /// 404 about the path.
    NotFound,
    /// 405.
    MethodNotAllowed,
    /// 415.
    UnsupportedMedia,
    /// Any 3xx.
    Redirected,
}

/// An account must wait.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccountPause {
    pub kind: AccountPauseKind,
    /// What to say if the job ends while it waits: `ACCOUNT_REFUSED`, retryable.
    pub refusal: Arc<Refusal>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AccountPauseKind {
    /// 401 `EXPIRED_AUTHENTICATION`.
    TokenExpired,
    /// 401 `INVALID_AUTHENTICATION`.
    TokenInvalid,
    /// Any other 401.
    TokenRefused,
    /// 407: a proxy on the way to HubSpot wants other credentials than it was given.
    ProxyRefused,
    /// 477: HubSpot is moving the portal to another data centre; it says how long that takes, or nothing.
    Moving(Option<RetryAfter>),
}

impl Again {
    /// Shortest wait before the next try, whatever the back-off says.
    pub fn least_wait(&self, now: Timestamp) -> Duration {
        let asked = self.retry_after.map_or(Duration::ZERO, |after| after.wait(now));
        asked.max(self.cause.least_wait())
    }
}

impl Transient {
    /// Shortest wait after 423 (HubSpot's own advice).
    pub const LOCKED_WAIT: Duration = Duration::from_secs(2);

    pub const ALL: [Self; 12] = [
        Self::ServerError,
        Self::EdgeConnection,
        Self::TimedOut,
        Self::NotNow,
        Self::TooLarge,
        Self::Locked,
        Self::Unreachable,
        Self::Tls,
        Self::Reset,
        Self::Garbage,
        Self::Unfinished,
        Self::AnswerTooLarge,
    ];

    /// For logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ServerError => "server_error",
            Self::EdgeConnection => "edge_connection",
            Self::TimedOut => "timed_out",
            Self::NotNow => "not_now",
            Self::TooLarge => "too_large",
            Self::Locked => "locked",
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::Reset => "reset",
            Self::Garbage => "garbage",
            Self::Unfinished => "unfinished",
            Self::AnswerTooLarge => "answer_too_large",
        }
    }

    /// Whether only a smaller request can do better, so that nothing has failed yet where it can be made smaller.
    pub fn is_of_size(self) -> bool {
        match self {
            Self::TooLarge | Self::AnswerTooLarge => true,
            Self::ServerError
            | Self::EdgeConnection
            | Self::TimedOut
            | Self::NotNow
            | Self::Locked
            | Self::Unreachable
            | Self::Tls
            | Self::Reset
            | Self::Garbage
            | Self::Unfinished => false,
        }
    }

    /// Whether the next request of this lane should be half as large.
    pub fn wants_smaller(self) -> bool {
        match self {
            Self::TimedOut | Self::TooLarge | Self::AnswerTooLarge => true,
            Self::ServerError
            | Self::EdgeConnection
            | Self::NotNow
            | Self::Locked
            | Self::Unreachable
            | Self::Tls
            | Self::Reset
            | Self::Garbage
            | Self::Unfinished => false,
        }
    }

    /// Whether the request may have been carried out all the same.
    pub fn leaves_doubt(self) -> bool {
        match self {
            Self::ServerError
            | Self::TimedOut
            | Self::Reset
            | Self::Garbage
            | Self::Unfinished
            | Self::AnswerTooLarge => true,
            Self::EdgeConnection | Self::NotNow | Self::TooLarge | Self::Locked | Self::Unreachable | Self::Tls => {
                false
            }
        }
    }

    /// Whether it says that HubSpot, or the way there, is in trouble: what opens the account's breaker.
    pub fn is_failure_of_account(self) -> bool {
        match self {
            Self::ServerError
            | Self::EdgeConnection
            | Self::TimedOut
            | Self::Unreachable
            | Self::Tls
            | Self::Reset
            | Self::Garbage => true,
            Self::NotNow | Self::TooLarge | Self::Locked | Self::Unfinished | Self::AnswerTooLarge => false,
        }
    }

    /// Whether one record may be the cause, so that a smaller request may do better. Where the connection cannot be
    /// made, no record was looked at.
    pub fn may_be_of_a_record(self) -> bool {
        match self {
            Self::ServerError
            | Self::TimedOut
            | Self::NotNow
            | Self::TooLarge
            | Self::Locked
            | Self::Reset
            | Self::Garbage
            | Self::Unfinished
            | Self::AnswerTooLarge => true,
            Self::EdgeConnection | Self::Unreachable | Self::Tls => false,
        }
    }

    fn least_wait(self) -> Duration {
        match self {
            Self::Locked => Self::LOCKED_WAIT,
            Self::ServerError
            | Self::EdgeConnection
            | Self::TimedOut
            | Self::NotNow
            | Self::TooLarge
            | Self::Unreachable
            | Self::Tls
            | Self::Reset
            | Self::Garbage
            | Self::Unfinished
            | Self::AnswerTooLarge => Duration::ZERO,
        }
    }
}

impl Policy {
    pub const ALL: [Self; 4] = [Self::TenSecondly, Self::Secondly, Self::Daily, Self::Unknown];

    /// For logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TenSecondly => "ten_secondly",
            Self::Secondly => "secondly",
            Self::Daily => "daily",
            Self::Unknown => "unknown",
        }
    }
}

impl LanePauseKind {
    /// Most scopes that are kept of a 403.
    pub const MAX_SCOPES: usize = 32;
}

#[cfg(test)]
mod tests;
