//! Who may change state: whoever shows `admin.token`.

use axum::http::{HeaderMap, StatusCode, header};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::refusal::HttpRefusal;

/// 403 where no token is configured, 401 where the request does not carry it.
pub(super) fn check(configured: Option<&SecretString>, headers: &HeaderMap) -> Result<(), HttpRefusal> {
    let Some(token) = configured else {
        let error = "no admin.token is set, so nothing can be changed here: set admin.token or admin.token_file";
        return Err(HttpRefusal::new(StatusCode::FORBIDDEN, error));
    };
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
    // Takes the same time however much of the token is right; only its length could be told.
    if shown.is_some_and(|shown| shown.ct_eq(token.expose_secret().as_bytes()).into()) {
        return Ok(());
    }
    let error = match shown {
        Some(_) => "the token is not that of admin.token",
        None => "send admin.token in a header: \"Authorization: Bearer <token>\"",
    };
    Err(HttpRefusal::new(StatusCode::UNAUTHORIZED, error))
}

/// The scheme may be written in any case (RFC 9110, 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then_some(token.trim_ascii())
}

const SCHEME: &[u8] = b"Bearer ";

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use super::*;

    fn status(configured: Option<&str>, shown: Option<&str>) -> Option<StatusCode> {
        let configured = configured.map(SecretString::from);
        let mut headers = HeaderMap::new();
        if let Some(shown) = shown {
            headers.insert(header::AUTHORIZATION, shown.parse().unwrap());
        }
        check(configured.as_ref(), &headers).err().map(|refusal| refusal.status)
    }

    #[test]
    fn only_the_token_opens() {
        assert_eq!(status(Some("s3cret"), Some("Bearer s3cret")), None);
        assert_eq!(status(Some("s3cret"), Some("bearer s3cret")), None);
        for wrong in ["Bearer s3cre", "Bearer s3crett", "Bearer", "Bearer ", "Basic s3cret", "s3cret", ""] {
            assert_eq!(status(Some("s3cret"), Some(wrong)), Some(StatusCode::UNAUTHORIZED), "{wrong:?}");
        }
        assert_eq!(status(Some("s3cret"), None), Some(StatusCode::UNAUTHORIZED));
        assert_eq!(status(None, Some("Bearer s3cret")), Some(StatusCode::FORBIDDEN));
        assert_eq!(status(None, None), Some(StatusCode::FORBIDDEN));
    }
}
