//! Pauses of lanes that an operator orders; those of accounts are in `standstill`.

use super::backlog::LaneKey;
use super::clock::Now;
use super::engine::Engine;
use super::pause::PauseKind;
use crate::contract::ids::AccountIndex;
use crate::contract::object_type::ObjectType;

impl Engine {
    /// Pauses every lane in hand between the two types until [`Engine::resume_lanes`]; returns how many there are.
    pub fn pause_lanes(&mut self, account: AccountIndex, from: &ObjectType, to: &ObjectType, now: Now) -> usize {
        let keys = self.lanes_between(account, from, to);
        for &key in &keys {
            self.pause_lane(key, PauseKind::Operator, "paused by the operator".to_owned(), now);
        }
        self.pump(now);
        keys.len()
    }

    /// Ends an operator's pause of these lanes, and tries those at once that stand for another reason; returns how
    /// many lanes there are.
    pub fn resume_lanes(&mut self, account: AccountIndex, from: &ObjectType, to: &ObjectType, now: Now) -> usize {
        let keys = self.lanes_between(account, from, to);
        for &key in &keys {
            match self.lanes.get_mut(key).and_then(|lane| lane.pause.as_mut()) {
                Some(pause) if pause.kind == PauseKind::Operator => {
                    self.resume_lane(key, now);
                    self.tidy(key);
                }
                Some(pause) => {
                    pause.probe_now(now.tick);
                    self.place(key, now.tick);
                    self.mark_ready(account);
                }
                None => {}
            }
        }
        self.pump(now);
        keys.len()
    }

    fn lanes_between(&self, account: AccountIndex, from: &ObjectType, to: &ObjectType) -> Vec<LaneKey> {
        let keys = self.accounts.get(account.0 as usize).map(|account| account.lanes.as_slice()).unwrap_or_default();
        let between = |key: &LaneKey| {
            self.lanes.get(*key).is_some_and(|lane| lane.id.from_type == *from && lane.id.to_type == *to)
        };
        keys.iter().copied().filter(between).collect()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use super::*;
    use crate::contract::association::Removal;
    use crate::engine::command::Command;
    use crate::engine::status::tests::{at, engine, job};

    const ACCOUNT: AccountIndex = AccountIndex(0);

    fn archives(engine: &mut Engine) -> usize {
        std::iter::from_fn(|| engine.next_command()).filter(|command| matches!(command, Command::Archive(_))).count()
    }

    #[test]
    fn a_paused_lane_sends_nothing_and_its_neighbour_goes_on() {
        let mut engine = engine(&[None]);
        let parse = |text| ObjectType::parse(text).unwrap();
        let (contacts, companies) = (parse("contacts"), parse("companies"));
        engine.admit(job(0, "contacts", "companies", Removal::Association, 1), at(0));
        engine.admit(job(0, "contacts", "deals", Removal::Association, 1), at(0));

        assert_eq!(engine.pause_lanes(ACCOUNT, &contacts, &companies, at(0)), 1);
        engine.wake(at(1));
        engine.wake(at(100));
        assert_eq!(archives(&mut engine), 1, "deals");
        engine.resume(ACCOUNT, at(100));
        engine.wake(at(101));
        assert_eq!(archives(&mut engine), 0, "to resume the account leaves its lanes as they are");

        assert_eq!(engine.resume_lanes(ACCOUNT, &contacts, &companies, at(101)), 1);
        engine.wake(at(102));
        assert_eq!(archives(&mut engine), 1, "companies");
        assert_eq!(engine.pause_lanes(ACCOUNT, &companies, &contacts, at(102)), 0, "the other way is another lane");
        assert_eq!(engine.pause_lanes(AccountIndex(7), &contacts, &companies, at(102)), 0);
    }
}
