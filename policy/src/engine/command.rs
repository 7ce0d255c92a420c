//! What goes into the engine and what comes out: plain values both ways.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use slotmap::new_key_type;
use smallvec::SmallVec;

use super::backlog::JobKey;
use super::course::Course;
use super::pause::{PauseKind, Tier};
use super::step::Step;
use super::verdict::{LookAsked, Policy, Transient};
use crate::contract::action::Action;
use crate::contract::association::{AssociationType, Extent, Label, Pair};
use crate::contract::expiry::Expiry;
use crate::contract::ids::{AccountIndex, PortalId};
use crate::contract::job::{Ask, Job};
use crate::contract::journal::{ChangeKind, Completion, EntryId, ReadFrom};
use crate::contract::object_type::ObjectType;
use crate::contract::outcome::{Ending, Head, Outcome};
use crate::contract::refusal::Refusal;

new_key_type! {
    /// One request on the wire.
    pub struct CallKey;
}

/// A valid job of a known account, as the engine wants it.
#[derive(Clone, Debug)]
pub struct NewJob {
    pub account: AccountIndex,
    pub from_type: ObjectType,
    pub to_type: ObjectType,
    pub action: Action,
    /// Nothing that changes HubSpot may ever be sent for the job.
    pub dry_run: bool,
    /// Of distinct extents, each with distinct pairs; never empty.
    pub asks: SmallVec<[Ask; 1]>,
    pub expiry: Option<Expiry>,
    /// Bytes the job occupies while it is held.
    pub weight: usize,
    pub carried: Carried,
}

impl NewJob {
    /// A job of an account; `weight` is the bytes it occupies.
    pub fn of(job: Job, account: AccountIndex, weight: usize, carried: Carried) -> Self {
        let Job { id: _, portal: _, from_type, to_type, action, dry_run, group: _, asks, not_after } = job;
        let expiry = not_after.map(Expiry::not_after);
        Self { account, from_type, to_type, action, dry_run, asks, expiry, weight, carried }
    }
}

/// What is remembered of a job from the times when it was in hand before. It travels with the job while it is parked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Carried {
    /// When the job was received for the first time.
    pub received: Timestamp,
    /// When its first request left.
    pub started: Option<Timestamp>,
    /// Requests that carried any pair of the job.
    pub attempts: u32,
    /// Time since its first transient failure, as far as it counts towards `retry.max_age`; `None` before the first.
    pub age: Option<Duration>,
    /// How often it was parked for failures.
    pub parks: u32,
}

impl Carried {
    pub fn fresh(received: Timestamp) -> Self {
        Self { received, started: None, attempts: 0, age: None, parks: 0 }
    }
}

/// What names a lane: only pairs that agree in all of this share a request.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct LaneId {
    pub account: AccountIndex,
    pub from_type: ObjectType,
    pub to_type: ObjectType,
    pub extent: Extent,
    pub course: Course,
}

impl LaneId {
    /// What the requests of the lane ask of HubSpot.
    pub fn step(&self) -> Step {
        self.course.step(&self.extent)
    }

    /// The lane of the same pairs at another step of their course.
    pub fn at(&self, course: Course) -> Self {
        Self { course, ..self.clone() }
    }
}

/// What the shell must do.
#[derive(Clone, Debug)]
pub enum Command {
    /// Send this batch; report with [`super::Engine::answered`].
    Send(BatchCall),
    /// Record what this batch is about to change; report with [`super::Engine::recorded`].
    Record(RecordCall),
    /// What became of recorded pairs; nothing is waited for.
    Complete { account: AccountIndex, completion: Arc<Completion> },
    /// Get an access token with the refresh token; report with [`super::Engine::refreshed`].
    Refresh { call: CallKey, account: AccountIndex },
    /// Ask whose token it is; report with [`super::Engine::identified`].
    Identify { call: CallKey, account: AccountIndex },
    /// HubSpot refused the token: look whether its file has another; report with `credentials_changed`.
    RereadCredentials { account: AccountIndex },
    /// The job has its outcome.
    Settle(Settled),
    /// The job is to wait in the broker.
    Park(Parked),
    /// The job has not been finished and goes back to where it came from.
    HandBack(JobKey),
    /// The job, whose delivery is void, has left without an outcome.
    Forgotten(JobKey),
    /// For logs and the operator; nothing to do.
    Notice(Notice),
}

/// One request for one lane.
#[derive(Clone, Debug)]
pub struct BatchCall {
    pub call: CallKey,
    pub lane: LaneId,
    /// What the request is for, in the jobs' direction: distinct, grouped by `from`, or by `to` where it is turned;
    /// never empty. In a look at all associations of some records, each item is a record; see [`super::all::item`].
    pub pairs: Arc<[Pair]>,
    pub request: Request,
    pub sealed: Sealed,
    /// Transient failures of this batch so far.
    pub failures: u32,
}

/// What a request says besides its lane and its pairs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// `batch/archive` of the pairs.
    Archive,
    /// The same from the other side: the two object types of the path change places, and so do the records of each
    /// pair.
    ArchiveTurned,
    /// `batch/labels/archive` of the lane's labels from the pairs.
    ArchiveLabels,
    /// `batch/read` of these records: the `from` of the pairs, each once, or where `reversed` the `to`; the two object
    /// types of the path change places then.
    Look { records: Arc<[LookAsked]>, reversed: bool },
    /// `batch/associate/default` of the pairs.
    Associate,
    /// `batch/create` of the pairs, each with the labels that are at its index.
    Create { labels: Arc<[Arc<[Label]>]> },
}

/// What is to be recorded before a batch leaves.
#[derive(Clone, Debug)]
pub struct RecordCall {
    pub call: CallKey,
    pub lane: LaneId,
    pub kind: ChangeKind,
    /// As the settings name it.
    pub portal: Option<PortalId>,
    /// An entry each.
    pub entries: Vec<Recordable>,
}

/// One entry of the journal, but for the names of its jobs.
#[derive(Clone, Debug)]
pub struct Recordable {
    pub entry: EntryId,
    pub read: ReadFrom,
    pub pairs: Vec<RecordedPair>,
}

/// A pair that is about to be changed; see [`crate::contract::journal::EntryPair`].
#[derive(Clone, Debug)]
pub struct RecordedPair {
    pub pair: Pair,
    pub types: Arc<[AssociationType]>,
    pub creates: Arc<[AssociationType]>,
    /// Who asked for it.
    pub jobs: SmallVec<[JobKey; 1]>,
}

/// Why a batch left as it did.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Sealed {
    /// As many `from` records or pairs as a request may have.
    Full,
    /// Its first job had waited for `batch.linger`.
    Linger,
    /// Full lanes kept it waiting for too long.
    Overdue,
    /// Nothing more will come.
    Flush,
    /// To find out whether a pause is over.
    Probe,
    /// Again after a transient failure or a 429.
    Retry,
    /// To find out which pair is at fault.
    Trial,
}

impl Sealed {
    pub const ALL: [Self; 7] =
        [Self::Full, Self::Linger, Self::Overdue, Self::Flush, Self::Probe, Self::Retry, Self::Trial];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Linger => "linger",
            Self::Overdue => "overdue",
            Self::Flush => "flush",
            Self::Probe => "probe",
            Self::Retry => "retry",
            Self::Trial => "trial",
        }
    }
}

/// The end of a job.
#[derive(Clone, Debug)]
pub struct Settled {
    pub job: JobKey,
    pub ending: Ending,
    /// Every archived pair was read back and is gone.
    pub verified: bool,
    /// What every archived or restored pair was associated by was in the journal before its request left.
    pub journaled: bool,
    pub carried: Carried,
    /// Why a copy goes to the dead-letter queue as well.
    pub dead_letter: Option<Arc<Refusal>>,
}

impl Settled {
    /// The outcome of the job with this head, and why a copy of the job goes to the dead letters as well.
    pub fn outcome(self, head: Head, completed: Timestamp) -> (Outcome, Option<Arc<Refusal>>) {
        let Self { job: _, ending, verified, journaled, carried, dead_letter } = self;
        let Carried { received, started, attempts, age: _, parks: _ } = carried;
        let outcome = Outcome {
            head,
            ending,
            verified,
            journaled,
            attempts,
            received_at: received,
            started_at: started,
            completed_at: completed,
        };
        (outcome, dead_letter)
    }
}

/// A job that waits in a delay queue.
#[derive(Clone, Copy, Debug)]
pub struct Parked {
    pub job: JobKey,
    pub tier: Tier,
    pub carried: Carried,
}

/// Something an operator may want to know.
#[derive(Clone, Debug)]
pub enum Notice {
    Paused {
        account: AccountIndex,
        lane: Option<LaneId>,
        kind: PauseKind,
        detail: String,
        until: Option<Timestamp>,
    },
    Resumed {
        account: AccountIndex,
        lane: Option<LaneId>,
        kind: PauseKind,
        lasted: Duration,
    },
    /// HubSpot would not say whose token it is; the account goes on unchecked.
    Unidentified {
        account: AccountIndex,
        detail: String,
    },
    /// HubSpot lowered the pace.
    Slowed {
        account: AccountIndex,
        policy: Policy,
        until: Timestamp,
        /// What is slowed down is only tried again then, and may stand still for longer.
        only_tries: bool,
    },
    Isolating {
        lane: LaneId,
        pairs: usize,
    },
    Unattributed {
        lane: LaneId,
        pairs: usize,
    },
    /// Pairs of these types are sent from their own side only from now on; `pairs` of them are archived once more.
    Unfolded {
        lane: LaneId,
        pairs: usize,
        detail: String,
    },
}

/// What the request for a batch came to: the `result` label of `http_requests_total`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CallResult {
    /// All pairs are archived.
    Archived,
    /// All records were shown.
    LookedUp,
    /// All pairs are associated again.
    Restored,
    /// Some of what was asked for was done.
    Partial,
    Refused,
    Throttled,
    Transient(Transient),
    LanePaused,
    AccountPaused,
    /// The engine does not know the call (any more).
    Unknown,
}

impl CallResult {
    /// What a request has come to that did all it was asked for.
    pub fn of_done(step: Step) -> Self {
        match step {
            Step::Archive | Step::ArchiveLabels => Self::Archived,
            Step::Look(_) => Self::LookedUp,
            Step::Associate | Step::Create => Self::Restored,
        }
    }

    /// Nothing that the request asked for is known to be done by it.
    pub fn went_wrong(self) -> bool {
        match self {
            Self::Archived | Self::LookedUp | Self::Restored | Self::Partial => false,
            Self::Refused
            | Self::Throttled
            | Self::Transient(_)
            | Self::LanePaused
            | Self::AccountPaused
            | Self::Unknown => true,
        }
    }
}

/// Whether HubSpot gave an access token for the refresh token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RefreshReply {
    Granted {
        expires_in: Duration,
        portal: Option<PortalId>,
    },
    /// Final until the operator mends it. `detail` are HubSpot's words, without any secret.
    Refused {
        detail: String,
    },
    /// For a transient reason.
    Failed {
        detail: String,
        wait: Option<Duration>,
    },
}

/// Whose token it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum IdentityReply {
    Told {
        portal: NonZeroU64,
        time_zone: Option<TimeZone>,
    },
    WillNotTell {
        detail: String,
    },
    /// For a transient reason.
    Failed {
        detail: String,
        wait: Option<Duration>,
    },
}
