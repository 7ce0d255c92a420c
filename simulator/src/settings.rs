//! Settings as flags, files and `POST /_sim/config` give them: only what is named is changed.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::account::{Account, Tokens};
use crate::association::{Associations, Existing};
use crate::association_settings::AssociationSettings;
use crate::behaviour::{ContextShape, Creates, NotAssociated, Reads, Repeats, Success};
use crate::limits::{DayBudget, RetryAfterForm, Window};
use crate::oauth::OAuth;
use crate::object_type::ObjectType;
use crate::refusal::{BadMode, Failure};
use crate::world::World;

/// Changes to a world.
#[derive(Clone, Default, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    #[serde(deserialize_with = "crate::duration::deserialize_some")]
    pub latency: Option<Duration>,
    #[serde(deserialize_with = "crate::duration::deserialize_some")]
    pub jitter: Option<Duration>,
    pub success: Option<Success>,
    pub not_associated: Option<NotAssociated>,
    /// 0: no cap.
    pub max_pairs: Option<usize>,
    pub max_from: Option<usize>,
    pub repeats: Option<Repeats>,
    /// Records of a `batch/read`.
    pub max_read: Option<usize>,
    /// Inputs of a `batch/create` or `batch/associate/default`.
    pub max_create: Option<usize>,
    pub context: Option<ContextShape>,
    pub reads: Option<Reads>,
    pub creates: Option<Creates>,
    /// How many requests the log of arrivals keeps.
    pub arrivals_kept: Option<usize>,
    /// For all accounts there are after `accounts` was read.
    pub every_account: AccountSettings,
    /// By portal id; an unknown portal is opened. An account that takes any token does not stand beside them.
    pub accounts: BTreeMap<u64, AccountSettings>,
}

/// Changes to an account.
#[derive(Clone, Default, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AccountSettings {
    /// All static tokens from now on.
    pub tokens: Option<BTreeSet<String>>,
    pub oauth: Option<OAuth>,
    #[serde(deserialize_with = "time_zone")]
    pub time_zone: Option<TimeZone>,
    pub account_type: Option<String>,
    pub limit: Option<LimitSetting>,
    /// Requests in every rolling second; 0: no such limit.
    pub secondly: Option<usize>,
    /// Requests a day; 0: no such limit.
    pub daily: Option<u64>,
    pub used_today: Option<u64>,
    pub count_refused: Option<bool>,
    pub rate_headers: Option<bool>,
    pub retry_after: Option<RetryAfterSetting>,
    /// Object type to the scopes the app lacks for it.
    pub missing_scopes: Option<BTreeMap<ObjectType, Vec<String>>>,
    pub unknown_types: Option<BTreeSet<ObjectType>>,
    pub bad_ids: Option<Vec<u64>>,
    pub bad_mode: Option<BadMode>,
    /// Without a `bad_mode` that refuses whole requests it means [`BadMode::RefusedUnnamed`].
    pub bad_failure: Option<Failure>,
    pub bad_category: Option<String>,
    pub bad_sub_category: Option<String>,
    pub record: Option<bool>,
    /// Whether everything exists or nothing does until it is created.
    pub existing: Option<ExistingSetting>,
    pub associations: AssociationSettings,
}

/// `100/10s`, or `off`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub enum LimitSetting {
    Off,
    Rate { requests: usize, interval: Duration },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RetryAfterSetting {
    None,
    Seconds,
    Date,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ExistingSetting {
    /// Whatever is asked for; it cannot be listed
    Everything,
    /// What was created and no more
    Nothing,
}

impl FromStr for LimitSetting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let wrong = || format!("{text:?} is no limit: write 100/10s, or off");
        let (requests, interval) = text.split_once('/').ok_or_else(wrong)?;
        let requests = requests.parse().map_err(|_| wrong())?;
        let interval = crate::duration::parse(interval)?;
        if interval.is_zero() { Err(wrong()) } else { Ok(Self::Rate { requests, interval }) }
    }
}

impl TryFrom<String> for LimitSetting {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl Settings {
    pub fn apply(self, world: &mut World) {
        let Self {
            latency,
            jitter,
            success,
            not_associated,
            max_pairs,
            max_from,
            repeats,
            max_read,
            max_create,
            context,
            reads,
            creates,
            arrivals_kept,
            every_account,
            accounts,
        } = self;
        let behaviour = &mut world.behaviour;
        set(&mut behaviour.latency, latency);
        set(&mut behaviour.jitter, jitter);
        set(&mut behaviour.success, success);
        set(&mut behaviour.not_associated, not_associated);
        set(&mut behaviour.caps.pairs, max_pairs.map(|most| (most > 0).then_some(most)));
        set(&mut behaviour.caps.from, max_from);
        set(&mut behaviour.caps.read_inputs, max_read);
        set(&mut behaviour.caps.create_inputs, max_create);
        set(&mut behaviour.caps.repeats, repeats);
        set(&mut behaviour.reads, reads);
        set(&mut behaviour.creates, creates);
        set(&mut behaviour.context, context);
        set(&mut world.arrivals.kept, arrivals_kept);
        open_accounts(world, &accounts);
        for account in &mut world.accounts {
            every_account.clone().apply(account);
        }
        for (portal_id, settings) in accounts {
            if let Some(account) = world.account_mut(portal_id) {
                settings.apply(account);
            }
        }
    }
}

impl AccountSettings {
    pub fn apply(self, account: &mut Account) {
        let Self {
            tokens,
            oauth,
            time_zone,
            account_type,
            limit,
            secondly,
            daily,
            used_today,
            count_refused,
            rate_headers,
            retry_after,
            missing_scopes,
            unknown_types,
            bad_ids,
            bad_mode,
            bad_failure,
            bad_category,
            bad_sub_category,
            record,
            existing,
            associations,
        } = self;
        set(&mut account.tokens, tokens.map(Tokens::These));
        set(&mut account.oauth, oauth.map(Some));
        set(&mut account.time_zone, time_zone);
        set(&mut account.account_type, account_type);
        let limits = &mut account.limits;
        set(&mut limits.rolling, limit.map(LimitSetting::window));
        set(&mut limits.secondly, secondly.map(|most| (most > 0).then(|| Window::new(most, Duration::from_secs(1)))));
        set(&mut limits.daily, daily.map(|most| (most > 0).then(|| DayBudget::new(most))));
        if let Some(day) = &mut limits.daily {
            set(&mut day.used, used_today);
        }
        set(&mut limits.count_refused, count_refused);
        set(&mut limits.headers, rate_headers);
        set(&mut limits.retry_after, retry_after.map(RetryAfterSetting::form));
        set(&mut account.missing_scopes, missing_scopes);
        set(&mut account.unknown_types, unknown_types);
        let bad = &mut account.bad_records;
        set(&mut bad.ids, bad_ids.map(|ids| ids.into_iter().collect()));
        // A failure is of the whole request, which a 207 is not.
        let is_whole = !matches!(bad.mode, BadMode::PartialNamed | BadMode::PartialUnnamed);
        let implied = (bad_failure.is_some() && !is_whole).then_some(BadMode::RefusedUnnamed);
        set(&mut bad.mode, bad_mode.or(implied));
        set(&mut bad.failure, bad_failure);
        set(&mut bad.category, bad_category);
        set(&mut bad.sub_category, bad_sub_category.map(Some));
        set(&mut account.associations.recording, record);
        set(&mut account.associations.existing, existing.map(ExistingSetting::existing));
        associations.apply(account);
    }
}

impl LimitSetting {
    fn window(self) -> Option<Window> {
        match self {
            Self::Off => None,
            Self::Rate { requests, interval } => Some(Window::new(requests, interval)),
        }
    }
}

impl RetryAfterSetting {
    fn form(self) -> Option<RetryAfterForm> {
        match self {
            Self::None => None,
            Self::Seconds => Some(RetryAfterForm::Seconds),
            Self::Date => Some(RetryAfterForm::Date),
        }
    }
}

impl ExistingSetting {
    fn existing(self) -> Existing {
        match self {
            Self::Everything => Existing::Everything,
            Self::Nothing => Associations::none().existing,
        }
    }
}

/// Makes sure that every portal named has an account, and that none of another portal takes any token.
fn open_accounts(world: &mut World, named: &BTreeMap<u64, AccountSettings>) {
    if named.is_empty() {
        return;
    }
    let closed = Tokens::These(BTreeSet::new());
    for account in &mut world.accounts {
        if account.tokens == Tokens::Any && !named.contains_key(&account.portal_id) {
            account.tokens = closed.clone();
        }
    }
    // One that has seen nothing would only stand in the way of what is to be read off the state.
    let idle = |account: &Account| account.tokens == closed && account.oauth.is_none() && account.seen.requests() == 0;
    world.accounts.retain(|account| named.contains_key(&account.portal_id) || !idle(account));
    for &portal_id in named.keys() {
        if world.account(portal_id).is_none() {
            world.accounts.push(Account::new(portal_id));
        }
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn time_zone<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<TimeZone>, D::Error> {
    let name = String::deserialize(deserializer)?;
    TimeZone::get(&name).map(Some).map_err(|_| {
        serde::de::Error::custom(format_args!("{name:?} is no time zone: write a name such as Europe/Berlin"))
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]
    use super::*;

    fn applied(json: &str) -> World {
        let mut world = World::new(1, jiff::Timestamp::UNIX_EPOCH);
        serde_json::from_str::<Settings>(json).unwrap().apply(&mut world);
        world
    }

    #[test]
    fn only_what_is_named_changes() {
        let world = applied(r#"{"latency":"80ms","everyAccount":{"limit":"5/1s","badIds":[7],"badMode":"400-named"}}"#);
        let account = &world.accounts[0];
        assert_eq!(world.behaviour.latency, Duration::from_millis(80));
        assert_eq!(account.limits.rolling.as_ref().map(|window| window.requests), Some(5));
        assert_eq!(account.bad_records.mode, BadMode::RefusedNamed);
        assert_eq!(account.tokens, Tokens::Any);
    }

    #[test]
    fn a_failure_of_whole_requests_needs_no_mode() {
        let mode = |bad: &str| applied(&format!(r#"{{"everyAccount":{{{bad}}}}}"#)).accounts[0].bad_records.mode;
        assert_eq!(mode(r#""badIds":[7]"#), BadMode::PartialNamed);
        assert_eq!(mode(r#""badIds":[7],"badFailure":{"status":500}"#), BadMode::RefusedUnnamed);
        assert_eq!(mode(r#""badFailure":"cut","badMode":"400-named""#), BadMode::RefusedNamed);
        let mut world = applied(r#"{"everyAccount":{"badMode":"400-named"}}"#);
        serde_json::from_str::<Settings>(r#"{"everyAccount":{"badFailure":"reset"}}"#).unwrap().apply(&mut world);
        assert_eq!(world.accounts[0].bad_records.mode, BadMode::RefusedNamed, "what was set before stays");
    }

    #[test]
    fn a_named_account_ends_the_one_that_takes_any_token() {
        let world = applied(r#"{"accounts":{"1":{"tokens":["a"]},"2":{"tokens":["b"]}}}"#);
        let portals: Vec<u64> = world.accounts.iter().map(|account| account.portal_id).collect();
        assert_eq!(portals, [1, 2]);
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for (json, named) in [
            (r#"{"latencies":"1s"}"#, "latencies"),
            (r#"{"everyAccount":{"limit":"100"}}"#, "100/10s"),
            (r#"{"everyAccount":{"limit":"1/0s"}}"#, "100/10s"),
            (r#"{"everyAccount":{"timeZone":"Mars"}}"#, "Mars"),
            (r#"{"accounts":{"1":{"token":"a"}}}"#, "token"),
            (r#"{"everyAccount":{"unknownTypes":["pets"]}}"#, "pets"),
        ] {
            let error = serde_json::from_str::<Settings>(json).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
