//! The endpoints under `/_sim/`: to ask what was seen and to change the world while it runs.

use std::time::Duration;

use serde_json::json;

use crate::fault::Rule;
use crate::object_type::Lane;
use crate::reply::Answer;
use crate::settings::Settings;
use crate::state::archived_pair;
use crate::wire::percent_decoded;
use crate::world::World;

/// Answers a request under `/_sim/`; `None` for any other.
pub(crate) fn handle(world: &mut World, method: &str, target: &str, body: &[u8], now: Duration) -> Option<Answer> {
    let rest = target.strip_prefix("/_sim/")?;
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let answer = match (method, path) {
        ("GET", "state") => shown(&world.state()),
        ("GET", "archived") => archived(world, query),
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
        (_, "state" | "archived" | "arrivals" | "faults" | "config") => return Some(Answer::empty(405)),
        _ => return Some(Answer::empty(404)),
    };
    Some(answer.unwrap_or_else(|error| Answer::json(400, json!({"error": error}).to_string())))
}

/// `?from=contacts&to=companies[&portal=4711]`: pairs with their counts.
fn archived(world: &World, query: &str) -> Result<Answer, String> {
    let value = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| percent_decoded(value))
    };
    let (from, to) = value("from").zip(value("to")).ok_or("give from and to, the object types")?;
    let lane = Lane::parse(&from, &to).ok_or("from or to is no object type")?;
    let portal = value("portal").map(|text| text.parse::<u64>().map_err(|_| "portal is no number")).transpose()?;
    let accounts = world.accounts.iter().filter(|account| portal.is_none_or(|portal| account.portal_id == portal));
    let pairs = accounts.flat_map(|account| account.associations.archived(&lane));
    let listed: Vec<_> = pairs.map(|(from, to, times)| archived_pair(&lane, from, to, times)).collect();
    shown(&listed)
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
