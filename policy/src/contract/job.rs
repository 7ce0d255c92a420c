//! A job: what a producer asks to be archived, or to be created again.
//!
//! Archiving cannot be undone, so nothing is guessed and nothing is ignored: a field that we do not know, that comes
//! twice or that is null could be the one that mattered.

use jiff::Timestamp;
use smallvec::SmallVec;

use super::action::Action;
use super::association::{Extent, Pair, RecordId};
use super::grouped::Grouped;
use super::ids::{Group, JobId, PortalId};
use super::message;
use super::object_type::{ObjectType, TypeText};
use super::outcome::Head;
use super::text;

mod asks;
mod fields;
mod place;
mod reader;
mod reading;
mod salvage;
mod value;
mod weight;

pub use asks::{MAX_LABELS, MAX_LABELS_OF_ALL_PAIRS};
pub use value::LARGEST_EXACT;
pub use weight::{PAIR_BYTES, expected_weight};

/// A valid job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Job {
    pub id: JobId,
    /// As the job names it; which account that is, is not known here.
    pub portal: Option<PortalId>,
    pub from_type: ObjectType,
    pub to_type: ObjectType,
    pub action: Action,
    /// Look, and change nothing.
    pub dry_run: bool,
    pub group: Option<Group>,
    /// Never empty.
    pub asks: SmallVec<[Ask; 1]>,
    pub not_after: Option<Timestamp>,
}

impl Job {
    /// The number of distinct pairs that the job lists. `numPairs` of the outcome also counts what was found for its
    /// records with `to` `"all"`, of which there are [`Self::num_all_of`].
    pub fn num_pairs(&self) -> usize {
        self.asks.iter().map(|ask| ask.pairs.len()).sum()
    }

    /// The number of distinct records of which every association is asked for.
    pub fn num_all_of(&self) -> usize {
        self.asks.iter().map(|ask| ask.all_of.len()).sum()
    }

    /// What its outcome repeats of it.
    pub fn head(&self) -> Head {
        Head {
            job_id: self.id.clone(),
            portal: self.portal,
            from_type: Some(self.from_type.text().clone()),
            to_type: Some(self.to_type.text().clone()),
            action: self.action,
            dry_run: self.dry_run,
            group: self.group.clone(),
        }
    }
}

/// The pairs of a job for which the same is asked; no pair is in two asks of a job, nor a record. A record that is in an
/// `all_of` has no pair listed in any ask.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ask {
    pub extent: Extent,
    /// Sorted, distinct; empty only where `all_of` is not.
    pub pairs: SmallVec<[Pair; 1]>,
    /// Records for which `to` is `"all"`: every record that they are associated with when they are looked at. Sorted,
    /// distinct.
    pub all_of: Vec<RecordId>,
}

/// What a job may weigh.
#[derive(Clone, Copy, Debug)]
pub struct JobLimits {
    /// `jobs.max_bytes`: bytes of the body.
    pub max_bytes: usize,
    /// `jobs.max_pairs`: distinct pairs, and records with `to` `"all"`, that a job may name.
    pub max_pairs: usize,
}

/// What a message says beside its body.
#[derive(Clone, Copy, Default, Debug)]
pub struct JobProperties<'a> {
    pub message_id: Option<&'a str>,
    pub content_encoding: Option<&'a str>,
}

/// A message that is no valid job, with what could still be read of it so that its outcome can be matched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Malformed {
    /// Without one there is nobody to answer to.
    pub job_id: Option<JobId>,
    pub portal: Option<PortalId>,
    pub from_type: Option<TypeText>,
    pub to_type: Option<TypeText>,
    /// `archive` where it could not be read.
    pub action: Action,
    /// `false` where it could not be read.
    pub dry_run: bool,
    pub group: Option<Group>,
    /// Names the field and the rule; at most 500 bytes, without control characters.
    pub message: String,
}

impl Malformed {
    /// Something of which nothing could be read.
    pub fn unreadable(message: String) -> Self {
        Self {
            job_id: None,
            portal: None,
            from_type: None,
            to_type: None,
            action: Action::default(),
            dry_run: false,
            group: None,
            message,
        }
    }

    /// What its outcome tells of it, if it has an id.
    pub fn head(&self) -> Option<Head> {
        Some(Head {
            job_id: self.job_id.clone()?,
            portal: self.portal,
            from_type: self.from_type.clone(),
            to_type: self.to_type.clone(),
            action: self.action,
            dry_run: self.dry_run,
            group: self.group.clone(),
        })
    }
}

/// Reads a message as a job.
pub fn parse(body: &[u8], properties: JobProperties<'_>, limits: &JobLimits) -> Result<Job, Malformed> {
    read(body, properties, limits).map_err(|message| {
        let found = salvage::salvage(text::without_mark(body));
        Malformed {
            job_id: found.job_id.or_else(|| properties.message_id.and_then(JobId::new)),
            portal: found.portal,
            from_type: found.from_type,
            to_type: found.to_type,
            action: found.action.unwrap_or_default(),
            dry_run: found.dry_run.unwrap_or(false),
            group: found.group,
            message: place::bounded(message),
        }
    })
}

fn read(body: &[u8], properties: JobProperties<'_>, limits: &JobLimits) -> Result<Job, String> {
    if let Some(encoding) = properties.content_encoding.filter(|encoding| !message::is_plain(encoding)) {
        return Err(format!(
            "content_encoding: is {}, but must be one of {}, or not be set; send the body as plain UTF-8, uncompressed",
            place::quoted(encoding),
            message::PLAIN_ENCODINGS.join(", ")
        ));
    }
    if body.len() > limits.max_bytes {
        let [bytes, max_bytes] = [body.len(), limits.max_bytes].map(|bytes| Grouped(bytes as u64));
        return Err(format!("body: has {bytes} bytes, but jobs.max_bytes allows {max_bytes}; split the job"));
    }
    let draft = reader::read(text::without_mark(body), limits.max_pairs)?;
    let id = match (draft.id, properties.message_id) {
        (Some(id), _) => id,
        (None, None) => return Err(NO_ID.to_owned()),
        (None, Some(message_id)) => JobId::new(message_id).ok_or_else(|| {
            format!(
                "jobId: is missing, and the message_id property, {}, cannot stand in: it must have 1 to 128 bytes and no \
                 control characters; give the job a jobId",
                place::quoted(message_id)
            )
        })?,
    };
    Ok(Job {
        id,
        portal: draft.portal,
        from_type: draft.from_type,
        to_type: draft.to_type,
        action: draft.action,
        dry_run: draft.dry_run,
        group: draft.group,
        asks: draft.asks,
        not_after: draft.not_after,
    })
}

const NO_ID: &str = "jobId: is missing, and so is the message_id property; set one of them, or the outcome could not be \
                     matched to the job";

#[cfg(test)]
mod tests;
