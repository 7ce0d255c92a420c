//! `journal list|export`: what was recorded before it was removed or restored.

use std::path::Path;
use std::process::ExitCode;

use super::exit::Failure;
use super::runtime;
use crate::config::Settings;
use crate::contract::grouped::Grouped;

mod export;
pub(super) mod gathering;
mod list;
pub(super) mod selection;
mod unmet;

#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Shows the entries, one for each request; nothing is changed
    #[command(after_long_help = "\
Each request that removes or restores associations has an entry, written before it left. DONE, REFUSED and UNKNOWN count
its pairs: refused ones are as they were; unknown ones were sent by a worker that was killed before it noted the answer.
A stream is read by whoever may read and write there: a mark is put at its end, so that the end can be known.

Examples:
  association-archiver journal list --since 1day
  association-archiver journal list --group import-2026-11 --json
  association-archiver journal list --file journal.ndjson --job-id crm-sync-81f2")]
    List(list::Arguments),
    /// Writes the entries as CSV or NDJSON, one row a pair
    #[command(after_long_help = "\
The column `change` says whether a pair was removed or restored. Rows that were only about to be changed when the worker
was killed have the state UNKNOWN.

Examples:
  association-archiver journal export --portal 4711 > removed.ndjson
  association-archiver journal export --from-type contacts --to-type companies --since 2026-11-01T00:00:00Z --output removed.csv")]
    Export(export::Arguments),
}

/// Reads only.
pub fn journal(config: Option<&Path>, command: &Command) -> Result<ExitCode, Failure> {
    let settings = Settings::load(config)?;
    super::remark_on_settings(&settings);
    match command {
        Command::List(arguments) => runtime::block_on(list::list(&settings, arguments)),
        Command::Export(arguments) => runtime::block_on(export::export(&settings, arguments)),
    }
}

/// `1 pair`, `1,250 pairs`.
pub(super) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{} {}", Grouped(count as u64), if count == 1 { one } else { many })
}
