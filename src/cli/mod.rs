//! The command line: its commands, a file each, and what they share.

// The commands.
mod archive;
mod check;
mod completions;
mod dead_letters;
mod enqueue;
mod journal;
mod manual;
mod outcomes;
mod pause;
mod probe;
mod run;
mod schema;
mod top;
mod undo;

// What they share. `arguments` reads the command line and starts the command that it names.
mod admin_call;
mod age;
mod arguments;
mod bar;
mod confirm;
mod exit;
mod introductions;
pub mod jobs_file;
mod lane;
mod latest_names;
mod logging;
mod option_values;
mod outcome_record;
mod output;
mod paint;
mod report;
mod runtime;
mod signals;
mod summary;
mod target;
mod way_back;

pub use arguments::{command_line, main};
use logging::{remark_on_settings, start_logging, start_logging_for_a_person};
