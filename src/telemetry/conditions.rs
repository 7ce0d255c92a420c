//! Since when each condition lasts that `/readyz` tells of: whoever is woken wants to know what began first.

use std::collections::BTreeMap;
use std::fmt::Display;

use jiff::Timestamp;

use crate::engine::guard::GuardState;
use crate::engine::status::AccountStatus;

/// What keeps the worker from its work, or an operator should know, for as long as it lasts. Pauses have a start of
/// their own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Condition {
    NothingComesIn,
    NothingGoesOut,
    EveryAccountPaused,
    /// A resource alarm of the broker.
    Alarm,
    Overfull,
    /// The jobs of a queue, while those of others do.
    SomeDoNotComeIn,
    /// Messages wait to be published, while others go out.
    SomeDoNotGoOut,
    /// A queue is not worked on, while others are.
    SomeNotWorkedOn,
    Deserted,
    Rejecting,
}

impl Condition {
    pub const ALL: [Self; 10] = [
        Self::NothingComesIn,
        Self::NothingGoesOut,
        Self::EveryAccountPaused,
        Self::Alarm,
        Self::Overfull,
        Self::SomeDoNotComeIn,
        Self::SomeDoNotGoOut,
        Self::SomeNotWorkedOn,
        Self::Deserted,
        Self::Rejecting,
    ];
}

/// The account's jobs end because a person rejected what its guard had stopped.
pub fn is_rejecting(account: &AccountStatus) -> bool {
    account.guard.is_some_and(|guard| guard.state == GuardState::Rejected)
}

/// When those conditions began that apply now.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Begun(BTreeMap<Condition, Timestamp>);

impl Begun {
    /// Follows the worker from moment to moment. `applies` says what is so now.
    pub fn note(&mut self, applies: impl Fn(Condition) -> bool, now: Timestamp) {
        for condition in Condition::ALL {
            if applies(condition) {
                self.0.entry(condition).or_insert(now);
            } else {
                self.0.remove(&condition);
            }
        }
    }

    /// ` since 2026-11-29T17:41:20Z`, behind `comma`; nothing where that is not known.
    pub fn since(&self, condition: Condition, comma: &str) -> String {
        let told = |at: &Timestamp| format!("{comma} since {}", to_the_second(*at));
        self.0.get(&condition).map(told).unwrap_or_default()
    }
}

/// `2026-11-29T17:41:20Z`
pub fn to_the_second(at: Timestamp) -> impl Display {
    at.strftime("%Y-%m-%dT%H:%M:%SZ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_has_lasted_since_it_began_and_begins_anew_when_it_comes_again() {
        let mut begun = Begun::default();
        let mut at = |second: i64, blocked: bool| {
            let now = Timestamp::from_second(second).unwrap_or_default();
            begun.note(|condition| condition == Condition::Alarm && blocked, now);
            begun.since(Condition::Alarm, ";")
        };
        assert_eq!(at(10, false), "");
        assert_eq!(at(20, true), "; since 1970-01-01T00:00:20Z");
        assert_eq!(at(30, true), "; since 1970-01-01T00:00:20Z");
        assert_eq!(at(40, false), "");
        assert_eq!(at(50, true), "; since 1970-01-01T00:00:50Z");
    }
}
