//! A request, and which endpoint it is for.

use serde::{Deserialize, Serialize};

/// An HTTP request as the world needs it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub method: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// The whole `Authorization` header.
    pub authorization: Option<&'a str>,
    pub content_type: Option<&'a str>,
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    /// A JSON `POST` with a whole `Authorization` header (`Bearer …`).
    pub fn post(target: &'a str, authorization: &'a str, body: &'a [u8]) -> Self {
        let content_type = Some("application/json");
        Self { method: "POST", target, authorization: Some(authorization), content_type, body }
    }

    pub(crate) fn bearer(&self) -> Option<&'a str> {
        let (scheme, token) = self.authorization?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    }
}

/// What a request is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Archive,
    LabelsArchive,
    Read,
    Create,
    /// `batch/associate/default`.
    AssociateDefault,
    /// `GET …/labels`.
    Labels,
    TokenRefresh,
    Introspect,
    AccessTokenInfo,
    AccountInfo,
    /// No endpoint known here.
    Other,
}

impl Kind {
    /// Whether an account's token is asked for and its limits apply.
    pub(crate) fn needs_bearer(self) -> bool {
        match self {
            Self::Archive
            | Self::LabelsArchive
            | Self::Read
            | Self::Create
            | Self::AssociateDefault
            | Self::Labels
            | Self::AccountInfo => true,
            Self::TokenRefresh | Self::Introspect | Self::AccessTokenInfo | Self::Other => false,
        }
    }
}

/// A request's endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Route<'a> {
    pub kind: Kind,
    /// The object types as they stand in the path; present for the association endpoints.
    pub types: Option<(&'a str, &'a str)>,
}

impl<'a> Route<'a> {
    pub(crate) fn of(target: &'a str) -> Self {
        let path = target.split(['?', '#']).next().unwrap_or_default();
        let mut rest = path.trim_start_matches('/').split('/');
        let mut segments = [""; MAX_SEGMENTS];
        let mut count = 0;
        for (segment, text) in segments.iter_mut().zip(&mut rest) {
            *segment = text;
            count += 1;
        }
        if rest.next().is_some() {
            return Self::bare(Kind::Other);
        }
        Self::of_segments(segments.get(..count).unwrap_or_default())
    }

    fn of_segments(segments: &[&'a str]) -> Self {
        match segments {
            ["crm", "v4", "associations", from, to, "batch", operation @ ..]
            | ["crm", "associations", "2026-03" | "2026-09", from, to, "batch", operation @ ..] => {
                let kind = match operation {
                    ["archive"] => Kind::Archive,
                    ["labels", "archive"] => Kind::LabelsArchive,
                    ["read"] => Kind::Read,
                    ["create"] => Kind::Create,
                    ["associate", "default"] => Kind::AssociateDefault,
                    _ => return Self::bare(Kind::Other),
                };
                Self { kind, types: Some((from, to)) }
            }
            ["crm", "v4", "associations", from, to, "labels"]
            | ["crm", "associations", "2026-03" | "2026-09", from, to, "labels"] => {
                Self { kind: Kind::Labels, types: Some((from, to)) }
            }
            ["oauth", "2026-03" | "2026-09" | "v1", "token"] => Self::bare(Kind::TokenRefresh),
            ["oauth", "2026-03" | "2026-09", "token", "introspect"] => Self::bare(Kind::Introspect),
            ["oauth", "v2", "private-apps", "get", "access-token-info"] => Self::bare(Kind::AccessTokenInfo),
            ["account-info", "v3" | "2026-09", "details"] => Self::bare(Kind::AccountInfo),
            _ => Self::bare(Kind::Other),
        }
    }

    /// The method this endpoint answers to.
    pub(crate) fn method(&self) -> &'static str {
        match self.kind {
            Kind::AccountInfo | Kind::Labels => "GET",
            Kind::Archive
            | Kind::LabelsArchive
            | Kind::Read
            | Kind::Create
            | Kind::AssociateDefault
            | Kind::TokenRefresh
            | Kind::Introspect
            | Kind::AccessTokenInfo
            | Kind::Other => "POST",
        }
    }

    fn bare(kind: Kind) -> Self {
        Self { kind, types: None }
    }
}

/// The longest known path: `crm/associations/2026-09/{from}/{to}/batch/labels/archive`.
const MAX_SEGMENTS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_sits_inside_the_path() {
        for path in ["/crm/v4/associations/a/b", "/crm/associations/2026-03/a/b", "/crm/associations/2026-09/a/b"] {
            let target = format!("{path}/batch/archive?x=1");
            assert_eq!(Route::of(&target), Route { kind: Kind::Archive, types: Some(("a", "b")) });
            let target = format!("{path}/batch/labels/archive");
            assert_eq!(Route::of(&target).kind, Kind::LabelsArchive);
            assert_eq!(Route::of(&format!("{path}/batch/associate/default")).kind, Kind::AssociateDefault);
            assert_eq!(Route::of(&format!("{path}/labels")).kind, Kind::Labels);
        }
    }

    #[test]
    fn what_is_no_endpoint_is_other() {
        for target in ["/", "", "/crm/v4/associations/a/b/batch", "/crm/v5/associations/a/b/batch/archive"] {
            assert_eq!(Route::of(target).kind, Kind::Other, "{target}");
        }
        let long = "/crm/associations/2026-09/a/b/batch/labels/archive/more";
        assert_eq!(Route::of(long).kind, Kind::Other);
    }
}
