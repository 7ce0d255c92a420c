//! A pause of an account that is over and comes again within seconds is one trouble: on a full disk, say, a small record
//! still finds room. The log tells of it once, and that the account goes on once that has lasted.

use std::time::Duration;

use hashbrown::HashMap;

use crate::contract::ids::AccountIndex;
use crate::engine::clock::Tick;
use crate::engine::command::Notice;
use crate::engine::pause::PauseKind;
use crate::telemetry::pause_history::{PauseHistory, comes_again};

/// See the module.
#[derive(Default, Debug)]
pub struct Relapses {
    now: Tick,
    ended: HashMap<(AccountIndex, PauseKind), Ended>,
}

/// A pause whose end is not told yet, or one that has come again.
#[derive(Debug)]
struct Ended {
    /// `None` while it stands again.
    at: Option<Tick>,
    /// How long it has stood in all, with what lay between.
    lasted: Duration,
}

impl Relapses {
    /// What is to be told at once.
    pub fn admit(&mut self, notice: Notice) -> Vec<Notice> {
        match notice {
            Notice::Resumed { account, lane: None, kind, lasted } if comes_again(kind) => {
                let ended = self.ended.entry((account, kind)).or_insert(Ended { at: None, lasted: Duration::ZERO });
                ended.at = Some(self.now);
                ended.lasted += lasted;
                Vec::new()
            }
            Notice::Paused { account, lane: None, kind, .. } => {
                if let Some(Ended { at, lasted }) = self.ended.get_mut(&(account, kind))
                    && let Some(at) = at.take()
                {
                    *lasted += self.now.since(at);
                    return Vec::new();
                }
                // It stands for another reason: what stood again until now is over without a word, and what is over is
                // told first.
                self.ended.retain(|(of_account, _), ended| *of_account != account || ended.at.is_some());
                let mut told = self.over(|(of_account, _), _| *of_account == account);
                told.push(notice);
                told
            }
            Notice::Resumed { .. }
            | Notice::Paused { .. }
            | Notice::Unidentified { .. }
            | Notice::Slowed { .. }
            | Notice::Isolating { .. }
            | Notice::Unattributed { .. }
            | Notice::Unfolded { .. } => vec![notice],
        }
    }

    /// Time has passed: the pauses that have ended for good. `all`: also those that may come again, since the worker stops.
    pub fn due(&mut self, now: Tick, all: bool) -> Vec<Notice> {
        self.now = now;
        self.over(|_, at| all || now.since(at) >= PauseHistory::RELAPSE)
    }

    fn over(&mut self, is_over: impl Fn(&(AccountIndex, PauseKind), Tick) -> bool) -> Vec<Notice> {
        let over = self.ended.extract_if(|key, ended| ended.at.is_some_and(|at| is_over(key, at)));
        let told =
            over.map(|((account, kind), Ended { lasted, .. })| Notice::Resumed { account, lane: None, kind, lasted });
        told.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: AccountIndex = AccountIndex(0);

    fn paused(kind: PauseKind) -> Notice {
        Notice::Paused { account: ACCOUNT, lane: None, kind, detail: String::new(), until: None }
    }

    fn over(kind: PauseKind, seconds: u64) -> Notice {
        Notice::Resumed { account: ACCOUNT, lane: None, kind, lasted: Duration::from_secs(seconds) }
    }

    fn told(notices: Vec<Notice>) -> Vec<String> {
        let word = |notice: &Notice| match notice {
            Notice::Paused { kind, .. } => format!("{} stands", kind.as_str()),
            Notice::Resumed { kind, lasted, .. } => format!("{} over after {}", kind.as_str(), lasted.as_secs()),
            Notice::Unidentified { .. }
            | Notice::Slowed { .. }
            | Notice::Isolating { .. }
            | Notice::Unattributed { .. }
            | Notice::Unfolded { .. } => format!("{notice:?}"),
        };
        notices.iter().map(word).collect()
    }

    fn at(seconds: u64) -> Tick {
        Tick::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_pause_that_comes_again_within_seconds_is_told_once() {
        let mut relapses = Relapses::default();
        relapses.due(at(100), false);
        assert_eq!(told(relapses.admit(paused(PauseKind::Journal))), ["journal stands"]);
        for second in 101..=103 {
            relapses.due(at(second), false);
            assert_eq!(told(relapses.admit(over(PauseKind::Journal, 1))), [""; 0]);
            assert_eq!(told(relapses.admit(paused(PauseKind::Journal))), [""; 0], "it is the same trouble");
        }
        assert_eq!(told(relapses.due(at(200), false)), [""; 0], "it stands");
        assert_eq!(told(relapses.admit(over(PauseKind::Journal, 97))), [""; 0]);
        assert_eq!(told(relapses.due(at(202), false)), [""; 0]);
        assert_eq!(told(relapses.due(at(206), false)), ["journal over after 100"]);
        assert_eq!(told(relapses.admit(paused(PauseKind::Journal))), ["journal stands"], "a new one");
    }

    /// A pause can be followed by another kind without a word of its end.
    #[test]
    fn what_another_pause_has_replaced_adds_nothing_to_a_later_one() {
        let mut relapses = Relapses::default();
        relapses.admit(paused(PauseKind::Journal));
        relapses.admit(over(PauseKind::Journal, 10));
        assert_eq!(told(relapses.admit(paused(PauseKind::Journal))), [""; 0], "it stands again");
        assert_eq!(told(relapses.admit(paused(PauseKind::Outage))), ["outage stands"]);
        relapses.admit(over(PauseKind::Journal, 3));
        assert_eq!(told(relapses.due(at(6), false)), ["journal over after 3"]);
    }

    #[test]
    fn what_ends_is_told_before_what_comes_and_before_the_end() {
        let mut relapses = Relapses::default();
        assert_eq!(told(relapses.admit(paused(PauseKind::Outage))), ["outage stands"]);
        assert_eq!(told(relapses.admit(over(PauseKind::Outage, 9))), [""; 0]);
        let next = told(relapses.admit(paused(PauseKind::Unauthorized)));
        assert_eq!(next, ["outage over after 9", "unauthorized stands"]);
        assert_eq!(
            told(relapses.admit(over(PauseKind::Operator, 5))),
            ["operator over after 5"],
            "an order is an order"
        );
        assert_eq!(told(relapses.admit(over(PauseKind::Unauthorized, 7))), [""; 0]);
        assert_eq!(told(relapses.due(at(1), true)), ["unauthorized over after 7"]);
    }
}
