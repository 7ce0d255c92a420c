//! Which acknowledgements to send, and when: many deliveries by one frame where their order allows it.
//!
//! Deliveries finish in any order. The *mark* is the highest tag up to which all are settled. One `multiple` frame
//! acknowledges everything that is finished up to the mark. A *straggler* is a delivery that is finished above the
//! mark: it waits a little, since the mark may soon pass it, and is then acknowledged alone, so that one slow job holds
//! up no other. For example: of the tags 1 to 5 all are finished but 3. The mark is 2; one frame acknowledges 1 and 2,
//! and the stragglers 4 and 5 wait for 3.
//!
//! Where thousands of stragglers are acknowledged one by one, this costs the broker more than the jobs themselves: each
//! frame is an entry in the queue's log, and the broker finds the delivery by a walk over all outstanding ones below it.
//! So stragglers of a *crowd* wait longer while the mark moves, which then passes most of them. This happens when the
//! rounds of several tasks come back one after the other. Those that cannot wait are named from the lowest tag upwards,
//! so that each walk passes none of those that were named before it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::receipt::Settling;

/// The broker is told after this time that the mark has moved, if it has moved by less than a chunk.
const MARK_DELAY: Duration = Duration::from_millis(20);
/// A straggler is acknowledged alone after this time.
const STRAGGLER_DELAY: Duration = Duration::from_millis(50);
/// A span of more deliveries than this, from the mark to the highest tag settled, is a crowd.
const CROWD: usize = 256;
/// Each straggler of a crowd waits for this long, if the mark has moved within this time. Longer waits would save little
/// more, and what waits when the worker is killed is sent again.
const CROWD_DELAY: Duration = Duration::from_millis(500);
/// The largest chunk. A chunk is a quarter of the prefetch: the broker is told at once of a mark that moved that far.
const MAX_CHUNK: u64 = 256;

/// What to send on the channel that delivered, in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Frame {
    /// Acknowledges this tag and all outstanding ones below it.
    AckUpTo(u64),
    AckOne(u64),
    /// Gives the message back to its queue.
    Requeue(u64),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Delivered, not settled.
    Open,
    /// May be acknowledged; the broker has not been told.
    Finished,
    /// The broker has been told, by a frame of its own.
    Told,
}

/// The deliveries of one generation that the broker still counts as unacknowledged.
#[derive(Debug)]
pub struct AckWindow {
    chunk: u64,
    /// Most stragglers that may wait: each counts in the prefetch, so that the broker delivers one job less.
    most_waiting: usize,
    /// How many of `above` are finished: the stragglers that wait.
    waiting: usize,
    /// Every tag up to here is settled.
    mark: u64,
    /// When the mark has last moved.
    moved: Option<Instant>,
    /// States of the tags above the mark. The first is that of `mark + 1`, the last that of the highest tag settled.
    above: VecDeque<State>,
    /// What the broker must still be told of the mark. Its tag is the highest one up to the mark that an `AckUpTo` may
    /// name: if the frame named a tag that was told before, the broker would close the channel.
    untold: Option<Untold>,
    /// The stragglers, in the order in which they finished. Some of them may no longer wait, but the first one always does.
    stragglers: VecDeque<(Instant, u64)>,
    frames: Vec<Frame>,
}

#[derive(Clone, Copy, Debug)]
struct Untold {
    tag: u64,
    /// The mark when there was last nothing to tell.
    from: u64,
    since: Instant,
}

impl AckWindow {
    /// `prefetch`: the most deliveries outstanding at a time.
    pub fn new(prefetch: u16) -> Self {
        Self {
            chunk: chunk(prefetch),
            most_waiting: most_waiting(prefetch),
            waiting: 0,
            mark: 0,
            moved: None,
            above: VecDeque::new(),
            untold: None,
            stragglers: VecDeque::new(),
            frames: Vec::new(),
        }
    }

    /// From now on at most this many deliveries are outstanding at a time.
    pub fn resize(&mut self, prefetch: u16) {
        self.chunk = chunk(prefetch);
        self.most_waiting = most_waiting(prefetch);
    }

    /// Records that a delivery is settled. Tags begin at 1. A tag that was settled before changes nothing.
    pub fn settle(&mut self, tag: u64, settling: Settling, now: Instant) {
        let Some(place) = self.place(tag) else { return };
        if self.above.len() <= place {
            self.above.resize(place + 1, State::Open);
        }
        if self.above.get(place) != Some(&State::Open) {
            return;
        }
        self.above[place] = match settling {
            Settling::Ack => {
                self.waiting += 1;
                if place > 0 {
                    self.stragglers.push_back((now, tag));
                }
                State::Finished
            }
            Settling::HandBack => {
                self.frames.push(Frame::Requeue(tag));
                State::Told
            }
        };
        self.advance(now);
    }

    /// The frames to send now. Empty until [`Self::next_due`], unless something was settled meanwhile.
    pub fn due(&mut self, now: Instant) -> Vec<Frame> {
        if let Some(untold) = self.untold
            && (untold.tag - untold.from >= self.chunk || now >= untold.since + MARK_DELAY)
        {
            self.frames.push(Frame::AckUpTo(untold.tag));
            self.untold = None;
        }
        self.release_stragglers(now, self.patience(now));
        std::mem::take(&mut self.frames)
    }

    /// The frames for all that is finished. At the end of a generation nothing may wait any longer.
    pub fn flush(&mut self, now: Instant) -> Vec<Frame> {
        if let Some(untold) = self.untold.take() {
            self.frames.push(Frame::AckUpTo(untold.tag));
        }
        self.release_stragglers(now, Duration::ZERO);
        std::mem::take(&mut self.frames)
    }

    /// When [`Self::due`] will next have a frame to send; `None` until more is settled.
    pub fn next_due(&self) -> Option<Instant> {
        let mark = self.untold.map(|untold| untold.since + MARK_DELAY);
        let straggler = self.stragglers.front().map(|(finished, _)| {
            let alone = *finished + STRAGGLER_DELAY;
            match self.moved {
                // A crowd waits for `CROWD_DELAY`, but not longer than until the mark has stood still for this time.
                Some(moved) if self.is_crowded() => alone.max((*finished).min(moved) + CROWD_DELAY),
                Some(_) | None => alone,
            }
        });
        mark.into_iter().chain(straggler).min()
    }

    fn is_crowded(&self) -> bool {
        self.above.len() > CROWD
    }

    /// How long a straggler waits for the mark.
    fn patience(&self, now: Instant) -> Duration {
        let moves = self.moved.is_some_and(|moved| now < moved + CROWD_DELAY);
        if moves && self.is_crowded() { CROWD_DELAY } else { STRAGGLER_DELAY }
    }

    fn advance(&mut self, now: Instant) {
        let before = self.mark;
        while let Some(state) = self.above.front() {
            match state {
                State::Open => break,
                State::Finished => {
                    self.waiting -= 1;
                    let from = self.untold.map_or(before, |untold| untold.from);
                    let since = self.untold.map_or(now, |untold| untold.since);
                    self.untold = Some(Untold { tag: self.mark + 1, from, since });
                }
                State::Told => {}
            }
            self.above.pop_front();
            self.mark += 1;
        }
        if self.mark > before {
            self.moved = Some(now);
        }
        self.drop_those_that_wait_no_longer();
    }

    /// Names the stragglers that have waited for `delay`, and as many others as there are too many.
    fn release_stragglers(&mut self, now: Instant, delay: Duration) {
        let mut overdue = Vec::new();
        while let Some((finished, tag)) = self.stragglers.front().copied()
            && now >= finished + delay
        {
            self.stragglers.pop_front();
            overdue.extend(self.waits(tag).then_some(tag));
        }
        overdue.sort_unstable();
        overdue.into_iter().for_each(|tag| self.tell(tag));
        for tag in self.mark + 1..=self.mark + self.above.len() as u64 {
            if self.waiting <= self.most_waiting {
                break;
            }
            if self.waits(tag) {
                self.tell(tag);
            }
        }
        self.drop_those_that_wait_no_longer();
    }

    fn drop_those_that_wait_no_longer(&mut self) {
        while let Some((_, tag)) = self.stragglers.front()
            && !self.waits(*tag)
        {
            self.stragglers.pop_front();
        }
    }

    fn waits(&self, tag: u64) -> bool {
        self.place(tag).and_then(|place| self.above.get(place)) == Some(&State::Finished)
    }

    fn tell(&mut self, tag: u64) {
        if let Some(state) = self.place(tag).and_then(|place| self.above.get_mut(place)) {
            *state = State::Told;
            self.waiting -= 1;
            self.frames.push(Frame::AckOne(tag));
        }
    }

    /// Where the tag's state is in `above`.
    fn place(&self, tag: u64) -> Option<usize> {
        tag.checked_sub(self.mark + 1).and_then(|place| usize::try_from(place).ok())
    }
}

fn chunk(prefetch: u16) -> u64 {
    u64::from(prefetch / 4).clamp(1, MAX_CHUNK)
}

fn most_waiting(prefetch: u16) -> usize {
    usize::from(prefetch / 2)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_run_is_acknowledged_by_one_frame() {
        let start = Instant::now();
        let mut window = AckWindow::new(1000);
        for tag in 1..=10 {
            window.settle(tag, Settling::Ack, start);
        }
        assert_eq!(window.due(start), []);
        assert_eq!(window.next_due(), Some(start + MARK_DELAY));
        assert_eq!(window.due(start + MARK_DELAY), [Frame::AckUpTo(10)]);
        assert_eq!(window.next_due(), None);
    }

    #[test]
    fn a_chunk_does_not_wait() {
        let start = Instant::now();
        let mut window = AckWindow::new(10_000);
        for tag in 1..=MAX_CHUNK {
            window.settle(tag, Settling::Ack, start);
        }
        assert_eq!(window.due(start), [Frame::AckUpTo(MAX_CHUNK)]);
        let mut narrow = AckWindow::new(1);
        narrow.settle(1, Settling::Ack, start);
        assert_eq!(narrow.due(start), [Frame::AckUpTo(1)]);
    }

    #[test]
    fn one_stuck_job_holds_up_no_other() {
        let start = Instant::now();
        let mut window = AckWindow::new(1000);
        window.settle(2, Settling::Ack, start);
        window.settle(3, Settling::Ack, start);
        assert_eq!(window.due(start + MARK_DELAY), []);
        let later = start + STRAGGLER_DELAY;
        assert_eq!(window.due(later), [Frame::AckOne(2), Frame::AckOne(3)]);
        window.settle(1, Settling::Ack, later);
        assert_eq!(window.due(later + MARK_DELAY), [Frame::AckUpTo(1)]);
        window.settle(4, Settling::Ack, later);
        assert_eq!(window.due(later + MARK_DELAY), [Frame::AckUpTo(4)]);
    }

    #[test]
    fn a_crowd_waits_for_a_mark_that_moves_and_goes_with_it() {
        let start = Instant::now();
        let crowd = CROWD as u64 + 1;
        let mut window = AckWindow::new(10_000);
        window.settle(1, Settling::Ack, start);
        (3..3 + crowd).for_each(|tag| window.settle(tag, Settling::Ack, start));
        assert_eq!(window.due(start + MARK_DELAY), [Frame::AckUpTo(1)]);
        assert_eq!(window.due(start + STRAGGLER_DELAY), []);
        assert_eq!(window.next_due(), Some(start + CROWD_DELAY));
        let later = start + CROWD_DELAY - Duration::from_millis(1);
        window.settle(2, Settling::Ack, later);
        assert_eq!(window.due(later), [Frame::AckUpTo(2 + crowd)]);
        assert_eq!(window.next_due(), None);
    }

    #[test]
    fn a_crowd_does_not_wait_for_a_mark_that_stands_still() {
        let start = Instant::now();
        let crowd = CROWD as u64 + 1;
        let alone: Vec<Frame> = (3..3 + crowd).map(Frame::AckOne).collect();
        let mut window = AckWindow::new(10_000);
        window.settle(1, Settling::Ack, start);
        window.due(start + MARK_DELAY);
        (3..3 + crowd).for_each(|tag| window.settle(tag, Settling::Ack, start + CROWD_DELAY));
        assert_eq!(window.next_due(), Some(start + CROWD_DELAY + STRAGGLER_DELAY));
        assert_eq!(window.due(start + CROWD_DELAY + STRAGGLER_DELAY), alone);
    }

    #[test]
    fn a_crowd_leaves_half_of_the_prefetch_free() {
        let start = Instant::now();
        let mut window = AckWindow::new(1_000);
        window.settle(1, Settling::Ack, start);
        window.due(start + MARK_DELAY);
        (3..=502).for_each(|tag| window.settle(tag, Settling::Ack, start + MARK_DELAY));
        assert_eq!(window.due(start + MARK_DELAY), []);
        window.settle(503, Settling::Ack, start + MARK_DELAY);
        assert_eq!(window.due(start + MARK_DELAY), [Frame::AckOne(3)]);
    }

    #[test]
    fn those_that_cannot_wait_are_named_from_the_lowest_upwards() {
        let start = Instant::now();
        let mut window = AckWindow::new(1_000);
        (3..=502).rev().for_each(|tag| window.settle(tag, Settling::Ack, start));
        assert_eq!(window.due(start), []);
        window.settle(600, Settling::Ack, start);
        assert_eq!(window.due(start), [Frame::AckOne(3)]);
        let rest: Vec<Frame> = (4..=502).chain([600]).map(Frame::AckOne).collect();
        assert_eq!(window.due(start + STRAGGLER_DELAY), rest);
        assert_eq!(window.next_due(), None);
    }

    #[test]
    fn stragglers_that_the_mark_has_passed_leave_room_for_others() {
        let start = Instant::now();
        let mut window = AckWindow::new(1_000);
        window.settle(1_000, Settling::Ack, start);
        (2..=400).for_each(|tag| window.settle(tag, Settling::Ack, start));
        window.settle(1, Settling::Ack, start);
        assert_eq!(window.due(start), [Frame::AckUpTo(400)]);
        (402..=900).for_each(|tag| window.settle(tag, Settling::Ack, start));
        assert_eq!(window.due(start), []);
        window.settle(901, Settling::Ack, start);
        assert_eq!(window.due(start), [Frame::AckOne(402)]);
    }

    #[test]
    fn a_message_handed_back_is_never_named_again() {
        let start = Instant::now();
        let mut window = AckWindow::new(1000);
        window.settle(1, Settling::Ack, start);
        window.settle(2, Settling::HandBack, start);
        assert_eq!(window.due(start), [Frame::Requeue(2)]);
        assert_eq!(window.flush(start), [Frame::AckUpTo(1)]);
    }

    /// The broker's side of a channel, strict as RabbitMQ: naming a tag that is not outstanding closes the channel.
    #[derive(Default)]
    struct Broker {
        outstanding: BTreeSet<u64>,
        acked: BTreeSet<u64>,
        requeued: BTreeSet<u64>,
    }

    impl Broker {
        fn receive(&mut self, frame: Frame) {
            match frame {
                Frame::AckUpTo(tag) => {
                    assert!(self.outstanding.contains(&tag), "multiple ack of unknown tag {tag}");
                    let above = self.outstanding.split_off(&(tag + 1));
                    self.acked.append(&mut self.outstanding);
                    self.outstanding = above;
                }
                Frame::AckOne(tag) => {
                    assert!(self.outstanding.remove(&tag), "ack of unknown tag {tag}");
                    self.acked.insert(tag);
                }
                Frame::Requeue(tag) => {
                    assert!(self.outstanding.remove(&tag), "requeue of unknown tag {tag}");
                    self.requeued.insert(tag);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn every_order_of_settling_tells_the_broker_exactly_what_was_settled(
            keys in prop::collection::vec((any::<u32>(), 0..8_u8, 0..30_u64), 1..900),
            prefetch in 1..2_000_u16,
            leave_open in 0..5_usize,
        ) {
            let mut order: Vec<(u32, u64, Settling, u64)> = keys
                .iter()
                .zip(1..)
                .map(|((key, kind, pause), tag)| {
                    let settling = if *kind == 0 { Settling::HandBack } else { Settling::Ack };
                    (*key, tag, settling, *pause)
                })
                .collect();
            order.sort_unstable_by_key(|(key, tag, ..)| (*key, *tag));
            order.truncate(order.len().saturating_sub(leave_open));

            let mut broker = Broker { outstanding: (1..=keys.len() as u64).collect(), ..Broker::default() };
            let mut window = AckWindow::new(prefetch);
            let mut now = Instant::now();
            let mut settled = (BTreeSet::new(), BTreeSet::new());
            for (_, tag, settling, pause) in order {
                window.settle(tag, settling, now);
                window.settle(tag, Settling::HandBack, now);
                match settling {
                    Settling::Ack => settled.0.insert(tag),
                    Settling::HandBack => settled.1.insert(tag),
                };
                now += Duration::from_millis(pause);
                window.due(now).into_iter().for_each(|frame| broker.receive(frame));
                prop_assert!(broker.acked.is_subset(&settled.0), "acknowledged what was not settled");
            }
            while let Some(due) = window.next_due() {
                now = now.max(due);
                window.due(now).into_iter().for_each(|frame| broker.receive(frame));
            }
            prop_assert_eq!((broker.acked, broker.requeued), settled);
        }

        #[test]
        fn a_flush_leaves_nothing_finished_behind(tags in prop::collection::btree_set(1..200_u64, 0..100)) {
            let now = Instant::now();
            let mut broker = Broker { outstanding: (1..200).collect(), ..Broker::default() };
            let mut window = AckWindow::new(200);
            for tag in tags.iter().rev() {
                window.settle(*tag, Settling::Ack, now);
            }
            window.flush(now).into_iter().for_each(|frame| broker.receive(frame));
            prop_assert_eq!(broker.acked, tags);
            prop_assert_eq!(window.next_due(), None);
        }
    }
}
