//! `check`: what is right and wrong, before the service is started. Archives nothing, declares nothing.

use std::path::Path;
use std::process::ExitCode;

use self::finding::{Finding, Rating};
use super::exit::Failure;
use super::{output, runtime};
use crate::config::Settings;

mod accounts;
mod broker;
mod finding;
mod journal;
mod proxy;
mod rights;
mod settings;
mod table;
mod traces;

#[derive(clap::Args, Debug)]
#[command(after_long_help = LONG_HELP)]
pub struct Arguments {
    /// The findings as JSON
    #[arg(long)]
    json: bool,
}

const LONG_HELP: &str = "\
Each line is right, a warning, wrong or not verified; all but the right ones say how to mend them. Exit code 0: nothing
is wrong; 1: something is; 2: the settings cannot be read at all. Nothing is archived, declared or consumed: for the
rights of its user the broker is asked by requests that it must refuse, which also names what is missing. An OAuth
account's access token is refreshed to be tried, as the service does.

Examples:
  association-archiver check
  association-archiver check --config /etc/association-archiver/config.toml
  association-archiver check --json";

/// Exit code 0 only if nothing is wrong.
pub fn check(config: Option<&Path>, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let settings = Settings::load(config)?;
    let findings = runtime::block_on(async {
        let streams = journal::streams(&settings);
        let (broker, accounts, traces) = tokio::join!(
            broker::findings(&settings.amqp, &streams),
            accounts::findings(&settings.hubspot),
            traces::findings(&settings.telemetry)
        );
        let mut findings: Vec<Finding> = settings::findings(&settings);
        findings.extend(proxy::finding(&settings.hubspot.base_url));
        findings.extend(broker);
        findings.extend(journal::files(&settings));
        findings.extend(accounts);
        findings.extend(traces);
        Ok(findings)
    })?;
    if arguments.json {
        output::print(format!("{}\n", table::json(&findings)).as_bytes())?;
    } else {
        output::print(table::text(&findings).as_bytes())?;
    }
    let wrong = findings.iter().any(|finding| finding.verdict == Rating::Wrong);
    Ok(if wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
