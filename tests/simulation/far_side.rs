//! HubSpot and the way there: requests of the engine become requests of the world, its answers become replies.

use std::time::Duration;

use association_archiver::contract::association::{Extent, Label, Pair};
use association_archiver::contract::ids::{AccountIndex, PortalId};
use association_archiver::engine::access::CredentialKind;
use association_archiver::engine::command::{self, BatchCall, CallKey, IdentityReply, RefreshReply};
use association_archiver::engine::reply::{self, Body, Headers, Reply, Silence};
use association_archiver::engine::verdict::LookAsked;
use bytes::Bytes;
use hubspot_simulator::account::Tokens;
use hubspot_simulator::limits::{DayBudget, Limits, Window};
use hubspot_simulator::oauth::OAuth;
use hubspot_simulator::{Account, Answer, Ending, ObjectType, Request, World};
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::agenda::Heard;
use crate::scenario::{Portal, Scenario};

/// A request on its way.
#[derive(Clone, Debug)]
pub struct Sending {
    pub life: u32,
    pub call: CallKey,
    pub account: AccountIndex,
    pub sent: Duration,
    pub content: Content,
}

/// What a request is, with the secrets it carries.
#[derive(Clone, Debug)]
pub enum Content {
    Batch { call: BatchCall, token: String },
    Refresh { token: String },
    Identity { token: String },
}

/// See the module.
#[derive(Debug)]
pub struct FarSide<'s> {
    pub world: World,
    scenario: &'s Scenario,
    /// What stands in each account's credentials file: a token, or a refresh token.
    files: Vec<String>,
    tokens_given: u32,
    pub unreachable_until: Duration,
    pub silent_until: Duration,
}

impl<'s> FarSide<'s> {
    pub fn new(scenario: &'s Scenario) -> Self {
        let files: Vec<String> = scenario.portals.iter().map(|portal| format!("secret-{}-0", portal.id)).collect();
        let accounts = scenario.portals.iter().zip(&files).map(|(portal, file)| account(portal, file));
        let mut world = World::with_accounts(scenario.seed, scenario.epoch, accounts.collect());
        world.behaviour = scenario.behaviour.clone();
        world.faults.install(scenario.rules.clone(), Duration::ZERO);
        world.arrivals.kept = 0;
        Self {
            world,
            scenario,
            files,
            tokens_given: 0,
            unreachable_until: Duration::ZERO,
            silent_until: Duration::ZERO,
        }
    }

    pub fn file(&self, account: AccountIndex) -> &str {
        &self.files[account.0 as usize]
    }

    /// The portal that a token was given for, as its text says.
    pub fn portal_of(token: &str) -> Option<u64> {
        token.split('-').nth(1)?.parse().ok()
    }

    /// What becomes of a request that arrives now, and when its sender hears of it.
    pub fn arrive(&mut self, sending: &Sending, now: Duration) -> (Duration, Heard) {
        let (target, authorization, body) = self.encode(&sending.content);
        let identity = matches!(sending.content, Content::Identity { .. });
        let request = Request {
            method: if identity { "GET" } else { "POST" },
            target: &target,
            authorization: authorization.as_deref(),
            content_type: (!identity).then_some("application/json"),
            body: &body,
        };
        let answer = self.world.handle(&request, now);
        self.world.answered(&answer);
        let timeout = sending.sent + self.scenario.request_timeout;
        let (at, reply) = match now < self.silent_until {
            true => (timeout, Reply::Silence(Silence::TimedOut)),
            false => received(&answer, now, timeout),
        };
        (at, self.understood(&sending.content, reply))
    }

    fn encode(&self, content: &Content) -> (String, Option<String>, Vec<u8>) {
        match content {
            Content::Batch { call, token } => {
                (target(self.scenario.api_version, call), Some(format!("Bearer {token}")), body(call))
            }
            Content::Refresh { token } => {
                let form = format!("grant_type=refresh_token&client_id=app&client_secret=hidden&refresh_token={token}");
                ("/oauth/2026-03/token".to_owned(), None, form.into_bytes())
            }
            Content::Identity { token } => {
                ("/account-info/v3/details".to_owned(), Some(format!("Bearer {token}")), Vec::new())
            }
        }
    }

    fn understood(&self, content: &Content, reply: Reply) -> Heard {
        match content {
            Content::Batch { .. } => Heard::Batch(reply),
            Content::Refresh { token } => granted(&reply, token),
            Content::Identity { .. } => Heard::Identity(identity(&reply)),
        }
    }

    /// Nobody can be reached: what the sender of this hears.
    pub fn refused(&self, content: &Content) -> Heard {
        self.understood(content, Reply::Silence(Silence::Refused("away".to_owned())))
    }

    pub fn revoke_token(&mut self, index: u32) {
        let account = &mut self.world.accounts[index as usize];
        account.tokens = Tokens::These([].into());
        if let Some(oauth) = &mut account.oauth {
            oauth.revoke_access_tokens();
        }
    }

    pub fn revoke_refresh_token(&mut self, index: u32) {
        self.revoke_token(index);
        if let Some(oauth) = &mut self.world.accounts[index as usize].oauth {
            oauth.refresh_token = "another".to_owned();
        }
    }

    /// The next account's token lies in this account's file.
    pub fn confuse_token(&mut self, index: u32) {
        let next = (index as usize + 1) % self.files.len();
        self.files[index as usize] = self.files[next].clone();
    }

    /// A new token, known to HubSpot and in the file.
    pub fn mend_token(&mut self, index: u32) {
        self.tokens_given += 1;
        let account = &mut self.world.accounts[index as usize];
        let token = format!("secret-{}-{}", account.portal_id, self.tokens_given);
        match &mut account.oauth {
            Some(oauth) => oauth.refresh_token.clone_from(&token),
            None => account.tokens = Tokens::These([token.clone()].into()),
        }
        self.files[index as usize] = token;
    }

    pub fn take_scope(&mut self, index: u32) {
        if let Some(object_type) = ObjectType::parse("contacts") {
            let scopes = vec!["crm.objects.contacts.write".to_owned()];
            self.world.accounts[index as usize].missing_scopes.insert(object_type, scopes);
        }
    }

    pub fn give_scope(&mut self, index: u32) {
        self.world.accounts[index as usize].missing_scopes.clear();
    }

    pub fn allow(&mut self, index: u32, requests: usize) {
        if let Some(window) = &mut self.world.accounts[index as usize].limits.rolling {
            window.requests = requests.max(1);
        }
    }
}

fn account(portal: &Portal, secret: &str) -> Account {
    let account = Account::new(portal.id);
    let interval = portal.policy.ceiling.interval;
    let mut account = match portal.policy.credentials {
        CredentialKind::Static => account.with_token(secret),
        CredentialKind::OAuth => Account { oauth: Some(OAuth::new("app", "hidden", secret)), ..account },
    };
    account.time_zone = portal.time_zone.clone();
    account.clock_behind = portal.clock_behind;
    account.limits = Limits {
        rolling: Some(Window::new(portal.allowed, interval)),
        secondly: portal.limits.secondly.map(|requests| Window::new(requests, Duration::from_secs(1))),
        daily: portal.daily_allowed.map(DayBudget::new),
        count_refused: portal.limits.count_refused,
        headers: portal.limits.headers,
        retry_after: portal.limits.retry_after,
    };
    account.bad_records = portal.bad.clone();
    account.unknown_types = portal.unknown_type.and_then(ObjectType::parse).into_iter().collect();
    account
}

pub fn target(version: &str, call: &BatchCall) -> String {
    let (from, to) = (call.lane.from_type.path_segment(), call.lane.to_type.path_segment());
    let (from, to) = match &call.request {
        command::Request::Look { reversed: true, .. } | command::Request::ArchiveTurned => (to, from),
        command::Request::Archive
        | command::Request::ArchiveLabels
        | command::Request::Look { reversed: false, .. }
        | command::Request::Associate
        | command::Request::Create { .. } => (from, to),
    };
    let path = match version {
        "v4" => format!("/crm/v4/associations/{from}/{to}/batch"),
        dated => format!("/crm/associations/{dated}/{from}/{to}/batch"),
    };
    let verb = match &call.request {
        command::Request::Archive | command::Request::ArchiveTurned => "archive",
        command::Request::ArchiveLabels => "labels/archive",
        command::Request::Look { .. } => "read",
        command::Request::Associate => "associate/default",
        command::Request::Create { .. } => "create",
    };
    format!("{path}/{verb}")
}

pub fn body(call: &BatchCall) -> Vec<u8> {
    let one = |Pair { from, to }: &Pair| format!(r#""from":{{"id":"{from}"}},"to":{{"id":"{to}"}}}}"#);
    let pairs = &call.pairs;
    let inputs: Vec<String> = match &call.request {
        command::Request::Archive | command::Request::ArchiveTurned => {
            let is_turned = matches!(call.request, command::Request::ArchiveTurned);
            let sent = |pair: &Pair| if is_turned { pair.turned() } else { *pair };
            let pairs: Vec<Pair> = pairs.iter().map(sent).collect();
            let inputs = pairs.chunk_by(|one, next| one.from == next.from).map(|input| {
                let to: Vec<String> = input.iter().map(|pair| format!(r#"{{"id":"{}"}}"#, pair.to)).collect();
                format!(r#"{{"from":{{"id":"{}"}},"to":[{}]}}"#, input[0].from, to.join(","))
            });
            inputs.collect()
        }
        command::Request::ArchiveLabels => {
            let types = match &call.lane.extent {
                Extent::Whole => String::new(),
                Extent::Labels(labels) => types(labels),
            };
            pairs.iter().map(|pair| format!(r#"{{"types":[{types}],{}"#, one(pair))).collect()
        }
        command::Request::Look { records, .. } => {
            let inputs = records.iter().map(|LookAsked { from, after }| match after {
                None => format!(r#"{{"id":"{from}"}}"#),
                Some(after) => format!(r#"{{"id":"{from}","after":{}}}"#, Value::from(&**after)),
            });
            inputs.collect()
        }
        command::Request::Associate => pairs.iter().map(|pair| format!("{{{}", one(pair))).collect(),
        command::Request::Create { labels } => {
            let inputs = pairs.iter().zip(labels.iter());
            inputs.map(|(pair, labels)| format!(r#"{{"types":[{}],{}"#, types(labels), one(pair))).collect()
        }
    };
    format!(r#"{{"inputs":[{}]}}"#, inputs.join(",")).into_bytes()
}

fn types(labels: &[Label]) -> String {
    let types = labels.iter().map(|label| {
        let (category, id) = (label.category.as_str(), label.type_id);
        format!(r#"{{"associationCategory":"{category}","associationTypeId":{id}}}"#)
    });
    types.collect::<Vec<_>>().join(",")
}

/// What a client with this time-out receives of an answer, and when.
pub fn received(answer: &Answer, now: Duration, timeout: Duration) -> (Duration, Reply) {
    let first_byte = now + answer.delay;
    if first_byte >= timeout {
        return (timeout, Reply::Silence(Silence::TimedOut));
    }
    let status_with = |body| {
        let headers = Headers::read(|name| answer.header(name).map(str::as_bytes));
        Reply::Answer(reply::Answer { status: answer.status, headers, body })
    };
    let whole = || Body::Whole(answer.body.clone());
    let start = |bytes: usize| Body::CutOff(answer.body.slice(..bytes.min(answer.body.len().saturating_sub(1))));
    match answer.ending {
        Ending::Reset => (first_byte, Reply::Silence(Silence::Reset)),
        Ending::Cut { after_bytes } if !answer.body.is_empty() => (first_byte, status_with(start(after_bytes))),
        Ending::Stalled { after_bytes, lasting } if !answer.body.is_empty() => match first_byte + lasting < timeout {
            true => (first_byte + lasting, status_with(whole())),
            false => (timeout, status_with(start(after_bytes))),
        },
        Ending::Whole | Ending::Cut { .. } | Ending::Stalled { .. } => (first_byte, status_with(whole())),
    }
}

/// The whole body of a 200, as JSON.
fn accepted(reply: &Reply) -> Option<Value> {
    match reply {
        Reply::Answer(reply::Answer { status: 200, body: Body::Whole(body), .. }) => json(body),
        Reply::Answer(_) | Reply::Silence(_) => None,
    }
}

fn json(body: &Bytes) -> Option<Value> {
    serde_json::from_slice(body).ok()
}

fn granted(reply: &Reply, refresh_token: &str) -> Heard {
    let failed = || Heard::Refresh(RefreshReply::Failed { detail: "no answer".to_owned(), wait: None }, None);
    if let Reply::Answer(reply::Answer { status: 400, body: Body::Whole(body), .. }) = reply {
        let refused = json(body).is_some_and(|body| body["status"] == "BAD_REFRESH_TOKEN");
        let refusal = RefreshReply::Refused { detail: "BAD_REFRESH_TOKEN".to_owned() };
        return if refused { Heard::Refresh(refusal, None) } else { failed() };
    }
    let Some(body) = accepted(reply) else { return failed() };
    let (Some(token), Some(seconds)) = (body["access_token"].as_str(), body["expires_in"].as_u64()) else {
        return failed();
    };
    let portal = body["hub_id"].as_u64().and_then(std::num::NonZeroU64::new).map(PortalId);
    let reply = RefreshReply::Granted { expires_in: Duration::from_secs(seconds), portal };
    Heard::Refresh(reply, Some((token.to_owned(), refresh_token.to_owned())))
}

fn identity(reply: &Reply) -> IdentityReply {
    let detail = "no answer".to_owned();
    if let Reply::Answer(reply::Answer { status: 403 | 404, .. }) = reply {
        return IdentityReply::WillNotTell { detail };
    }
    let body = accepted(reply);
    let portal = body.as_ref().and_then(|body| body["portalId"].as_u64()).and_then(std::num::NonZeroU64::new);
    let Some(portal) = portal else { return IdentityReply::Failed { detail, wait: None } };
    let zone = body.as_ref().and_then(|body| body["timeZone"].as_str()).and_then(|name| TimeZone::get(name).ok());
    IdentityReply::Told { portal, time_zone: zone }
}
