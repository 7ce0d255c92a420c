//! `dead-letters list|export|redrive`.

use std::path::Path;
use std::process::ExitCode;

use super::exit::Failure;
use super::runtime;
use crate::config::Settings;

mod export;
mod letter;
mod list;
mod redrive;
mod selection;

macro_rules! counts {
    () => {
        "While the command looks, it holds the messages, and gives them back when it ends. The broker counts each look as a
delivery, and drops a message that it has delivered more often than the queue's x-delivery-limit allows. A queue that the
worker has declared allows 1,000,000."
    };
}

macro_rules! form {
    () => {
        "Each line is one message: {\"properties\": {\"messageId\": \"…\", …, \"headers\": {…}}, \"body\": …}. The body is a string: the
text of the message as it came, in which a program finds the job by parsing it as JSON once more. Where its bytes are no
UTF-8 the body is an object instead, {\"base64\": \"…\"}; so is a header whose bytes are no UTF-8."
    };
}

pub const LONG_HELP: &str = "\
A dead letter is a copy of a message that needs a person: it was no valid job, its retries are exhausted, an operator rejected
it, or the broker gave it up. `list` shows the reason of each. Mend the cause, and then put the jobs back with `redrive`.";

#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Shows the dead letters, the oldest first; they stay where they are
    #[command(after_long_help = concat!(counts!(), "\n\nExamples:
  association-archiver dead-letters list
  association-archiver dead-letters list --reason MALFORMED_JOB --newer-than 1h
  association-archiver dead-letters list --id crm-sync-81f2"))]
    List(list::Arguments),
    /// Writes dead letters as NDJSON, with bodies, properties and headers; they stay where they are
    #[command(after_long_help = concat!(form!(), "\n\n", counts!(), "\n\nExamples:
  association-archiver dead-letters export > dead-letters.ndjson
  association-archiver dead-letters export --portal 4711 --output dead-letters.ndjson"))]
    Export(export::Arguments),
    /// Puts dead letters back on the jobs queue
    #[command(after_long_help = redrive::LONG_HELP)]
    Redrive(redrive::Arguments),
}

/// Reads or moves; loses no message, whenever it is interrupted.
pub fn dead_letters(config: Option<&Path>, command: &Command) -> Result<ExitCode, Failure> {
    let settings = Settings::load(config)?;
    super::remark_on_settings(&settings);
    match command {
        Command::List(arguments) => runtime::block_on(list::list(&settings, arguments)),
        Command::Export(arguments) => runtime::block_on(export::export(&settings, arguments)),
        Command::Redrive(arguments) => redrive::redrive(&settings, arguments),
    }
}
