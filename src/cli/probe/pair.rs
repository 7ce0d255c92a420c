//! The two records, what they are associated with, and how that is written as jobs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::contract::association::{AssociationType, Label, LabelCategory, Pair, RecordId};
use crate::contract::ids::PortalId;
use crate::contract::object_type::ObjectType;
use crate::hubspot::client::ObjectTypes;

/// The only pair that is changed.
#[derive(Debug)]
pub struct Between {
    portal: PortalId,
    /// What jobs name; `None` where the only account has no portal id in the settings: then a job must not name one.
    portal_of_jobs: Option<PortalId>,
    from: (ObjectType, RecordId),
    to: (ObjectType, RecordId),
}

/// From which end an association is looked at or changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// As the command line has it.
    There,
    Back,
}

impl Direction {
    pub const BOTH: [Self; 2] = [Self::There, Self::Back];

    fn as_str(self) -> &'static str {
        match self {
            Self::There => "there",
            Self::Back => "back",
        }
    }
}

/// By which types two records are associated. Sorted; `None` where one of them has no name in this program.
pub type Types = Option<Arc<[AssociationType]>>;

/// What one record is associated with: all of it.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Listed(pub BTreeMap<RecordId, Types>);

/// What both records are associated with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    pub there: Listed,
    pub back: Listed,
}

impl Between {
    pub fn new(
        portal: PortalId,
        portal_of_jobs: Option<PortalId>,
        from: (ObjectType, RecordId),
        to: (ObjectType, RecordId),
    ) -> Self {
        Self { portal, portal_of_jobs, from, to }
    }

    pub fn lane(&self, direction: Direction) -> ObjectTypes<'_> {
        let ((from, _), (to, _)) = self.ends(direction);
        ObjectTypes { from, to }
    }

    pub fn pair(&self, direction: Direction) -> Pair {
        let ((_, from), (_, to)) = self.ends(direction);
        Pair { from: *from, to: *to }
    }

    pub fn is_within_one_type(&self) -> bool {
        self.from.0 == self.to.0
    }

    fn ends(&self, direction: Direction) -> (&(ObjectType, RecordId), &(ObjectType, RecordId)) {
        match direction {
            Direction::There => (&self.from, &self.to),
            Direction::Back => (&self.to, &self.from),
        }
    }

    /// A job that makes the association of `direction`'s record with `to` what it was; `None`: it was none.
    fn job(&self, direction: Direction, to: RecordId, types: Option<&[AssociationType]>) -> Value {
        let ((from_type, from), (to_type, _)) = self.ends(direction);
        let mut input = json!({"from": {"id": from.to_string()}, "to": [{"id": to.to_string()}]});
        let action = match types {
            None => "archive",
            Some(types) => {
                if !types.is_empty() {
                    input["types"] = types.iter().map(written).collect();
                }
                "restore"
            }
        };
        let mut job = json!({
            "jobId": format!("probe-{action}-{}-{from}-{to}", direction.as_str()),
            "fromObjectType": from_type.as_written(), "toObjectType": to_type.as_written(),
            "action": action, "inputs": [input],
        });
        if let Some(portal) = self.portal_of_jobs {
            job["portalId"] = json!(portal.0);
        }
        job
    }
}

fn written(one: &AssociationType) -> Value {
    let Label { category, type_id } = one.label;
    json!({"associationCategory": category.as_str(), "associationTypeId": type_id})
}

impl fmt::Display for Between {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { portal, portal_of_jobs: _, from: (from_type, from), to: (to_type, to) } = self;
        write!(f, "{} {from} and {} {to} of portal {portal}", from_type.as_written(), to_type.as_written())
    }
}

impl Listed {
    /// `None` where the two are not associated.
    pub fn with(&self, pair: Pair) -> Option<&Types> {
        self.0.get(&pair.to)
    }
}

impl Seen {
    pub fn of(&self, direction: Direction) -> &Listed {
        match direction {
            Direction::There => &self.there,
            Direction::Back => &self.back,
        }
    }

    /// By which types the pair is associated; none where it is not.
    pub fn types(&self, between: &Between, direction: Direction) -> Option<&[AssociationType]> {
        self.of(direction).with(between.pair(direction)).and_then(|types| types.as_deref())
    }

    pub fn labels(&self, between: &Between, direction: Direction) -> Option<Vec<Label>> {
        self.types(between, direction).map(|types| types.iter().map(|one| one.label).collect())
    }

    /// Why the pair is to be left alone.
    pub fn obstacle(&self, between: &Between) -> Option<String> {
        for direction in Direction::BOTH {
            let Some(types) = self.of(direction).with(between.pair(direction)) else { continue };
            let Some(types) = types else {
                return Some(format!(
                    "{between} are associated by a type of a category that this version does not know, which could \
                     not be put back: choose records without it"
                ));
            };
            if types.is_empty() {
                return Some(format!("HubSpot names no type by which {between} are associated: choose other records"));
            }
            for one in types.iter() {
                match one.label.category {
                    LabelCategory::HubspotDefined | LabelCategory::UserDefined => {}
                    LabelCategory::IntegratorDefined | LabelCategory::Work => {
                        return Some(format!(
                            "{between} are associated by {}, which could not be put back: choose records without it",
                            named(one)
                        ));
                    }
                }
            }
        }
        None
    }

    /// Jobs that bring the pair back to this, one a line. To archive one direction removes the other as well, where
    /// associations are two-way: only where neither was there is that asked for.
    pub fn jobs(&self, between: &Between) -> String {
        let associated: Vec<Direction> =
            Direction::BOTH.into_iter().filter(|&direction| self.types(between, direction).is_some()).collect();
        let directions = if associated.is_empty() { Direction::BOTH.to_vec() } else { associated };
        let job = |direction| {
            let types = self.types(between, direction);
            between.job(direction, between.pair(direction).to, types).to_string()
        };
        directions.into_iter().map(job).collect::<Vec<_>>().join("\n")
    }

    /// Jobs that bring all other associations of the two records back to this, one a line; empty where they are so.
    pub fn jobs_of_others(&self, between: &Between, now: &Self) -> String {
        let mut jobs = Vec::new();
        for direction in Direction::BOTH {
            let (before, now, own) = (self.of(direction), now.of(direction), between.pair(direction).to);
            for (to, types) in before.0.iter().filter(|(to, types)| **to != own && now.0.get(to) != Some(types)) {
                jobs.push(between.job(direction, *to, Some(types.as_deref().unwrap_or_default())).to_string());
            }
        }
        jobs.join("\n")
    }

    /// What is there, in one line.
    pub fn summary(&self, between: &Between) -> String {
        let types = |direction| self.types(between, direction).map(list);
        match (types(Direction::There), types(Direction::Back)) {
            (None, None) => format!("{between} are not associated"),
            (Some(there), Some(back)) => format!("{between} are associated: {there}; from the other end {back}"),
            (Some(there), None) => format!("{between} are associated in one direction only: {there}"),
            (None, Some(back)) => format!("{between} are associated from the other end only: {back}"),
        }
    }
}

/// `plain (279), Manager (37)`.
pub fn list(types: &[AssociationType]) -> String {
    if types.is_empty() {
        return "without a type".to_owned();
    }
    types.iter().map(named).collect::<Vec<_>>().join(", ")
}

fn named(one: &AssociationType) -> String {
    let Label { category, type_id } = one.label;
    let name = one.name.as_deref().unwrap_or("plain");
    match category {
        LabelCategory::HubspotDefined | LabelCategory::UserDefined => format!("{name} ({type_id})"),
        LabelCategory::IntegratorDefined | LabelCategory::Work => format!("{name} ({} {type_id})", category.as_str()),
    }
}

/// HubSpot's own type with this name: the main one of several records.
pub fn is_primary(one: &AssociationType) -> bool {
    one.label.category == LabelCategory::HubspotDefined
        && one.name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case("primary"))
}

/// The types that a creation must name to add `more` to `types`, which may be empty.
pub fn with(types: &[Label], more: Label) -> Vec<Label> {
    let mut all = types.to_vec();
    all.push(more);
    all.sort_unstable();
    all.dedup();
    all
}
