//! A queue that somebody deleted while the worker ran, and that was declared again, as `/status` tells it.

use jiff::Timestamp;
use serde::Serialize;

use crate::engine::status::write_time;

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LostQueue {
    pub queue: String,
    /// How often, since the start.
    pub times: u64,
    /// What was in it when last looked at before the latest time; `null` where nobody has looked.
    pub messages: Option<u64>,
    /// The same in words.
    pub loss: String,
    #[serde(serialize_with = "write_time")]
    pub last_at: Timestamp,
}
