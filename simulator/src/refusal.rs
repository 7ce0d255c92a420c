//! Records that HubSpot refuses, and how it says which.

use hashbrown::HashSet;
use serde_json::{Value, json};

use crate::behaviour::{ContextForm, ContextShape, IdForm, Names, TypeForm};
use crate::definition::End;
use crate::label::Label;
use crate::object_type::Lane;

/// What reads call an id that is none.
pub(crate) const INVALID_IDENTIFIER: &str = "crm.associations.INVALID_IDENTIFIER";

/// Records of one account that no request may name.
#[derive(Clone, Debug)]
pub struct BadRecords {
    /// A pair is refused if its `from` or its `to` is here.
    pub ids: HashSet<u64>,
    pub mode: BadMode,
    /// `VALIDATION_ERROR`, `OBJECT_NOT_FOUND`…
    pub category: String,
    pub sub_category: Option<String>,
    /// What becomes of a request that such a record fails as a whole.
    pub failure: Failure,
}

impl Default for BadRecords {
    /// None; were there any, a 207 would name them with `VALIDATION_ERROR`.
    fn default() -> Self {
        Self {
            ids: HashSet::new(),
            mode: BadMode::PartialNamed,
            category: "VALIDATION_ERROR".to_owned(),
            sub_category: None,
            failure: Failure::Status(400),
        }
    }
}

/// How a whole request fails because of one record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Failure {
    /// This status with HubSpot's error body.
    Status(u16),
    /// A success whose body cannot be read.
    Garbage,
    /// A success whose body breaks off.
    Cut,
    /// The connection is reset.
    Reset,
}

/// What one refused record does to its request. A 207 archives the others; a 400, or what stands in its place
/// ([`BadRecords::failure`]), archives nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Deserialize, clap::ValueEnum)]
pub enum BadMode {
    /// 207, and the context of each error names the ids
    #[serde(rename = "207-named")]
    #[value(name = "207-named")]
    PartialNamed,
    /// 207, errors without context
    #[serde(rename = "207-unnamed")]
    #[value(name = "207-unnamed")]
    PartialUnnamed,
    /// 400, and the context of each error names the ids
    #[serde(rename = "400-named")]
    #[value(name = "400-named")]
    RefusedNamed,
    /// 400 that names one pair at a time
    #[serde(rename = "400-first-named")]
    #[value(name = "400-first-named")]
    RefusedFirstNamed,
    /// 400 that names nothing
    #[serde(rename = "400-unnamed")]
    #[value(name = "400-unnamed")]
    RefusedUnnamed,
}

/// One pair that was not archived as asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Complaint {
    pub from: u64,
    pub to: u64,
    pub about: About,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum About {
    BadRecord,
    /// A bad record that a read names.
    BadIdentifier,
    NotAssociated,
    UnknownType(Label),
    NoSuchRecord(End),
    /// The record has its Primary label with this one.
    PrimaryElsewhere(u64),
}

impl About {
    fn is_bad_record(self) -> bool {
        match self {
            Self::BadRecord | Self::BadIdentifier => true,
            Self::NotAssociated | Self::UnknownType(_) | Self::NoSuchRecord(_) | Self::PrimaryElsewhere(_) => false,
        }
    }
}

/// The types of a request, as they are and as they were written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Types<'a> {
    pub lane: &'a Lane,
    pub written: (&'a str, &'a str),
}

impl BadRecords {
    pub(crate) fn refuses(&self, from: u64, to: u64) -> bool {
        !self.ids.is_empty() && (self.ids.contains(&from) || self.ids.contains(&to))
    }

    /// The `errors` of a 207, or the inner errors of a 400. `complaints` come grouped by `from`.
    pub(crate) fn errors(&self, complaints: &[Complaint], types: Types<'_>, shape: ContextShape) -> Vec<Value> {
        let mut named = complaints.to_vec();
        match shape.names {
            Names::FromAndTo => {}
            Names::FromOnly => named.dedup_by_key(|complaint| (complaint.from, complaint.about)),
        }
        named.iter().map(|complaint| self.error(complaint, types, shape)).collect()
    }

    fn error(&self, complaint: &Complaint, types: Types<'_>, shape: ContextShape) -> Value {
        let (from_type, to_type) = (types.lane.from.singular(), types.lane.to.singular());
        let (category, sub_category, message) = match complaint.about {
            About::BadRecord => {
                (self.category.as_str(), self.sub_category.as_deref(), "The record id is not valid here.".to_owned())
            }
            About::NotAssociated => (
                "OBJECT_NOT_FOUND",
                Some("crm.associations.NO_ASSOCIATIONS_FOUND"),
                format!("No {to_type} is associated with {from_type} {}.", complaint.from),
            ),
            About::BadIdentifier => (
                self.category.as_str(),
                Some(self.sub_category.as_deref().unwrap_or(INVALID_IDENTIFIER)),
                format!("{} is no valid id of a {from_type}.", complaint.from),
            ),
            About::UnknownType(label) => (
                "VALIDATION_ERROR",
                Some("crm.associations.INVALID_ASSOCIATION_TYPE"),
                format!("There is no association type {} from {from_type} to {to_type}.", label.type_id),
            ),
            About::NoSuchRecord(End::From) => {
                ("OBJECT_NOT_FOUND", None, format!("There is no {from_type} {}.", complaint.from))
            }
            About::NoSuchRecord(End::To) => {
                ("OBJECT_NOT_FOUND", None, format!("There is no {to_type} {}.", complaint.to))
            }
            About::PrimaryElsewhere(holder) => {
                ("VALIDATION_ERROR", None, format!("The primary association is with {holder} already."))
            }
        };
        let mut error = json!({"status": "error", "category": category, "message": message});
        if let Some(sub_category) = sub_category {
            error["subCategory"] = json!(sub_category);
        }
        if self.names_ids() || !complaint.about.is_bad_record() {
            error["context"] = context(complaint, types, shape);
        }
        error
    }

    pub(crate) fn names_ids(&self) -> bool {
        match self.mode {
            BadMode::PartialNamed | BadMode::RefusedNamed | BadMode::RefusedFirstNamed => true,
            BadMode::PartialUnnamed | BadMode::RefusedUnnamed => false,
        }
    }
}

fn context(complaint: &Complaint, types: Types<'_>, shape: ContextShape) -> Value {
    let id = |id: u64| match shape.ids {
        IdForm::Strings => json!([id.to_string()]),
        IdForm::Numbers => json!([id]),
    };
    let (from_type, to_type) = match shape.types {
        TypeForm::Singular => (types.lane.from.singular(), types.lane.to.singular()),
        TypeForm::AsWritten => types.written,
    };
    let mut context = json!({
        "fromObjectId": id(complaint.from),
        "fromObjectType": [from_type],
        "toObjectType": [to_type],
    });
    match shape.names {
        Names::FromAndTo => context["toObjectId"] = id(complaint.to),
        Names::FromOnly => {}
    }
    match shape.form {
        ContextForm::Map => context,
        ContextForm::Text => Value::String(context.to_string()),
    }
}
