//! Whether HubSpot takes a token, and whose it is: for an operator who checks the settings.

use super::bearer::BearerToken;
use super::client::HubspotClient;
use super::identity::{ACCOUNT_INFO, identity_in};
use super::wording::{PROXY_REFUSES, answered, silent};
use crate::engine::command::IdentityReply;
use crate::engine::reply::Reply;

/// What one question to HubSpot tells about a token; the details are one line, without secrets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Authorisation {
    /// HubSpot takes the token; the reply says whose it is, as far as HubSpot tells.
    Taken(IdentityReply),
    /// HubSpot does not take the token.
    Refused { detail: String },
    /// HubSpot was not reached.
    Unreached { detail: String },
    /// An answer that says nothing about the token.
    Unclear { detail: String },
}

/// Asks `GET /account-info/v3/details`.
pub async fn authorise(client: &HubspotClient, token: &BearerToken) -> Authorisation {
    let answer = match client.get(ACCOUNT_INFO, token).await {
        Reply::Silence(silence) => return Authorisation::Unreached { detail: silent(&silence) },
        Reply::Answer(answer) => answer,
    };
    if answer.status == PROXY_REFUSES {
        return Authorisation::Unreached { detail: answered(&answer) };
    }
    if answer.status == 401 {
        return Authorisation::Refused { detail: answered(&answer) };
    }
    match identity_in(&answer) {
        // A token that HubSpot takes but that may not ask this.
        told @ IdentityReply::Told { .. } => Authorisation::Taken(told),
        reserved @ IdentityReply::WillNotTell { .. } if answer.status == 403 => Authorisation::Taken(reserved),
        IdentityReply::WillNotTell { detail } | IdentityReply::Failed { detail, .. } => {
            Authorisation::Unclear { detail }
        }
    }
}
