//! An outcome: what a job's producer is told, once and for all its pairs.

use std::sync::Arc;

use jiff::Timestamp;

use super::action::Action;
use super::association::{AssociationType, Extent, Label, Pair, RecordId};
use super::ids::{Group, JobId, PortalId};
use super::object_type::TypeText;
use super::plan::{PlanEntry, listed};
use super::refusal::Refusal;
use super::text::{MESSAGE_MAX_BYTES, TEXT_MAX_BYTES};
use super::time;

/// The outcome of one job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    pub head: Head,
    pub ending: Ending,
    /// Every archived pair was read back and is gone.
    pub verified: bool,
    /// What every archived pair was associated by was in the journal before its request left.
    pub journaled: bool,
    /// HTTP requests that carried any pair of the job.
    pub attempts: u32,
    pub received_at: Timestamp,
    /// When the first request left that carried a pair of the job.
    pub started_at: Option<Timestamp>,
    pub completed_at: Timestamp,
}

/// What an outcome repeats of its job. Of a message that is no valid job it is what could be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    pub job_id: JobId,
    pub portal: Option<PortalId>,
    /// As the job wrote it.
    pub from_type: Option<TypeText>,
    /// As the job wrote it.
    pub to_type: Option<TypeText>,
    pub action: Action,
    /// The job was only to look. An outcome says so whatever it came to: sent again, the job must not do more.
    pub dry_run: bool,
    pub group: Option<Group>,
}

/// How a job ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ending {
    /// It was tried. `num_pairs` are all distinct pairs of the job; those not in `errors` are archived, or restored.
    Settled { num_pairs: usize, errors: Vec<PairError> },
    /// A dry run: nothing was changed. `errors` are pairs that could not be looked at.
    Planned { plan: Vec<PlanEntry>, errors: Vec<PairError> },
    /// `notAfter` or the property `expiration` passed before anything was sent: one error a pair.
    Expired { errors: Vec<PairError> },
    /// It is no valid job, or not one for this worker.
    Rejected(Arc<Refusal>),
}

/// A pair for which the job could not be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PairError {
    pub from: RecordId,
    /// `None` where all associations of the record were asked for, and which these are is not known.
    pub to: Option<RecordId>,
    /// What was asked for. It is told with the pair, so that whoever asks again does not ask for more.
    pub extent: Extent,
    pub refusal: Arc<Refusal>,
}

impl PairError {
    /// The pair, if it is one that is known.
    pub fn pair(&self) -> Option<Pair> {
        self.to.map(|to| Pair { from: self.from, to })
    }
}

/// `status` of an outcome.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Status {
    Archived,
    Partial,
    Failed,
    Restored,
    Planned,
    Expired,
    Rejected,
}

impl Status {
    pub const ALL: [Self; 7] =
        [Self::Archived, Self::Partial, Self::Failed, Self::Restored, Self::Planned, Self::Expired, Self::Rejected];

    /// The word on the wire, in metrics and in the header `x-job-status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Archived => "ARCHIVED",
            Self::Partial => "PARTIAL",
            Self::Failed => "FAILED",
            Self::Restored => "RESTORED",
            Self::Planned => "PLANNED",
            Self::Expired => "EXPIRED",
            Self::Rejected => "REJECTED",
        }
    }
}

impl Outcome {
    /// The answer to a message that is no valid job, or not one for this worker.
    pub fn rejected(head: Head, refusal: Refusal, now: Timestamp) -> Self {
        Self {
            head,
            ending: Ending::Rejected(Arc::new(refusal)),
            verified: false,
            journaled: false,
            attempts: 0,
            received_at: now,
            started_at: None,
            completed_at: now,
        }
    }

    pub fn status(&self) -> Status {
        match &self.ending {
            Ending::Settled { errors, .. } if errors.is_empty() => match self.head.action {
                Action::Archive => Status::Archived,
                Action::Restore { .. } => Status::Restored,
            },
            Ending::Settled { num_pairs, errors } if errors.len() < *num_pairs => Status::Partial,
            Ending::Settled { .. } => Status::Failed,
            Ending::Planned { .. } => Status::Planned,
            Ending::Expired { .. } => Status::Expired,
            Ending::Rejected(_) => Status::Rejected,
        }
    }

    /// Pairs for which the job was done.
    fn num_done(&self) -> usize {
        match &self.ending {
            Ending::Settled { num_pairs, errors } => num_pairs.saturating_sub(errors.len()),
            Ending::Planned { .. } | Ending::Expired { .. } | Ending::Rejected(_) => 0,
        }
    }

    /// Pairs that are archived.
    pub fn num_archived(&self) -> usize {
        match self.head.action {
            Action::Archive => self.num_done(),
            Action::Restore { .. } => 0,
        }
    }

    /// Pairs that are restored.
    pub fn num_restored(&self) -> usize {
        match self.head.action {
            Action::Restore { .. } => self.num_done(),
            Action::Archive => 0,
        }
    }

    /// Appends the outcome as JSON: every field is there, `null` where it is not known.
    ///
    /// At most about 1.1 kB for each error, whatever its texts are, and [`super::job::MAX_LABELS_OF_ALL_PAIRS`] labels
    /// for all of them; at most about 1.3 kB for each entry of a plan, see [`listed`]: so an outcome fits into a message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (num_pairs, num_errors) = match &self.ending {
            Ending::Settled { num_pairs, errors } => (*num_pairs, errors.len()),
            Ending::Planned { plan, errors } => (plan.len() + errors.len(), errors.len()),
            Ending::Expired { errors } => (errors.len(), errors.len()),
            Ending::Rejected(_) => (0, 0),
        };
        let head = &self.head;
        let planned = if let Ending::Planned { plan, .. } = &self.ending { plan.len() } else { 0 };
        out.reserve(ROOM + ROOM_PER_ERROR * (num_errors + planned));
        out.extend_from_slice(br#"{"jobId":"#);
        write_whole_text(head.job_id.as_str(), out);
        out.extend_from_slice(br#","portalId":"#);
        write_or_null(head.portal, out, |portal, out| write_number(portal.0.get(), out));
        out.extend_from_slice(br#","fromObjectType":"#);
        write_or_null(head.from_type.as_ref(), out, |text, out| write_whole_text(text.as_str(), out));
        out.extend_from_slice(br#","toObjectType":"#);
        write_or_null(head.to_type.as_ref(), out, |text, out| write_whole_text(text.as_str(), out));
        out.extend_from_slice(br#","action":""#);
        out.extend_from_slice(head.action.as_str().as_bytes());
        out.extend_from_slice(br#"","dryRun":"#);
        write_flag(head.dry_run, out);
        out.extend_from_slice(br#","group":"#);
        write_or_null(head.group.as_ref(), out, |group, out| write_whole_text(group.as_str(), out));
        out.extend_from_slice(br#","status":""#);
        out.extend_from_slice(self.status().as_str().as_bytes());
        out.extend_from_slice(br#"","numPairs":"#);
        write_number(num_pairs as u64, out);
        out.extend_from_slice(br#","numArchived":"#);
        write_number(self.num_archived() as u64, out);
        out.extend_from_slice(br#","numRestored":"#);
        write_number(self.num_restored() as u64, out);
        out.extend_from_slice(br#","numErrors":"#);
        write_number(num_errors as u64, out);
        out.extend_from_slice(br#","verified":"#);
        write_flag(self.verified, out);
        out.extend_from_slice(br#","journaled":"#);
        write_flag(self.journaled, out);
        out.extend_from_slice(br#","plan":"#);
        match &self.ending {
            Ending::Planned { plan, .. } => write_plan(plan, out),
            Ending::Settled { .. } | Ending::Expired { .. } | Ending::Rejected(_) => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(br#","errors":["#);
        self.write_errors(out);
        out.extend_from_slice(br#"],"attempts":"#);
        write_number(self.attempts.into(), out);
        out.extend_from_slice(br#","receivedAt":"#);
        write_time(self.received_at, out);
        out.extend_from_slice(br#","startedAt":"#);
        write_or_null(self.started_at, out, write_time);
        out.extend_from_slice(br#","completedAt":"#);
        write_time(self.completed_at, out);
        out.push(b'}');
    }

    fn write_errors(&self, out: &mut Vec<u8>) {
        match &self.ending {
            Ending::Rejected(refusal) => write_error(None, refusal, out),
            Ending::Settled { errors, .. } | Ending::Planned { errors, .. } | Ending::Expired { errors } => {
                for (i, error) in errors.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    write_error(Some(error), &error.refusal, out);
                }
            }
        }
    }
}

/// A usual outcome without errors, in bytes: a first guess of the room it needs.
const ROOM: usize = 384;

/// A usual error, or entry of a plan, in bytes.
const ROOM_PER_ERROR: usize = 320;

fn write_error(of: Option<&PairError>, refusal: &Refusal, out: &mut Vec<u8>) {
    let Refusal { source, sub_category, message, http_status, correlation_id, retryable } = refusal;
    out.extend_from_slice(br#"{"from":"#);
    write_or_null(of.map(|error| error.from), out, write_record);
    out.extend_from_slice(br#","to":"#);
    write_or_null(of.and_then(|error| error.to), out, write_record);
    out.extend_from_slice(br#","types":"#);
    match of.map(|error| &error.extent) {
        Some(Extent::Labels(labels)) => write_labels(labels, out),
        Some(Extent::Whole) | None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(br#","source":"#);
    write_text(source.as_str(), TEXT_MAX_BYTES, out);
    out.extend_from_slice(br#","category":"#);
    write_text(source.category(), TEXT_MAX_BYTES, out);
    out.extend_from_slice(br#","subCategory":"#);
    write_or_null(sub_category.as_deref(), out, |text, out| write_text(text, TEXT_MAX_BYTES, out));
    out.extend_from_slice(br#","message":"#);
    write_text(message, MESSAGE_MAX_BYTES, out);
    out.extend_from_slice(br#","httpStatus":"#);
    write_or_null(*http_status, out, |status, out| write_number(status.into(), out));
    out.extend_from_slice(br#","correlationId":"#);
    write_or_null(correlation_id.as_deref(), out, |text, out| write_text(text, TEXT_MAX_BYTES, out));
    out.extend_from_slice(if *retryable { br#","retryable":true}"# } else { br#","retryable":false}"# });
}

fn write_labels(labels: &[Label], out: &mut Vec<u8>) {
    for (i, Label { category, type_id }) in labels.iter().enumerate() {
        out.extend_from_slice(if i == 0 { br#"[{"associationCategory":""# } else { br#",{"associationCategory":""# });
        out.extend_from_slice(category.as_str().as_bytes());
        out.extend_from_slice(br#"","associationTypeId":"#);
        write_number(type_id.get(), out);
        out.push(b'}');
    }
    out.push(b']');
}

fn write_record(id: RecordId, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"id":""#);
    write_number(id.0.get(), out);
    out.extend_from_slice(br#""}"#);
}

fn write_plan(plan: &[PlanEntry], out: &mut Vec<u8>) {
    out.push(b'[');
    for (i, (PlanEntry { pair, present, types, warnings }, listed)) in plan.iter().zip(listed(plan)).enumerate() {
        out.extend_from_slice(if i == 0 { br#"{"from":"#.as_slice() } else { br#",{"from":"# });
        write_record(pair.from, out);
        out.extend_from_slice(br#","to":"#);
        write_record(pair.to, out);
        out.extend_from_slice(br#","present":"#);
        write_flag(*present, out);
        out.extend_from_slice(br#","types":["#);
        for (i, AssociationType { label: Label { category, type_id }, name }) in types.iter().take(listed).enumerate() {
            out.extend_from_slice(if i == 0 {
                br#"{"associationCategory":""#
            } else {
                br#",{"associationCategory":""#
            });
            out.extend_from_slice(category.as_str().as_bytes());
            out.extend_from_slice(br#"","associationTypeId":"#);
            write_number(type_id.get(), out);
            out.extend_from_slice(br#","label":"#);
            write_or_null(name.as_deref(), out, |name, out| write_text(name, TEXT_MAX_BYTES, out));
            out.push(b'}');
        }
        out.extend_from_slice(br#"],"moreTypes":"#);
        write_number((types.len() - listed) as u64, out);
        out.extend_from_slice(br#","warnings":["#);
        for (i, warning) in warnings.iter().enumerate() {
            out.extend_from_slice(if i == 0 { br#"""#.as_slice() } else { br#",""# });
            out.extend_from_slice(warning.as_str().as_bytes());
            out.push(b'"');
        }
        out.extend_from_slice(b"]}");
    }
    out.push(b']');
}

fn write_flag(flag: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if flag { b"true".as_slice() } else { b"false" });
}

fn write_or_null<T>(value: Option<T>, out: &mut Vec<u8>, write: impl FnOnce(T, &mut Vec<u8>)) {
    match value {
        Some(value) => write(value, out),
        None => out.extend_from_slice(b"null"),
    }
}

fn write_number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn write_time(time: Timestamp, out: &mut Vec<u8>) {
    out.push(b'"');
    time::write(time, out);
    out.push(b'"');
}

fn write_whole_text(text: &str, out: &mut Vec<u8>) {
    write_text(text, usize::MAX, out);
}

/// Writes a JSON string of at most `max_bytes` between its quotes.
///
/// The escaped text counts, so that ten thousand errors full of control characters do not outgrow a message.
fn write_text(text: &str, max_bytes: usize, out: &mut Vec<u8>) {
    out.push(b'"');
    if text.len() <= max_bytes && !text.bytes().any(needs_escape) {
        out.extend_from_slice(text.as_bytes());
    } else {
        let end = out.len().saturating_add(max_bytes);
        for c in text.chars() {
            let before = out.len();
            write_char(c, out);
            if out.len() > end {
                out.truncate(before);
                break;
            }
        }
    }
    out.push(b'"');
}

fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn write_char(c: char, out: &mut Vec<u8>) {
    match c {
        '"' => out.extend_from_slice(br#"\""#),
        '\\' => out.extend_from_slice(br"\\"),
        '\n' => out.extend_from_slice(br"\n"),
        '\r' => out.extend_from_slice(br"\r"),
        '\t' => out.extend_from_slice(br"\t"),
        '\u{8}' => out.extend_from_slice(br"\b"),
        '\u{c}' => out.extend_from_slice(br"\f"),
        '\0'..='\x1f' => {
            out.extend_from_slice(br"\u00");
            out.extend([c as u8 >> 4, c as u8 & 0xf].map(|digit| b"0123456789abcdef"[usize::from(digit)]));
        }
        _ => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

#[cfg(test)]
mod tests;
