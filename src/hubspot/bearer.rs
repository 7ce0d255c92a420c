//! An access token in the one form it is used in.

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

/// The `Authorization` header of one access token: cheap to clone, never shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BearerToken {
    header: HeaderValue,
}

impl BearerToken {
    /// `None` for a token that no header can carry.
    pub fn new(token: &SecretString) -> Option<Self> {
        let mut header = HeaderValue::from_str(&format!("{SCHEME}{}", token.expose_secret())).ok()?;
        header.set_sensitive(true);
        Some(Self { header })
    }

    pub(super) fn header(&self) -> HeaderValue {
        self.header.clone()
    }

    /// The token itself, so that it can be found, and replaced, in what HubSpot says.
    pub(super) fn secret(&self) -> &[u8] {
        self.header.as_bytes().get(SCHEME.len()..).unwrap_or_default()
    }
}

const SCHEME: &str = "Bearer ";

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_token_is_not_shown() {
        let token = BearerToken::new(&"pat-secret".into()).unwrap();
        assert_eq!(token.header().as_bytes(), b"Bearer pat-secret");
        assert_eq!(token.secret(), b"pat-secret");
        assert!(!format!("{token:?} {:?}", token.header()).contains("secret"));
    }

    #[test]
    fn what_no_header_carries_is_no_token() {
        assert_eq!(BearerToken::new(&"line\nbreak".into()), None);
        assert_eq!(BearerToken::new(&"nul\0".into()), None);
    }
}
