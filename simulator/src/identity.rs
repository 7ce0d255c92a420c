//! The endpoints about tokens and accounts.

use std::time::Duration;

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::account::Account;
use crate::oauth::{GrantRefused, Standing};
use crate::reply::{Answer, Voice};
use crate::wire;

/// `POST /oauth/…/token` with `grant_type=refresh_token`; `account` is the one whose refresh token it is.
pub(crate) fn refresh(account: Option<&mut Account>, form: &[u8], now: Duration, voice: Voice<'_>) -> Answer {
    let value = |name| wire::form_value(form, name).unwrap_or_default();
    if value("grant_type") != "refresh_token" {
        return grant_error("unsupported_grant_type", "BAD_GRANT_TYPE", "missing or unknown grant type", voice);
    }
    let portal = account.as_ref().map_or(0, |account| account.portal_id);
    let oauth = account.and_then(|account| account.oauth.as_mut());
    let granted = oauth.map_or(Err(GrantRefused::RefreshToken), |oauth| {
        oauth.refresh(portal, &value("client_id"), &value("client_secret"), &value("refresh_token"), now)
    });
    match granted {
        Ok(grant) => {
            let body = json!({
                "token_type": "bearer", "access_token": grant.access_token, "refresh_token": grant.refresh_token,
                "expires_in": grant.expires_in.as_secs(), "hub_id": portal, "scopes": [],
            });
            Answer::json(200, body.to_string())
        }
        Err(GrantRefused::ClientId) => {
            grant_error("invalid_client", "BAD_CLIENT_ID", "missing or unknown client id", voice)
        }
        Err(GrantRefused::ClientSecret) => {
            grant_error("invalid_client", "BAD_CLIENT_SECRET", "missing or invalid client secret", voice)
        }
        Err(GrantRefused::RefreshToken) => {
            grant_error("invalid_grant", "BAD_REFRESH_TOKEN", "missing or invalid refresh token", voice)
        }
    }
}

/// `POST /oauth/2026-03/token/introspect`.
pub(crate) fn introspect(account: Option<&Account>, standing: Standing) -> Answer {
    let body = match (account, standing) {
        (Some(account), Standing::Valid(left)) => json!({
            "active": true, "token_type": "bearer", "token_use": "access_token", "hub_id": account.portal_id,
            "client_id": account.oauth.as_ref().map(|oauth| &oauth.client_id), "scopes": [],
            "expires_in": if left == Duration::MAX { Value::Null } else { json!(left.as_secs()) },
        }),
        (Some(_) | None, Standing::Expired(_) | Standing::Unknown) | (None, Standing::Valid(_)) => {
            json!({"active": false})
        }
    };
    Answer::json(200, body.to_string())
}

/// `POST /oauth/v2/private-apps/get/access-token-info`.
pub(crate) fn access_token_info(account: Option<&Account>, voice: Voice<'_>) -> Answer {
    match account {
        Some(account) => {
            let body = json!({"userId": 1, "hubId": account.portal_id, "appId": 1, "scopes": []});
            Answer::json(200, body.to_string())
        }
        None => voice.error(404, Some("OBJECT_NOT_FOUND"), "No such token.", Value::Null),
    }
}

/// `GET /account-info/v3/details`.
pub(crate) fn account_info(account: &Account, voice: Voice<'_>) -> Answer {
    let offset = account.time_zone.to_offset(voice.wall);
    let minutes = offset.seconds() / 60;
    let sign = if minutes < 0 { '-' } else { '+' };
    let body = json!({
        "portalId": account.portal_id, "accountType": account.account_type, "timeZone": zone_name(&account.time_zone),
        "companyCurrency": "USD", "additionalCurrencies": [],
        "utcOffset": format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60),
        "utcOffsetMilliseconds": i64::from(offset.seconds()) * 1000,
        "uiDomain": "app.hubspot.com", "dataHostingLocation": "na1",
    });
    Answer::json(200, body.to_string())
}

fn zone_name(zone: &TimeZone) -> &str {
    zone.iana_name().unwrap_or("UTC")
}

fn grant_error(error: &str, status: &str, message: &str, voice: Voice<'_>) -> Answer {
    let body = json!({
        "error": error, "error_description": message, "status": status, "message": message,
        "correlationId": voice.correlation,
    });
    Answer::json(400, body.to_string())
}
