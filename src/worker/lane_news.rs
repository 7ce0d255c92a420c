//! What the log says of lanes that pause and go on. The first lane has a line of its own; those that follow for the
//! same reason share a line, so that a thousand lanes do not make a thousand lines.
//!
//! Whoever reads the log is told of each lane both that it is paused and that it goes on, or neither as if it still
//! stood: a lane that goes on before it was told of is told of as one that stood for a moment.

use std::time::Duration;

use hashbrown::{HashMap, HashSet};

use crate::contract::ids::AccountIndex;
use crate::engine::clock::Tick;
use crate::engine::command::{LaneId, Notice};
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
    /// Paused, and goes on again before it was told of.
    StoodForAMoment,
}

/// See the module.
#[derive(Default, Debug)]
pub struct LaneNews {
    now: Tick,
    gathered: HashMap<News, Gathered>,
}

/// Lanes that will share a line.
#[derive(Debug)]
struct Gathered {
    since: Tick,
    lanes: HashSet<LaneId>,
}

/// Lanes are gathered for this long before they are told of.
const GATHERED_FOR: Duration = Duration::from_secs(60);

impl LaneNews {
    /// Whether a notice is to be told by itself; one that is not will be told with others.
    pub fn admit(&mut self, notice: &Notice) -> bool {
        match notice {
            Notice::Paused { account, lane: Some(lane), kind, .. } => self.paused(*account, *kind, lane),
            Notice::Resumed { account, lane: Some(lane), kind, .. } => self.goes_on(*account, *kind, lane),
            Notice::Paused { lane: None, .. }
            | Notice::Resumed { lane: None, .. }
            | Notice::Unidentified { .. }
            | Notice::Slowed { .. }
            | Notice::Isolating { .. }
            | Notice::Unattributed { .. }
            | Notice::Unfolded { .. } => true,
        }
    }

    fn paused(&mut self, account: AccountIndex, kind: PauseKind, lane: &LaneId) -> bool {
        let news = |change| News { account, kind, change };
        // The log says that it stands, and has not said yet that it went on.
        !self.take_back(news(LaneChange::GoesOn), lane) && self.first_of(news(LaneChange::Paused), lane)
    }

    fn goes_on(&mut self, account: AccountIndex, kind: PauseKind, lane: &LaneId) -> bool {
        let news = |change| News { account, kind, change };
        if self.take_back(news(LaneChange::Paused), lane) {
            self.gather(news(LaneChange::StoodForAMoment), lane);
            return false;
        }
        self.first_of(news(LaneChange::GoesOn), lane)
    }

    /// Whether the lane was to be told of in a later line; it no longer is.
    fn take_back(&mut self, news: News, lane: &LaneId) -> bool {
        self.gathered.get_mut(&news).is_some_and(|gathered| gathered.lanes.remove(lane))
    }

    /// Whether the lane is the first, which is told of at once; else it is gathered.
    fn first_of(&mut self, news: News, lane: &LaneId) -> bool {
        let is_first = !self.gathered.contains_key(&news);
        if is_first {
            self.gathered.insert(news, Gathered { since: self.now, lanes: HashSet::new() });
        } else {
            self.gather(news, lane);
        }
        is_first
    }

    fn gather(&mut self, news: News, lane: &LaneId) {
        let begun = || Gathered { since: self.now, lanes: HashSet::new() };
        self.gathered.entry(news).or_insert_with(begun).lanes.insert(lane.clone());
    }

    /// Time has passed: what is to be told of together now, and the lanes that it is about.
    pub fn due(&mut self, now: Tick) -> Vec<(News, HashSet<LaneId>)> {
        self.now = now;
        let mut due = Vec::new();
        self.gathered.retain(|news, gathered| {
            if now.since(gathered.since) < GATHERED_FOR {
                return true;
            }
            let lanes = std::mem::take(&mut gathered.lanes);
            gathered.since = now;
            let goes_on = !lanes.is_empty();
            if goes_on {
                due.push((*news, lanes));
            }
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
    use crate::engine::course::Course;

    const ACCOUNT: AccountIndex = AccountIndex(0);

    fn lane(from: &str) -> LaneId {
        let parse = |text| ObjectType::parse(text).unwrap();
        LaneId {
            account: ACCOUNT,
            from_type: parse(from),
            to_type: parse("companies"),
            extent: Extent::Whole,
            course: Course::ARCHIVE,
        }
    }

    fn paused(from: &str, kind: PauseKind) -> Notice {
        Notice::Paused { account: ACCOUNT, lane: Some(lane(from)), kind, detail: String::new(), until: None }
    }

    fn goes_on(from: &str) -> Notice {
        Notice::Resumed {
            account: ACCOUNT,
            lane: Some(lane(from)),
            kind: PauseKind::Forbidden,
            lasted: Duration::from_secs(1),
        }
    }

    fn at(seconds: u64) -> Tick {
        Tick::from_micros(seconds * 1_000_000)
    }

    fn told(news: &mut LaneNews, seconds: u64) -> Vec<(LaneChange, usize)> {
        news.due(at(seconds)).into_iter().map(|(news, lanes)| (news.change, lanes.len())).collect()
    }

    #[test]
    fn a_thousand_lanes_make_two_lines() {
        let mut news = LaneNews::default();
        assert!(news.due(at(100)).is_empty());
        let alone = (1..=1_000).filter(|n| news.admit(&paused(&format!("2-{n}"), PauseKind::Forbidden))).count();
        assert_eq!(alone, 1);
        assert!(news.admit(&paused("2-1", PauseKind::WrongPath)), "another reason");
        assert!(news.due(at(159)).is_empty());
        assert_eq!(told(&mut news, 160), [(LaneChange::Paused, 999)]);
        assert!(news.due(at(220)).is_empty(), "and then nothing");
        assert!(news.admit(&paused("2-7", PauseKind::Forbidden)), "the next one is told at once");
    }

    #[test]
    fn what_is_over_is_not_told_as_if_it_stood() {
        let mut news = LaneNews::default();
        assert!(news.admit(&paused("2-1", PauseKind::Forbidden)));
        for n in 2..=4 {
            assert!(!news.admit(&paused(&format!("2-{n}"), PauseKind::Forbidden)));
        }
        assert!(news.admit(&goes_on("2-1")), "whoever read that it stands reads that it goes on");
        assert!(!news.admit(&goes_on("2-2")), "nobody was told that it stood");
        let mut due = told(&mut news, 60);
        due.sort_by_key(|(_, lanes)| *lanes);
        assert_eq!(due, [(LaneChange::StoodForAMoment, 1), (LaneChange::Paused, 2)]);
        assert!(news.admit(&goes_on("2-3")));
        assert!(!news.admit(&goes_on("2-4")));
        assert!(!news.admit(&paused("2-4", PauseKind::Forbidden)), "the log still says that it stands");
        assert_eq!(told(&mut news, 120), []);
        assert!(news.admit(&goes_on("2-4")));
    }
}
