//! The endpoints under `/_sim/`: to ask what was seen and to change the world while it runs.

use std::time::Duration;

use serde_json::json;

use crate::fault::Rule;
use crate::inventory;
use crate::object_type::Lane;
use crate::reply::Answer;
use crate::seed::Seed;
use crate::settings::Settings;
use crate::state::archived_pair;
use crate::wire::percent_decoded;
use crate::world::World;

/// Answers a request under `/_sim/`; `None` for any other.
pub(crate) fn handle(world: &mut World, method: &str, target: &str, body: &[u8], now: Duration) -> Option<Answer> {
    let rest = target.strip_prefix("/_sim/")?;
    world.advance(now);
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let answer = match (method, path) {
        ("GET", "state") => shown(&world.state()),
        ("GET", "archived") => archived(world, query),
        ("GET", "associations") => associations(world, query),
        ("POST", "associations") => match serde_json::from_slice::<Vec<Seed>>(body) {
            Ok(seeds) => seeded(world, query, &seeds),
            Err(error) => Err(format!("the associations are not understood: {error}")),
        },
        ("GET", "arrivals") => arrivals(world),
        ("PUT", "faults") => match serde_json::from_slice::<Vec<Rule>>(body) {
            Ok(rules) => {
                world.faults.install(rules, now);
                Ok(Answer::empty(204))
            }
            Err(error) => Err(format!("the faults are not understood: {error}")),
        },
        ("POST", "config") => match serde_json::from_slice::<Settings>(body) {
            Ok(settings) => {
                settings.apply(world);
                Ok(Answer::empty(204))
            }
            Err(error) => Err(format!("the settings are not understood: {error}")),
        },
        (_, "state" | "archived" | "associations" | "arrivals" | "faults" | "config") => {
            return Some(Answer::empty(405));
        }
        _ => return Some(Answer::empty(404)),
    };
    Some(answer.unwrap_or_else(|error| Answer::json(400, json!({"error": error}).to_string())))
}

/// `?from=contacts&to=companies[&portal=4711]`: pairs with their counts.
fn archived(world: &World, query: &str) -> Result<Answer, String> {
    let lane = lane(query)?.ok_or("give from and to, the object types")?;
    let portal = portal(query)?;
    let accounts = world.accounts.iter().filter(|account| portal.is_none_or(|portal| account.portal_id == portal));
    let pairs = accounts.flat_map(|account| account.associations.archived(&lane));
    let listed: Vec<_> = pairs.map(|(from, to, times)| archived_pair(&lane, from, to, times)).collect();
    shown(&listed)
}

/// `[?portal=4711][&from=contacts&to=companies]`: all pairs that exist, with their types.
fn associations(world: &World, query: &str) -> Result<Answer, String> {
    let (lane, portal) = (lane(query)?, portal(query)?);
    let accounts = world.accounts.iter().filter(|account| portal.is_none_or(|portal| account.portal_id == portal));
    shown(&accounts.flat_map(|account| inventory::associations(account, lane.as_ref())).collect::<Vec<_>>())
}

/// `[?portal=4711]`: makes associations in one account, or in all.
fn seeded(world: &mut World, query: &str, seeds: &[Seed]) -> Result<Answer, String> {
    let portal = portal(query)?;
    let accounts = world.accounts.iter_mut().filter(|account| portal.is_none_or(|portal| account.portal_id == portal));
    for account in accounts {
        seeds.iter().for_each(|seed| seed.create(&mut account.associations));
    }
    Ok(Answer::empty(204))
}

fn value(query: &str, name: &str) -> Option<String> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| percent_decoded(value))
}

fn lane(query: &str) -> Result<Option<Lane>, String> {
    let ends = match (value(query, "from"), value(query, "to")) {
        (None, None) => return Ok(None),
        (Some(from), Some(to)) => Lane::parse(&from, &to),
        (Some(_), None) | (None, Some(_)) => return Err("give both from and to, or neither".to_owned()),
    };
    ends.map(Some).ok_or_else(|| "from or to is no object type".to_owned())
}

fn portal(query: &str) -> Result<Option<u64>, String> {
    let number = |text: String| text.parse().map_err(|_| format!("portal {text:?} is no number"));
    value(query, "portal").map(number).transpose()
}

fn arrivals(world: &World) -> Result<Answer, String> {
    let log = world.arrivals.iter().map(|arrival| {
        let lane = arrival.lane.as_ref();
        json!({
            "atMicros": u64::try_from(arrival.at.as_micros()).unwrap_or(u64::MAX),
            "portalId": arrival.portal, "kind": arrival.kind, "status": arrival.status, "pairs": arrival.pairs,
            "from": lane.map(|lane| lane.from.as_str()), "to": lane.map(|lane| lane.to.as_str()),
        })
    });
    shown(&log.collect::<Vec<_>>())
}

fn shown(value: &impl serde::Serialize) -> Result<Answer, String> {
    let text = serde_json::to_vec(value).map_err(|error| error.to_string())?;
    Ok(Answer::json(200, text))
}
