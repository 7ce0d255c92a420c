//! `dead-letters list`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::letter::{Letter, told_late};
use super::selection::{LOOKED_AT, Selection, Sieve, moment};
use crate::amqp::browser::{Browser, Shelf};
use crate::cli::bar::bar;
use crate::cli::exit::Failure;
use crate::cli::output::{Output, Reader, remark};
use crate::cli::paint::{Paint, Tone, harmless};
use crate::config::Settings;
use crate::contract::ids::Group;
use crate::telemetry::progress;
use crate::worker::service;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Most letters that are put in order before they are shown: about a kilobyte each is kept meanwhile.
const MOST_IN_ORDER: u32 = 100_000;

/// A table on stdout, the oldest first. Of very many it is written while the queue is read.
pub async fn list(settings: &Settings, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let sieve = arguments.selection.begin(settings).await?;
    let mut browser =
        Browser::open(&settings.amqp, Shelf::DeadLetters).await.map_err(|fault| Failure::Running(fault.to_string()))?;
    let listed = show(&mut browser, settings, sieve, arguments.json).await;
    progress::end();
    let there = browser.there();
    browser.close().await;
    let Shown { reasons, late } = listed?;
    if !arguments.json {
        let order = if there > MOST_IN_ORDER { ", too many to put them in order" } else { "" };
        let shown: u64 = reasons.values().sum();
        let queue = &settings.amqp.dead_letter_queue;
        match there {
            0 => remark(&format!("{queue} is empty: there are no dead letters")),
            _ => remark(&format!("{shown} of {there} dead letters in {queue}{order}{}", told(&reasons))),
        }
        if late > 0 {
            let late = told_late(late);
            remark(&format!("{late} would be answered EXPIRED if redriven: see dead-letters redrive --help"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What was shown.
#[derive(Default)]
struct Shown {
    reasons: Reasons,
    /// Past their deadline.
    late: u64,
}

/// How many are shown of each reason.
type Reasons = BTreeMap<String, u64>;

/// Reasons beyond these are told as one: whoever publishes there can make up as many as he likes.
const MOST_REASONS: usize = 20;
const OTHERS: &str = "other reasons";

/// `: GUARD_REJECTED 1550, MALFORMED_JOB 3`
fn told(reasons: &Reasons) -> String {
    let each: Vec<String> = reasons.iter().map(|(reason, letters)| format!("{} {letters}", harmless(reason))).collect();
    if each.is_empty() { String::new() } else { format!(": {}", each.join(", ")) }
}

async fn show(browser: &mut Browser, settings: &Settings, mut sieve: Sieve<'_>, json: bool) -> Result<Shown, Failure> {
    let limits = service::limits(&settings.jobs);
    let in_order = browser.there() <= MOST_IN_ORDER;
    let (mut table, mut kept) = (Table { output: Output::stdout(), json, shown: Shown::default() }, Vec::new());
    // What is shown while it is read needs no line of progress.
    let looking = in_order.then(|| bar(browser.there().into(), 0, LOOKED_AT));
    while sieve.is_open()
        && let Some(found) = browser.next().await.map_err(|fault| Failure::Running(fault.to_string()))?
    {
        looking.iter().for_each(|bar| bar.inc(1));
        let letter = Letter::of(&found, &limits);
        if !sieve.takes(&letter) {
            continue;
        }
        if in_order {
            kept.push(letter);
        } else if table.show(&letter)? == Reader::Gone {
            break;
        }
    }
    progress::end();
    kept.sort_by_key(moment);
    for letter in &kept {
        if table.show(letter)? == Reader::Gone {
            break;
        }
    }
    table.output.flush()?;
    Ok(table.shown)
}

struct Table {
    output: Output,
    json: bool,
    shown: Shown,
}

impl Table {
    fn show(&mut self, letter: &Letter) -> Result<Reader, Failure> {
        if self.shown.reasons.is_empty() && !self.json {
            self.output.line(&Paint::for_stdout().text(Tone::Heading, &row(HEADINGS)))?;
        }
        let reason = letter.reason.as_deref().unwrap_or("no reason named");
        let reasons = &mut self.shown.reasons;
        let is_told = reasons.len() < MOST_REASONS || reasons.contains_key(reason);
        *reasons.entry(if is_told { reason } else { OTHERS }.to_owned()).or_default() += 1;
        self.shown.late += u64::from(letter.is_late());
        let line = if self.json { json_line(letter).to_string() } else { table_line(letter) };
        self.output.line(&line)
    }
}

const HEADINGS: [&str; 7] = ["REJECTED AT", "REASON", "PORTAL", "LANE", "REDRIVEN", "ID", "MESSAGE"];
/// Most texts fit; longer ones push their line to the right. The last column is as wide as it is.
const WIDTHS: [usize; 6] = [20, 17, 10, 24, 8, 24];

fn table_line(letter: &Letter) -> String {
    let shown = |text: Option<String>| harmless(&text.unwrap_or_else(|| "-".to_owned()));
    let rejected_at = shown(letter.rejected_at.map(|at| format!("{at:.0}")));
    let (reason, portal) = (shown(letter.reason.clone()), shown(letter.portal.map(|portal| portal.to_string())));
    let (lane, redriven, id) = (shown(letter.lane()), letter.redriven.to_string(), shown(letter.id.clone()));
    row([&rejected_at, &reason, &portal, &lane, &redriven, &id, &shown(letter.message.clone())])
}

fn row(cells: [&str; 7]) -> String {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(WIDTHS) {
        line.push_str(&format!("{cell:width$}  "));
    }
    line.push_str(cells[6]);
    line
}

fn json_line(letter: &Letter) -> Value {
    let Letter { id, message_id, reason, message, portal, group, from_type, to_type, rejected_at, redriven, deadline } =
        letter;
    json!({
        "id": id,
        "messageId": message_id,
        "reason": reason,
        "message": message,
        "portalId": portal.map(|portal| portal.0),
        "group": group.as_ref().map(Group::as_str),
        "fromObjectType": from_type.as_ref().map(|text| text.as_str()),
        "toObjectType": to_type.as_ref().map(|text| text.as_str()),
        "rejectedAt": rejected_at.map(|at| format!("{at:.3}")),
        "redriven": redriven,
        "deadline": deadline.map(|at| format!("{at:.3}")),
    })
}
