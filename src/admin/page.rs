//! The live page at `/`: one file that asks `/status` every two seconds.

use axum::body::Bytes;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// The page, with the policy that lets a browser run its own script and style and nothing else.
#[derive(Clone, Debug)]
pub(super) struct Page {
    html: Bytes,
    policy: HeaderValue,
}

const FRAME: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

const TYPE: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

impl Page {
    pub fn new() -> Self {
        let html = FRAME.replace("/* page.css */", STYLE).replace("/* page.js */", SCRIPT);
        let policy = format!(
            "default-src 'none'; style-src {}; script-src {}; connect-src 'self'; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'",
            source(STYLE),
            source(SCRIPT),
        );
        Self { html: html.into(), policy: HeaderValue::try_from(policy).unwrap_or(NOTHING) }
    }

    pub fn response(&self) -> Response {
        let headers = [(header::CONTENT_TYPE, TYPE), (header::CONTENT_SECURITY_POLICY, self.policy.clone())];
        (headers, self.html.clone()).into_response()
    }
}

/// For answers that are no page.
pub(super) const NOTHING: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// The hash by which the policy knows the text of an element.
fn source(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))
}
