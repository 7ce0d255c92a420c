//! An outcome: what a job's producer is told, once and for all its pairs.

use std::sync::Arc;

use jiff::Timestamp;

use super::association::{Label, Pair, Removal};
use super::ids::{JobId, PortalId};
use super::object_type::TypeText;
use super::refusal::Refusal;
use super::text::{MESSAGE_MAX_BYTES, TEXT_MAX_BYTES};
use super::time;

/// The outcome of one job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    pub job_id: JobId,
    pub portal: Option<PortalId>,
    /// As the job wrote it.
    pub from_type: Option<TypeText>,
    /// As the job wrote it.
    pub to_type: Option<TypeText>,
    pub ending: Ending,
    /// HTTP requests that carried any pair of the job.
    pub attempts: u32,
    pub received_at: Timestamp,
    /// When the first request left that carried a pair of the job.
    pub started_at: Option<Timestamp>,
    pub completed_at: Timestamp,
}

/// How a job ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ending {
    /// It was tried. `num_pairs` are all distinct pairs of the job; those not in `errors` are archived.
    Settled { num_pairs: usize, errors: Vec<PairError> },
    /// `notAfter` passed before anything was sent: one error a pair.
    Expired { errors: Vec<PairError> },
    /// It is no valid job, or not one for this worker.
    Rejected(Arc<Refusal>),
}

/// A pair that is not archived.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PairError {
    pub pair: Pair,
    /// What was asked for. It is told with the pair, so that whoever asks again does not ask for more.
    pub removal: Removal,
    pub refusal: Arc<Refusal>,
}

/// `status` of an outcome.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Status {
    Archived,
    Partial,
    Failed,
    Expired,
    Rejected,
}

impl Status {
    pub const ALL: [Self; 5] = [Self::Archived, Self::Partial, Self::Failed, Self::Expired, Self::Rejected];

    /// The word on the wire, in metrics and in the header `x-job-status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Archived => "ARCHIVED",
            Self::Partial => "PARTIAL",
            Self::Failed => "FAILED",
            Self::Expired => "EXPIRED",
            Self::Rejected => "REJECTED",
        }
    }
}

impl Outcome {
    pub fn status(&self) -> Status {
        match &self.ending {
            Ending::Settled { errors, .. } if errors.is_empty() => Status::Archived,
            Ending::Settled { num_pairs, errors } if errors.len() < *num_pairs => Status::Partial,
            Ending::Settled { .. } => Status::Failed,
            Ending::Expired { .. } => Status::Expired,
            Ending::Rejected(_) => Status::Rejected,
        }
    }

    /// Pairs that are archived.
    pub fn num_archived(&self) -> usize {
        match &self.ending {
            Ending::Settled { num_pairs, errors } => num_pairs.saturating_sub(errors.len()),
            Ending::Expired { .. } | Ending::Rejected(_) => 0,
        }
    }

    /// Appends the outcome as JSON: every field is there, `null` where it is not known.
    ///
    /// At most about 1.1 kB for each error, whatever its texts are, and [`super::job::MAX_LABELS_OF_ALL_PAIRS`] labels
    /// for all of them, so that an outcome fits into a message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (num_pairs, num_errors) = match &self.ending {
            Ending::Settled { num_pairs, errors } => (*num_pairs, errors.len()),
            Ending::Expired { errors } => (errors.len(), errors.len()),
            Ending::Rejected(_) => (0, 0),
        };
        out.reserve(ROOM + ROOM_PER_ERROR * num_errors);
        out.extend_from_slice(br#"{"jobId":"#);
        write_whole_text(self.job_id.as_str(), out);
        out.extend_from_slice(br#","portalId":"#);
        write_or_null(self.portal, out, |portal, out| write_number(portal.0.get(), out));
        out.extend_from_slice(br#","fromObjectType":"#);
        write_or_null(self.from_type.as_ref(), out, |text, out| write_whole_text(text.as_str(), out));
        out.extend_from_slice(br#","toObjectType":"#);
        write_or_null(self.to_type.as_ref(), out, |text, out| write_whole_text(text.as_str(), out));
        out.extend_from_slice(br#","status":""#);
        out.extend_from_slice(self.status().as_str().as_bytes());
        out.extend_from_slice(br#"","numPairs":"#);
        write_number(num_pairs as u64, out);
        out.extend_from_slice(br#","numArchived":"#);
        write_number(self.num_archived() as u64, out);
        out.extend_from_slice(br#","numErrors":"#);
        write_number(num_errors as u64, out);
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
            Ending::Settled { errors, .. } | Ending::Expired { errors } => {
                for (i, PairError { pair, removal, refusal }) in errors.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    write_error(Some((*pair, removal)), refusal, out);
                }
            }
        }
    }
}

/// A usual outcome without errors, in bytes: a first guess of the room it needs.
const ROOM: usize = 384;

/// A usual error, in bytes.
const ROOM_PER_ERROR: usize = 320;

fn write_error(asked: Option<(Pair, &Removal)>, refusal: &Refusal, out: &mut Vec<u8>) {
    let Refusal { source, sub_category, message, http_status, correlation_id, retryable } = refusal;
    let write_record = |id: u64, out: &mut Vec<u8>| {
        out.extend_from_slice(br#"{"id":""#);
        write_number(id, out);
        out.extend_from_slice(br#""}"#);
    };
    out.extend_from_slice(br#"{"from":"#);
    write_or_null(asked, out, |(pair, _), out| write_record(pair.from.0.get(), out));
    out.extend_from_slice(br#","to":"#);
    write_or_null(asked, out, |(pair, _), out| write_record(pair.to.0.get(), out));
    out.extend_from_slice(br#","types":"#);
    match asked {
        Some((_, Removal::Labels(labels))) => write_labels(labels, out),
        Some((_, Removal::Association)) | None => out.extend_from_slice(b"null"),
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
