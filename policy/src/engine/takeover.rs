//! The conductor, where several workers share a quota: which accounts this engine may send for, and what it takes over
//! and leaves behind.
//!
//! The functions are given lists of accounts, in ascending order: the accounts of one shard come and go together.

use std::time::Duration;

use super::account::Account;
use super::clock::Now;
use super::engine::Engine;
use super::guard::Guard;
use super::orders::PAUSED_BY_OPERATOR;
use super::pace::Ceiling;
use super::pause::PauseKind;
use super::tenancy::Tenancy;
use crate::contract::ids::AccountIndex;
use crate::lease::Inheritance;
use crate::lease::memory::{AccountMemory, Memory, PauseMemory};
use crate::lease::reach::Reach;

/// What a memory is written for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Occasion {
    /// The worker goes on: of a day with a budget some requests more are counted, which may leave once that is written.
    Renewal,
    /// The worker has sent its last request: what was used is named as it is, and so is the last interval.
    Release,
}

/// Requests of a day with a budget are written down ahead for this span of the ceiling.
const WRITTEN_AHEAD: Duration = Duration::from_millis(500);

impl Engine {
    /// Sends nothing more for these accounts until [`Engine::hold`]. Jobs with requests on the wire wait for their
    /// answers; the other jobs are handed back, and so are those that still come in.
    pub fn stand_by(&mut self, accounts: &[AccountIndex], now: Now) {
        for &index in accounts {
            let Some(account) = self.accounts.get_mut(index) else { continue };
            account.tenancy = Tenancy::StandingBy;
            account.day.keep_to_what_is_written();
            account.guard.iter_mut().for_each(Guard::keep_to_what_is_written);
        }
        self.hand_back_all_of(accounts, now);
    }

    /// The engine may send for these accounts until `reach` ends.
    pub fn hold(&mut self, accounts: &[AccountIndex], reach: Reach, now: Now) {
        for &index in accounts {
            if let Some(account) = self.accounts.get_mut(index) {
                account.tenancy = Tenancy::Until(reach);
                self.turns.mark_ready(index);
            }
        }
        self.pump(now);
    }

    /// Takes over these accounts from whoever held their lease before.
    pub fn inherit(&mut self, accounts: &[AccountIndex], inheritance: &Inheritance, now: Now) {
        let (memory, told) = match inheritance {
            Inheritance::Own => return,
            Inheritance::Told(memory) => (memory, true),
            Inheritance::Unknown(memory) => (memory, false),
        };
        for &index in accounts {
            let Some(account) = self.accounts.get_mut(index) else { continue };
            self.lag.takes_over(index, now.tick);
            let known = memory.of(account.policy.portal).cloned().unwrap_or_default();
            if told {
                account.pace.follow(&known.recent, now.tick);
            } else {
                account.pace.assume_spent(now.tick);
            }
            account.recall(&known, now);
            let by_settings = account.policy.paused;
            // This worker may have had later orders for the account, which were never written into the lease. Then they
            // stand.
            let is_told = known.pause.orders >= account.pause_orders;
            account.pause_orders = account.pause_orders.max(known.pause.orders);
            if is_told && known.pause.paused {
                self.pause_account(index, PauseKind::Operator, None, PAUSED_BY_OPERATOR.to_owned(), now);
            } else if is_told && !by_settings && self.pauses.account_is_paused_for(index, PauseKind::Operator) {
                self.resume_account(index, now);
            }
            if self.pauses.account_is_paused_for(index, PauseKind::Guard) {
                self.resume_account(index, now);
            }
            self.pause_if_guarded(index, now);
        }
    }

    /// Somebody without a lease has sent for these accounts until now.
    pub fn others_sent(&mut self, accounts: &[AccountIndex], now: Now) {
        for &index in accounts {
            let Some(account) = self.accounts.get_mut(index) else { continue };
            account.pace.assume_spent(now.tick);
        }
    }

    /// What whoever holds the lease of these accounts next must know.
    pub fn memory(&self, accounts: &[AccountIndex], occasion: Occasion, now: Now) -> Memory {
        let mut memory = Memory::default();
        for &index in accounts {
            let Some(account) = self.accounts.get(index) else { continue };
            // A pause by the settings goes when they change.
            let paused = !account.policy.paused && self.pauses.account_is_paused_for(index, PauseKind::Operator);
            memory.set(account.policy.portal, account.memory(occasion, paused, now));
        }
        memory
    }

    /// Whether requests of these accounts wait until [`Engine::memory`] is written down, or soon will.
    pub fn wants_to_write(&self, accounts: &[AccountIndex], now: Now) -> bool {
        let lacks = |&index: &AccountIndex| self.accounts.get(index).is_some_and(|account| account.lacks_written(now));
        accounts.iter().any(|index| self.holdings.jobs_of(*index) > 0 && lacks(index))
    }

    /// This memory of these accounts is safe: what it counts ahead may leave.
    pub fn written(&mut self, accounts: &[AccountIndex], memory: &Memory, now: Now) {
        for &index in accounts {
            let Some(account) = self.accounts.get_mut(index) else { continue };
            let known = memory.of(account.policy.portal);
            let day = known.and_then(|known| known.day).is_some_and(|day| account.day.written(day, now.wall));
            let guard = known.and_then(|known| known.guard.as_ref());
            let guard = account.guard.as_mut().is_some_and(|of_account| of_account.written(guard, now));
            if day || guard {
                self.turns.mark_ready(index);
            }
        }
        self.pump(now);
    }

    /// All accounts, where one lease is for all of them.
    pub fn all_accounts(&self) -> Vec<AccountIndex> {
        self.accounts.indices().collect()
    }
}

impl Account {
    fn recall(&mut self, known: &AccountMemory, now: Now) {
        if let Some(ceiling) = known.ceiling {
            self.pace.recall(ceiling, now.tick);
        }
        if let Some(day) = known.day {
            self.day.recall(day, self.policy.time_zone.is_some(), now.wall);
        }
        if let Some(guard) = &mut self.guard {
            guard.recall(known.guard.as_ref(), now);
        }
    }

    fn memory(&self, occasion: Occasion, paused: bool, now: Now) -> AccountMemory {
        let (ahead, recent) = match occasion {
            Occasion::Renewal => (self.written_ahead(), Vec::new()),
            Occasion::Release => (0, self.pace.recent(now.tick)),
        };
        let guard = self.guard.as_ref().and_then(|guard| guard.memory(occasion == Occasion::Renewal, now));
        let pause = PauseMemory { paused, orders: self.pause_orders };
        AccountMemory::new(self.day.memory(ahead, now.wall), self.pace.learned(), pause, recent).with_guard(guard)
    }

    fn lacks_written(&self, now: Now) -> bool {
        let of_day = self.policy.daily.is_some() && self.day.lacks_written(self.written_ahead(), now.wall);
        of_day || self.guard.as_ref().is_some_and(|guard| guard.lacks_written(now.tick))
    }

    /// As many requests as may leave within [`WRITTEN_AHEAD`], but at least two.
    fn written_ahead(&self) -> u64 {
        let Ceiling { requests, interval } = self.policy.ceiling;
        let share = WRITTEN_AHEAD.as_nanos().saturating_mul(requests.get().into()) / interval.as_nanos().max(1);
        u64::try_from(share).unwrap_or(u64::MAX).max(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::association::Extent;
    use crate::engine::command::Command;
    use crate::engine::status::tests::{at, engine, job};

    const ALL: &[AccountIndex] = &[AccountIndex(0)];

    fn archives(engine: &mut Engine) -> usize {
        std::iter::from_fn(|| engine.next_command()).filter(|command| matches!(command, Command::Send(_))).count()
    }

    fn reach(seconds: u64) -> Reach {
        Reach::new(at(0), Duration::from_secs(seconds))
    }

    #[test]
    fn past_the_reach_nothing_is_sent_and_what_waits_is_handed_back() {
        let mut engine = engine(&[None]);
        engine.stand_by(ALL, at(0));
        engine.hold(ALL, reach(10), at(0));
        engine.admit(job(0, "contacts", "companies", Extent::Whole, 1), at(9));
        engine.wake(at(10));
        engine.wake(at(11));
        assert_eq!(archives(&mut engine), 0, "the engine itself looks at the time");
        engine.hold(ALL, reach(20), at(12));
        engine.wake(at(13));
        assert_eq!(archives(&mut engine), 1);

        engine.admit(job(0, "contacts", "companies", Extent::Whole, 2), at(13));
        engine.stand_by(ALL, at(13));
        let commands: Vec<Command> = std::iter::from_fn(|| engine.next_command()).collect();
        assert!(matches!(commands[..], [Command::HandBack(_)]), "{commands:?}");
        assert_eq!(engine.held_jobs(), 1, "the one on the wire is answered");
        engine.admit(job(0, "contacts", "companies", Extent::Whole, 3), at(14));
        assert!(matches!(engine.next_command(), Some(Command::HandBack(_))), "it was on its way when the lease ended");
    }

    #[test]
    fn a_pause_is_taken_over_and_so_is_its_end() {
        let mut first = engine(&[None]);
        first.pause(AccountIndex(0), at(0));
        let memory = first.memory(ALL, Occasion::Renewal, at(0));
        let mut second = engine(&[None]);
        second.inherit(ALL, &Inheritance::Unknown(memory), at(0));
        let paused = |engine: &Engine| engine.pauses.of_account(AccountIndex(0)).is_some();
        assert!(paused(&second));
        first.inherit(ALL, &Inheritance::Told(second.memory(ALL, Occasion::Release, at(1))), at(1));
        first.resume(AccountIndex(0), at(1));
        let resumed = first.memory(ALL, Occasion::Release, at(1));
        second.inherit(ALL, &Inheritance::Told(resumed), at(2));
        assert!(!paused(&second));
        // As after a deletion of the queue, or where this worker was cut off when it was told.
        second.pause(AccountIndex(0), at(3));
        second.inherit(ALL, &Inheritance::Unknown(Memory::default()), at(4));
        assert!(paused(&second), "the last order counts");
    }

    #[test]
    fn each_account_sends_only_while_its_own_lease_is_held() {
        let mut engine = engine(&[None, None]);
        let (first, second) = (AccountIndex(0), AccountIndex(1));
        engine.stand_by(&[first, second], at(0));
        engine.hold(&[first], reach(10), at(0));
        engine.admit(job(0, "contacts", "companies", Extent::Whole, 1), at(1));
        engine.admit(job(1, "contacts", "companies", Extent::Whole, 1), at(1));
        engine.wake(at(2));
        let commands: Vec<Command> = std::iter::from_fn(|| engine.next_command()).collect();
        assert!(matches!(&commands[..], [Command::HandBack(_), Command::Send(call)] if call.lane.account == first));

        engine.hold(&[second], reach(20), at(2));
        engine.admit(job(0, "contacts", "companies", Extent::Whole, 2), at(3));
        engine.admit(job(1, "contacts", "companies", Extent::Whole, 2), at(3));
        engine.stand_by(&[first], at(3));
        engine.wake(at(12));
        let commands: Vec<Command> = std::iter::from_fn(|| engine.next_command()).collect();
        assert!(matches!(&commands[..], [Command::HandBack(_), Command::Send(call)] if call.lane.account == second));
    }

    /// One shard's lease has lapsed and is renewed: what waited for it goes on by itself.
    #[test]
    fn an_account_whose_lease_lapsed_keeps_no_other_from_sending() {
        let mut engine = engine(&[None, None]);
        let (first, second) = (AccountIndex(0), AccountIndex(1));
        engine.stand_by(&[first, second], at(0));
        engine.hold(&[first], reach(2), at(0));
        engine.hold(&[second], reach(60), at(0));
        engine.admit(job(0, "contacts", "companies", Extent::Whole, 1), at(2));
        engine.admit(job(1, "contacts", "companies", Extent::Whole, 1), at(2));
        engine.wake(at(3));
        assert_eq!(archives(&mut engine), 1, "the second account's");
        engine.hold(&[first], reach(20), at(4));
        engine.wake(at(5));
        assert_eq!(archives(&mut engine), 1, "and then the first one's");
    }
}
