//! Which configured account a job belongs to.

use hashbrown::HashMap;

use crate::config::AccountSettings;
use crate::contract::ids::{AccountIndex, PortalId};
use crate::contract::refusal::{Refusal, WorkerCategory};

/// The configured portals, in the order of the settings.
#[derive(Clone, Debug)]
pub struct Portals {
    all: Vec<Option<PortalId>>,
    by_portal: HashMap<PortalId, AccountIndex>,
    /// Of the only account, where it has no portal id.
    nameless: Option<Nameless>,
}

/// Where the token of an account without a portal id is.
#[derive(Clone, Debug)]
pub struct Nameless {
    /// For people: the setting, and the file that it names.
    pub place: String,
    /// `hubspot.access_token_file`
    pub setting: String,
}

impl Portals {
    pub fn of(accounts: &[AccountSettings]) -> Self {
        let nameless = match accounts {
            [AccountSettings { portal_id: None, credentials, .. }] => {
                let token = credentials.token();
                Some(Nameless { place: token.place(), setting: token.key().dotted().to_owned() })
            }
            _ => None,
        };
        Self { nameless, ..Self::new(accounts.iter().map(|account| account.portal_id).collect()) }
    }

    pub fn new(all: Vec<Option<PortalId>>) -> Self {
        let indexed = all.iter().zip(0..).filter_map(|(portal, index)| Some(((*portal)?, AccountIndex(index))));
        Self { by_portal: indexed.collect(), all, nameless: None }
    }

    /// The account of a job that names `portal`. Archiving in the wrong portal must be impossible: a job that names
    /// one is refused wherever the settings do not name the same.
    pub fn resolve(&self, portal: Option<PortalId>) -> Result<AccountIndex, Refusal> {
        match (portal, self.all.as_slice()) {
            (None, [_]) => Ok(AccountIndex(0)),
            (None, _) => {
                let message = "portalId is missing: it is required where several accounts are configured";
                Err(Refusal::worker(WorkerCategory::MalformedJob, message))
            }
            (Some(portal), [None]) => {
                let message = format!(
                    "portalId {portal} is named, but the only account is configured without a portal id: check first \
                     that its token is of portal {portal}; only if it is, name the portal in hubspot.accounts, or leave \
                     portalId out of the job"
                );
                Err(Refusal::worker(WorkerCategory::UnknownPortal, &message))
            }
            (Some(portal), _) => self.by_portal.get(&portal).copied().ok_or_else(|| {
                let message = format!(
                    "portalId {portal} is not among the worker's hubspot.accounts: correct it, or have the account added there"
                );
                Refusal::worker(WorkerCategory::UnknownPortal, &message)
            }),
        }
    }

    /// The settings have one account, and do not name its portal.
    pub fn nameless(&self) -> Option<&Nameless> {
        self.nameless.as_ref()
    }

    pub fn portal(&self, index: AccountIndex) -> Option<PortalId> {
        self.all.get(index.0 as usize).copied().flatten()
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::num::NonZeroU64;

    fn portal(id: u64) -> PortalId {
        PortalId(NonZeroU64::new(id).unwrap())
    }

    #[test]
    fn a_job_finds_its_account_or_is_refused() {
        let only = Portals::new(vec![None]);
        assert_eq!(only.resolve(None).unwrap(), AccountIndex(0));
        assert_eq!(only.resolve(Some(portal(1))).unwrap_err().source.category(), "UNKNOWN_PORTAL");
        let named = Portals::new(vec![Some(portal(1))]);
        assert_eq!(named.resolve(None).unwrap(), AccountIndex(0));
        assert_eq!(named.resolve(Some(portal(2))).unwrap_err().source.category(), "UNKNOWN_PORTAL");
        let two = Portals::new(vec![Some(portal(1)), Some(portal(2))]);
        assert_eq!(two.resolve(Some(portal(2))).unwrap(), AccountIndex(1));
        assert_eq!(two.resolve(None).unwrap_err().source.category(), "MALFORMED_JOB");
    }
}
