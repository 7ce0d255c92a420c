//! What the log says of lanes that pause and go on. The first lane has a line of its own; those that follow for the
//! same reason share a line, so that a thousand lanes do not make a thousand lines.

use std::time::Duration;

use hashbrown::HashMap;

use crate::contract::ids::AccountIndex;
use crate::engine::clock::Tick;
use crate::engine::command::Notice;
use crate::engine::pause::PauseKind;

/// What the lanes that share a line have in common.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct News {
    pub account: AccountIndex,
    pub kind: PauseKind,
    pub change: LaneChange,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LaneChange {
    Paused,
    GoesOn,
}

/// See the module.
#[derive(Default, Debug)]
pub struct LaneNews {
    now: Tick,
    gathered: HashMap<News, Gathered>,
}

#[derive(Clone, Copy, Debug)]
struct Gathered {
    since: Tick,
    lanes: u64,
}

/// Lanes are gathered for this long before they are told of.
const GATHERED_FOR: Duration = Duration::from_secs(60);

impl LaneNews {
    /// Whether a notice is to be told by itself; one that is not will be counted.
    pub fn admit(&mut self, notice: &Notice) -> bool {
        let (account, kind, change) = match notice {
            Notice::Paused { account, lane: Some(_), kind, .. } => (*account, *kind, LaneChange::Paused),
            Notice::Resumed { account, lane: Some(_), kind, .. } => (*account, *kind, LaneChange::GoesOn),
            Notice::Paused { lane: None, .. }
            | Notice::Resumed { lane: None, .. }
            | Notice::Unidentified { .. }
            | Notice::Slowed { .. }
            | Notice::Isolating { .. }
            | Notice::Unattributed { .. }
            | Notice::Unfolded { .. } => return true,
        };
        let news = News { account, kind, change };
        if let Some(gathered) = self.gathered.get_mut(&news) {
            gathered.lanes += 1;
            return false;
        }
        self.gathered.insert(news, Gathered { since: self.now, lanes: 0 });
        true
    }

    /// Time has passed: what is to be told of together now, and how many lanes it is about.
    pub fn due(&mut self, now: Tick) -> Vec<(News, u64)> {
        self.now = now;
        let mut due = Vec::new();
        self.gathered.retain(|news, gathered| {
            if now.since(gathered.since) < GATHERED_FOR {
                return true;
            }
            if gathered.lanes > 0 {
                due.push((*news, gathered.lanes));
            }
            let goes_on = gathered.lanes > 0;
            *gathered = Gathered { since: now, lanes: 0 };
            goes_on
        });
        due
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use super::*;
    use crate::contract::association::Extent;
    use crate::contract::object_type::ObjectType;
    use crate::engine::command::LaneId;
    use crate::engine::course::Course;

    fn paused(from: &str, kind: PauseKind) -> Notice {
        let account = AccountIndex(0);
        let parse = |text| ObjectType::parse(text).unwrap();
        let lane = LaneId {
            account,
            from_type: parse(from),
            to_type: parse("companies"),
            extent: Extent::Whole,
            course: Course::ARCHIVE,
        };
        Notice::Paused { account, lane: Some(lane), kind, detail: String::new(), until: None }
    }

    #[test]
    fn a_thousand_lanes_make_two_lines() {
        let at = |seconds: u64| Tick::from_micros(seconds * 1_000_000);
        let mut news = LaneNews::default();
        assert!(news.due(at(100)).is_empty());
        let alone = (1..=1_000).filter(|n| news.admit(&paused(&format!("2-{n}"), PauseKind::Forbidden))).count();
        assert_eq!(alone, 1);
        assert!(news.admit(&paused("2-1", PauseKind::WrongPath)), "another reason");
        assert!(news.due(at(159)).is_empty());
        let of_forbidden = News { account: AccountIndex(0), kind: PauseKind::Forbidden, change: LaneChange::Paused };
        assert_eq!(news.due(at(160)), [(of_forbidden, 999)]);
        assert!(news.due(at(220)).is_empty(), "and then nothing");
        assert!(news.admit(&paused("2-7", PauseKind::Forbidden)), "the next one is told at once");
    }
}
