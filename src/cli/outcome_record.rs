//! Outcomes as the commands tell of them: read from the wire, or made from those of this process.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

use super::jobs_file::columns::{UNKNOWN_TYPES, WHOLE_ASSOCIATION};
use crate::contract::association::{Extent, Label, Pair, RecordId};
use crate::contract::job::Job;
use crate::contract::outcome::{Ending, Outcome, PairError, Status};
use crate::contract::refusal::Refusal;

/// One outcome; what is not told of is left out.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutcomeRecord {
    pub job_id: String,
    pub portal_id: Option<u64>,
    pub from_object_type: Option<String>,
    pub to_object_type: Option<String>,
    pub status: String,
    pub num_pairs: u64,
    pub num_archived: u64,
    pub errors: Vec<ErrorRecord>,
    pub completed_at: Timestamp,
}

/// Why a pair was not archived, or why a message was no job.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorRecord {
    pub from: Option<Record>,
    pub to: Option<Record>,
    /// Outer `None`: the outcome does not tell, as those of earlier versions; inner `None`: the whole association.
    #[serde(default, deserialize_with = "present")]
    pub types: Option<Option<Vec<LabelRecord>>>,
    pub source: String,
    pub category: String,
    pub sub_category: Option<String>,
    pub message: String,
    pub http_status: Option<u16>,
    pub correlation_id: Option<String>,
    pub retryable: bool,
}

#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Record {
    pub id: String,
}

#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LabelRecord {
    pub association_category: String,
    pub association_type_id: u64,
}

fn present<'de, D: Deserializer<'de>>(json: D) -> Result<Option<Option<Vec<LabelRecord>>>, D::Error> {
    Option::deserialize(json).map(Some)
}

impl OutcomeRecord {
    pub fn parse(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    pub fn of(outcome: &Outcome) -> Self {
        let of_pairs = |errors: &[PairError]| {
            let of_pair = |error: &PairError| ErrorRecord::of(Some(error), &error.refusal);
            errors.iter().map(of_pair).collect()
        };
        let (num_pairs, errors): (usize, Vec<ErrorRecord>) = match &outcome.ending {
            Ending::Settled { num_pairs, errors } => (*num_pairs, of_pairs(errors)),
            Ending::Planned { plan, errors } => (plan.len() + errors.len(), of_pairs(errors)),
            Ending::Expired { errors } => (errors.len(), of_pairs(errors)),
            Ending::Rejected(refusal) => (0, vec![ErrorRecord::of(None, refusal)]),
        };
        Self {
            job_id: outcome.head.job_id.to_string(),
            portal_id: outcome.head.portal.map(|portal| portal.0.get()),
            from_object_type: outcome.head.from_type.as_ref().map(|text| text.as_str().to_owned()),
            to_object_type: outcome.head.to_type.as_ref().map(|text| text.as_str().to_owned()),
            status: outcome.status().as_str().to_owned(),
            num_pairs: num_pairs as u64,
            num_archived: outcome.num_archived() as u64,
            errors,
            completed_at: outcome.completed_at,
        }
    }

    /// As it would be of a job that is archived, for a report of its pairs.
    pub fn of_job(job: &Job) -> Self {
        Self {
            job_id: job.id.to_string(),
            portal_id: job.portal.map(|portal| portal.0.get()),
            from_object_type: Some(job.from_type.as_written().to_owned()),
            to_object_type: Some(job.to_type.as_written().to_owned()),
            status: Status::Archived.as_str().to_owned(),
            num_pairs: job.num_pairs() as u64,
            num_archived: job.num_pairs() as u64,
            errors: Vec::new(),
            completed_at: Timestamp::UNIX_EPOCH,
        }
    }

    pub fn is_archived(&self) -> bool {
        self.status == Status::Archived.as_str()
    }

    /// Status of those of its pairs that are in `errors`: a job that ended `PARTIAL` has failed in them.
    pub fn status_of_errors(&self) -> &str {
        if self.status == Status::Partial.as_str() { Status::Failed.as_str() } else { &self.status }
    }
}

impl ErrorRecord {
    fn of(error: Option<&PairError>, refusal: &Refusal) -> Self {
        let record = |id: RecordId| Record { id: id.to_string() };
        Self {
            from: error.map(|error| record(error.from)),
            to: error.and_then(|error| error.to).map(record),
            types: error.map(|error| labels(&error.extent)),
            source: refusal.source.as_str().to_owned(),
            category: refusal.source.category().to_owned(),
            sub_category: refusal.sub_category.as_deref().map(str::to_owned),
            message: refusal.message.to_string(),
            http_status: refusal.http_status,
            correlation_id: refusal.correlation_id.as_deref().map(str::to_owned),
            retryable: refusal.retryable,
        }
    }

    pub fn pair(&self) -> Option<Pair> {
        let id = |record: &Option<Record>| RecordId::parse(&record.as_ref()?.id);
        Some(Pair { from: id(&self.from)?, to: id(&self.to)? })
    }

    /// As the column `types` has it.
    pub fn types_in_words(&self) -> String {
        self.types.as_ref().map_or_else(|| UNKNOWN_TYPES.to_owned(), |types| types_in_words(types.as_deref()))
    }
}

/// `None`: the whole association.
fn labels(extent: &Extent) -> Option<Vec<LabelRecord>> {
    match extent {
        Extent::Whole => None,
        Extent::Labels(labels) => Some(labels.iter().map(LabelRecord::of).collect()),
    }
}

impl LabelRecord {
    fn of(label: &Label) -> Self {
        Self { association_category: label.category.as_str().to_owned(), association_type_id: label.type_id.get() }
    }
}

/// What a job removes, as the column `types` has it.
pub fn removal_in_words(extent: &Extent) -> String {
    types_in_words(labels(extent).as_deref())
}

fn types_in_words(labels: Option<&[LabelRecord]>) -> String {
    let Some(labels) = labels else { return WHOLE_ASSOCIATION.to_owned() };
    let word = |label: &LabelRecord| format!("{} {}", label.association_category, label.association_type_id);
    labels.iter().map(word).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn whether_an_outcome_tells_of_labels_is_known() {
        let read = |types: &str| {
            let json = format!(
                r#"{{"from":{{"id":"1"}},"to":{{"id":"2"}},{types}"source":"HUBSPOT","category":"X","message":"m","retryable":false}}"#
            );
            serde_json::from_str::<ErrorRecord>(&json).unwrap().types_in_words()
        };
        assert_eq!(read(""), "?");
        assert_eq!(read(r#""types":null,"#), "all");
        let labels = r#""types":[{"associationCategory":"USER_DEFINED","associationTypeId":37},{"associationCategory":"WORK","associationTypeId":4}],"#;
        assert_eq!(read(labels), "USER_DEFINED 37; WORK 4");
    }
}
