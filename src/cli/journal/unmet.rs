//! Where nothing in the journal meets the conditions: what it has instead of the group or the portal that they name.

use std::collections::BTreeSet;

use super::selection::Selection;
use crate::cli::latest_names::LatestNames;
use crate::contract::grouped::Grouped;
use crate::contract::ids::PortalId;
use crate::contract::journal::{ChangeKind, Entry};

/// Portals told apart, and named in a message.
const MOST_PORTALS: usize = 20;

/// What the journal names.
#[derive(Default, Debug)]
pub struct Unmet {
    entries: u64,
    groups: LatestNames,
    /// What was done by jobs of the group that is asked for.
    done_by_group: BTreeSet<ChangeKind>,
    portals: BTreeSet<PortalId>,
    /// Entries of accounts without a portal id in the settings.
    without_portal: u64,
}

impl Unmet {
    pub fn note(&mut self, entry: &Entry, selection: &Selection) {
        self.entries += 1;
        match entry.portal {
            None => self.without_portal += 1,
            Some(portal) if self.portals.len() < MOST_PORTALS || selection.portal == Some(portal) => {
                self.portals.insert(portal);
            }
            Some(_) => {}
        }
        let Some(wanted) = &selection.group else { return };
        for group in entry.jobs.iter().filter_map(|job| job.group.as_ref()) {
            if group.as_str() == wanted {
                self.done_by_group.insert(entry.kind);
            } else {
                self.groups.note(group.as_str());
            }
        }
    }

    /// A line for each condition that nothing meets; none where each is met by something. `kind`: only such changes are
    /// meant.
    pub fn remarks(&self, selection: &Selection, kind: Option<ChangeKind>) -> Vec<String> {
        let since = selection.since.map(|since| format!(" since {since:.0}")).unwrap_or_default();
        if self.entries == 0 {
            return vec![format!("nothing is recorded in the journal{since}")];
        }
        let group = selection.group.as_ref().and_then(|group| self.of_group(group, kind, &since));
        let portal = selection.portal.filter(|portal| !self.portals.contains(portal));
        group.into_iter().chain(portal.map(|portal| self.of_portal(portal, &since))).collect()
    }

    fn of_group(&self, group: &str, kind: Option<ChangeKind>, since: &str) -> Option<String> {
        if self.done_by_group.is_empty() {
            return Some(self.no_group(group, since));
        }
        match kind.filter(|kind| !self.done_by_group.contains(kind))? {
            ChangeKind::Removal => {
                Some(format!("the group {group:?} has removed nothing, but restored: --restores takes that back"))
            }
            ChangeKind::Restoration => Some(format!(
                "the group {group:?} has restored nothing, but removed: without --restores that is brought back"
            )),
        }
    }

    fn no_group(&self, group: &str, since: &str) -> String {
        let there = match self.groups.is_empty() {
            true => "no job in it has a group".to_owned(),
            false => format!("the latest there are: {}", self.groups.in_words()),
        };
        format!("the journal has no group {group:?}{since}; {there}")
    }

    fn of_portal(&self, portal: PortalId, since: &str) -> String {
        let mut text = format!("the journal has nothing of portal {portal}{since}");
        if !self.portals.is_empty() {
            let portals: Vec<String> = self.portals.iter().map(PortalId::to_string).collect();
            text.push_str(&format!("; it has portal {}", portals.join(", ")));
        }
        if self.without_portal > 0 {
            text.push_str(&format!(
                "; entries without a portal, since their account has no portal_id in the settings: {}, which are meant \
                 where --portal is left out",
                Grouped(self.without_portal)
            ));
        }
        text
    }
}
