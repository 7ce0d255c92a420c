//! The conductor, where several workers share a quota: which accounts this engine may send for, and what it takes over
//! and leaves behind.
//!
//! The functions are given lists of accounts, in ascending order: the accounts of one shard come and go together.

use std::time::Duration;

use super::account::Account;
use super::clock::Now;
use super::engine::Engine;
use super::guard::Guard;
use super::orders::paused_by_operator;
use super::pace::{Ceiling, Recent};
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
            self.holdings.takes_over(index, now.tick);
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
            let PauseMemory { paused, since, orders } = known.pause;
            let (is_told, is_news) = (orders >= account.pause_orders, orders > account.pause_orders);
            account.pause_orders = account.pause_orders.max(orders);
            // The other worker's clock may be ahead of this one's. Where it did not say, the pause is told from now on.
            let since = since.map(|since| since.min(now.wall)).or(is_news.then_some(now.wall));
            if is_told && paused {
                self.pause_account(index, PauseKind::Operator, None, paused_by_operator(None), now);
            } else if is_told && !by_settings && self.pauses.account_is_paused_for(index, PauseKind::Operator) {
                self.resume_account(index, now);
            }
            if let Some(since) =
                since.filter(|_| is_told && self.pauses.account_is_paused_for(index, PauseKind::Operator))
            {
                self.pauses.account_stands_since(index, since);
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

    /// This process has sent these requests for the account itself, before it had an engine to ask.
    pub fn sent_before(&mut self, index: AccountIndex, recent: &[Recent], now: Now) {
        if let Some(account) = self.accounts.get_mut(index) {
            account.pace.follow(recent, now.tick);
        }
    }

    /// What whoever holds the lease of these accounts next must know.
    pub fn memory(&self, accounts: &[AccountIndex], occasion: Occasion, now: Now) -> Memory {
        let mut memory = Memory::default();
        for &index in accounts {
            let Some(account) = self.accounts.get(index) else { continue };
            let pause = self.pauses.of_account(index).filter(|pause| pause.kind == PauseKind::Operator);
            let pause = PauseMemory {
                // A pause by the settings goes when they change.
                paused: !account.policy.paused && pause.is_some(),
                since: pause.map(|pause| pause.since_wall),
                orders: account.pause_orders,
            };
            memory.set(account.policy.portal, account.memory(occasion, pause, now));
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

    fn memory(&self, occasion: Occasion, pause: PauseMemory, now: Now) -> AccountMemory {
        let (ahead, recent) = match occasion {
            Occasion::Renewal => (self.written_ahead(), Vec::new()),
            Occasion::Release => (0, self.pace.recent(now.tick)),
        };
        let guard = self.guard.as_ref().and_then(|guard| guard.memory(occasion == Occasion::Renewal, now));
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
    use jiff::Timestamp;

    use super::*;
    use crate::contract::association::Extent;
    use crate::engine::EnginePolicy;
    use crate::engine::account::AccountPolicy;
    use crate::engine::command::{Command, Notice};
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

    /// What the engine tells people of the account.
    fn pause_since(engine: &Engine, now: Now) -> Option<(PauseKind, Timestamp)> {
        let status = engine.status(now);
        status.accounts[0].pause.as_ref().map(|pause| (pause.kind, pause.since))
    }

    fn taken_over(memory: &Memory, paused_by_settings: bool, now: Now) -> Engine {
        let account = AccountPolicy { paused: paused_by_settings, ..AccountPolicy::default() };
        let mut engine = Engine::new(EnginePolicy::default(), vec![account], 1, now);
        engine.stand_by(ALL, now);
        engine.inherit(ALL, &Inheritance::Unknown(memory.clone()), now);
        engine.hold(ALL, Reach::new(now, Duration::from_secs(1_000_000)), now);
        engine
    }

    #[test]
    fn a_pause_by_hand_has_lasted_since_it_was_ordered_whoever_holds_the_lease() {
        let mut first = engine(&[None]);
        first.pause(AccountIndex(0), at(0));
        let memory = first.memory(ALL, Occasion::Renewal, at(3_600));
        let mut second = taken_over(&memory, false, at(3_600));
        assert_eq!(pause_since(&second, at(3_600)), Some((PauseKind::Operator, at(0).wall)));

        let third = second.memory(ALL, Occasion::Release, at(90_000));
        let mut third = taken_over(&third, false, at(90_000));
        assert_eq!(pause_since(&third, at(90_001)), Some((PauseKind::Operator, at(0).wall)));
        second.stand_by(ALL, at(90_000));
        assert_eq!(pause_since(&second, at(90_001)), None, "of what another worker does it cannot tell");
        while third.next_command().is_some() {}
        third.resume(AccountIndex(0), at(90_002));
        let resumed: Vec<Command> = std::iter::from_fn(|| third.next_command()).collect();
        let whole = Duration::from_secs(90_002);
        assert!(
            matches!(resumed[..], [Command::Notice(Notice::Resumed { lasted, .. })] if lasted == whole),
            "{resumed:?}"
        );

        // It is paused once more, and comes back to a worker that remembers the first time.
        third.pause(AccountIndex(0), at(90_010));
        second.inherit(ALL, &Inheritance::Told(third.memory(ALL, Occasion::Release, at(90_020))), at(90_020));
        second.hold(ALL, Reach::new(at(90_020), Duration::from_secs(100)), at(90_020));
        assert_eq!(pause_since(&second, at(90_021)), Some((PauseKind::Operator, at(90_010).wall)));
    }

    #[test]
    fn a_pause_by_the_settings_has_lasted_since_they_were_first_read() {
        let paused = taken_over(&Memory::default(), true, at(0));
        let memory = paused.memory(ALL, Occasion::Release, at(100));
        assert_eq!(pause_since(&taken_over(&memory, true, at(100)), at(100)), Some((PauseKind::Operator, at(0).wall)));
        let without = taken_over(&memory, false, at(200));
        assert_eq!(pause_since(&without, at(200)), None, "the setting is gone");
        let memory = without.memory(ALL, Occasion::Release, at(300));
        assert_eq!(
            pause_since(&taken_over(&memory, true, at(300)), at(300)),
            Some((PauseKind::Operator, at(300).wall))
        );
    }

    /// As a version wrote it that knew of no such time, and as another worker's fast clock tells it.
    #[test]
    fn where_nobody_wrote_since_when_it_is_paused_it_is_told_from_now_on() {
        let memory = |since, orders| {
            let mut memory = Memory::default();
            let pause = PauseMemory { paused: true, since, orders };
            memory.set(None, AccountMemory::new(None, None, pause, Vec::new()));
            memory
        };
        let now = Some((PauseKind::Operator, at(500).wall));
        for (since, orders) in [(None, 0), (None, 7), (Some(at(501).wall), 7)] {
            assert_eq!(pause_since(&taken_over(&memory(since, orders), false, at(500)), at(500)), now);
        }
        let mut own = engine(&[None]);
        own.pause(AccountIndex(0), at(0));
        own.inherit(ALL, &Inheritance::Told(memory(None, 1)), at(500));
        assert_eq!(
            pause_since(&own, at(500)),
            Some((PauseKind::Operator, at(0).wall)),
            "it knows of that order itself"
        );
        own.inherit(ALL, &Inheritance::Told(memory(None, 3)), at(500));
        assert_eq!(pause_since(&own, at(500)), now, "that was another order");
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
