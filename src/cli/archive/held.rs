//! A line of the input while its job is in hand.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use smallvec::SmallVec;
use tokio::sync::OwnedSemaphorePermit;

use crate::cli::jobs_file::columns::Cells;
use crate::contract::job::Ask;
use crate::contract::journal::JobName;
use crate::contract::outcome::Head;
use crate::engine::command::CallKey;
use crate::engine::reply::{Reply, Silence};

/// A line in hand, and its room.
#[derive(Debug)]
pub struct HeldLine {
    pub head: Head,
    pub origin: Origin,
    requests: Mutex<Requests>,
    /// For the job and for its bytes.
    _room: [OwnedSemaphorePermit; 2],
}

impl HeldLine {
    pub fn new(head: Head, origin: Origin, room: [OwnedSemaphorePermit; 2]) -> Self {
        Self { head, origin, requests: Mutex::default(), _room: room }
    }

    /// Whether HubSpot may have changed something for it.
    pub fn may_be_changed(&self) -> bool {
        self.requests().may_have_changed()
    }

    /// Notes that a request that is to change something has left for it. `true`: from now on HubSpot may have done so.
    pub fn sends(&self, call: CallKey) -> bool {
        self.requests().sends(call)
    }

    /// Notes the answer to such a request. `true`: it is certain now that HubSpot has changed nothing for it.
    pub fn returns(&self, call: CallKey, reply: &Reply) -> bool {
        self.requests().returns(call, reply)
    }

    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What people call the job, in the journal; there is no message and so no correlation id.
    pub fn job_name(&self) -> JobName {
        JobName { id: self.head.job_id.clone(), group: self.head.group.clone(), correlation_id: None }
    }
}

/// The requests that are to change something for a line.
#[derive(Default, Debug)]
struct Requests {
    on_the_wire: SmallVec<[CallKey; 1]>,
    /// HubSpot has worked on one of them, or may have: its answer was lost.
    one_got_through: bool,
}

impl Requests {
    fn sends(&mut self, call: CallKey) -> bool {
        let before = self.may_have_changed();
        self.on_the_wire.push(call);
        !before
    }

    fn returns(&mut self, call: CallKey, reply: &Reply) -> bool {
        // A line that came while its pair was on the wire for another one knows nothing of that request.
        let Some(index) = self.on_the_wire.iter().position(|sent| *sent == call) else { return false };
        self.on_the_wire.swap_remove(index);
        self.one_got_through |= !was_turned_away(reply);
        !self.may_have_changed()
    }

    fn may_have_changed(&self) -> bool {
        self.one_got_through || !self.on_the_wire.is_empty()
    }
}

/// Whether the request ended before HubSpot worked on it: nothing was sent, or it was over the limit, or its token was
/// not taken, or something in it was wrong (400), which HubSpot sees before it begins: what it does in part it answers with
/// 207.
fn was_turned_away(reply: &Reply) -> bool {
    match reply {
        Reply::Silence(Silence::Refused(_) | Silence::Tls(_)) => true,
        Reply::Silence(Silence::TimedOut | Silence::Reset) => false,
        Reply::Answer(answer) => matches!(answer.status, 400 | 401 | 429),
    }
}

/// What a report tells of a job beside its outcome.
#[derive(Clone, Default, Debug)]
pub struct Origin {
    /// Of the input, counted from 1.
    pub line: u64,
    /// How many of its pairs an earlier row asks for, too.
    pub repeated: u64,
    /// What was asked for by a job that no account may do; empty for all others, whose errors tell it.
    pub rejected: SmallVec<[Ask; 1]>,
    pub not_after: Option<Timestamp>,
    /// Of a row of CSV that is no job.
    pub cells: Option<Box<Cells>>,
}

#[cfg(test)]
mod tests {
    use slotmap::SlotMap;

    use super::*;
    use crate::engine::reply::{Answer, Body, Headers};

    fn answer(status: u16) -> Reply {
        Reply::Answer(Answer { status, headers: Headers::default(), body: Body::Whole(bytes::Bytes::new()) })
    }

    #[test]
    fn only_what_got_through_or_is_on_the_wire_may_have_changed_something() {
        let mut calls = SlotMap::<CallKey, ()>::with_key();
        let (first, second) = (calls.insert(()), calls.insert(()));
        let refused = || Reply::Silence(Silence::Refused("port closed".to_owned()));

        let mut line = Requests::default();
        assert!(line.sends(first) && line.may_have_changed());
        assert!(line.returns(first, &answer(429)) && !line.may_have_changed());
        // Again, and beside another one: it is counted once, and given up with the last of them.
        assert!(line.sends(first) && !line.sends(second));
        assert!(!line.returns(second, &refused()) && line.may_have_changed());
        assert!(line.returns(first, &answer(401)));
        assert!(line.sends(first) && line.returns(first, &answer(400)));
        // The answer to what never left for it, since its pair was on the wire for another line already.
        assert!(!line.returns(second, &refused()) && !line.may_have_changed());
        // What may have been done once stays so, whatever becomes of the next request.
        for got_through in [Reply::Silence(Silence::TimedOut), Reply::Silence(Silence::Reset), answer(503), answer(204)]
        {
            let mut line = Requests::default();
            assert!(line.sends(first) && !line.returns(first, &got_through));
            assert!(!line.sends(second) && !line.returns(second, &refused()) && line.may_have_changed());
        }
    }
}
