//! Jobs that only use what others leave: which they are, how much of an account they have at least, and when.

use std::time::Duration;

use jiff::Timestamp;

use super::account::Account;
use super::clock::Now;
use super::pause::Tier;
use super::per_account::PerAccount;
use crate::background::window::{Stand, Window};
pub use crate::background::{BackgroundPolicy, Share};
use crate::contract::ids::AccountIndex;

/// Who goes first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Urgency {
    Live,
    /// It uses what the live ones leave, and a small share.
    Background,
}

/// A lane of the background waits for company longer than the linger, by this much: its jobs are not urgent, and
/// requests are scarce.
pub const PATIENCE_OF_BACKGROUND: Duration = Duration::from_secs(2);

/// What the background is owed of an account's turns.
#[derive(Clone, Copy, Default, Debug)]
pub struct Owed(u8);

impl Owed {
    /// The background has had less than its share.
    pub fn is_due(self, share: Share) -> bool {
        share.percent() > 0 && self.0 >= 100 - share.percent()
    }

    /// A live request went first while the background waited.
    pub fn was_passed_over(&mut self, share: Share) {
        self.0 = (self.0 + share.percent()).min(100);
    }

    pub fn had_turn(&mut self, share: Share) {
        self.0 = self.0.saturating_sub(100 - share.percent());
    }
}

/// In which accounts the window is open.
#[derive(Debug)]
pub struct Windows {
    window: Option<Window>,
    /// Of each account; meaningless without a window.
    stands: PerAccount<Stand>,
    /// When the first of them changes; `None` without a window.
    next: Option<Timestamp>,
    /// The time at the last look at the clocks.
    looked: Timestamp,
}

impl Windows {
    pub fn new(window: Option<Window>, accounts: &PerAccount<Account>, now: Now) -> Self {
        let stands = PerAccount::new(accounts.iter().map(|_| Stand::OpenUntil(now.wall)));
        let mut windows = Self { window, stands, next: window.map(|_| now.wall), looked: now.wall };
        windows.look(accounts, now);
        windows
    }

    /// Looks at the clocks again if a window may have opened or closed since, or the clock was set back. Returns the
    /// accounts whose window has closed.
    pub fn look(&mut self, accounts: &PerAccount<Account>, now: Now) -> Vec<AccountIndex> {
        let Some((window, next)) = self.window.zip(self.next) else { return Vec::new() };
        if now.wall < next && now.wall >= self.looked {
            return Vec::new();
        }
        let mut closed = Vec::new();
        let mut earliest = Timestamp::MAX;
        for index in accounts.indices() {
            let stand = stand_of(window, &accounts[index], now);
            let before = std::mem::replace(&mut self.stands[index], stand);
            if before.is_open() && !stand.is_open() {
                closed.push(index);
            }
            earliest = earliest.min(stand.until());
        }
        (self.next, self.looked) = (Some(earliest), now.wall);
        closed
    }

    /// An account's time zone has been learned, or will not be.
    pub fn zone_may_have_changed(&mut self) {
        self.next = self.next.map(|_| Timestamp::MIN);
    }

    /// When a window opens or closes next.
    pub fn next(&self) -> Option<Timestamp> {
        self.next
    }

    /// Whether the account's window is open, and until when; `None` without a window.
    pub fn of(&self, account: AccountIndex) -> Option<Stand> {
        self.window.map(|_| self.stands[account])
    }

    pub fn is_open(&self, account: AccountIndex) -> bool {
        self.of(account).is_none_or(Stand::is_open)
    }

    /// Whether the window is open in one account at least.
    pub fn is_any_open(&self) -> bool {
        self.window.is_none() || self.stands.iter().any(|stand| stand.is_open())
    }

    /// The delay queue in which a job waits until the window opens; `None` while it is open.
    pub fn tier(&self, account: AccountIndex, now: Now) -> Option<Tier> {
        match self.of(account)? {
            Stand::OpenUntil(_) => None,
            Stand::ClosedUntil(opens) => Some(Tier::within(now.tick_of(opens).since(now.tick))),
        }
    }
}

/// While HubSpot has not yet told the account's time zone, the window counts as open, so that jobs are taken in:
/// HubSpot is asked only for an account that has jobs. Nothing is sent before the answer.
fn stand_of(window: Window, account: &Account, now: Now) -> Stand {
    match account.learns_zone() {
        true => Stand::OpenUntil(Timestamp::MAX),
        false => window.stand(account.day.zone(), now.wall),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_background_has_its_share_of_turns_and_never_two_in_a_row() {
        for percent in 0..=Share::MOST {
            let Some(share) = Share::of_percent(percent) else { continue };
            let (mut owed, mut background, mut in_a_row) = (Owed::default(), 0, 0);
            for _ in 0..10_000 {
                if owed.is_due(share) {
                    owed.had_turn(share);
                    (background, in_a_row) = (background + 1, in_a_row + 1);
                } else {
                    owed.was_passed_over(share);
                    in_a_row = 0;
                }
                assert!(in_a_row <= 1, "{percent} %");
            }
            let wanted = u32::from(percent) * 100;
            assert!(background <= wanted && wanted - background <= 100, "{percent} %: {background} of 10,000");
        }
    }
}
