//! Lists of what an account has: the types between two object types, as HubSpot lists them, and every association,
//! as a test wants to compare them.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::account::Account;
use crate::association::Existing;
use crate::label::Label;
use crate::object_type::Lane;
use crate::reply::Answer;

/// One pair in one direction.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Association {
    pub portal_id: u64,
    pub from_object_type: String,
    pub from: String,
    pub to_object_type: String,
    pub to: String,
    /// Sorted.
    pub types: Vec<Label>,
}

/// Every pair of one direction or of all, as it is and not as reads show it, in order. Where everything exists: none.
pub fn associations(account: &Account, lane: Option<&Lane>) -> Vec<Association> {
    let Existing::Only(links) = &account.associations.existing else { return Vec::new() };
    let lanes = match lane {
        Some(lane) => vec![lane],
        None => links.lanes(),
    };
    let of_lane = |lane: &Lane| {
        let association = |(from, to, labels): (u64, u64, _)| Association {
            portal_id: account.portal_id,
            from_object_type: lane.from.as_str().to_owned(),
            from: from.to_string(),
            to_object_type: lane.to.as_str().to_owned(),
            to: to.to_string(),
            types: links.labels_of(labels).to_vec(),
        };
        links.all(lane).map(association).collect::<Vec<_>>()
    };
    lanes.into_iter().flat_map(of_lane).collect()
}

/// `GET /crm/v4/associations/{from}/{to}/labels`.
pub(crate) fn labels(account: &mut Account, lane: &Lane) -> Answer {
    let definitions = &mut account.associations.definitions;
    definitions.plain(lane);
    let results = definitions.of(lane).into_iter().map(|definition| {
        let Label { category, type_id } = definition.label;
        json!({"category": category, "typeId": type_id, "label": definition.name})
    });
    Answer::json(200, json!({"results": results.collect::<Vec<_>>()}).to_string())
}
