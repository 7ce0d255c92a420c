//! `dead-letters export`.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::letter::Letter;
use super::selection::{Selection, Sieve};
use crate::amqp::browser::{Browser, Found, Shelf};
use crate::amqp::export::text_or_base64;
use crate::cli::exit::Failure;
use crate::cli::output::{Reader, remark};
use crate::cli::target::Target;
use crate::config::Settings;
use crate::worker::service;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// Writes to this new file instead of stdout
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// One JSON object a line, written while the queue is read.
pub async fn export(settings: &Settings, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let mut target = Target::open(arguments.output.as_deref())?;
    let sieve = arguments.selection.begin(settings).await?;
    let mut browser =
        Browser::open(&settings.amqp, Shelf::DeadLetters).await.map_err(|fault| Failure::Running(fault.to_string()))?;
    let exported = write(&mut browser, settings, sieve, &mut target).await;
    let there = browser.there();
    browser.close().await;
    let exported = exported?;
    remark(&format!("{exported} of {there} dead letters of {} exported", settings.amqp.dead_letter_queue));
    Ok(ExitCode::SUCCESS)
}

async fn write(
    browser: &mut Browser,
    settings: &Settings,
    mut sieve: Sieve<'_>,
    target: &mut Target,
) -> Result<u64, Failure> {
    let limits = service::limits(&settings.jobs);
    let mut exported = 0;
    while sieve.is_open()
        && let Some(found) = browser.next().await.map_err(|fault| Failure::Running(fault.to_string()))?
    {
        if !sieve.takes(&Letter::of(&found, &limits)) {
            continue;
        }
        if target.line(&record(&found).to_string())? == Reader::Gone {
            break;
        }
        exported += 1;
    }
    target.finish()?;
    Ok(exported)
}

/// A body that is no UTF-8 becomes `{"base64": "…"}`.
fn record(found: &Found) -> Value {
    json!({"properties": found.properties.to_json(), "body": text_or_base64(&found.body)})
}
