//! Where in a job's body something is wrong, and the words to say so.

use std::fmt;

use crate::contract::text::{MESSAGE_MAX_BYTES, cut};

/// A field of the body, written as its path: `inputs[3].to[0].id`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Body,
    JobId,
    PortalId,
    FromObjectType,
    ToObjectType,
    Action,
    IncludePrimary,
    DryRun,
    Group,
    NotAfter,
    Inputs,
    Input(usize),
    From(usize),
    FromId(usize),
    To(usize),
    ToEntry(usize, usize),
    ToEntryId(usize, usize),
    Types(usize),
    Label(usize, usize),
    LabelCategory(usize, usize),
    LabelTypeId(usize, usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body => f.write_str("body"),
            Self::JobId => f.write_str("jobId"),
            Self::PortalId => f.write_str("portalId"),
            Self::FromObjectType => f.write_str("fromObjectType"),
            Self::ToObjectType => f.write_str("toObjectType"),
            Self::Action => f.write_str("action"),
            Self::IncludePrimary => f.write_str("includePrimary"),
            Self::DryRun => f.write_str("dryRun"),
            Self::Group => f.write_str("group"),
            Self::NotAfter => f.write_str("notAfter"),
            Self::Inputs => f.write_str("inputs"),
            Self::Input(i) => write!(f, "inputs[{i}]"),
            Self::From(i) => write!(f, "inputs[{i}].from"),
            Self::FromId(i) => write!(f, "inputs[{i}].from.id"),
            Self::To(i) => write!(f, "inputs[{i}].to"),
            Self::ToEntry(i, j) => write!(f, "inputs[{i}].to[{j}]"),
            Self::ToEntryId(i, j) => write!(f, "inputs[{i}].to[{j}].id"),
            Self::Types(i) => write!(f, "inputs[{i}].types"),
            Self::Label(i, k) => write!(f, "inputs[{i}].types[{k}]"),
            Self::LabelCategory(i, k) => write!(f, "inputs[{i}].types[{k}].associationCategory"),
            Self::LabelTypeId(i, k) => write!(f, "inputs[{i}].types[{k}].associationTypeId"),
        }
    }
}

/// Longest quotation from a body in a message, in bytes.
pub(super) const QUOTE_MAX_BYTES: usize = 64;

/// The text as it may stand in a message: short, and without control characters.
pub(super) fn quoted(text: &str) -> String {
    let short = cut(text, QUOTE_MAX_BYTES);
    let dots = if short.len() < text.len() { "…" } else { "" };
    format!("{short:?}{dots}")
}

/// The message as it may leave the process: not too long, and without control characters.
pub(super) fn bounded(mut message: String) -> String {
    if message.contains(char::is_control) {
        message = message.replace(char::is_control, " ");
    }
    message.truncate(cut(&message, MESSAGE_MAX_BYTES).len());
    message
}
