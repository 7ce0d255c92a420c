//! Outcomes as the commands tell of them: read from the wire, or made from those of this process.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

use super::jobs_file::columns::{ALL, UNKNOWN_TYPES, WHOLE_ASSOCIATION};
use crate::contract::action::Action;
use crate::contract::association::{AssociationType, Extent, Label, LabelCategory, RecordId};
use crate::contract::job::Job;
use crate::contract::outcome::{Ending, Outcome, PairError, Status};
use crate::contract::plan::{PlanEntry, Warning};
use crate::contract::refusal::Refusal;

/// One outcome; what is not told of is left out.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutcomeRecord {
    pub job_id: String,
    pub portal_id: Option<u64>,
    pub from_object_type: Option<String>,
    pub to_object_type: Option<String>,
    /// The outcomes of earlier versions, which could only archive, do not tell.
    #[serde(default = "archive")]
    pub action: String,
    #[serde(default)]
    pub dry_run: bool,
    #[serde(default)]
    pub group: Option<String>,
    pub status: String,
    pub num_pairs: u64,
    pub num_archived: u64,
    #[serde(default)]
    pub num_restored: u64,
    #[serde(default)]
    pub plan: Option<Vec<PlanRecord>>,
    pub errors: Vec<ErrorRecord>,
    pub completed_at: Timestamp,
}

fn archive() -> String {
    Action::Archive.as_str().to_owned()
}

/// What a dry run says of a pair.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanRecord {
    pub from: Record,
    pub to: Record,
    pub present: bool,
    pub types: Vec<PlanTypeRecord>,
    pub more_types: u64,
    /// By the words on the wire, since a newer service may have more of them.
    pub warnings: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct PlanTypeRecord {
    #[serde(flatten)]
    pub id: LabelRecord,
    pub label: Option<String>,
}

/// Why the job was not done for a pair, or why a message was no job.
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
            action: outcome.head.action.as_str().to_owned(),
            dry_run: outcome.head.dry_run,
            group: outcome.head.group.as_ref().map(|group| group.as_str().to_owned()),
            status: outcome.status().as_str().to_owned(),
            num_pairs: num_pairs as u64,
            num_archived: outcome.num_archived() as u64,
            num_restored: outcome.num_restored() as u64,
            plan: match &outcome.ending {
                Ending::Planned { plan, .. } => Some(plan.iter().map(PlanRecord::of).collect()),
                Ending::Settled { .. } | Ending::Expired { .. } | Ending::Rejected(_) => None,
            },
            errors,
            completed_at: outcome.completed_at,
        }
    }

    /// As it would be of a job that is done, for a report of its pairs.
    pub fn of_job(job: &Job) -> Self {
        let (num_pairs, none) = (job.num_pairs() as u64, 0);
        let (status, num_archived, num_restored) = match (job.dry_run, job.action) {
            (true, _) => (Status::Planned, none, none),
            (false, Action::Archive) => (Status::Archived, num_pairs, none),
            (false, Action::Restore { .. }) => (Status::Restored, none, num_pairs),
        };
        Self {
            job_id: job.id.to_string(),
            portal_id: job.portal.map(|portal| portal.0.get()),
            from_object_type: Some(job.from_type.as_written().to_owned()),
            to_object_type: Some(job.to_type.as_written().to_owned()),
            action: job.action.as_str().to_owned(),
            dry_run: job.dry_run,
            group: job.group.as_ref().map(|group| group.as_str().to_owned()),
            status: status.as_str().to_owned(),
            num_pairs,
            num_archived,
            num_restored,
            plan: None,
            errors: Vec::new(),
            completed_at: Timestamp::UNIX_EPOCH,
        }
    }

    /// What was asked for is done, for every pair.
    pub fn is_done(&self) -> bool {
        [Status::Archived, Status::Restored, Status::Planned].iter().any(|done| done.as_str() == self.status)
            && self.errors.is_empty()
    }

    /// Status of those of its pairs that are in `errors`: a job that ended `PARTIAL` or `PLANNED` has failed in them.
    pub fn status_of_errors(&self) -> &str {
        let in_part = [Status::Partial, Status::Planned].iter().any(|status| status.as_str() == self.status);
        if in_part { Status::Failed.as_str() } else { &self.status }
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

    /// The columns `from_id` and `to_id`: where `to` is not known, every association of the record was asked for.
    /// `None` where it is about no pair.
    pub fn ends(&self) -> Option<(&str, &str)> {
        Some((&self.from.as_ref()?.id, self.to.as_ref().map_or(ALL, |to| &to.id)))
    }

    /// As the column `types` has it.
    pub fn types_in_words(&self) -> String {
        self.types.as_ref().map_or_else(|| UNKNOWN_TYPES.to_owned(), |types| types_in_words(types.as_deref()))
    }
}

impl PlanRecord {
    fn of(entry: &PlanEntry) -> Self {
        let record = |id: RecordId| Record { id: id.to_string() };
        let of_type = |one: &AssociationType| PlanTypeRecord {
            id: LabelRecord::of(&one.label),
            label: one.name.as_deref().map(str::to_owned),
        };
        Self {
            from: record(entry.pair.from),
            to: record(entry.pair.to),
            present: entry.present,
            types: entry.types.iter().map(of_type).collect(),
            more_types: 0,
            warnings: entry.warnings.iter().map(|warning| warning.as_str().to_owned()).collect(),
        }
    }

    pub fn warns_of(&self, warning: Warning) -> bool {
        self.warnings.iter().any(|word| word == warning.as_str())
    }

    /// The types with their names: `HUBSPOT_DEFINED 279; USER_DEFINED 37 (Billing contact)`. A job with another action lists
    /// labels that the pair does not have, and HubSpot tells the names only of those that it has; without a name it is the
    /// plain association elsewhere.
    pub fn types_in_words(&self, action: &str) -> String {
        let unnamed = if action == Action::Archive.as_str() { "" } else { " (name not known)" };
        let word = |PlanTypeRecord { id: LabelRecord { association_category, association_type_id }, label }: &_| {
            let name = label.as_ref().map_or_else(|| unnamed.to_owned(), |label| format!(" ({label})"));
            format!("{association_category} {association_type_id}{name}")
        };
        let mut words: Vec<String> = self.types.iter().map(word).collect();
        if self.more_types > 0 {
            words.push(format!("and {} more", self.more_types));
        }
        words.join("; ")
    }
}

impl PlanTypeRecord {
    /// `USER_DEFINED 37 (Manager)`; `None` for what [`Warning::LabelsGo`] does not warn of: Primary, and the plain
    /// association, which HubSpot defines and gives no name.
    pub fn label_in_words(&self) -> Option<String> {
        let Self { id: LabelRecord { association_category, association_type_id }, label } = self;
        let is_hubspots = association_category == LabelCategory::HubspotDefined.as_str();
        let is_no_label = label.as_ref().is_none_or(|name| name.to_ascii_lowercase().contains("primary"));
        let name = label.as_deref().unwrap_or("name not known");
        (!(is_hubspots && is_no_label)).then(|| format!("{association_category} {association_type_id} ({name})"))
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

/// What a job is about, as the column `types` has it.
pub fn extent_in_words(extent: &Extent) -> String {
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
    fn a_plan_says_where_the_name_of_a_label_is_not_known() {
        let plan = r#"{"from":{"id":"1"},"to":{"id":"2"},"present":true,"moreTypes":0,"warnings":[],"types":[
            {"associationCategory":"HUBSPOT_DEFINED","associationTypeId":279,"label":null},
            {"associationCategory":"USER_DEFINED","associationTypeId":37,"label":"Manager"}]}"#;
        let plan: PlanRecord = serde_json::from_str(plan).unwrap();
        assert_eq!(plan.types_in_words("archive"), "HUBSPOT_DEFINED 279; USER_DEFINED 37 (Manager)");
        let of_restore = "HUBSPOT_DEFINED 279 (name not known); USER_DEFINED 37 (Manager)";
        assert_eq!(plan.types_in_words("restore"), of_restore);
    }

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
