//! Another app that makes associations again after they were archived, as a sync does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hashbrown::HashMap;
use serde::Deserialize;

use crate::label::Label;
use crate::object_type::Lane;

/// What the app makes again, and when.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OtherApp {
    /// From the removal to the new association.
    #[serde(deserialize_with = "crate::duration::deserialize")]
    pub after: Duration,
    /// How often it makes one pair again; without it, always.
    #[serde(default)]
    pub times: Option<u32>,
    /// Only pairs with one of these records at either end; without it, all pairs.
    #[serde(default)]
    pub records: Option<BTreeSet<u64>>,
}

/// What is to be made again. Costs nothing while there is no other app.
#[derive(Default, Debug)]
pub(crate) struct Returning {
    due: BTreeMap<(Duration, u64), Link>,
    /// Tells apart what is due at the same moment.
    noted: u64,
    times: HashMap<(Lane, u64, u64), u32>,
}

/// A pair that was archived, with the labels it had.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub lane: Lane,
    pub from: u64,
    pub to: u64,
    pub labels: Vec<Label>,
}

impl Returning {
    /// A pair has gone at this time.
    pub fn note(&mut self, app: &OtherApp, link: Link, now: Duration) {
        let Link { lane, from, to, .. } = &link;
        if app.records.as_ref().is_some_and(|records| !records.contains(from) && !records.contains(to)) {
            return;
        }
        if let Some(most) = app.times {
            let times = self.times.entry((lane.clone(), *from, *to)).or_default();
            if *times >= most {
                return;
            }
            *times += 1;
        }
        self.noted += 1;
        self.due.insert((now + app.after, self.noted), link);
    }

    /// What is due, one after the other.
    pub fn next_due(&mut self, now: Duration) -> Option<Link> {
        let entry = self.due.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(entry.remove())
    }
}
