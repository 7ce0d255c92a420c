//! The guard: within a window no more distinct pairs of an account are removed than its settings allow, until a person
//! says go on, or no.
//!
//! Pairs are counted when their first request leaves. A pair that goes again, for whatever reason, counts no more; one
//! that comes back from a delay queue or after a restart is new to this process and counts again, so the guard may stop
//! too early, but never too late. Where another worker may take over, a pair's count is written down before it leaves.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::time::Duration;

use jiff::Timestamp;

use super::clock::{Now, Tick};
use crate::contract::as_set::AsSet;
use crate::contract::grouped::Grouped;
use crate::contract::refusal::{Refusal, WorkerCategory};
use crate::lease::memory::{GuardMemory, GuardStand};

/// What the settings say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GuardPolicy {
    /// `safety.max_pairs`.
    pub max_pairs: NonZeroU64,
    /// `safety.max_pairs_window`.
    pub window: Duration,
}

/// See the module.
#[derive(Debug)]
pub struct Guard {
    policy: GuardPolicy,
    stand: Stand,
    /// When it came to stand so, by which worker soever. `None` while it is open, and where nobody wrote it down.
    since: Option<Timestamp>,
    /// How often `stand` has changed. Of two memories, the one with more changes is the later.
    changes: u64,
    sent: Counts,
    /// With several workers: the counts that are written down where the next holder finds them. `None`: there is no
    /// other worker.
    written: Option<Counts>,
    /// A request waits for its count to be written.
    waits: bool,
    /// Pairs that were asked for, and may leave as soon as they are written. No memory may count fewer of them than one
    /// before, because both may be on their way: whoever takes over finds the later one.
    reserved: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stand {
    /// It counts, and lets pairs through up to the limit.
    Open,
    /// The limit is reached: a person must say go on, or no.
    Waiting,
    /// A person said go on: everything is let through until this time.
    Approved { until: Tick },
    /// A person said no: nothing is removed until one says go on.
    Rejected,
}

/// How the guard stands, for people.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum GuardState {
    Open,
    Waiting,
    Approved,
    Rejected,
}

impl GuardState {
    pub const ALL: [Self; 4] = [Self::Open, Self::Waiting, Self::Approved, Self::Rejected];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Waiting => "waiting",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
        }
    }
}

/// What the guard says to a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Passage {
    /// It may carry this many pairs that were not sent before.
    Pairs(u64),
    /// It must wait until its count is written down. It is to ask again at this time.
    Unwritten(Tick),
    /// It must wait until a person says go on.
    Closed,
}

/// Time is divided into spans of a twelfth of the window. A pair counts until the end of the span in which it leaves
/// the window, so at most a twelfth longer than the window lasts. In this way a few numbers are enough, however many
/// pairs there are.
const SPANS: u32 = 12;

/// More pairs are written down than were sent, by this share of the limit: a twentieth. After a crash up to this many
/// pairs may count that were never sent.
const WRITTEN_AHEAD: u64 = 20;

/// A request may have to wait until its count is written. It asks again after this time, unless the news that the count
/// is written comes earlier.
const LOOK_FOR_WRITTEN: Duration = Duration::from_secs(1);

impl Guard {
    pub fn new(policy: GuardPolicy) -> Self {
        Self {
            policy,
            stand: Stand::Open,
            since: None,
            changes: 0,
            sent: Counts::default(),
            written: None,
            waits: false,
            reserved: 0,
        }
    }

    pub fn policy(&self) -> GuardPolicy {
        self.policy
    }

    /// May a request leave that carries `least` to `most` pairs that were not sent before? Where fewer than `least` are
    /// left, the guard closes.
    pub fn ask(&mut self, least: u64, most: u64, now: Now) -> Passage {
        let Now { tick: now, wall } = now;
        self.pass_time(now);
        match self.stand {
            Stand::Approved { until: _ } => return Passage::Pairs(most),
            Stand::Waiting | Stand::Rejected => return Passage::Closed,
            Stand::Open => {}
        }
        if most == 0 {
            return Passage::Pairs(0);
        }
        let (used, max) = (self.sent.total(now), self.policy.max_pairs.get());
        let left = max.saturating_sub(used);
        if left < least {
            self.change(Stand::Waiting, Some(wall));
            return Passage::Closed;
        }
        let pairs = most.min(left);
        if self.written.as_ref().is_some_and(|written| written.total(now) < used + pairs) {
            self.waits = true;
            self.reserved = self.reserved.max(pairs);
            return Passage::Unwritten(now + LOOK_FOR_WRITTEN);
        }
        Passage::Pairs(pairs)
    }

    /// These pairs leave for the first time.
    pub fn count(&mut self, pairs: u64, now: Tick) {
        self.pass_time(now);
        let leave = self.leave_at(now);
        self.sent.add(leave, pairs);
        self.reserved = self.reserved.saturating_sub(pairs);
    }

    /// Everything is let through for one window from now on; then counting begins anew.
    pub fn approve(&mut self, now: Now) {
        self.change(Stand::Approved { until: now.tick + self.policy.window }, Some(now.wall));
        self.count_anew();
    }

    /// Nothing is let through until [`Guard::approve`].
    pub fn reject(&mut self, now: Now) {
        self.change(Stand::Rejected, Some(now.wall));
    }

    fn change(&mut self, stand: Stand, since: Option<Timestamp>) {
        (self.stand, self.since) = (stand, since);
        self.changes = self.changes.saturating_add(1);
    }

    pub fn state(&self, now: Tick) -> GuardState {
        match self.stand {
            Stand::Approved { until } if until <= now => GuardState::Open,
            Stand::Open => GuardState::Open,
            Stand::Waiting => GuardState::Waiting,
            Stand::Approved { until: _ } => GuardState::Approved,
            Stand::Rejected => GuardState::Rejected,
        }
    }

    /// Since when it is in that state; `None` while it is open, and where nobody wrote it down.
    pub fn since(&self, now: Tick) -> Option<Timestamp> {
        self.since.filter(|_| self.state(now) != GuardState::Open)
    }

    /// Distinct pairs sent within the window, or since it was approved.
    pub fn used(&self, now: Tick) -> u64 {
        match self.stand {
            Stand::Approved { until } if until <= now => 0,
            Stand::Open | Stand::Waiting | Stand::Approved { .. } | Stand::Rejected => self.sent.total(now),
        }
    }

    pub fn approved_until(&self, now: Tick) -> Option<Tick> {
        match self.stand {
            Stand::Approved { until } => Some(until).filter(|&until| until > now),
            Stand::Open | Stand::Waiting | Stand::Rejected => None,
        }
    }

    /// Why the account stands still.
    pub fn detail(&self, now: Tick) -> String {
        let GuardPolicy { max_pairs, window } = self.policy;
        let (used, window, max_pairs) = (self.sent.total(now), AsSet(window), Grouped(max_pairs.get()));
        match used {
            // The window has passed since, or another worker reached the limit.
            0 => format!("safety.max_pairs, {max_pairs} in {window}, was reached"),
            _ => format!("{} pairs in the last {window}; safety.max_pairs is {max_pairs}", Grouped(used)),
        }
    }

    fn pass_time(&mut self, now: Tick) {
        self.sent.forget(now);
        if let Some(written) = &mut self.written {
            written.forget(now);
        }
        if let Stand::Approved { until } = self.stand
            && until <= now
        {
            self.change(Stand::Open, None);
            self.count_anew();
        }
    }

    /// What was written before says nothing of what leaves from now on.
    fn count_anew(&mut self) {
        (self.sent, self.reserved) = (Counts::default(), 0);
        self.written = self.written.take().map(|_| Counts::default());
    }

    /// From when on a pair that is sent now no longer counts.
    fn leave_at(&self, now: Tick) -> Tick {
        let span = u64::try_from((self.policy.window / SPANS).as_micros()).unwrap_or(u64::MAX).max(1);
        let leave = (now + self.policy.window).as_micros();
        Tick::from_micros((leave / span).saturating_add(1).saturating_mul(span))
    }

    /// From now on a pair leaves only when its count is written down.
    pub fn keep_to_what_is_written(&mut self) {
        self.written = Some(Counts::default());
    }

    /// What the next worker must know; `ahead`: with some pairs more than were sent, which may then leave.
    pub fn memory(&self, ahead: bool, now: Now) -> Option<GuardMemory> {
        let (state, used) = (self.state(now.tick), self.used(now.tick));
        let mut counts = if used > 0 { self.sent.clone() } else { Counts::default() };
        counts.forget(now.tick);
        if ahead && state == GuardState::Open && (used > 0 || self.reserved > 0) {
            counts.add(self.leave_at(now.tick), self.ahead(now.tick));
        }
        let stand = match (state, self.approved_until(now.tick)) {
            (GuardState::Approved, Some(until)) => GuardStand::Approved { until: now.wall_at(until) },
            (GuardState::Open | GuardState::Approved, _) => GuardStand::Open,
            (GuardState::Waiting, _) => GuardStand::Waiting,
            (GuardState::Rejected, _) => GuardStand::Rejected,
        };
        let counted = counts.0.into_iter().map(|(leave, pairs)| (now.wall_at(leave), pairs)).collect();
        let memory = GuardMemory { stand, since: self.since(now.tick), changes: self.changes, counted };
        (!memory.is_empty()).then_some(memory)
    }

    fn ahead(&self, now: Tick) -> u64 {
        let max = self.policy.max_pairs.get();
        self.reserved.max(max / WRITTEN_AHEAD).min(max.saturating_sub(self.sent.total(now)))
    }

    /// Takes over from whoever held the lease before.
    pub fn recall(&mut self, memory: Option<&GuardMemory>, now: Now) {
        let window = self.policy.window;
        let empty = GuardMemory::default();
        let GuardMemory { stand, since, changes, counted } = memory.unwrap_or(&empty);
        // The other worker's clock may be ahead of this one's.
        self.since = since.map(|since| since.min(now.wall));
        self.changes = self.changes.max(*changes);
        // For the same reason: no pair counts for longer than if it were sent now.
        let latest = self.leave_at(now.tick);
        self.sent = Counts::default();
        for &(leave, pairs) in counted {
            self.sent.add(now.tick_of(leave).min(latest), pairs);
        }
        self.stand = match *stand {
            GuardStand::Open => Stand::Open,
            GuardStand::Waiting => Stand::Waiting,
            GuardStand::Approved { until } => Stand::Approved { until: now.tick_of(until).min(now.tick + window) },
            GuardStand::Rejected => Stand::Rejected,
        };
        (self.waits, self.reserved) = (false, 0);
        self.pass_time(now.tick);
    }

    /// This memory is safe at the broker. Returns true where a request has waited for that.
    pub fn written(&mut self, memory: Option<&GuardMemory>, now: Now) -> bool {
        let Some(written) = &mut self.written else { return false };
        let mut counts = Counts::default();
        // Only the counts of an open guard are sure to count for whoever takes over. An approval, for example, may have
        // ended by then, and at its end counting begins anew.
        let memory = memory.filter(|memory| memory.stand == GuardStand::Open);
        for &(leave, pairs) in memory.into_iter().flat_map(|memory| &memory.counted) {
            counts.add(now.tick_of(leave), pairs);
        }
        *written = counts;
        std::mem::take(&mut self.waits)
    }

    /// A request waits for its count to be written, or soon will.
    pub fn lacks_written(&self, now: Tick) -> bool {
        let Some(written) = self.written.as_ref().filter(|_| self.state(now) == GuardState::Open) else { return false };
        let (written, used, max) = (written.total(now), self.used(now), self.policy.max_pairs.get());
        let is_short = written < max && written <= used + max / WRITTEN_AHEAD / 2;
        self.waits || (used > 0 && is_short)
    }
}

/// Numbers of pairs, and when they no longer count; the earliest first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Counts(VecDeque<(Tick, u64)>);

impl Counts {
    fn total(&self, now: Tick) -> u64 {
        self.0.iter().filter(|&&(leave, _)| leave > now).fold(0, |sum, &(_, pairs)| sum.saturating_add(pairs))
    }

    fn forget(&mut self, now: Tick) {
        while self.0.front().is_some_and(|&(leave, _)| leave <= now) {
            self.0.pop_front();
        }
    }

    /// Pairs that are added later never stop counting before those added earlier.
    fn add(&mut self, leave: Tick, pairs: u64) {
        match self.0.back_mut() {
            _ if pairs == 0 => {}
            Some((last, sum)) if *last >= leave => *sum = sum.saturating_add(pairs),
            Some(_) | None => self.0.push_back((leave, pairs)),
        }
    }
}

/// Why a job ends that was rejected.
pub fn rejected() -> Refusal {
    Refusal::worker(WorkerCategory::GuardRejected, REJECTED)
}

/// What a job that ends early has done to a pair. `in_doubt`: a request that was never answered carried the pair, or one
/// whose effect is not proven.
pub fn left_behind(in_doubt: bool) -> &'static str {
    match in_doubt {
        true => "this job may have changed the pair in HubSpot: what became of a request for it is not known",
        false => "this job has not changed the pair in HubSpot: no request for it was carried out",
    }
}

/// Why a pair of such a job was not archived.
pub fn rejected_pair(in_doubt: bool) -> Refusal {
    Refusal::worker(WorkerCategory::GuardRejected, &format!("{REJECTED}; {}", left_behind(in_doubt)))
}

const REJECTED: &str = "the operator rejected what the guard (safety.max_pairs) of the account had stopped";

#[cfg(test)]
#[expect(clippy::unwrap_used)]
mod tests;
