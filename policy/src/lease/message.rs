//! The message that goes round in a lease queue.

use std::fmt;

use serde_json::{Map, Value};

use super::memory::Memory;

/// One worker's time as holder, from the first message it published.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TenureId(String);

impl TenureId {
    /// `random` must differ from that of every other worker.
    pub fn new(random: u64) -> Self {
        Self(format!("{random:016x}"))
    }
}

impl fmt::Display for TenureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the message says of the lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Claim {
    /// Its writer holds the lease, or is about to.
    Held,
    /// Its writer has stopped for good, and names what it used.
    Released,
    /// There was no message, and nobody can have held the lease: the queue is new.
    FirstSeed,
    /// There was no message for long; who held the lease before is not known.
    Seed,
}

impl Claim {
    const ALL: [Self; 4] = [Self::Held, Self::Released, Self::FirstSeed, Self::Seed];

    fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Released => "released",
            Self::FirstSeed => "firstSeed",
            Self::Seed => "seed",
        }
    }
}

/// See the module. What a later version adds is kept.
#[derive(Clone, PartialEq, Debug)]
pub struct LeaseMessage {
    pub tenure: TenureId,
    /// Counts tenures: a successor's is higher.
    pub number: u64,
    /// Counts the messages of a tenure.
    pub sequence: u64,
    /// Names the writer for people.
    pub holder: String,
    pub claim: Claim,
    pub memory: Memory,
    /// Consumers of the jobs queue that the broker may still count when this lease has ended, though they belong to
    /// workers that take nothing any more: it counts a consumer that was cancelled until its last job is settled, and
    /// where a node of a cluster is down, it keeps those that were connected to it.
    pub leaves: u64,
    pub(super) others: Map<String, Value>,
}

/// Why a message cannot be trusted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the message in the lease queue cannot be read: {0}")]
pub struct Unreadable(String);

/// Other versions mean something else by the same names.
const VERSION: u64 = 1;

/// A larger message is not read: ten thousand accounts need less than half of it.
pub const MAX_BYTES: usize = 4 * 1024 * 1024;

impl LeaseMessage {
    pub fn new(tenure: TenureId, number: u64, sequence: u64, holder: String, claim: Claim, memory: Memory) -> Self {
        Self { tenure, number, sequence, holder, claim, memory, leaves: 0, others: Map::new() }
    }

    /// Never panics, whatever the bytes.
    pub fn parse(body: &[u8]) -> Result<Self, Unreadable> {
        let fault = |what: &str| Unreadable(what.to_owned());
        if body.len() > MAX_BYTES {
            return Err(Unreadable(format!("it is larger than {MAX_BYTES} bytes")));
        }
        let Ok(Value::Object(mut fields)) = serde_json::from_slice(body) else {
            return Err(fault("it is no JSON object"));
        };
        if fields.remove("version").and_then(|version| version.as_u64()) != Some(VERSION) {
            return Err(Unreadable(format!("its version is not {VERSION}")));
        }
        let mut number = |name: &str| {
            let value = fields.remove(name).and_then(|value| value.as_u64());
            value.ok_or_else(|| Unreadable(format!("{name} is no number")))
        };
        let (tenure_number, sequence) = (number("number")?, number("sequence")?);
        let mut text = |name: &str| match fields.remove(name) {
            Some(Value::String(text)) => Ok(text),
            Some(_) | None => Err(Unreadable(format!("{name} is no text"))),
        };
        let (tenure, holder, claim) = (TenureId(text("tenure")?), text("holder")?, text("claim")?);
        let claim = Claim::ALL.into_iter().find(|known| known.word() == claim);
        let memory = fields.remove("accounts").map(Memory::read).transpose().map_err(Unreadable)?;
        Ok(Self {
            leaves: fields.remove("leaves").and_then(|leaves| leaves.as_u64()).unwrap_or_default(),
            tenure,
            number: tenure_number,
            sequence,
            holder,
            claim: claim.ok_or_else(|| fault("claim is none of held, released, firstSeed, seed"))?,
            memory: memory.unwrap_or_default(),
            others: fields,
        })
    }

    pub fn encode(&self) -> Vec<u8> {
        let Self { tenure, number, sequence, holder, claim, memory, leaves, others } = self;
        let mut fields = others.clone();
        let known: [(&str, Value); 8] = [
            ("version", VERSION.into()),
            ("tenure", tenure.0.clone().into()),
            ("number", (*number).into()),
            ("sequence", (*sequence).into()),
            ("holder", holder.clone().into()),
            ("claim", claim.word().into()),
            ("accounts", memory.write()),
            ("leaves", (*leaves).into()),
        ];
        fields.extend(known.map(|(name, value)| (name.to_owned(), value)));
        Value::Object(fields).to_string().into_bytes()
    }

    /// The later of two messages has the higher age.
    pub(super) fn age(&self) -> (u64, u64) {
        (self.number, self.sequence)
    }
}
