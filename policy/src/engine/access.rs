//! An account's credentials as far as sending depends on them; the secrets themselves stay outside the engine.

use std::num::NonZeroU64;
use std::time::Duration;

use super::clock::Tick;
use crate::contract::ids::PortalId;

/// How an account proves who it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CredentialKind {
    /// A private-app token or service key, which does not expire by itself.
    Static,
    /// An access token that must be renewed with a refresh token.
    OAuth,
}

/// What must be done before, or beside, archiving.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// Nothing can be sent before.
    RefreshFirst,
    /// The token still holds; renew it beside the work.
    RefreshSoon,
    /// Nothing can be archived before.
    Identify,
}

/// One account's credentials.
#[derive(Clone, Debug)]
pub struct Access {
    kind: CredentialKind,
    /// Grows with every change of the token, so that a refusal of an earlier one can be told apart.
    epoch: u32,
    token: Token,
    refreshing: bool,
    identifying: bool,
    portal_check: PortalCheck,
    /// A 401 has led to a refresh already, and no request has succeeded since.
    refreshed_for_refusal: bool,
    failures_in_a_row: u32,
    /// After a failure, nothing is asked before then.
    not_before: Tick,
}

/// The access token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Token {
    Missing,
    /// `None`: it is not renewed, or does not expire.
    Present {
        renew_at: Option<Tick>,
        expires_at: Option<Tick>,
    },
}

/// Whether it is known that the token belongs to the portal that the settings name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum PortalCheck {
    /// The settings name no portal that the token could fail to match, and there is no time zone to learn.
    NotNeeded,
    /// HubSpot must be asked before anything is archived.
    Due,
    /// HubSpot was asked, and there is nothing against archiving.
    Done,
}

/// What to do about a 401.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The token has changed since: just send again.
    Outdated,
    /// A new token may help: it is asked for now.
    Refresh,
    /// The account must pause.
    Stays,
}

impl Access {
    /// Failures in a row after which the account goes on unchecked.
    const MOST_CHECKS: u32 = 5;
    /// The wait after the first failure; each further one doubles it.
    const BASE_WAIT: Duration = Duration::from_secs(1);
    /// The longest wait after a failure.
    const LONGEST_WAIT: Duration = Duration::from_secs(15);
    /// Doublings after which the wait has reached its longest.
    const MOST_DOUBLINGS: u32 = 5;
    /// A token is renewed when this share of its life is over: 4/5.
    const RENEWED_AFTER: (u32, u32) = (4, 5);

    pub fn new(kind: CredentialKind, ask_identity: bool) -> Self {
        let token = match kind {
            CredentialKind::Static => Token::Present { renew_at: None, expires_at: None },
            CredentialKind::OAuth => Token::Missing,
        };
        Self {
            kind,
            epoch: 0,
            token,
            refreshing: false,
            identifying: false,
            portal_check: if ask_identity { PortalCheck::Due } else { PortalCheck::NotNeeded },
            refreshed_for_refusal: false,
            failures_in_a_row: 0,
            not_before: Tick::ZERO,
        }
    }

    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// What must be asked next, if anything. `Err`: nothing may be sent before that time, or before an answer comes.
    pub fn need(&self, now: Tick) -> Result<Option<Need>, Option<Tick>> {
        let (usable, renew) = match self.token {
            Token::Missing => (false, true),
            Token::Present { renew_at, expires_at } => {
                (expires_at.is_none_or(|at| now < at), renew_at.is_some_and(|at| now >= at))
            }
        };
        let waiting = now < self.not_before;
        match (usable, self.portal_check) {
            (false, _) if self.refreshing => Err(None),
            (false, _) if waiting => Err(Some(self.not_before)),
            (false, _) => Ok(Some(Need::RefreshFirst)),
            (true, _) if renew && !self.refreshing && !waiting => Ok(Some(Need::RefreshSoon)),
            (true, PortalCheck::Due) if self.identifying => Err(None),
            (true, PortalCheck::Due) if waiting => Err(Some(self.not_before)),
            (true, PortalCheck::Due) => Ok(Some(Need::Identify)),
            (true, PortalCheck::NotNeeded | PortalCheck::Done) => Ok(None),
        }
    }

    /// Whether HubSpot is to be asked whose token it is before anything is archived.
    pub fn asks_identity(&self) -> bool {
        self.portal_check == PortalCheck::Due
    }

    pub fn asked(&mut self, need: Need) {
        match need {
            Need::RefreshFirst | Need::RefreshSoon => self.refreshing = true,
            Need::Identify => self.identifying = true,
        }
    }

    /// A new access token.
    pub fn granted(&mut self, expires_in: Duration, now: Tick) {
        self.refreshing = false;
        self.failures_in_a_row = 0;
        self.epoch = self.epoch.wrapping_add(1);
        let (part, whole) = Self::RENEWED_AFTER;
        let renew_at = now + expires_in * part / whole;
        self.token = Token::Present { renew_at: Some(renew_at), expires_at: Some(now + expires_in) };
        if self.portal_check == PortalCheck::Done {
            self.portal_check = PortalCheck::Due;
        }
    }

    /// The refresh failed for a transient reason. An earlier token is used until it expires.
    pub fn refresh_failed(&mut self, wait: Option<Duration>, now: Tick) {
        self.refreshing = false;
        self.back_off(wait, now);
    }

    /// The refresh token is refused.
    pub fn refresh_refused(&mut self) {
        self.refreshing = false;
        self.token = Token::Missing;
    }

    /// HubSpot has said whose token it is, or it need not be known.
    pub fn identity_settled(&mut self) {
        self.identifying = false;
        self.failures_in_a_row = 0;
        if self.portal_check == PortalCheck::Due {
            self.portal_check = PortalCheck::Done;
        }
    }

    /// The account's time zone must be learned. HubSpot tells it in the answer to the question whose token it is, so
    /// this question is asked, once.
    pub fn ask_time_zone(&mut self) {
        if self.portal_check != PortalCheck::Due {
            self.portal_check = PortalCheck::Due;
            self.failures_in_a_row = Self::MOST_CHECKS - 1;
            self.not_before = Tick::ZERO;
        }
    }

    /// The token belongs to another portal: it must be asked again before anything is sent.
    pub fn identity_differs(&mut self) {
        self.identifying = false;
        self.portal_check = PortalCheck::Due;
    }

    /// For the moment HubSpot cannot say whose token it is. Returns whether to go on without knowing it.
    pub fn identity_failed(&mut self, wait: Option<Duration>, now: Tick) -> bool {
        self.identifying = false;
        self.back_off(wait, now);
        if self.failures_in_a_row >= Self::MOST_CHECKS {
            self.identity_settled();
            return true;
        }
        false
    }

    fn back_off(&mut self, wait: Option<Duration>, now: Tick) {
        let doublings = self.failures_in_a_row.min(Self::MOST_DOUBLINGS);
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        let own = Self::BASE_WAIT.saturating_mul(1 << doublings).min(Self::LONGEST_WAIT);
        self.not_before = now + wait.unwrap_or(own);
    }

    /// The account has other credentials than before.
    pub fn changed(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        self.failures_in_a_row = 0;
        self.not_before = Tick::ZERO;
        self.refreshed_for_refusal = false;
        if self.kind == CredentialKind::OAuth {
            self.token = Token::Missing;
        }
        if self.portal_check == PortalCheck::Done {
            self.portal_check = PortalCheck::Due;
        }
    }

    /// A request sent under `epoch` was answered 401.
    pub fn refused(&mut self, epoch: u32) -> Refused {
        if epoch != self.epoch || self.refreshing {
            return Refused::Outdated;
        }
        match self.kind {
            CredentialKind::OAuth if !self.refreshed_for_refusal => {
                self.refreshed_for_refusal = true;
                self.token = Token::Missing;
                Refused::Refresh
            }
            CredentialKind::OAuth | CredentialKind::Static => Refused::Stays,
        }
    }

    /// The token works.
    pub fn worked(&mut self) {
        self.refreshed_for_refusal = false;
    }
}

/// Whether the portal that HubSpot told is the one in the settings. Where the settings name none, every portal matches.
pub fn portal_matches(configured: Option<PortalId>, told: NonZeroU64) -> bool {
    configured.is_none_or(|portal| portal.0 == told)
}
