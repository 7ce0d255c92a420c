//! What the world outside sees: the messages in, the messages out, and the words both use.

pub mod action;
pub mod as_set;
pub mod association;
pub mod expiry;
pub mod grouped;
pub mod ids;
pub mod job;
pub mod journal;
pub mod message;
pub mod object_type;
pub mod outcome;
pub mod plan;
pub mod primary;
pub mod refusal;
pub mod text;
pub mod time;
