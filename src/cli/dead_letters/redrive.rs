//! `dead-letters redrive`: each message is published to the jobs queue, or to the background queue where it came from
//! there, and confirmed before it is acknowledged here. So it is in one of the two queues at every moment, and in both
//! where the command is killed in between.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::letter::{Letter, redriven};
use super::selection::{LOOKED_AT, Selection, Sieve};
use crate::amqp::browser::{Browser, Found, Hold, Shelf};
use crate::amqp::message::{Envelope, HeaderValue, Outgoing, Properties};
use crate::amqp::route::{self, Route};
use crate::amqp::sender::Sender;
use crate::cli::bar::bar;
use crate::cli::exit::Failure;
use crate::cli::output::remark;
use crate::cli::signals::{self, FirstWords};
use crate::cli::{confirm, output, runtime};
use crate::config::{QueueName, Settings};
use crate::contract::grouped::Grouped;
use crate::contract::job::JobLimits;
use crate::contract::message::{OF_BACKGROUND, REDRIVEN, REJECT_CATEGORY, REJECT_MESSAGE, REJECTED_AT};
use crate::telemetry::progress;
use crate::worker::delivery::carried_headers;
use crate::worker::service;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// Does not ask
    #[arg(long, short)]
    yes: bool,
    /// The summary as JSON, on stdout
    #[arg(long)]
    json: bool,
}

pub const LONG_HELP: &str = "\
Puts each selected message that is there when the command begins back once, as it came, and adds 1 to its header x-redriven.
What came from the background queue goes back there, all else to the jobs queue. So mend the cause first, such as a missing
account: what is no valid job comes straight back. Export such a message, and enqueue the mended job.

On a terminal the command counts what is selected and asks; elsewhere --yes is needed. Nothing is lost if it is interrupted or
killed. A message that was just being moved can then be in both queues; if it is redriven again, the outcomes of both copies
have the same message id.

Examples:
  association-archiver dead-letters redrive --reason RETRIES_EXHAUSTED
  association-archiver dead-letters redrive --portal 4711 --lane contacts/companies --older-than 1h --yes";

/// Told to whoever interrupts it.
const FINISHED_FIRST: FirstWords = FirstWords::Said("what is on its way to the broker is finished first");

/// Messages published before their confirms are awaited.
const MAX_ROUND: usize = 256;
/// Bytes of bodies published before their confirms are awaited; a larger one goes alone.
const MAX_ROUND_BYTES: usize = 4 * 1024 * 1024;

pub fn redrive(settings: &Settings, arguments: &Arguments) -> Result<ExitCode, Failure> {
    if !arguments.yes && !confirm::has_terminal() {
        return Err(Failure::Usage(
            "redriving asks first, and there is no terminal to ask on: give --yes to go ahead".to_owned(),
        ));
    }
    runtime::block_on(async {
        let (stop, redriven) = (CancellationToken::new(), Arc::new(AtomicU64::new(0)));
        let last_words = {
            let redriven = Arc::clone(&redriven);
            move || {
                let redriven = redriven.load(Ordering::Relaxed);
                remark(&format!(
                    "error: a second signal; {redriven} were redriven, up to {MAX_ROUND} more may be on the jobs queue and \
                     still among the dead letters, the others are where they were"
                ));
            }
        };
        if !arguments.yes && !agrees(settings, &arguments.selection).await? {
            remark("nothing was redriven");
            return Ok(ExitCode::FAILURE);
        }
        // Not before: until then nothing is on its way.
        signals::stop_on_signals(stop.clone(), FINISHED_FIRST, last_words)
            .map_err(|error| Failure::Running(format!("no signals: {error}")))?;
        let sieve = arguments.selection.begin(settings).await?;
        let mut browser = open(settings).await?;
        let there = browser.there();
        let mut moving = Moving::new(sieve, settings, Arc::clone(&redriven));
        let done = moving.run(settings, &mut browser, &stop).await;
        browser.close().await;
        let redriven = redriven.load(Ordering::Relaxed);
        done.map_err(|cause| {
            Failure::Running(format!("{cause}; {redriven} were redriven, the others are still among the dead letters"))
        })?;
        summarise(arguments, settings, (redriven, moving.of_background), there)
    })
}

async fn open(settings: &Settings) -> Result<Browser, Failure> {
    let opened = Browser::open(&settings.amqp, Shelf::DeadLetters).await;
    opened.map_err(|fault| Failure::Running(fault.to_string()))
}

/// Counts the messages that are selected, gives them back, and asks. Where there is nothing to move it does not ask.
async fn agrees(settings: &Settings, selection: &Selection) -> Result<bool, Failure> {
    let (limits, mut sieve, mut selected) = (service::limits(&settings.jobs), selection.begin(settings).await?, 0_u64);
    let mut browser = open(settings).await?;
    let there = browser.there();
    let looking = bar(there.into(), 0, LOOKED_AT);
    let counted = loop {
        if !sieve.is_open() {
            break Ok(());
        }
        match browser.next().await {
            Ok(Some(found)) => {
                looking.inc(1);
                selected += u64::from(sieve.takes(&Letter::of(&found, &limits)));
            }
            Ok(None) => break Ok(()),
            Err(fault) => break Err(Failure::Running(fault.to_string())),
        }
    };
    progress::end();
    browser.close().await;
    counted?;
    if selected == 0 {
        return Ok(true);
    }
    let (dead, jobs) = (&settings.amqp.dead_letter_queue, &settings.amqp.jobs_queue);
    let (selected, there) = (Grouped(selected), Grouped(there.into()));
    confirm::agrees(&format!("Put {selected} of {there} dead letters in {dead} back on {jobs}?")).await
}

/// The work in hand.
struct Moving<'a> {
    sieve: Sieve<'a>,
    limits: JobLimits,
    round: Vec<(Outgoing, Hold)>,
    round_bytes: usize,
    redriven: Arc<AtomicU64>,
    /// How many of them went to the background queue.
    of_background: u64,
    /// Where there is one.
    background: Option<QueueName>,
}

impl<'a> Moving<'a> {
    fn new(sieve: Sieve<'a>, settings: &Settings, redriven: Arc<AtomicU64>) -> Self {
        Self {
            sieve,
            limits: service::limits(&settings.jobs),
            round: Vec::new(),
            round_bytes: 0,
            redriven,
            of_background: 0,
            background: settings.amqp.background().ok(),
        }
    }

    /// The error is a sentence without its end.
    async fn run(
        &mut self,
        settings: &Settings,
        browser: &mut Browser,
        stop: &CancellationToken,
    ) -> Result<(), String> {
        if browser.there() == 0 {
            return Ok(());
        }
        let sender = Sender::open(&settings.amqp, stop).await.map_err(|fault| fault.to_string())?;
        let moved = self.move_all(browser, &sender, stop).await;
        sender.close().await;
        moved
    }

    async fn move_all(
        &mut self,
        browser: &mut Browser,
        sender: &Sender,
        stop: &CancellationToken,
    ) -> Result<(), String> {
        while self.sieve.is_open()
            && let Some(found) = browser.next().await.map_err(|fault| fault.to_string())?
        {
            if self.sieve.takes(&Letter::of(&found, &self.limits)) {
                self.round_bytes += found.body.len();
                let route = self.route(&found.properties);
                self.round.push(redrivable(found, route));
            }
            if self.round.len() >= MAX_ROUND || self.round_bytes >= MAX_ROUND_BYTES {
                self.move_round(browser, sender).await?;
            }
            if stop.is_cancelled() {
                self.move_round(browser, sender).await?;
                return Err("stopped by a signal".to_owned());
            }
        }
        self.move_round(browser, sender).await
    }

    async fn move_round(&mut self, browser: &mut Browser, sender: &Sender) -> Result<(), String> {
        self.round_bytes = 0;
        if self.round.is_empty() {
            return Ok(());
        }
        let (messages, holds): (Vec<Outgoing>, Vec<Hold>) = std::mem::take(&mut self.round).into_iter().unzip();
        let sent = sender.send(&messages).await.map_err(|fault| fault.to_string())?;
        let to_background = |message: &Outgoing| message.route == Route::Background;
        let proofs = messages.iter().zip(&sent.proofs).filter(|(_, proof)| proof.is_some());
        self.of_background += proofs.filter(|(message, _)| to_background(message)).count() as u64;
        let proven = holds.into_iter().zip(sent.proofs).filter_map(|(hold, proof)| Some((hold, proof?)));
        let proven: Vec<_> = proven.collect();
        self.redriven.fetch_add(proven.len() as u64, Ordering::Relaxed);
        browser.acknowledge(proven).await.map_err(|fault| fault.to_string())?;
        sent.fault.map_or(Ok(()), |fault| Err(fault.to_string()))
    }

    /// Back to where it came from, as far as the worker or the broker wrote it down.
    fn route(&self, properties: &Properties) -> Route {
        let Some(background) = &self.background else { return Route::Jobs };
        let by_broker = properties.first_death_queue().is_some_and(|queue| route::is_of(&queue, background.as_str()));
        if by_broker || properties.text_header(OF_BACKGROUND).is_some() { Route::Background } else { Route::Jobs }
    }
}

/// The message as it first came, with the number of times that it was redriven, and without the headers that the worker
/// added.
fn redrivable(found: Found, route: Route) -> (Outgoing, Hold) {
    let (body, properties, hold) = found.into_parts();
    let count = i64::try_from(redriven(&properties)).unwrap_or(i64::MAX).saturating_add(1);
    let copy: Properties = properties
        .republished([(REDRIVEN, HeaderValue::Integer(count))])
        .without_headers(&[REJECT_CATEGORY, REJECT_MESSAGE, REJECTED_AT])
        .without_headers(&carried_headers::ALL);
    (Outgoing { route, body: Bytes::from(body), envelope: Envelope::Copy(copy) }, hold)
}

fn summarise(
    arguments: &Arguments,
    settings: &Settings,
    (redriven, of_background): (u64, u64),
    there: u32,
) -> Result<ExitCode, Failure> {
    let queue = settings.amqp.jobs_queue.as_str();
    if arguments.json {
        let summary =
            json!({"redriven": redriven, "deadLetters": there, "queue": queue, "toBackgroundQueue": of_background});
        return output::result(&summary.to_string());
    }
    let apart = match (of_background, settings.amqp.background()) {
        (1.., Ok(background)) => format!(", {of_background} of them on {background}"),
        (0, _) | (_, Err(_)) => String::new(),
    };
    let are = if redriven == 1 { "is" } else { "are" };
    output::result(&format!("{redriven} of {there} dead letters {are} back on {queue}{apart}"))
}
