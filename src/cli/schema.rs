//! `schema job|outcome|journal|asyncapi`: the contract for machines, made from the types that keep it.

use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::Value;

use super::exit::Failure;
use super::output;

mod asyncapi;
mod job;
mod journal;
mod outcome;

const EXAMPLES: &str = "\
Examples:
  association-archiver schema job > job.schema.json
  association-archiver schema asyncapi > asyncapi.json";

#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    document: Document,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Document {
    /// JSON Schema 2020-12 of a job
    Job,
    /// JSON Schema 2020-12 of an outcome
    Outcome,
    /// JSON Schema 2020-12 of a record of the journal
    Journal,
    /// AsyncAPI 3 of the queues between
    Asyncapi,
}

/// Indented JSON on stdout.
pub fn schema(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let document: Value = match arguments.document {
        Document::Job => job::schema(),
        Document::Outcome => outcome::schema(),
        Document::Journal => journal::schema(),
        Document::Asyncapi => asyncapi::document(),
    };
    output::print(format!("{document:#}\n").as_bytes())
}
