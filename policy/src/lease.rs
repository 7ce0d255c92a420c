//! The lease of a jobs queue: one worker at a time holds it, so that many share one quota.
//!
//! Beside each jobs queue lies a lease queue with one message, which the broker gives to one consumer at a time. The
//! holder renews: it publishes the message's successor and acknowledges the one before. When the successor comes back,
//! nobody else was given the queue until then, and so nobody else may start for the lease time from its publication on.
//! Whoever finds another worker's message waits that long, since the other one may not have noticed yet that it has
//! lost the queue. No two clocks are compared: each worker only measures spans on its own.
//!
//! Like the engine it is fed and asked, and does nothing itself.

pub mod memory;
pub mod message;
pub mod order;
pub mod reach;
pub mod view;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use self::memory::Memory;
use self::message::{Claim, LeaseMessage, TenureId, Unreadable};
use self::reach::Reach;
use crate::engine::clock::{Now, Tick};

/// What the settings and the process say.
#[derive(Clone, Debug)]
pub struct LeasePolicy {
    /// How long a lease lasts beyond the publication of its message: `amqp.lease_time`.
    pub time: Duration,
    /// New for each queue, and each time that this process begins to wait for the lease anew; nobody else has the same.
    pub tenure: TenureId,
    /// This worker's name, for people.
    pub holder: String,
}

/// A lease is renewed after this share of its time: a third.
const RENEWALS: u32 = 3;

/// A publication that failed is repeated after this share of the lease time: a twelfth.
const REPEATS: u32 = 12;

/// A worker that has stood by for this many lease times puts a message into the queue, since the queue may have lost
/// its message.
const SEED_AFTER: u32 = 10;

/// Most publications whose time is remembered: also those that may have failed can still come back.
const MAX_PUBLICATIONS: usize = 16;

/// Workers whose messages are told apart within one subscription; further ones count as unknown.
const MAX_TENURES: usize = 64;

/// How the broker names a delivery.
pub type DeliveryTag = u64;

/// Names a publication, for the word on what became of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PublicationKey(u64);

/// What the shell must do.
#[derive(Clone, PartialEq, Debug)]
pub enum LeaseCommand {
    /// Publish, persistent and confirmed, and tell by [`Lease::published`] or [`Lease::not_published`] what became of
    /// it. There is one at a time.
    Publish { key: PublicationKey, message: LeaseMessage },
    /// The broker may forget these.
    Acknowledge(Vec<DeliveryTag>),
    /// This worker holds the lease from now on; [`LeaseCommand::Hold`] follows, and follows again with each renewal.
    ///
    /// `left`: consumers of the jobs queue that the broker may count though their workers take nothing any more.
    Begin { inheritance: Inheritance, predecessor: Option<String>, left: u64 },
    /// Requests may be sent until then.
    Hold(Reach),
    /// Nothing may be sent any more.
    StandBy(Lapse),
    /// The lease is given back: the subscription can be closed.
    Leave,
    /// Somebody has put a message there that is no lease.
    Warn(Unreadable),
}

/// What is known of requests that others have sent before.
#[derive(Clone, PartialEq, Debug)]
pub enum Inheritance {
    /// This worker was the last holder itself, and nobody held the lease since.
    Own,
    /// All holders before have stopped and left word of what they used.
    Told(Memory),
    /// A holder before may have used its whole ceiling until now.
    Unknown(Memory),
}

/// Why the lease ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lapse {
    /// It was not renewed in time.
    NotRenewed,
    /// Another worker has taken it meanwhile, as the broker can let it while it is cut in two.
    Displaced,
    /// This worker stops.
    Drained,
}

/// Where this worker stands, for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Without a subscription to the lease queue.
    Away,
    /// Another worker holds the lease, or nobody does yet.
    StandingBy,
    /// The lease lapsed, and no message of this worker has got through since. Nobody else is known to hold it.
    NotRenewed,
    /// The lease is this worker's as soon as the holder before must have stopped.
    Waiting,
    Held,
    /// Given back for good.
    Left,
}

/// See the module.
#[derive(Debug)]
pub struct Lease {
    policy: LeasePolicy,
    /// This worker's tenure has this number: higher than those of all messages of others, as far as they were seen.
    number: u64,
    /// Counts this worker's publications.
    sequence: u64,
    subscription: Option<Subscription>,
    /// Until when requests may be sent. Outlives the subscription.
    reach: Option<Reach>,
    /// Whoever finds this worker's own last message need not doubt that the holders before it have stopped.
    own_word_is_sure: bool,
    handover: Handover,
    in_flight: Option<PublicationKey>,
    /// The queue has no message: one is to be published, under a tenure that no worker has.
    seeding: Option<(Claim, TenureId)>,
    /// The last attempt to publish failed: the next one is made at this time.
    repeat_at: Option<Tick>,
    /// The memory has grown and should be written soon.
    wanted: bool,
    /// What is remembered: what others' messages say until this worker begins, and what its own engine says from then
    /// on.
    memory: Memory,
    consumers: Consumers,
    commands: VecDeque<LeaseCommand>,
}

/// Consumers of the jobs queue.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Consumers {
    /// This worker's.
    pub own: u64,
    /// Left by workers that held the lease before.
    pub left: u64,
}

/// One subscription's life. Only what was published and came back within it says anything: what was published before
/// may have been followed by another holder's messages.
#[derive(Debug)]
struct Subscription {
    /// When it began, or when the queue was last found to be empty.
    since: Tick,
    /// The lease was held and lapsed in this subscription, and nothing came since.
    lapsed: bool,
    /// The broker has confirmed a message that was published in this subscription, or since the lease lapsed in it.
    heard: bool,
    last_published: Option<Tick>,
    /// When its first message came. Whoever held the lease before stops within the lease time from then on.
    first: Option<Tick>,
    unacknowledged: Vec<Delivery>,
    /// The newest message of each other worker that came before this one began.
    others: HashMap<TenureId, Other>,
    /// A message said that the queue was new.
    first_seed: bool,
    /// A message could not be read, or came from one worker more than are told apart.
    unknown: bool,
    /// A message came that this worker had published before this subscription.
    own_before: bool,
    /// The age of the newest message of another worker.
    newest: Option<(u64, u64)>,
    /// Who wrote the newest message of another worker.
    predecessor: Option<String>,
    /// The most consumers that a message before this worker's begin tells of.
    left: u64,
    /// Publications since its first message came, by sequence.
    publications: BTreeMap<u64, Publication>,
    /// The lease was taken in this subscription, when this worker's own message came back.
    begun: bool,
}

#[derive(Debug)]
struct Delivery {
    tag: DeliveryTag,
    received: Tick,
    /// Its sequence, if this worker has published it.
    own: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Other {
    sequence: u64,
    released: bool,
}

#[derive(Clone, Copy, Debug)]
struct Publication {
    at: Now,
    confirmed: bool,
    came_back: bool,
    releases: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Handover {
    No,
    /// Asked for; the last message is not confirmed yet.
    Asked,
    Done,
}

impl Lease {
    pub fn new(policy: LeasePolicy) -> Self {
        Self {
            policy,
            number: 0,
            sequence: 0,
            subscription: None,
            reach: None,
            own_word_is_sure: false,
            seeding: None,
            handover: Handover::No,
            in_flight: None,
            repeat_at: None,
            wanted: false,
            memory: Memory::default(),
            consumers: Consumers::default(),
            commands: VecDeque::new(),
        }
    }

    /// A subscription to the lease queue begins; deliveries of an earlier one are void.
    pub fn subscribed(&mut self, now: Now) {
        self.own_word_is_sure &= !self.has_published_blindly();
        self.subscription = Some(Subscription::new(now.tick));
        self.repeat_at = None;
    }

    /// The subscription is lost, or its connection. A lease that is held still lasts as long as it reaches.
    pub fn unsubscribed(&mut self, now: Now) {
        self.own_word_is_sure &= !self.has_published_blindly();
        self.subscription = None;
        self.wake(now);
        if self.handover == Handover::Asked {
            self.leave();
        }
    }

    /// This worker has published since its lease lapsed in this subscription, and did not know who holds it. Another
    /// may: if the queue is then deleted and declared again, this worker's message can be all that is in it.
    fn has_published_blindly(&self) -> bool {
        self.subscription.as_ref().is_some_and(|one| one.lapsed && one.last_published.is_some() && !one.begun)
    }

    /// The queue has no message, so one is to be put in: it was found empty and without a consumer, was just declared,
    /// or nothing has come out of it for so long that its message must be lost.
    ///
    /// `nobody_worked`: nobody can have sent anything either, since nobody consumes the jobs queue.
    pub fn found_empty(&mut self, nobody_worked: bool, random: u64, now: Now) {
        let Some(subscription) = self.subscription.as_mut().filter(|one| one.first.is_none()) else { return };
        let claim = if nobody_worked { Claim::FirstSeed } else { Claim::Seed };
        self.seeding = Some((claim, TenureId::new(random)));
        // The next one is due when this wait has passed once more.
        subscription.since = now.tick;
        self.wake(now);
    }

    /// A message from the lease queue.
    pub fn delivered(&mut self, tag: DeliveryTag, message: Result<LeaseMessage, Unreadable>, now: Now) {
        self.lapse(now);
        self.seeding = None;
        let own = message.as_ref().ok().filter(|message| message.tenure == self.policy.tenure);
        let own = own.map(|message| message.sequence);
        if own.is_none() {
            self.doubt(message.as_ref().ok(), now);
        }
        let Some(subscription) = &mut self.subscription else { return };
        subscription.first.get_or_insert(now.tick);
        subscription.unacknowledged.push(Delivery { tag, received: now.tick, own });
        if let Some(publication) = own.and_then(|sequence| subscription.publications.get_mut(&sequence)) {
            publication.came_back = true;
        }
        match message {
            Ok(message) => {
                subscription.left = subscription.left.max(message.leaves);
                self.number = self.number.max(message.number.saturating_add(u64::from(own.is_none())));
                if own.is_some() {
                    // Its memory is not taken over: it is this worker's own, and lacks what others' messages have said
                    // since.
                    subscription.own_before |= !subscription.publications.contains_key(&message.sequence);
                } else if !subscription.begun {
                    let newer = subscription.note(&message);
                    self.memory.absorb(&message.memory, newer);
                }
            }
            Err(fault) => {
                subscription.unknown |= !subscription.begun;
                self.commands.push_back(LeaseCommand::Warn(fault));
            }
        }
        self.wake(now);
    }

    /// A message of another worker is mostly a late copy from a tenure before this one, with a lower number. If its
    /// number is as high as this worker's, its writer may have held the lease until just now, though this subscription
    /// has not ended. Then the lease is no longer held.
    fn doubt(&mut self, message: Option<&LeaseMessage>, now: Now) {
        let Some(subscription) = &mut self.subscription else { return };
        let is_rival = message.is_some_and(|message| match message.claim {
            Claim::Held | Claim::Released => message.number >= self.number,
            Claim::FirstSeed | Claim::Seed => false,
        });
        if !is_rival {
            return;
        }
        subscription.begin_anew(now.tick, false);
        if self.reach.take().is_some() {
            self.commands.push_back(LeaseCommand::StandBy(Lapse::Displaced));
        }
    }

    /// The broker has confirmed the publication.
    pub fn published(&mut self, key: PublicationKey, now: Now) {
        if self.in_flight != Some(key) {
            return;
        }
        self.in_flight = None;
        self.seeding = None;
        if let Some(subscription) = self.subscription.as_mut().filter(|one| one.last_published.is_some()) {
            subscription.heard = true;
        }
        let publication = self.subscription.as_mut().and_then(|one| one.publications.get_mut(&key.0));
        if let Some(publication) = publication {
            publication.confirmed = true;
            let releases = publication.releases;
            self.acknowledge();
            if releases {
                self.leave();
            }
        }
        self.wake(now);
    }

    /// The publication has failed, or nobody knows what became of it.
    pub fn not_published(&mut self, key: PublicationKey, now: Now) {
        if self.in_flight == Some(key) {
            self.in_flight = None;
            self.repeat_at = Some(now.tick + self.policy.time / REPEATS);
            self.wake(now);
        }
    }

    /// What this worker's own engine remembers, once it knows what was inherited. `urgent`: requests wait until that is
    /// written.
    pub fn remember(&mut self, memory: &Memory, urgent: bool, now: Now) {
        if self.handover == Handover::No && self.subscription.as_ref().is_some_and(|subscription| subscription.begun) {
            self.memory.overlay(memory);
            self.wanted |= urgent;
            self.wake(now);
        }
    }

    /// How many consumers the jobs queue has, as far as this worker knows; the next holder must know.
    pub fn counts(&mut self, consumers: Consumers, now: Now) {
        let begun = self.subscription.as_ref().is_some_and(|subscription| subscription.begun);
        if begun && self.handover == Handover::No && std::mem::replace(&mut self.consumers, consumers) != consumers {
            self.wanted = true;
            self.wake(now);
        }
    }

    /// This worker stops, has sent its last request, and hands over: `memory` names what was used.
    pub fn release(&mut self, memory: &Memory, now: Now) {
        if self.handover != Handover::No {
            return;
        }
        let begun = self.subscription.as_ref().is_some_and(|subscription| subscription.begun);
        if self.reach.take().is_some() {
            self.commands.push_back(LeaseCommand::StandBy(Lapse::Drained));
        }
        if !begun {
            return self.leave();
        }
        self.memory.overlay(memory);
        self.handover = Handover::Asked;
        self.wake(now);
    }

    /// Time has passed: does what is due.
    pub fn wake(&mut self, now: Now) {
        self.lapse(now);
        self.extend(now);
        if self.publication_due(now).is_some_and(|due| due <= now.tick) {
            self.publish(now);
        }
    }

    /// When [`Lease::wake`] is wanted next, if nothing else happens before.
    pub fn next_wake(&self, now: Now) -> Option<Tick> {
        let lapse = self.reach.map(|reach| reach.tick);
        let ready = self.subscription.as_ref().and_then(|one| one.ready_from(self.policy.time, self.own_word_is_sure));
        let ready = ready.filter(|&at| at > now.tick);
        [lapse, ready, self.publication_due(now)].into_iter().flatten().min()
    }

    /// When a worker that stands by should call [`Lease::found_empty`], if the queue has no message by then.
    pub fn seed_due(&self) -> Option<Tick> {
        let subscription = self.subscription.as_ref().filter(|_| self.handover == Handover::No)?;
        subscription.first.is_none().then(|| subscription.since + self.policy.time * SEED_AFTER)
    }

    pub fn next_command(&mut self) -> Option<LeaseCommand> {
        self.commands.pop_front()
    }

    pub fn standing(&self) -> Standing {
        match (&self.subscription, self.handover) {
            (_, Handover::Done) => Standing::Left,
            _ if self.reach.is_some() => Standing::Held,
            (None, _) => Standing::Away,
            (Some(subscription), _) if subscription.first.is_some() => Standing::Waiting,
            (Some(subscription), _) if subscription.lapsed && !subscription.heard => Standing::NotRenewed,
            (Some(_), _) => Standing::StandingBy,
        }
    }

    /// Who wrote the newest message of another worker that this one waits out.
    pub fn predecessor(&self) -> Option<&str> {
        self.subscription.as_ref().and_then(|subscription| subscription.predecessor.as_deref())
    }

    /// Until when this worker waits though the broker has given it the queue, since the holder before may still be
    /// sending. `None` where nobody can be.
    pub fn waits_until(&self) -> Option<Tick> {
        let subscription = self.subscription.as_ref().filter(|_| self.standing() == Standing::Waiting)?;
        let ready = subscription.ready_from(self.policy.time, self.own_word_is_sure);
        ready.filter(|_| ready != subscription.first)
    }

    fn lapse(&mut self, now: Now) {
        if self.reach.is_some_and(|reach| !reach.covers(now)) {
            self.reach = None;
            self.commands.push_back(LeaseCommand::StandBy(Lapse::NotRenewed));
            // What is still on its way was published while this worker may have been cut off, and counts no more. The
            // lease is held again only when a message that is published from now on has come back.
            if let Some(subscription) = &mut self.subscription {
                subscription.begin_anew(now.tick, true);
            }
        }
    }

    /// Takes the lease, or prolongs it, where this worker's own message has come back.
    fn extend(&mut self, now: Now) {
        let time = self.policy.time;
        if self.handover != Handover::No {
            return;
        }
        let Some(subscription) = &mut self.subscription else { return };
        let back = subscription.publications.values().rev().find(|publication| publication.came_back);
        let Some(reach) = back.map(|publication| Reach::new(publication.at, time)) else { return };
        let sure = self.own_word_is_sure;
        if !reach.covers(now) || subscription.ready_from(time, sure).is_none_or(|ready| ready > now.tick) {
            return;
        }
        let begins = !subscription.begun;
        if begins {
            let inheritance = subscription.inheritance(sure, &self.memory);
            let (predecessor, left) = (subscription.predecessor.take(), subscription.left);
            subscription.begun = true;
            self.own_word_is_sure = true;
            self.consumers = Consumers { own: 0, left };
            self.commands.push_back(LeaseCommand::Begin { inheritance, predecessor, left });
        }
        if begins || self.reach != Some(reach) {
            self.reach = Some(reach);
            self.commands.push_back(LeaseCommand::Hold(reach));
        }
    }

    /// When the next message is to be published; `None` while there is nothing to renew, or one is on its way.
    fn publication_due(&self, now: Now) -> Option<Tick> {
        let subscription = self.subscription.as_ref()?;
        if self.in_flight.is_some() || self.handover == Handover::Done {
            return None;
        }
        let soon = self.repeat_at.unwrap_or(now.tick);
        if self.seeding.is_some() || self.wanted || self.handover == Handover::Asked {
            return Some(soon);
        }
        if subscription.first.is_none() && !subscription.lapsed {
            return None;
        }
        let last = subscription.last_published;
        Some(self.repeat_at.unwrap_or(last.map_or(now.tick, |last| last + self.policy.time / RENEWALS)))
    }

    fn publish(&mut self, now: Now) {
        let Some(subscription) = &mut self.subscription else { return };
        self.sequence += 1;
        let key = PublicationKey(self.sequence);
        (self.in_flight, self.repeat_at) = (Some(key), None);
        let holder = self.policy.holder.clone();
        if let Some((claim, tenure)) = self.seeding.clone() {
            // It knows nothing. With number and sequence 0 it counts as older than any other message.
            let message = LeaseMessage::new(tenure, 0, 0, holder, claim, Memory::default());
            return self.commands.push_back(LeaseCommand::Publish { key, message });
        }
        self.wanted = false;
        subscription.last_published = Some(now.tick);
        let releases = self.handover == Handover::Asked;
        if subscription.first.is_some() {
            self.own_word_is_sure &= subscription.begun || !subscription.is_in_doubt(self.own_word_is_sure);
            let publication = Publication { at: now, confirmed: false, came_back: false, releases };
            subscription.publications.insert(self.sequence, publication);
        }
        while subscription.publications.len() > MAX_PUBLICATIONS {
            subscription.publications.pop_first();
        }
        let claim = if releases { Claim::Released } else { Claim::Held };
        let (tenure, memory) = (self.policy.tenure.clone(), self.memory.clone());
        // Told also by a worker that stops in good order: a quorum queue counts a consumer that was cancelled until its
        // last job is settled, and jobs on the wire are settled only when HubSpot has answered.
        let Consumers { own, left } = self.consumers;
        let leaves = left.saturating_add(own);
        let message = LeaseMessage::new(tenure, self.number, self.sequence, holder, claim, memory);
        self.commands.push_back(LeaseCommand::Publish { key, message: LeaseMessage { leaves, ..message } });
    }

    /// The newest confirmed message stays in the queue. Those before it are acknowledged, since it says what they said.
    fn acknowledge(&mut self) {
        let Some(subscription) = &mut self.subscription else { return };
        let confirmed = subscription.publications.iter().rev().find(|(_, publication)| publication.confirmed);
        let Some((&newest, publication)) = confirmed else { return };
        let at = publication.at.tick;
        let is_old = |delivery: &mut Delivery| match delivery.own {
            Some(sequence) => sequence < newest,
            None => delivery.received <= at,
        };
        let old: Vec<_> = subscription.unacknowledged.extract_if(.., is_old).map(|delivery| delivery.tag).collect();
        if !old.is_empty() {
            self.commands.push_back(LeaseCommand::Acknowledge(old));
        }
    }

    fn leave(&mut self) {
        self.handover = Handover::Done;
        self.commands.push_back(LeaseCommand::Leave);
    }
}

impl Subscription {
    fn new(since: Tick) -> Self {
        Self {
            since,
            lapsed: false,
            heard: false,
            last_published: None,
            first: None,
            unacknowledged: Vec::new(),
            others: HashMap::new(),
            first_seed: false,
            unknown: false,
            own_before: false,
            newest: None,
            predecessor: None,
            left: 0,
            publications: BTreeMap::new(),
            begun: false,
        }
    }

    /// As if it had just begun, but for what is to be acknowledged.
    fn begin_anew(&mut self, now: Tick, lapsed: bool) {
        let unacknowledged = std::mem::take(&mut self.unacknowledged);
        *self = Self { unacknowledged, lapsed, ..Self::new(now) };
    }

    /// Takes note of another worker's message that came before this one began. True where it is the newest so far.
    fn note(&mut self, message: &LeaseMessage) -> bool {
        let newer = self.newest.is_none_or(|age| message.age() >= age);
        if newer {
            self.newest = Some(message.age());
        }
        match message.claim {
            Claim::FirstSeed => self.first_seed = true,
            // It says nothing of holders. Whether another message lies beside it decides.
            Claim::Seed => {}
            Claim::Held | Claim::Released => {
                if newer {
                    self.predecessor = Some(message.holder.clone());
                }
                self.note_other(message);
            }
        }
        newer
    }

    fn note_other(&mut self, message: &LeaseMessage) {
        let told = Other { sequence: message.sequence, released: message.claim == Claim::Released };
        if let Some(known) = self.others.get_mut(&message.tenure) {
            if told.sequence >= known.sequence {
                *known = told;
            }
        } else if self.others.len() < MAX_TENURES {
            self.others.insert(message.tenure.clone(), told);
        } else {
            self.unknown = true;
        }
    }

    /// Whether another worker may still be sending, or may have sent until now.
    fn is_in_doubt(&self, own_word_is_sure: bool) -> bool {
        let unreleased = self.others.values().any(|other| !other.released);
        let unsure = self.own_before && !own_word_is_sure;
        let nothing_known = self.others.is_empty() && !self.first_seed && !self.own_before;
        self.unknown || unreleased || unsure || nothing_known
    }

    /// From when on nobody else can send.
    fn ready_from(&self, time: Duration, own_word_is_sure: bool) -> Option<Tick> {
        let first = self.first?;
        if self.begun || !self.is_in_doubt(own_word_is_sure) { Some(first) } else { Some(first + time) }
    }

    fn inheritance(&self, own_word_is_sure: bool, memory: &Memory) -> Inheritance {
        if self.is_in_doubt(own_word_is_sure) {
            Inheritance::Unknown(memory.clone())
        } else if self.own_before && self.others.is_empty() {
            Inheritance::Own
        } else {
            Inheritance::Told(memory.clone())
        }
    }
}
