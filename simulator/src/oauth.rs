//! OAuth grants: refresh tokens that give access tokens, which expire.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Deserialize;

/// Access tokens remembered after they were issued; older ones are no longer told from invented ones.
const MAX_ISSUED: usize = 64;

/// One app's grant on one account.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OAuth {
    pub client_id: String,
    pub client_secret: String,
    /// The one refresh token that works; any other is answered `BAD_REFRESH_TOKEN`.
    pub refresh_token: String,
    /// Each refresh gives a new refresh token and ends the old one.
    #[serde(default)]
    pub rotate: bool,
    /// Life of an access token.
    #[serde(default = "half_an_hour", deserialize_with = "crate::duration::deserialize")]
    pub expires_in: Duration,
    #[serde(skip)]
    issued: VecDeque<Issued>,
    #[serde(skip)]
    refreshes: u64,
}

/// What an access token is worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// With the time it has left.
    Valid(Duration),
    /// With the time since.
    Expired(Duration),
    Unknown,
}

/// A fresh pair of tokens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Grant {
    pub access_token: String,
    pub refresh_token: String,
    pub expires_in: Duration,
}

/// What is wrong with a refused refresh.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum GrantRefused {
    ClientId,
    ClientSecret,
    RefreshToken,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Issued {
    token: String,
    expires_at: Duration,
}

fn half_an_hour() -> Duration {
    Duration::from_secs(30 * 60)
}

impl OAuth {
    pub fn new(client_id: &str, client_secret: &str, refresh_token: &str) -> Self {
        Self {
            client_id: client_id.to_owned(),
            client_secret: client_secret.to_owned(),
            refresh_token: refresh_token.to_owned(),
            rotate: false,
            expires_in: half_an_hour(),
            issued: VecDeque::new(),
            refreshes: 0,
        }
    }

    /// Refreshes granted so far.
    pub fn refreshes(&self) -> u64 {
        self.refreshes
    }

    /// Every access token given out so far is worth nothing from now on.
    pub fn revoke_access_tokens(&mut self) {
        self.issued.clear();
    }

    /// Gives an access token as a refresh would.
    pub fn issue(&mut self, portal: u64, now: Duration) -> String {
        self.refreshes += 1;
        let token = format!("oauth-{portal}-{}", self.refreshes);
        if self.issued.len() == MAX_ISSUED {
            self.issued.pop_front();
        }
        self.issued.push_back(Issued { token: token.clone(), expires_at: now + self.expires_in });
        token
    }

    pub(crate) fn refresh(
        &mut self,
        portal: u64,
        client_id: &str,
        client_secret: &str,
        refresh_token: &str,
        now: Duration,
    ) -> Result<Grant, GrantRefused> {
        if client_id != self.client_id {
            return Err(GrantRefused::ClientId);
        }
        if client_secret != self.client_secret {
            return Err(GrantRefused::ClientSecret);
        }
        if refresh_token != self.refresh_token {
            return Err(GrantRefused::RefreshToken);
        }
        let access_token = self.issue(portal, now);
        if self.rotate {
            self.refresh_token = format!("refresh-{portal}-{}", self.refreshes);
        }
        Ok(Grant { access_token, refresh_token: self.refresh_token.clone(), expires_in: self.expires_in })
    }

    pub(crate) fn standing(&self, token: &str, now: Duration) -> Standing {
        match self.issued.iter().find(|issued| issued.token == token) {
            Some(issued) if now < issued.expires_at => Standing::Valid(issued.expires_at - now),
            Some(issued) => Standing::Expired(now - issued.expires_at),
            None => Standing::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_rotated_refresh_token_works_once() {
        let mut oauth = OAuth { rotate: true, ..OAuth::new("app", "secret", "first") };
        let grant = oauth.refresh(7, "app", "secret", "first", Duration::ZERO).unwrap();
        assert_eq!(
            oauth.refresh(7, "app", "secret", "first", Duration::ZERO),
            Err(GrantRefused::RefreshToken),
            "the old token is spent"
        );
        oauth.refresh(7, "app", "secret", &grant.refresh_token, Duration::ZERO).unwrap();
        assert_eq!(oauth.refreshes(), 2);
    }

    #[test]
    fn an_access_token_expires_and_is_still_known() {
        let mut oauth = OAuth::new("app", "secret", "first");
        let token = oauth.issue(7, Duration::ZERO);
        let end = half_an_hour();
        assert_eq!(oauth.standing(&token, end - Duration::from_secs(1)), Standing::Valid(Duration::from_secs(1)));
        assert_eq!(oauth.standing(&token, end), Standing::Expired(Duration::ZERO));
        assert_eq!(oauth.standing("invented", end), Standing::Unknown);
        oauth.revoke_access_tokens();
        assert_eq!(oauth.standing(&token, Duration::ZERO), Standing::Unknown);
    }
}
