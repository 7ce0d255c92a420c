//! What surrounds a body on its way through the broker: identities, properties, headers.
//!
//! Names and rules only; what an AMQP library makes of them is its adapter's business.

use std::fmt;

use sha2::{Digest, Sha256};
use smallvec::SmallVec;
use uuid::Uuid;

use super::ids::{JobId, PortalId};

/// Property `type` of an outcome.
pub const OUTCOME_TYPE: &str = "association-archive.outcome.v1";

/// Property `app_id` of all that the worker makes.
pub const APP_ID: &str = "association-archiver";

/// Property `content_type` of jobs and outcomes.
pub const CONTENT_TYPE: &str = "application/json";

/// Property `delivery_mode` of all that the worker publishes: persistent.
pub const DELIVERY_MODE: u8 = 2;

/// On an outcome: its status.
pub const JOB_STATUS: &str = "x-job-status";

/// On a dead letter: the worker's category.
pub const REJECT_CATEGORY: &str = "x-reject-category";

/// On a dead letter: what was wrong, at most 500 bytes.
pub const REJECT_MESSAGE: &str = "x-reject-message";

/// On a dead letter: when it was made, RFC 3339 UTC with milliseconds.
pub const REJECTED_AT: &str = "x-rejected-at";

/// On a dead letter: how often the worker made one of the message since it was last redriven.
pub const DEAD_LETTERED: &str = "x-archiver-dead-lettered";

/// On a dead letter: it was a job of the background, which is where it is put back.
pub const OF_BACKGROUND: &str = "x-archiver-background";

/// On a copy in a delay queue: when it was put there, in milliseconds since 1970.
pub const PARKED: &str = "x-archiver-parked";

/// How often a dead letter was put back on the jobs queue; absent for never.
pub const REDRIVEN: &str = "x-redriven";

/// On a republished message: the `user_id` it came with.
pub const ORIGINAL_USER_ID: &str = "x-original-user-id";

/// Whether a property `content_encoding` says no more than that the body is text: empty, or a name for no encoding, or the
/// charset that some frameworks put there. JSON in ASCII is JSON in UTF-8.
pub fn is_plain(content_encoding: &str) -> bool {
    content_encoding.is_empty() || PLAIN_ENCODINGS.iter().any(|plain| plain.eq_ignore_ascii_case(content_encoding))
}

/// The values of `content_encoding` that are taken, in whatever case they are written. An empty one counts as absent.
pub const PLAIN_ENCODINGS: [&str; 6] = ["identity", "none", "utf-8", "utf8", "us-ascii", "ascii"];

/// On a republished message: the `expiration` it came with.
pub const ORIGINAL_EXPIRATION: &str = "x-original-expiration";

/// On a republished message: when the time to live that its producer gave it is over, in milliseconds since 1970. The
/// `expiration` itself is gone from it, so without this header the message would have no deadline any more.
pub const DEADLINE: &str = "x-archiver-deadline";

/// On a republished message: how many headers were left out because all together were too large for the broker.
pub const HEADERS_DROPPED: &str = "x-headers-dropped";

/// Longest value of a trace header that is carried over, in bytes: what W3C allows, 32 entries of 513 bytes.
pub const TRACE_MAX_BYTES: usize = 32 * 513 + 31;

/// W3C trace context, carried over from the job to its outcome.
pub const TRACE_CONTEXT: [&str; 2] = ["traceparent", "tracestate"];

/// Whether a header stays behind when its message is published again.
///
/// `CC` and `BCC` would route a second copy; the others are the broker's own counts, which it reads again on the next
/// way round. Names are case-sensitive, as the broker takes them.
pub fn is_dropped_when_republished(header: &str) -> bool {
    matches!(header, "CC" | "BCC" | "x-death" | "x-delivery-count" | "x-acquired-count")
        || header.starts_with("x-first-death-")
        || header.starts_with("x-last-death-")
}

/// The `correlation_id` of an outcome: the job message's own, else its `message_id`, else the job id.
///
/// An empty property counts as absent. At most 255 bytes, since that is the most an AMQP property holds.
pub fn correlation_id<'a>(
    job_correlation_id: Option<&'a str>,
    job_message_id: Option<&'a str>,
    job_id: &'a JobId,
) -> &'a str {
    let set = |property: &&str| !property.is_empty();
    job_correlation_id.filter(set).or(job_message_id.filter(set)).unwrap_or(job_id.as_str())
}

/// SHA-256 of a job's body as it came.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BodyDigest([u8; 32]);

impl BodyDigest {
    pub fn of(body: &[u8]) -> Self {
        Self(Sha256::digest(body).into())
    }
}

impl fmt::Debug for BodyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What tells one request for an outcome from another.
///
/// Two messages that agree in all of it cannot be told apart, and their outcomes have one id.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// As the job names it, so that the id does not change with the settings.
    pub portal: Option<PortalId>,
    pub job_id: &'a JobId,
    pub body: &'a BodyDigest,
    /// The header [`REDRIVEN`], 0 without it.
    pub redriven: u64,
    /// The job message's own property; empty counts as absent.
    pub message_id: Option<&'a str>,
    /// The job message's own property, in seconds since 1970.
    pub timestamp: Option<u64>,
}

/// The `message_id` of an outcome: the same whenever the same message is answered, so that a consumer can drop a copy;
/// another one when the job was redriven or is another message.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct MessageId(Uuid);

impl MessageId {
    pub fn of_outcome(request: &Request<'_>) -> Self {
        let Request { portal, job_id, body, redriven, message_id, timestamp } = *request;
        let message_id = message_id.filter(|id| !id.is_empty());
        let mut name: SmallVec<[u8; 192]> = SmallVec::new();
        // 0 stands for a job without a portal, since no portal has this number. No job id holds a NUL, so a NUL ends
        // the job id. Of what follows it only the last part varies in length. So no two different requests have the
        // same name.
        name.extend_from_slice(&portal.map_or(0, |portal| portal.0.get()).to_be_bytes());
        name.extend_from_slice(&body.0);
        name.extend_from_slice(&redriven.to_be_bytes());
        name.extend_from_slice(job_id.as_str().as_bytes());
        if message_id.is_some() || timestamp.is_some() {
            name.push(0);
            name.push(u8::from(timestamp.is_some()));
            name.extend_from_slice(&timestamp.unwrap_or(0).to_be_bytes());
            name.extend_from_slice(message_id.unwrap_or("").as_bytes());
        }
        Self(Uuid::new_v5(&NAMESPACE, &name))
    }

    /// The id as 36 characters of text.
    pub fn encode(self, buffer: &mut [u8; 36]) -> &str {
        self.0.hyphenated().encode_lower(buffer)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// Made once at random for this product. Changing it gives every outcome another id.
const NAMESPACE: Uuid = Uuid::from_u128(0x914bb787_b5f4_46a0_ba11_8afd76b3e61f);

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use std::collections::HashSet;
    use std::num::NonZeroU64;

    use super::*;

    fn id(portal: u64, job_id: &str, body: &[u8], redriven: u64) -> String {
        id_with(portal, job_id, body, redriven, (None, None))
    }

    fn id_with(
        portal: u64,
        job_id: &str,
        body: &[u8],
        redriven: u64,
        (message_id, timestamp): (Option<&str>, Option<u64>),
    ) -> String {
        let (portal, job_id, body) = (NonZeroU64::new(portal).map(PortalId), JobId::new(job_id), BodyDigest::of(body));
        let (job_id, body) = (&job_id.unwrap(), &body);
        MessageId::of_outcome(&Request { portal, job_id, body, redriven, message_id, timestamp }).to_string()
    }

    #[test]
    fn an_outcomes_id_never_changes() {
        insta::assert_snapshot!(id(4711, "crm-sync-81f2", b"{}", 0), @"e2dcb111-46ca-5f6b-b147-1e4a5696ec82");
        insta::assert_snapshot!(id(0, "crm-sync-81f2", b"{}", 0), @"8c697a9d-022f-5365-8c10-0ce9131bf72a");
        insta::assert_snapshot!(id_with(4711, "crm-sync-81f2", b"{}", 0, (Some("row 1"), Some(1_800_000_000))), @"1fe42239-4b1d-59fa-83d0-127b72a60ed5");
        insta::assert_snapshot!(id(u64::MAX, &"ü".repeat(64), b"", u64::MAX), @"3c208bb9-3bcc-51f6-823c-3e3448b9ed29");
    }

    #[test]
    fn anything_else_about_the_request_gives_another_id() {
        let ids = [
            id(4711, "a", b"{}", 0),
            id(4712, "a", b"{}", 0),
            id(0, "a", b"{}", 0),
            id(4711, "b", b"{}", 0),
            id(4711, "aa", b"{}", 0),
            id(4711, "a", b"{} ", 0),
            id(4711, "a", b"{}", 1),
            id_with(4711, "a", b"{}", 0, (Some("m"), None)),
            id_with(4711, "a", b"{}", 0, (Some("n"), None)),
            id_with(4711, "a", b"{}", 0, (None, Some(0))),
            id_with(4711, "a", b"{}", 0, (None, Some(1))),
            id_with(4711, "a", b"{}", 0, (Some("m"), Some(0))),
        ];
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
    }

    #[test]
    fn an_empty_message_id_counts_as_none() {
        assert_eq!(id_with(4711, "a", b"{}", 0, (Some(""), None)), id(4711, "a", b"{}", 0));
    }

    #[test]
    fn both_spellings_of_an_id_agree() {
        let id = MessageId(Uuid::from_u128(7));
        assert_eq!(id.encode(&mut [0; 36]), id.to_string());
    }

    #[test]
    fn the_brokers_headers_stay_behind_and_no_others() {
        for dropped in [
            "CC",
            "BCC",
            "x-death",
            "x-first-death-queue",
            "x-first-death-reason",
            "x-first-death-exchange",
            "x-last-death-queue",
            "x-delivery-count",
            "x-acquired-count",
        ] {
            assert!(is_dropped_when_republished(dropped), "{dropped}");
        }
        for kept in [
            "cc",
            "x-deaths",
            "x-first-seen",
            "x-delivery-counts",
            REDRIVEN,
            REJECT_CATEGORY,
            ORIGINAL_USER_ID,
            ORIGINAL_EXPIRATION,
            "traceparent",
            "",
        ] {
            assert!(!is_dropped_when_republished(kept), "{kept}");
        }
    }

    #[test]
    fn the_jobs_own_correlation_id_comes_first() {
        let job_id = JobId::new("job").unwrap();
        assert_eq!(correlation_id(Some("own"), Some("message"), &job_id), "own");
        assert_eq!(correlation_id(None, Some("message"), &job_id), "message");
        assert_eq!(correlation_id(Some(""), Some("message"), &job_id), "message");
        assert_eq!(correlation_id(None, None, &job_id), "job");
    }
}
