//! Says on stderr what an operator must know, and while nothing goes on, why.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;

use super::GIVE_UP_AFTER;
use super::held::HeldLine;
use super::unanswered::{Pairs, Tally};
use crate::cli::output::remark;
use crate::cli::paint::harmless;
use crate::contract::grouped::Grouped;
use crate::contract::ids::AccountIndex;
use crate::engine::Counters;
use crate::engine::answered::Answered;
use crate::engine::clock::{Now, Tick};
use crate::engine::command::{BatchCall, CallResult, Notice, Parked, Settled};
use crate::engine::pause::PauseKind;
use crate::engine::reply::Reply;
use crate::engine::status::{PauseStatus, Status};
use crate::telemetry::mend::Mends;
use crate::telemetry::repetition::Repetition;
use crate::worker::accounts::Portals;
use crate::worker::seams::{Question, Watcher};
use crate::worker::watching::{self, REPEAT_AFTER};

/// A shorter wait is not worth a line.
const SAY_AFTER: Duration = Duration::from_secs(1);

/// A wait that goes on is told again after this time.
const SAY_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Hears what happens in the loop.
#[derive(Debug)]
pub struct LineWatcher {
    portals: Portals,
    mends: Mends,
    tally: Arc<Tally>,
    troubles: Repetition<(AccountIndex, CallResult)>,
    /// When each wait was said last.
    said: HashMap<Standstill, Tick>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Standstill {
    Account(u32),
    Lane(u32, String),
}

impl LineWatcher {
    pub fn new(portals: Portals, mends: Mends, tally: Arc<Tally>) -> Self {
        Self { portals, mends, tally, troubles: Repetition::new(REPEAT_AFTER), said: HashMap::new() }
    }

    /// An account without a portal id in the settings.
    fn nameless(&self, index: u32) -> String {
        if self.portals.len() == 1 { "the only account".to_owned() } else { format!("account {index}") }
    }

    /// Says on stderr what stands still now: after a second, and then every minute.
    fn say_waits(&mut self, status: &Status, now: Now) {
        let accounts = status.accounts.iter().filter_map(|account| {
            let name = account.portal_id.map_or_else(|| self.nameless(account.index), |id| format!("portal {id}"));
            Some((Standstill::Account(account.index), name, account.own_pause()?))
        });
        let lanes = status.lanes.iter().filter_map(|lane| {
            let name = format!("lane {}/{}", lane.from_object_type, lane.to_object_type);
            Some((Standstill::Lane(lane.account, name.clone()), name, lane.pause.as_ref()?))
        });
        let waits: Vec<_> = accounts.chain(lanes).collect();
        self.said.retain(|said, _| waits.iter().any(|(wait, _, _)| wait == said));
        for (wait, name, pause) in waits {
            let lasted = Duration::try_from(now.wall.duration_since(pause.since)).unwrap_or_default();
            if lasted < SAY_AFTER {
                continue;
            }
            let is_due = self.said.get(&wait).is_none_or(|said| now.tick.since(*said) >= SAY_AGAIN_AFTER);
            if is_due {
                self.said.insert(wait, now.tick);
                remark(&in_words(&name, pause, status.held.jobs, lasted));
            }
        }
    }
}

fn in_words(name: &str, pause: &PauseStatus, jobs: usize, lasted: Duration) -> String {
    let until = match pause.resume_at {
        Some(until) => format!("it goes on at {until:.0}"),
        None if pause.kind.needs_a_person() => {
            format!("only a person can end this, and it is given up after {} s", GIVE_UP_AFTER.as_secs())
        }
        None if pause.kind == PauseKind::DaySpent => "nothing need be done".to_owned(),
        None => "it is tried again and again".to_owned(),
    };
    let line = format!(
        "{name} has been waiting for {} s ({}: {}); {until}; {} jobs in hand; Ctrl-C ends the command",
        lasted.as_secs(),
        pause.kind.as_str(),
        pause.detail,
        Grouped(jobs as u64),
    );
    harmless(&line)
}

impl Watcher<HeldLine> for LineWatcher {
    fn sent(&mut self, call: &BatchCall, jobs: &mut dyn Iterator<Item = &HeldLine>) {
        if call.lane.step().changes() {
            jobs.filter(|line| line.sends(call.call)).for_each(|line| self.tally.sent(line.head.action));
        }
    }

    fn returned(&mut self, call: &BatchCall, reply: &Reply, jobs: &mut dyn Iterator<Item = &HeldLine>) {
        if call.lane.step().changes() {
            jobs.filter(|line| line.returns(call.call, reply))
                .for_each(|line| self.tally.turned_away(line.head.action));
        }
    }

    fn answered(&mut self, call: &BatchCall, reply: &Reply, answered: &Answered, took: Duration, now: Now) {
        if answered.result == CallResult::Throttled {
            // A 429 is an everyday thing. Nothing has failed, and the batch goes again.
            if let Some(repeated) = self.troubles.admit((call.lane.account, answered.result), now.tick) {
                let portal_id = self.portals.portal(call.lane.account).map(|portal| portal.0.get());
                tracing::info!(portal_id, repeated, "HubSpot asks to wait (429); the same batch is sent again later");
            }
            return;
        }
        let is_told =
            matches!(answered.result, CallResult::Refused | CallResult::LanePaused | CallResult::AccountPaused);
        if is_told && !tracing::enabled!(tracing::Level::DEBUG) {
            // What is refused is told in the outcomes: those at fault failed, and the others are sent again. A pause has a
            // line of its own, with the same cause and what to do.
            return;
        }
        watching::log_answer(&self.portals, &mut self.troubles, call, reply, answered.result, took, now);
    }

    fn asked(&mut self, _question: Question, _took: Duration) {}

    fn settled(&mut self, _delivery: &HeldLine, _settled: &Settled, _now: Now) {}

    fn parked(&mut self, _job: &HeldLine, _parked: &Parked, _now: Now) {}

    fn notice(&mut self, notice: &Notice) {
        watching::log_notice(&self.portals, &self.mends, notice);
    }

    fn counted(&mut self, counters: Counters, status: Status, draining: bool, now: Now) {
        let verifies = status.accounts.iter().any(|account| account.safety.verify);
        self.tally.pairs_so_far(Pairs {
            looked_at: counters.pairs_looked_up,
            restored: counters.pairs_restored,
            removed: counters.pairs_archived,
            proven: verifies.then_some(counters.pairs_gone),
        });
        if !draining {
            self.say_waits(&status, now);
        }
    }
}
