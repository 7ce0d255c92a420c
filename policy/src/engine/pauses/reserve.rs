//! How many jobs of something that is paused stay in hand, to find out whether the pause is over; and what becomes of
//! the others.

use std::sync::Arc;
use std::time::Duration;

use super::Pauses;
use crate::contract::grouped::Grouped;
use crate::contract::ids::AccountIndex;
use crate::contract::refusal::{Refusal, WorkerCategory};
use crate::engine::backlog::LaneKey;
use crate::engine::clock::Now;
use crate::engine::pause::{Pause, PauseKind, Tier};
use crate::engine::settings::Waiting;

/// Jobs of something paused, beyond the reserve that stays in hand, are to wait in a delay queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Surplus {
    pub reserve: usize,
    pub tier: Tier,
}

/// Most pairs of a paused lane, and most jobs of a paused account, that stay in hand to find out whether it goes on.
const RESERVE: usize = 100;

/// All reserves together take at most this share (a quarter) of the prefetch, unless one job of each takes more.
const RESERVED_DIVISOR: usize = 4;

impl Pauses {
    /// How many jobs of a paused account, or pairs of a paused lane, stay in hand: none where the end is known, since
    /// nothing has to find out.
    fn reserve(&self, pause: &Pause) -> usize {
        let Waiting::Outside { prefetch, longest_hold: _ } = self.waiting else { return usize::MAX };
        match pause.until {
            Some(_) => 0,
            None => (prefetch / RESERVED_DIVISOR / self.count.max(1)).clamp(1, RESERVE),
        }
    }

    /// Whether a pause has lasted, and will last, long enough for its jobs to wait outside.
    fn parks(pause: &Pause, now: Now) -> bool {
        pause.parks_from(now).is_some_and(|at| at <= now.tick)
    }

    /// What of an account's `jobs` in hand is to be parked, because the account is paused.
    pub fn surplus_of_account(&self, account: AccountIndex, jobs: usize, now: Now) -> Option<Surplus> {
        let pause = self.of_account(account).filter(|pause| Self::parks(pause, now))?;
        let reserve = self.reserve(pause);
        (jobs > reserve).then(|| Surplus { reserve, tier: pause.tier(now) })
    }

    /// What of a lane's `waiting` pairs is to be parked, because the lane is paused.
    pub fn surplus_of_lane(&self, lane: LaneKey, waiting: usize, now: Now) -> Option<Surplus> {
        let pause = self.of_lane(lane).filter(|pause| Self::parks(pause, now))?;
        let reserve = self.reserve(pause);
        (waiting > reserve).then(|| Surplus { reserve, tier: pause.tier(now) })
    }

    /// Where a job just admitted must wait instead, because its account or lane is paused and has its reserve. `jobs`
    /// are those of the account, this one included, `pairs_of_others` those waiting in its lane for other jobs: a job
    /// larger than the reserve must not wait outside for a pause that nobody else is there to end.
    pub fn no_room(
        &self,
        account: AccountIndex,
        jobs: usize,
        lane: LaneKey,
        pairs_of_others: impl FnOnce() -> usize,
        now: Now,
    ) -> Option<Tier> {
        let of_account = self.surplus_of_account(account, jobs, now).map(|surplus| surplus.tier);
        of_account.or_else(|| {
            let pause = self.of_lane(lane).filter(|pause| Self::parks(pause, now))?;
            (pairs_of_others() >= self.reserve(pause)).then(|| pause.tier(now))
        })
    }

    /// What to tell the jobs of a lane once it or its account has been paused for so long that they are given up.
    pub fn given_up(&self, after: Duration, account: AccountIndex, lane: LaneKey, now: Now) -> Option<Arc<Refusal>> {
        let is_given_up =
            |pause: &&Pause| pause.given_up_after(after).is_some_and(|after| now.tick.since(pause.since) >= after);
        let pause = self.of_account(account).filter(is_given_up).or_else(|| self.of_lane(lane).filter(is_given_up))?;
        let (seconds, kind) = (Grouped(now.tick.since(pause.since).as_secs()), pause.kind.as_str());
        let message = format!("nothing could be archived for {seconds} s ({kind}): {}", pause.detail);
        let category = match pause.kind {
            PauseKind::Guard => WorkerCategory::GuardRejected,
            PauseKind::Unauthorized
            | PauseKind::RefreshRefused
            | PauseKind::PortalMismatch
            | PauseKind::PortalMoving
            | PauseKind::DaySpent
            | PauseKind::Throttled
            | PauseKind::Outage
            | PauseKind::Journal
            | PauseKind::Operator
            | PauseKind::MissingScopes
            | PauseKind::Forbidden
            | PauseKind::WrongPath => WorkerCategory::AccountRefused,
        };
        Some(Arc::new(Refusal::worker(category, &message)))
    }
}
