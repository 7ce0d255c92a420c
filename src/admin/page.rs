//! The live page at `/`: one file that asks `/status` every two seconds.

use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// The page, with the policy that lets a browser run its own script and style and nothing else.
#[derive(Clone, Debug)]
pub(super) struct Page {
    policy: HeaderValue,
}

const HTML: &str = include_str!("page.html");

impl Page {
    pub fn new() -> Self {
        let policy = format!(
            "default-src 'none'; style-src {}; script-src {}; connect-src 'self'; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'",
            source("<style>", "</style>"),
            source("<script>", "</script>"),
        );
        Self { policy: HeaderValue::try_from(policy).unwrap_or(NOTHING) }
    }

    pub fn response(&self) -> Response {
        ([(header::CONTENT_SECURITY_POLICY, self.policy.clone())], Html(HTML)).into_response()
    }
}

/// For answers that are no page.
pub(super) const NOTHING: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// The hash by which the policy knows the element's text.
fn source(begin: &str, end: &str) -> String {
    let text = HTML.split_once(begin).and_then(|(_, rest)| rest.split_once(end)).map_or("", |(text, _)| text);
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))
}
