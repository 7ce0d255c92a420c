//! What became of a round of messages, decided only when the broker has answered for all of them.
//!
//! The broker sends a message back before it confirms it, but the library hangs the returned message on whichever
//! confirm comes next. So no confirm is believed alone: a round is judged as a whole, by the identities of all the
//! messages that came back during it.

use std::borrow::Cow;
use std::collections::HashSet;

/// Proof that the broker has a message. Without it the delivery that the message answers is not acknowledged. It is
/// made in this file only.
#[derive(PartialEq, Eq, Debug)]
pub struct Published(());

impl Published {
    /// One proof for several messages; `None` where one of them has none, or where there is no message at all.
    pub fn of_all(proofs: impl IntoIterator<Item = Option<Self>>) -> Option<Self> {
        let mut proofs = proofs.into_iter().peekable();
        proofs.peek()?;
        proofs.all(|proof| proof.is_some()).then_some(Self(()))
    }

    pub(super) fn spend(self) {}
}

/// What became of one message.
#[derive(PartialEq, Eq, Debug)]
pub enum Fate {
    /// It is in at least one queue, and will survive a restart of the broker.
    Safe(Published),
    /// No queue is bound to its route.
    Returned,
    /// The broker could not take it: a full queue, or a fault of the broker's own.
    Refused,
}

/// What a message and its returned copy have in common: routing key and message id.
///
/// Neither need be unique. Messages that cannot be told apart share the fate of the one that came back.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Identity<'a> {
    pub routing_key: Cow<'a, str>,
    pub message_id: Option<Cow<'a, str>>,
}

impl Identity<'_> {
    /// An identity that no message has: routing keys of ours are not empty.
    pub fn nobody() -> Self {
        Self { routing_key: Cow::Borrowed(""), message_id: None }
    }
}

/// The broker's answer to one publish.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Confirm {
    Ack,
    Nack,
}

/// The fate of each message, in the order of `confirms`. `identity` names the message at an index; it is asked only when
/// something came back.
pub fn judge<'a>(
    confirms: &[Confirm],
    returned: &HashSet<Identity<'_>>,
    identity: impl Fn(usize) -> Identity<'a>,
) -> Vec<Fate> {
    let mut fates: Vec<Fate> = confirms
        .iter()
        .map(|confirm| match confirm {
            Confirm::Ack => Fate::Safe(Published(())),
            Confirm::Nack => Fate::Refused,
        })
        .collect();
    if returned.is_empty() {
        return fates;
    }
    let mut matched = HashSet::new();
    for (index, fate) in fates.iter_mut().enumerate() {
        let identity = identity(index);
        if let Some(known) = returned.get(&identity) {
            matched.insert(known);
            *fate = Fate::Returned;
        }
    }
    if matched.len() < returned.len() {
        // Something came back that we do not recognise: any of the messages may be the one.
        fates.fill_with(|| Fate::Returned);
    }
    fates
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAFE: Fate = Fate::Safe(Published(()));

    fn identity(routing_key: &'static str, message_id: Option<&'static str>) -> Identity<'static> {
        Identity { routing_key: routing_key.into(), message_id: message_id.map(Cow::from) }
    }

    #[test]
    fn the_confirm_a_return_hangs_on_decides_nothing() {
        let sent = [identity("results", Some("a")), identity("results", Some("b")), identity("results", Some("c"))];
        let fates =
            judge(&[Confirm::Ack, Confirm::Ack, Confirm::Nack], &HashSet::from([sent[1].clone()]), |i| sent[i].clone());
        assert_eq!(fates, [SAFE, Fate::Returned, Fate::Refused]);
    }

    #[test]
    fn messages_that_cannot_be_told_apart_share_their_fate() {
        let sent = [
            identity("dead-letters", None),
            identity("dead-letters", None),
            identity("results", None),
            identity("dead-letters", Some("a")),
        ];
        let fates = judge(&[Confirm::Ack; 4], &HashSet::from([sent[0].clone()]), |i| sent[i].clone());
        assert_eq!(fates, [Fate::Returned, Fate::Returned, SAFE, SAFE]);
    }

    #[test]
    fn an_unknown_return_condemns_the_round() {
        let sent = [identity("results", Some("a")), identity("results", Some("b"))];
        let returned = HashSet::from([sent[0].clone(), identity("results", Some("z"))]);
        assert_eq!(judge(&[Confirm::Ack; 2], &returned, |i| sent[i].clone()), [Fate::Returned, Fate::Returned]);
    }

    #[test]
    fn several_messages_are_proven_together_or_not_at_all() {
        assert_eq!(Published::of_all([Some(Published(())), Some(Published(()))]), Some(Published(())));
        assert_eq!(Published::of_all([Some(Published(())), None]), None);
        assert_eq!(Published::of_all([]), None, "an answer of no message proves nothing");
    }

    #[test]
    fn without_returns_nothing_is_compared() {
        let fates = judge(&[Confirm::Ack, Confirm::Nack], &HashSet::new(), |_| Identity::nobody());
        assert_eq!(fates, [SAFE, Fate::Refused]);
    }
}
