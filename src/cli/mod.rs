//! The commands, a file each.

mod admin_call;
mod age;
mod archive;
mod arguments;
mod check;
mod completions;
mod confirm;
mod dead_letters;
mod enqueue;
mod exit;
pub mod jobs_file;
mod lane;
mod logging;
mod manual;
mod outcome_record;
mod outcomes;
mod output;
mod paint;
mod pause;
mod report;
mod run;
mod runtime;
mod schema;
mod signals;
mod summary;

pub use arguments::{command_line, main};
use logging::{remark_on_settings, start_logging};
