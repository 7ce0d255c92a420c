//! How many requests reach each account, counted as HubSpot counts them: by arrival, in every rolling interval.

use std::collections::VecDeque;
use std::time::Duration;

use association_archiver::contract::ids::AccountIndex;
use hashbrown::HashMap;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::promises::{Kept, promise};
use crate::scenario::Scenario;

/// See the module.
#[derive(Debug)]
pub struct Ceilings<'s> {
    scenario: &'s Scenario,
    /// Arrivals within the last interval, with the process that sent them.
    arrivals: Vec<VecDeque<(Duration, u32)>>,
    /// Requests that one process sent on one day of the account.
    days: HashMap<(AccountIndex, u32, Date), u64>,
}

impl<'s> Ceilings<'s> {
    pub fn new(scenario: &'s Scenario) -> Self {
        let arrivals = scenario.portals.iter().map(|_| VecDeque::new()).collect();
        Self { scenario, arrivals, days: HashMap::new() }
    }

    /// A request of the process `life` reaches HubSpot.
    ///
    /// One process never exceeds the ceiling. A new one knows nothing of what an earlier one sent just before; since
    /// it paces evenly at first, both together stay within the tenth that may leave at once, and the first request.
    pub fn arrived(&mut self, account: AccountIndex, life: u32, now: Duration) -> Kept {
        let ceiling = self.scenario.portals[account.0 as usize].policy.ceiling;
        let arrivals = &mut self.arrivals[account.0 as usize];
        while arrivals.front().is_some_and(|&(at, _)| at + ceiling.interval <= now) {
            arrivals.pop_front();
        }
        arrivals.push_back((now, life));
        let of_life = arrivals.iter().filter(|&&(_, sender)| sender == life).count();
        let most = ceiling.requests.get() as usize;
        promise!(of_life <= most, "{of_life} requests in {:?}, {most} allowed", ceiling.interval);
        let lives = life - arrivals.front().map_or(life, |&(_, first)| first);
        let most = most + most.div_ceil(10).max(1) * lives as usize;
        promise!(arrivals.len() <= most, "{} requests of {} processes in an interval", arrivals.len(), lives + 1);
        Ok(())
    }

    /// An archive request leaves.
    pub fn left(&mut self, account: AccountIndex, life: u32, now: Duration) -> Kept {
        let portal = &self.scenario.portals[account.0 as usize];
        let Some(daily) = portal.policy.daily else { return Ok(()) };
        // Where the zone is learned on the way, the first of its days began as a day of UTC.
        if portal.policy.time_zone.is_none() && portal.time_zone != TimeZone::UTC {
            return Ok(());
        }
        let zone = portal.time_zone.clone();
        let today = (self.scenario.epoch + now).to_zoned_datetime(zone).date();
        let used = self.days.entry((account, life, today)).or_default();
        *used += 1;
        promise!(*used <= daily, "{used} requests on {today}, {daily} allowed");
        Ok(())
    }
}
