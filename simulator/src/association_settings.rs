//! Settings about an account's associations: what there is, and what becomes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;

use crate::account::Account;
use crate::definition::{Creation, Definitions};
use crate::label::{Label, LabelCategory};
use crate::object_type::{Lane, ObjectType};
use crate::other_app::OtherApp;
use crate::seed::Seed;

/// Changes to the associations of an account.
#[derive(Clone, Default, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AssociationSettings {
    /// What is done from A to B is not done from B to A.
    pub one_way: Option<bool>,
    /// For how long reads still show what was removed.
    #[serde(deserialize_with = "crate::duration::deserialize_some")]
    pub read_lag: Option<Duration>,
    /// All labels of users from now on; one that is not named leaves every pair that has it.
    pub labels: Option<Vec<LabelSetting>>,
    /// Associations to be made, beside those there are.
    pub create: Vec<Seed>,
    /// All deleted records from now on, by object type.
    pub missing: Option<BTreeMap<ObjectType, BTreeSet<u64>>>,
    /// Makes associations again that were archived.
    pub other_app: Option<OtherApp>,
}

/// A label between two object types, with a number and a name for either direction.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelSetting {
    pub from: ObjectType,
    pub to: ObjectType,
    #[serde(default = "user_defined")]
    pub category: LabelCategory,
    pub label: String,
    pub type_id: u32,
    /// Its name at the other end; without it, the same.
    pub inverse_label: Option<String>,
    /// Its number at the other end; without it, the next one, or the same where both ends are alike.
    pub inverse_type_id: Option<u32>,
    /// `owner-only`: `batch/create` refuses it as if it did not exist.
    #[serde(default)]
    pub creation: Creation,
}

fn user_defined() -> LabelCategory {
    LabelCategory::UserDefined
}

impl AssociationSettings {
    pub fn apply(self, account: &mut Account) {
        let Self { one_way, read_lag, labels, create, missing, other_app } = self;
        let associations = &mut account.associations;
        if let Some(one_way) = one_way {
            associations.mirrored = !one_way;
        }
        if let Some(read_lag) = read_lag {
            associations.read_lag = read_lag;
        }
        if let Some(other_app) = other_app {
            associations.other_app = (other_app.times != Some(0)).then_some(other_app);
        }
        if let Some(labels) = labels {
            associations.keep_labels(&labels.iter().flat_map(LabelSetting::ends).collect());
            labels.iter().for_each(|label| label.define(&mut associations.definitions));
        }
        create.iter().for_each(|seed| seed.create(associations));
        if let Some(missing) = missing {
            account.missing_records = missing;
        }
    }
}

impl LabelSetting {
    fn lane(&self) -> Lane {
        Lane { from: self.from.clone(), to: self.to.clone() }
    }

    fn label(&self) -> Label {
        Label { category: self.category, type_id: self.type_id }
    }

    fn inverse(&self) -> Label {
        let alike = self.from == self.to && self.inverse_label.as_ref().is_none_or(|name| *name == self.label);
        let next = if alike { self.type_id } else { self.type_id.saturating_add(1) };
        Label { category: self.category, type_id: self.inverse_type_id.unwrap_or(next) }
    }

    fn ends(&self) -> [(Lane, Label); 2] {
        [(self.lane(), self.label()), (self.lane().reversed(), self.inverse())]
    }

    fn define(&self, definitions: &mut Definitions) {
        let inverse_name = self.inverse_label.as_deref().unwrap_or(&self.label);
        definitions.define(&self.lane(), self.label(), &self.label, (self.inverse(), inverse_name), self.creation);
    }
}
