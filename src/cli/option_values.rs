//! What options with a value take. Each error goes to the command line, and says what is expected with an example.

use std::num::NonZeroU64;

use crate::contract::association::RecordId;
use crate::contract::ids::{Group, PortalId};
use crate::contract::object_type::ObjectType;

pub fn portal(text: &str) -> Result<PortalId, String> {
    text.parse::<NonZeroU64>().map(PortalId).map_err(|_| "write the portal id in digits, such as 4711".to_owned())
}

pub fn object_type(text: &str) -> Result<ObjectType, String> {
    ObjectType::parse(text).map_err(|fault| format!("{text:?} {fault}; such as contacts, 0-1 or 2-123456"))
}

pub fn record(text: &str) -> Result<RecordId, String> {
    RecordId::parse(text).ok_or_else(|| "write the record's id in digits, such as 101".to_owned())
}

pub fn group(text: &str) -> Result<Group, String> {
    Group::new(text).ok_or_else(|| "write 1 to 128 bytes without control characters, such as import-7".to_owned())
}

/// How many at most.
pub fn limit(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "write a number without separators, such as 1000".to_owned())
}
