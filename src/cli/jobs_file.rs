//! A file of jobs, as `archive` and `enqueue` read it.

pub mod columns;
mod fields;
pub mod hints;
pub mod job_field;
mod record_types;
pub mod rows;
pub mod source;
pub mod survey;
mod text;
