//! One type of association, as a request and an answer name it.

use serde::{Deserialize, Serialize};

/// One entry of `types`. The number alone says little: the same one may exist in several categories, and it means
/// one direction of one pair of object types.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Label {
    #[serde(rename = "associationCategory")]
    pub category: LabelCategory,
    #[serde(rename = "associationTypeId")]
    pub type_id: u32,
}

/// HubSpot's `associationCategory`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LabelCategory {
    HubspotDefined,
    UserDefined,
    IntegratorDefined,
    Work,
}
