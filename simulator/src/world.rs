//! HubSpot: accounts, faults, and how a request passes through them.

use std::time::Duration;

use fastrand::Rng;
use jiff::Timestamp;
use serde_json::Value;

use crate::account::{Account, Tokens};
use crate::behaviour::Behaviour;
use crate::fault::{Faults, Occasion};
use crate::identity;
use crate::inspection;
use crate::limits::Policy;
use crate::oauth::Standing;
use crate::object_type::{Lane, ObjectType};
use crate::refusal::Types;
use crate::reply::{Answer, Ending, Unauthorized, Voice};
use crate::request::{Kind, Request, Route};
use crate::sighting::{Arrival, Arrivals, Level, Seen, Violation};
use crate::wire::{self, Input, Inputs, ReadInput};
use crate::{batch, create, inventory, read};

/// The portal of the account that a new world has.
pub const DEFAULT_PORTAL: u64 = 4711;

/// HubSpot as it looks from outside. Edit its fields, let it [handle](Self::handle) requests, ask what it has seen.
#[derive(Debug)]
pub struct World {
    /// The wall-clock time at which the callers' time is 0.
    pub epoch: Timestamp,
    pub behaviour: Behaviour,
    pub accounts: Vec<Account>,
    /// Requests that no account could be found for.
    pub strangers: Seen,
    pub faults: Faults,
    pub arrivals: Arrivals,
    pub in_flight: Level,
    rng: Rng,
}

impl World {
    /// One account, [`DEFAULT_PORTAL`], in which everything exists and to which any bearer token gives access.
    /// Equal seeds and equal requests give equal answers.
    pub fn new(seed: u64, epoch: Timestamp) -> Self {
        let account = Account { tokens: Tokens::Any, ..Account::new(DEFAULT_PORTAL) };
        Self::with_accounts(seed, epoch, vec![account])
    }

    pub fn with_accounts(seed: u64, epoch: Timestamp, accounts: Vec<Account>) -> Self {
        Self {
            epoch,
            behaviour: Behaviour::default(),
            accounts,
            strangers: Seen::default(),
            faults: Faults::default(),
            arrivals: Arrivals::default(),
            in_flight: Level::default(),
            rng: Rng::with_seed(seed),
        }
    }

    pub fn account(&self, portal_id: u64) -> Option<&Account> {
        self.accounts.iter().find(|account| account.portal_id == portal_id)
    }

    pub fn account_mut(&mut self, portal_id: u64) -> Option<&mut Account> {
        self.accounts.iter_mut().find(|account| account.portal_id == portal_id)
    }

    /// It is now this time, for what happens without a request: another app makes associations again. Every request
    /// does this first.
    pub fn advance(&mut self, now: Duration) {
        for account in &mut self.accounts {
            account.associations.advance(now);
        }
    }

    /// What HubSpot does about a request that arrives `now` (since [`Self::epoch`], never going back).
    ///
    /// What is archived is archived at once; the answer is due after [`Answer::delay`]. Until the caller says that it
    /// was [answered](Self::answered), the request counts as in flight.
    pub fn handle(&mut self, request: &Request<'_>, now: Duration) -> Answer {
        self.cut_unread(request, now).unwrap_or_else(|| self.handle_read(request, now))
    }

    /// The request is no longer in flight: it was answered, or its caller has gone.
    pub fn answered(&mut self, answer: &Answer) {
        self.in_flight.down();
        seen_of(&mut self.accounts, &mut self.strangers, answer.account).in_flight.down();
    }

    /// A reset where a rule wants it before the body is read; it looks at the head only.
    pub(crate) fn cut_unread(&mut self, request: &Request<'_>, now: Duration) -> Option<Answer> {
        let route = Route::of(request.target);
        let (account, _) = self.whose(request.bearer(), now);
        let lane = route.types.and_then(|(from, to)| Lane::parse(from, to));
        let portal = self.portal(account);
        let occasion = Occasion { portal, kind: route.kind, lane: lane.as_ref(), pairs: None, now };
        if !self.faults.strikes_unread(occasion, &mut self.rng) {
            return None;
        }
        let call = Call { route, lane, account, standing: Standing::Unknown, asked: Asked::Nothing };
        self.arrived(&call, now);
        Some(self.dismissed(&call, Answer::reset(), now))
    }

    /// As [`Self::handle`], for a request that was not [cut](Self::cut_unread).
    pub(crate) fn handle_read(&mut self, request: &Request<'_>, now: Duration) -> Answer {
        self.advance(now);
        let route = Route::of(request.target);
        let (account, standing) = self.caller(&route, request, now);
        let lane = route.types.and_then(|(from, to)| Lane::parse(from, to));
        let call = Call { route, lane, account, standing, asked: Asked::read(route.kind, request.body) };
        self.arrived(&call, now);
        let broken = self.inspect(&call);
        let correlation = correlation_id(&mut self.rng);
        let voice = Voice { correlation: &correlation, wall: self.wall(now) };
        let mut answer = match self.gate(&call, now, voice) {
            Some(stopped) => stopped,
            None => self.pass(request, &call, &broken, now, voice),
        };
        answer.delay += self.latency();
        if answer.ending != Ending::Reset {
            answer = self.with_rate_headers(&call, answer, now).with_header("x-hubspot-correlation-id", correlation);
        }
        self.dismissed(&call, answer, now)
    }

    fn wall(&self, now: Duration) -> Timestamp {
        self.epoch.saturating_add(now).unwrap_or(Timestamp::MAX)
    }

    fn portal(&self, account: Option<usize>) -> Option<u64> {
        Some(self.accounts.get(account?)?.portal_id)
    }

    fn latency(&mut self) -> Duration {
        let Behaviour { latency, jitter, .. } = self.behaviour;
        if jitter.is_zero() { latency } else { latency + jitter.mul_f64(self.rng.f64()) }
    }

    /// The account on whose behalf a request comes, and what its token is worth.
    fn caller(&self, route: &Route<'_>, request: &Request<'_>, now: Duration) -> (Option<usize>, Standing) {
        match route.kind {
            Kind::TokenRefresh => {
                let token = wire::form_value(request.body, "refresh_token").unwrap_or_default();
                let owns = |account: &Account| account.oauth.as_ref().is_some_and(|oauth| oauth.refresh_token == token);
                (self.accounts.iter().position(owns), Standing::Unknown)
            }
            Kind::Introspect => self.whose(wire::form_value(request.body, "token").as_deref(), now),
            Kind::AccessTokenInfo => self.whose(wire::token_key(request.body).ok().as_deref(), now),
            Kind::Archive
            | Kind::LabelsArchive
            | Kind::Read
            | Kind::Create
            | Kind::AssociateDefault
            | Kind::Labels
            | Kind::AccountInfo
            | Kind::Other => self.whose(request.bearer(), now),
        }
    }

    /// The account that knows the token; one that takes any token comes last.
    fn whose(&self, token: Option<&str>, now: Duration) -> (Option<usize>, Standing) {
        let Some(token) = token else { return (None, Standing::Unknown) };
        let mut anyones = None;
        for (index, account) in self.accounts.iter().enumerate() {
            match (&account.tokens, account.standing(token, now)) {
                (_, Standing::Unknown) => {}
                (Tokens::Any, standing) => anyones = anyones.or(Some((index, standing))),
                (Tokens::These(_), standing) => return (Some(index), standing),
            }
        }
        anyones.map_or((None, Standing::Unknown), |(index, standing)| (Some(index), standing))
    }

    fn arrived(&mut self, call: &Call<'_>, now: Duration) {
        let account = call.account.and_then(|index| self.accounts.get(index));
        let interval = account.and_then(|account| account.limits.rolling.as_ref()).map(|window| window.interval);
        self.in_flight.up();
        let seen = seen_of(&mut self.accounts, &mut self.strangers, call.account);
        seen.in_flight.up();
        seen.arrived(call.route.kind, now, interval);
    }

    /// Notes the size of a batch and what it breaks.
    fn inspect(&mut self, call: &Call<'_>) -> Vec<Violation> {
        let kind = call.route.kind;
        let broken = match (kind, &call.asked) {
            (Kind::Archive | Kind::LabelsArchive, Asked::Batch(inputs)) => {
                let seen = seen_of(&mut self.accounts, &mut self.strangers, call.account);
                seen.batches.add(call.pairs() as u64);
                inspection::violations(kind, inputs, &self.behaviour.caps)
            }
            (_, Asked::Batch(inputs)) => inspection::violations(kind, inputs, &self.behaviour.caps),
            (_, Asked::Records(inputs)) => inspection::read_violations(inputs, &self.behaviour.caps),
            (_, Asked::Ignored | Asked::Unreadable(_)) => vec![Violation::Malformed],
            (_, Asked::Nothing) => Vec::new(),
        };
        let seen = seen_of(&mut self.accounts, &mut self.strangers, call.account);
        for &violation in &broken {
            let told = || format!("{violation:?} in a {kind:?} request of {} pairs", call.pairs());
            seen.violated(violation, told);
        }
        broken
    }

    /// Stops requests without a valid token and those over a limit.
    fn gate(&mut self, call: &Call<'_>, now: Duration, voice: Voice<'_>) -> Option<Answer> {
        if !call.route.kind.needs_bearer() {
            return None;
        }
        match call.standing {
            Standing::Valid(_) => {}
            Standing::Expired(ago) => {
                return Some(voice.unauthorized(Unauthorized::Expired { seconds_ago: ago.as_secs() }));
            }
            Standing::Unknown => return Some(voice.unauthorized(Unauthorized::Invalid)),
        }
        let account = self.accounts.get_mut(call.account?)?;
        let wall = voice.wall.saturating_sub(account.clock_behind).unwrap_or(voice.wall);
        let over = account.limits.admit(now, wall, &account.time_zone).err()?;
        match over.policy {
            Policy::Daily => {}
            Policy::TenSecondlyRolling | Policy::Secondly => {
                let told = || format!("over the {} limit at {now:?}", over.policy.in_words());
                account.seen.violated(Violation::OverCeiling, told);
            }
        }
        let style = crate::reply::ThrottleStyle::PolicyName;
        let answer = voice.throttled(over.policy.as_str(), over.policy.in_words(), style);
        Some(match account.limits.retry_after {
            Some(form) => answer.with_header("retry-after", voice.retry_after(form, over.free_in)),
            None => answer,
        })
    }

    /// Carries a request out, unless a fault is due.
    fn pass(
        &mut self,
        request: &Request<'_>,
        call: &Call<'_>,
        broken: &[Violation],
        now: Duration,
        voice: Voice<'_>,
    ) -> Answer {
        let portal = self.portal(call.account);
        let occasion =
            Occasion { portal, kind: call.route.kind, lane: call.lane.as_ref(), pairs: Some(call.pairs()), now };
        let fault = self.faults.strike(occasion, &mut self.rng);
        let mut perform = || self.perform(request, call, broken, now, voice);
        match fault {
            Some(effect) => effect.apply(voice, perform),
            None => perform(),
        }
    }

    /// What is wrong with a request before its inputs are looked at.
    fn check(&self, request: &Request<'_>, call: &Call<'_>, voice: Voice<'_>) -> Option<Answer> {
        if call.route.kind == Kind::Other {
            return Some(voice.error(404, None, "resource not found", Value::Null));
        }
        if request.method != call.route.method() {
            return Some(
                voice.error(405, None, "Method not allowed", Value::Null).with_header("allow", call.route.method()),
            );
        }
        let (from, to) = call.route.types?;
        let account = self.accounts.get(call.account?)?;
        let unknown = |text: &&str| {
            ObjectType::parse(text).is_none_or(|object_type| account.unknown_types.contains(&object_type))
        };
        if let Some(unknown) = [from, to].into_iter().find(unknown) {
            return Some(voice.error(400, None, &format!("Unable to infer object type from: {unknown}"), Value::Null));
        }
        let missing = call.lane.as_ref().map(|lane| account.scopes_missing(lane)).unwrap_or_default();
        if !missing.is_empty() {
            return Some(voice.missing_scopes(missing));
        }
        let json = request.content_type.is_none_or(|text| text.to_ascii_lowercase().starts_with("application/json"));
        (!json).then(|| voice.error(415, None, "Unsupported Media Type", Value::Null))
    }

    fn perform(
        &mut self,
        request: &Request<'_>,
        call: &Call<'_>,
        broken: &[Violation],
        now: Duration,
        voice: Voice<'_>,
    ) -> Answer {
        if let Some(wrong) = self.check(request, call, voice) {
            return wrong;
        }
        if let Some(unreadable) = call.asked.unreadable() {
            return voice.error(400, None, &format!("Invalid input JSON: {unreadable}"), Value::Null);
        }
        if let Some(refusal) = inspection::refusal(broken, &self.behaviour.caps, voice) {
            return refusal;
        }
        let account = call.account.and_then(|index| self.accounts.get_mut(index));
        match call.route.kind {
            Kind::TokenRefresh => return identity::refresh(account, request.body, now, voice),
            Kind::Introspect => return identity::introspect(account.as_deref(), call.standing),
            Kind::AccessTokenInfo => return identity::access_token_info(account.as_deref(), voice),
            Kind::Archive
            | Kind::LabelsArchive
            | Kind::Read
            | Kind::Create
            | Kind::AssociateDefault
            | Kind::Labels
            | Kind::AccountInfo
            | Kind::Other => {}
        }
        let Some(account) = account else { return voice.unauthorized(Unauthorized::Invalid) };
        let (Some(lane), Some(written)) = (&call.lane, call.route.types) else {
            return identity::account_info(account, voice);
        };
        let types = Types { lane, written };
        let behaviour = &self.behaviour;
        match (&call.asked, call.route.kind) {
            (Asked::Batch(inputs), Kind::Create) => create::create(account, behaviour, types, inputs, voice),
            (Asked::Batch(inputs), Kind::AssociateDefault) => {
                create::associate_default(account, behaviour, types, inputs, voice)
            }
            (Asked::Batch(inputs), _) => batch::archive(account, behaviour, types, inputs, voice),
            (Asked::Records(records), _) => read::read(account, behaviour, types, records, &mut self.rng, voice),
            (Asked::Nothing, Kind::Labels) => inventory::labels(account, lane),
            (Asked::Ignored | Asked::Unreadable(_) | Asked::Nothing, _) => voice.completed(200, "COMPLETE", &[]),
        }
    }

    fn with_rate_headers(&mut self, call: &Call<'_>, answer: Answer, now: Duration) -> Answer {
        let account = call.account.and_then(|index| self.accounts.get_mut(index));
        let Some(account) = account.filter(|account| account.limits.headers && call.route.kind.needs_bearer()) else {
            return answer;
        };
        let (limits, mut answer) = (&mut account.limits, answer);
        if let Some(window) = &mut limits.rolling {
            answer = answer
                .with_header("x-hubspot-ratelimit-max", window.requests)
                .with_header("x-hubspot-ratelimit-remaining", window.requests.saturating_sub(window.used(now)))
                .with_header("x-hubspot-ratelimit-interval-milliseconds", window.interval.as_millis());
        }
        if let Some(window) = &mut limits.secondly {
            answer = answer.with_header("x-hubspot-ratelimit-secondly", window.requests).with_header(
                "x-hubspot-ratelimit-secondly-remaining",
                window.requests.saturating_sub(window.used(now)),
            );
        }
        // HubSpot does not tell an OAuth app what is left of the day.
        match &limits.daily {
            Some(day) if account.oauth.is_none() => answer
                .with_header("x-hubspot-ratelimit-daily", day.requests)
                .with_header("x-hubspot-ratelimit-daily-remaining", day.requests.saturating_sub(day.used)),
            Some(_) | None => answer,
        }
    }

    fn dismissed(&mut self, call: &Call<'_>, answer: Answer, now: Duration) -> Answer {
        let portal = self.portal(call.account);
        let seen = seen_of(&mut self.accounts, &mut self.strangers, call.account);
        *seen.by_status.entry(answer.status).or_default() += 1;
        self.arrivals.note(|| Arrival {
            at: now,
            portal,
            kind: call.route.kind,
            lane: call.lane.clone(),
            pairs: call.pairs(),
            status: answer.status,
        });
        Answer { account: call.account, ..answer }
    }
}

/// A request, understood.
struct Call<'a> {
    route: Route<'a>,
    /// `None` for other endpoints and for types that cannot be read.
    lane: Option<Lane>,
    account: Option<usize>,
    standing: Standing,
    asked: Asked,
}

impl Call<'_> {
    fn pairs(&self) -> usize {
        match &self.asked {
            Asked::Batch(inputs) => inputs.iter().map(|input| input.to.len()).sum(),
            Asked::Records(inputs) => inputs.len(),
            Asked::Ignored | Asked::Unreadable(_) | Asked::Nothing => 0,
        }
    }
}

/// The body of a request to an association endpoint.
enum Asked {
    Batch(Vec<Input>),
    Records(Vec<ReadInput>),
    /// Accepted, and without any effect.
    Ignored,
    Unreadable(String),
    /// Another endpoint.
    Nothing,
}

impl Asked {
    fn unreadable(&self) -> Option<&str> {
        match self {
            Self::Unreadable(why) => Some(why),
            Self::Batch(_) | Self::Records(_) | Self::Ignored | Self::Nothing => None,
        }
    }

    fn read(kind: Kind, body: &[u8]) -> Self {
        let inputs = match kind {
            Kind::Archive => wire::archive(body),
            Kind::LabelsArchive | Kind::Create => wire::labelled(body),
            Kind::AssociateDefault => wire::unlabelled(body),
            Kind::Read => match wire::read(body) {
                Ok(records) => return Self::Records(records),
                Err(error) => Err(error),
            },
            Kind::Labels
            | Kind::TokenRefresh
            | Kind::Introspect
            | Kind::AccessTokenInfo
            | Kind::AccountInfo
            | Kind::Other => return Self::Nothing,
        };
        match inputs {
            Ok(Inputs::Readable(inputs)) => Self::Batch(inputs),
            Ok(Inputs::Ignored) => Self::Ignored,
            Err(error) => Self::Unreadable(error.to_string()),
        }
    }
}

fn seen_of<'a>(accounts: &'a mut [Account], strangers: &'a mut Seen, account: Option<usize>) -> &'a mut Seen {
    match account.and_then(|index| accounts.get_mut(index)) {
        Some(account) => &mut account.seen,
        None => strangers,
    }
}

/// In the form of a UUID.
fn correlation_id(rng: &mut Rng) -> String {
    let (a, b) = (rng.u64(..), rng.u64(..));
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xffff,
        b >> 48,
        b & 0xffff_ffff_ffff
    )
}
