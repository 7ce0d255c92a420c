//! An account's credentials as far as sending depends on them; the secrets themselves stay outside the engine.

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
    identity: Identity,
    /// A 401 already led to a refresh, and nothing has succeeded since.
    refreshed_for_refusal: bool,
    failures: u32,
    not_before: Tick,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Token {
    Missing,
    Held { renew_at: Option<Tick>, dies_at: Option<Tick> },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Identity {
    /// No portal is configured that the token could fail to match, nor a time zone to learn.
    NotAsked,
    Unknown,
    Settled,
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
    /// Failures in a row after which an identity that HubSpot cannot tell is no longer waited for.
    const IDENTITY_TRIES: u32 = 5;

    pub fn new(kind: CredentialKind, ask_identity: bool) -> Self {
        let token = match kind {
            CredentialKind::Static => Token::Held { renew_at: None, dies_at: None },
            CredentialKind::OAuth => Token::Missing,
        };
        Self {
            kind,
            epoch: 0,
            token,
            refreshing: false,
            identifying: false,
            identity: if ask_identity { Identity::Unknown } else { Identity::NotAsked },
            refreshed_for_refusal: false,
            failures: 0,
            not_before: Tick::ZERO,
        }
    }

    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// What is to be asked next, or `Err` with the time from which on (if any) while nothing may be sent.
    pub fn need(&self, now: Tick) -> Result<Option<Need>, Option<Tick>> {
        let (alive, renew) = match self.token {
            Token::Missing => (false, true),
            Token::Held { renew_at, dies_at } => {
                (dies_at.is_none_or(|at| now < at), renew_at.is_some_and(|at| now >= at))
            }
        };
        let waiting = now < self.not_before;
        match (alive, self.identity) {
            (false, _) if self.refreshing => Err(None),
            (false, _) if waiting => Err(Some(self.not_before)),
            (false, _) => Ok(Some(Need::RefreshFirst)),
            (true, _) if renew && !self.refreshing && !waiting => Ok(Some(Need::RefreshSoon)),
            (true, Identity::Unknown) if self.identifying => Err(None),
            (true, Identity::Unknown) if waiting => Err(Some(self.not_before)),
            (true, Identity::Unknown) => Ok(Some(Need::Identify)),
            (true, Identity::NotAsked | Identity::Settled) => Ok(None),
        }
    }

    pub fn asked(&mut self, need: Need) {
        match need {
            Need::RefreshFirst | Need::RefreshSoon => self.refreshing = true,
            Need::Identify => self.identifying = true,
        }
    }

    /// A new access token; it is renewed when four fifths of its life are over.
    pub fn granted(&mut self, expires_in: Duration, now: Tick) {
        self.refreshing = false;
        self.failures = 0;
        self.epoch = self.epoch.wrapping_add(1);
        self.token = Token::Held { renew_at: Some(now + expires_in * 4 / 5), dies_at: Some(now + expires_in) };
        if self.identity == Identity::Settled {
            self.identity = Identity::Unknown;
        }
    }

    /// The refresh failed for a passing reason; an earlier token goes on as long as it lives.
    pub fn refresh_failed(&mut self, wait: Option<Duration>, now: Tick) {
        self.refreshing = false;
        self.back_off(wait, now);
    }

    /// The refresh token is refused.
    pub fn refresh_refused(&mut self) {
        self.refreshing = false;
        self.token = Token::Missing;
    }

    /// Whose token it is was told, or need not be known.
    pub fn identity_settled(&mut self) {
        self.identifying = false;
        self.failures = 0;
        if self.identity == Identity::Unknown {
            self.identity = Identity::Settled;
        }
    }

    /// The token belongs to another portal: it must be asked again before anything is sent.
    pub fn identity_differs(&mut self) {
        self.identifying = false;
        self.identity = Identity::Unknown;
    }

    /// HubSpot could not tell now. Returns whether to go on without.
    pub fn identity_failed(&mut self, wait: Option<Duration>, now: Tick) -> bool {
        self.identifying = false;
        self.back_off(wait, now);
        if self.failures >= Self::IDENTITY_TRIES {
            self.identity_settled();
            return true;
        }
        false
    }

    fn back_off(&mut self, wait: Option<Duration>, now: Tick) {
        self.failures = self.failures.saturating_add(1);
        let own = Duration::from_millis(500).saturating_mul(1 << self.failures.min(6)).min(Duration::from_secs(15));
        self.not_before = now + wait.unwrap_or(own);
    }

    /// The operator, or the file watched, gave other credentials.
    pub fn changed(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        self.failures = 0;
        self.not_before = Tick::ZERO;
        self.refreshed_for_refusal = false;
        if self.kind == CredentialKind::OAuth {
            self.token = Token::Missing;
        }
        if self.identity == Identity::Settled {
            self.identity = Identity::Unknown;
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

/// Whether the portal told is the one configured; no portal configured matches all.
pub fn portal_matches(configured: Option<PortalId>, told: std::num::NonZeroU64) -> bool {
    configured.is_none_or(|portal| portal.0 == told)
}
