//! An operator's order, as a worker that stands by hands it on: through the lease queue, from which the holder takes
//! it.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::contract::ids::PortalId;
use crate::contract::object_type::ObjectType;

/// What an operator may order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Instruction {
    Pause,
    Resume,
    /// For an account: everything passes its guard for one window.
    Approve,
    /// For an account: the jobs that its guard has stopped end, and so do those that come.
    Reject,
}

impl Instruction {
    pub const ALL: [Self; 4] = [Self::Pause, Self::Resume, Self::Approve, Self::Reject];

    /// As the commands and the endpoints name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Approve => "approve",
            Self::Reject => "reject",
        }
    }
}

/// What became of an order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Obeyed {
    /// It applied to this many accounts or lanes, and where it is to outlive the process, it is written down.
    Done(usize),
    /// It applied, but is not known to be written down in the lease: another worker that takes over may not know of it.
    Unwritten,
    /// This worker stands by. The order is in the lease queue, from which the holder takes it.
    HandedOn,
    /// This worker stands by, and could not hand the order on, as far as it knows.
    NotHandedOn(String),
}

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HandedOn {
    pub instruction: Instruction,
    /// `None` where the only account is configured without a portal id.
    pub account: Option<PortalId>,
    /// The lanes between two object types; `None` for the whole account.
    pub lane: Option<(ObjectType, ObjectType)>,
    pub given: Timestamp,
    /// Names the worker that was asked, for people.
    pub by: String,
}

/// An order that is older is no longer obeyed: whoever gave it has seen long ago that nothing came of it.
pub const LIFE: Duration = Duration::from_secs(5 * 60);

/// Why an order cannot be obeyed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("an order in the lease queue cannot be read: {0}")]
pub struct UnreadableOrder(&'static str);

/// Other versions mean something else by the same names.
const VERSION: u64 = 1;

impl HandedOn {
    pub fn encode(&self) -> Vec<u8> {
        let Self { instruction, account, lane, given, by } = self;
        let lane = lane.as_ref().map(|(from, to)| json!([from.as_written(), to.as_written()]));
        let body = json!({
            "version": VERSION,
            "order": instruction.as_str(),
            "portalId": account.map(|portal| portal.0),
            "lane": lane,
            "given": given.to_string(),
            "by": by,
        });
        body.to_string().into_bytes()
    }

    /// Never panics, whatever the bytes.
    pub fn parse(body: &[u8]) -> Result<Self, UnreadableOrder> {
        let fault = UnreadableOrder;
        let Ok(Value::Object(fields)) = serde_json::from_slice(body) else { return Err(fault("it is no JSON object")) };
        let text = |name: &str| fields.get(name).and_then(Value::as_str);
        if fields.get("version").and_then(Value::as_u64) != Some(VERSION) {
            return Err(fault("its version is not 1"));
        }
        let instruction = Instruction::ALL.into_iter().find(|known| text("order") == Some(known.as_str()));
        let account = match fields.get("portalId") {
            Some(Value::Null) => None,
            Some(portal) => {
                let portal = portal.as_u64().and_then(|portal| portal.try_into().ok()).map(PortalId);
                Some(portal.ok_or(fault("portalId is no portal id"))?)
            }
            None => return Err(fault("portalId is missing")),
        };
        let lane = match fields.get("lane") {
            Some(Value::Null) => None,
            Some(lane) => {
                let end = |place: usize| lane.get(place)?.as_str().and_then(|text| ObjectType::parse(text).ok());
                Some(end(0).zip(end(1)).ok_or(fault("lane is no pair of object types"))?)
            }
            None => return Err(fault("lane is missing")),
        };
        Ok(Self {
            instruction: instruction.ok_or(fault("order is none of pause, resume, approve, reject"))?,
            account,
            lane,
            given: text("given").and_then(|given| given.parse().ok()).ok_or(fault("given is no time"))?,
            by: text("by").unwrap_or_default().to_owned(),
        })
    }

    /// Too old to be obeyed.
    pub fn is_stale(&self, now: Timestamp) -> bool {
        now.duration_since(self.given).unsigned_abs() > LIFE
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    fn order() -> HandedOn {
        let object_type = |text| ObjectType::parse(text).unwrap();
        HandedOn {
            instruction: Instruction::Approve,
            account: Some(PortalId(4711.try_into().unwrap())),
            lane: Some((object_type("contacts"), object_type("p123_Cars"))),
            given: Timestamp::from_second(1_800_000_000).unwrap(),
            by: "host/1".to_owned(),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for instruction in Instruction::ALL {
            let of_lane = HandedOn { instruction, ..order() };
            let of_account = HandedOn { account: None, lane: None, ..of_lane.clone() };
            for order in [of_lane, of_account] {
                assert_eq!(HandedOn::parse(&order.encode()), Ok(order));
            }
        }
    }

    #[test]
    fn an_order_is_obeyed_for_five_minutes() {
        let given = order().given;
        assert!(!order().is_stale(given + LIFE));
        assert!(order().is_stale(given + LIFE + Duration::from_millis(1)));
    }

    proptest! {
        #[test]
        fn no_body_is_too_strange(body in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..150, byte in any::<u8>()) {
            let _ = HandedOn::parse(&body);
            let mut nearly = order().encode();
            if let Some(place) = nearly.get_mut(at) {
                *place = byte;
            }
            let _ = HandedOn::parse(&nearly);
        }
    }
}
