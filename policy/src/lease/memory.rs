//! What an account must not forget when its worker ends or another one takes over.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::contract::ids::PortalId;
use crate::engine::pace::{Ceiling, Recent};

/// What is remembered of all accounts, also of those that this worker does not have.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Memory {
    accounts: BTreeMap<String, AccountMemory>,
}

/// What is remembered of one account. What is not known is left out, and what a later version adds is kept as it came.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct AccountMemory {
    pub day: Option<DayMemory>,
    /// The limit learned from HubSpot, where it is below the setting.
    pub ceiling: Option<Ceiling>,
    pub pause: PauseMemory,
    /// Requests of the last interval, youngest first; only where a worker that stops hands over.
    pub recent: Vec<Recent>,
    /// Where the account has a guard that has something to remember.
    pub guard: Option<GuardMemory>,
    others: Map<String, Value>,
}

/// What operators have said of the account.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PauseMemory {
    pub paused: bool,
    /// Since when it is paused by hand, by an order or by the settings. `None` also where a version wrote it that did
    /// not say.
    pub since: Option<Timestamp>,
    /// How many orders to pause or to resume it has had.
    pub orders: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DayMemory {
    /// The midnight at which the day is over.
    pub ends: Timestamp,
    pub used: u64,
}

/// What a guard has let through, and what a person has said to it.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct GuardMemory {
    pub stand: GuardStand,
    /// Since when, for a guard that is not open. `None` also where a version wrote it that did not say.
    pub since: Option<Timestamp>,
    /// How often that has changed.
    pub changes: u64,
    /// Numbers of pairs, and when each no longer counts.
    pub counted: Vec<(Timestamp, u64)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum GuardStand {
    #[default]
    Open,
    Waiting,
    Approved {
        until: Timestamp,
    },
    Rejected,
}

/// Most entries of a guard's `counted` that are read.
const MAX_COUNTED: usize = 100;

/// Name of the only account, where it is configured without a portal id.
const ONLY_ACCOUNT: &str = "only";

/// Most entries of `recent` that are read.
const MAX_RECENT: usize = 1_000;

impl Memory {
    pub fn set(&mut self, portal: Option<PortalId>, account: AccountMemory) {
        self.accounts.insert(name(portal), account);
    }

    pub fn of(&self, portal: Option<PortalId>) -> Option<&AccountMemory> {
        self.accounts.get(&name(portal))
    }

    /// Takes over what this worker's own engine remembers, and keeps the rest.
    pub fn overlay(&mut self, own: &Self) {
        for (name, account) in &own.accounts {
            let entry = self.accounts.entry(name.clone()).or_default();
            let others = std::mem::take(&mut entry.others);
            *entry = AccountMemory { others, ..account.clone() };
        }
    }

    /// Adds what another message remembers: a newer one is right in all things, but no message makes a day's count or a
    /// guard's smaller, or takes back what a person has said: it may have been written before all others were seen.
    pub fn absorb(&mut self, other: &Self, newer: bool) {
        for (name, theirs) in &other.accounts {
            let Some(ours) = self.accounts.get_mut(name) else {
                self.accounts.insert(name.clone(), theirs.clone());
                continue;
            };
            let day = later_or_more(ours.day, theirs.day);
            let guard = [ours.guard.take(), theirs.guard.clone()].into_iter().flatten().max_by_key(GuardMemory::rank);
            let pauses = if newer { [ours.pause, theirs.pause] } else { [theirs.pause, ours.pause] };
            let pause = pauses.into_iter().max_by_key(|pause| pause.orders).unwrap_or_default();
            if newer {
                ours.clone_from(theirs);
            }
            (ours.day, ours.guard, ours.pause) = (day, guard, pause);
        }
    }

    pub(super) fn read(value: Value) -> Result<Self, String> {
        let Value::Object(accounts) = value else { return Err("accounts is no object".to_owned()) };
        let read = |(name, value)| {
            let account = AccountMemory::read(value).map_err(|fault| format!("accounts.{name}: {fault}"))?;
            Ok((name, account))
        };
        Ok(Self { accounts: accounts.into_iter().map(read).collect::<Result<_, String>>()? })
    }

    pub(super) fn write(&self) -> Value {
        let accounts = self.accounts.iter().filter(|(_, account)| !account.is_empty());
        Value::Object(accounts.map(|(name, account)| (name.clone(), account.write())).collect())
    }
}

/// Of two counts of the same day the higher one, of two days the later.
fn later_or_more(ours: Option<DayMemory>, theirs: Option<DayMemory>) -> Option<DayMemory> {
    [ours, theirs].into_iter().flatten().max_by_key(|day| (day.ends, day.used))
}

fn name(portal: Option<PortalId>) -> String {
    portal.map_or_else(|| ONLY_ACCOUNT.to_owned(), |portal| portal.0.to_string())
}

impl AccountMemory {
    pub fn new(day: Option<DayMemory>, ceiling: Option<Ceiling>, pause: PauseMemory, recent: Vec<Recent>) -> Self {
        Self { day, ceiling, pause, recent, guard: None, others: Map::new() }
    }

    pub fn with_guard(self, guard: Option<GuardMemory>) -> Self {
        Self { guard, ..self }
    }

    /// True where there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        let Self { day, ceiling, pause, recent, guard, others } = self;
        let limits = day.is_none() && ceiling.is_none() && recent.is_empty();
        limits && *pause == PauseMemory::default() && guard.is_none() && others.is_empty()
    }

    fn read(value: Value) -> Result<Self, String> {
        let Value::Object(mut others) = value else { return Err("is no object".to_owned()) };
        Ok(Self {
            day: others.remove("day").map(read_day).transpose()?,
            ceiling: others.remove("ceiling").map(read_ceiling).transpose()?,
            pause: PauseMemory {
                paused: match others.remove("paused") {
                    None => false,
                    Some(Value::Bool(paused)) => paused,
                    Some(_) => return Err("paused is neither true nor false".to_owned()),
                },
                since: others.remove("pausedSince").as_ref().and_then(read_time),
                orders: others.remove("pauseOrders").and_then(|orders| orders.as_u64()).unwrap_or_default(),
            },
            recent: others.remove("recent").map(read_recent).transpose()?.unwrap_or_default(),
            guard: others.remove("guard").map(GuardMemory::read).transpose()?,
            others,
        })
    }

    fn write(&self) -> Value {
        let Self { day, ceiling, pause, recent, guard, others } = self;
        let mut object = others.clone();
        let mut put = |name: &str, value| object.insert(name.to_owned(), value);
        if let Some(DayMemory { ends, used }) = day {
            put("day", json!({ "ends": ends.to_string(), "used": used }));
        }
        if let Some(Ceiling { requests, interval }) = ceiling {
            put("ceiling", json!({ "requests": requests, "intervalMillis": millis(*interval) }));
        }
        if pause.paused {
            put("paused", Value::Bool(true));
        }
        if let Some(since) = pause.since {
            put("pausedSince", Value::String(since.to_string()));
        }
        if pause.orders > 0 {
            put("pauseOrders", pause.orders.into());
        }
        if !recent.is_empty() {
            put("recent", recent.iter().map(|Recent { age, count }| json!([millis(*age), count])).collect());
        }
        if let Some(guard) = guard {
            put("guard", guard.write());
        }
        Value::Object(object)
    }
}

impl GuardMemory {
    /// True where there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        self.stand == GuardStand::Open && self.changes == 0 && self.counted.is_empty()
    }

    /// Of two, the one with the higher rank is later, or knows of more.
    fn rank(&self) -> (u64, u64) {
        (self.changes, self.counted.iter().fold(0, |sum, &(_, pairs)| sum.saturating_add(pairs)))
    }

    fn read(value: Value) -> Result<Self, String> {
        let until = value.get("approvedUntil").and_then(read_time);
        let stand = match (value.get("state").and_then(Value::as_str), until) {
            (Some("open"), _) => GuardStand::Open,
            (Some("approved"), Some(until)) => GuardStand::Approved { until },
            (Some("rejected"), _) => GuardStand::Rejected,
            // Also where a later version has a word that is not known here: then a person must say.
            (Some(_), _) => GuardStand::Waiting,
            (None, _) => return Err("guard has no text in state".to_owned()),
        };
        let fault = || "guard.counted is no short list of times and counts".to_owned();
        let entries = value.get("counted").and_then(Value::as_array);
        let entries = entries.filter(|entries| entries.len() <= MAX_COUNTED).ok_or_else(fault)?;
        let read = |entry: &Value| {
            let leave = Timestamp::from_second(entry.get(0)?.as_i64()?).ok()?;
            Some((leave, entry.get(1)?.as_u64()?))
        };
        let changes = value.get("changes").and_then(Value::as_u64).unwrap_or_default();
        let since = value.get("since").and_then(read_time);
        let counted = entries.iter().map(read).collect::<Option<_>>().ok_or_else(fault)?;
        Ok(Self { stand, since, changes, counted })
    }

    fn write(&self) -> Value {
        let (word, until) = match self.stand {
            GuardStand::Open => ("open", None),
            GuardStand::Waiting => ("waiting", None),
            GuardStand::Approved { until } => ("approved", Some(until)),
            GuardStand::Rejected => ("rejected", None),
        };
        // Whole seconds, so that the message stays short where there are many accounts. A pair may count a second
        // longer.
        let counted: Vec<Value> =
            self.counted.iter().map(|(leave, pairs)| json!([leave.as_second().saturating_add(1), pairs])).collect();
        let mut object = json!({ "state": word, "changes": self.changes, "counted": counted });
        if let Some(until) = until {
            object["approvedUntil"] = Value::String(until.to_string());
        }
        if let Some(since) = self.since {
            object["since"] = Value::String(since.to_string());
        }
        object
    }
}

fn read_time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

fn read_day(value: Value) -> Result<DayMemory, String> {
    let ends = value.get("ends").and_then(read_time);
    let used = value.get("used").and_then(Value::as_u64);
    let (ends, used) = ends.zip(used).ok_or("day has no time in ends, or no number in used")?;
    Ok(DayMemory { ends, used })
}

fn read_ceiling(value: Value) -> Result<Ceiling, String> {
    let number = |name| value.get(name).and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok());
    let requests = number("requests").and_then(NonZeroU32::new);
    let interval =
        number("intervalMillis").filter(|&millis| millis > 0).map(|millis| Duration::from_millis(millis.into()));
    let (requests, interval) = requests.zip(interval).ok_or("ceiling needs requests and intervalMillis, from 1")?;
    Ok(Ceiling { requests, interval })
}

fn read_recent(value: Value) -> Result<Vec<Recent>, String> {
    let fault = || "recent is no short list of ages in milliseconds and counts".to_owned();
    let entries = value.as_array().filter(|entries| entries.len() <= MAX_RECENT).ok_or_else(fault)?;
    let read = |entry: &Value| {
        let age = Duration::from_millis(entry.get(0)?.as_u64()?);
        let count = u32::try_from(entry.get(1)?.as_u64()?).ok()?;
        Some(Recent { age, count })
    };
    entries.iter().map(read).collect::<Option<_>>().ok_or_else(fault)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
