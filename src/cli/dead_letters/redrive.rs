//! `dead-letters redrive`: each message is published to the jobs queue, or to the background queue where it came from
//! there, and confirmed before it is acknowledged here. So it is in one of the two queues at every moment, and in both
//! where the command is killed in between.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::letter::{Letter, redriven, told_late};
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
use crate::contract::expiry::GivenBy;
use crate::contract::grouped::Grouped;
use crate::contract::job::JobLimits;
use crate::contract::message::{
    OF_BACKGROUND, ORIGINAL_EXPIRATION, REDRIVEN, REJECT_CATEGORY, REJECT_MESSAGE, REJECTED_AT,
};
use crate::telemetry::progress;
use crate::worker::delivery::{carried_headers, letters_expiry};
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

A deadline goes on counting among the dead letters: a job past its notAfter, or past the expiration that its message had,
is answered EXPIRED and nothing is sent. What the broker itself ended in the queue (reason expired) is past it. To have
such jobs done all the same, enqueue them as new jobs without their deadline, as in the last example: the dead letters stay
where they are, and a redrive then only answers them EXPIRED.

Examples:
  association-archiver dead-letters redrive --reason RETRIES_EXHAUSTED
  association-archiver dead-letters redrive --portal 4711 --lane contacts/companies --older-than 1h --yes
  association-archiver dead-letters redrive --reason GUARD_REJECTED --not-group crm-cleanup
  association-archiver dead-letters export --reason expired |
      jq -c '.properties.messageId as $id | .body | fromjson | del(.notAfter) | .jobId //= $id' |
      association-archiver enqueue -";

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
        let mut moving = Moving::new(sieve, settings, Arc::clone(&redriven));
        let done = moving.run(settings, &mut browser, &stop).await;
        let (there, missed) = (browser.there(), browser.missed());
        browser.close().await;
        let redriven = redriven.load(Ordering::Relaxed);
        done.map_err(|cause| {
            Failure::Running(format!("{cause}; {redriven} were redriven, the others are still among the dead letters"))
        })?;
        summarise(arguments, settings, &moving, redriven, (there, missed))
    })
}

async fn open(settings: &Settings) -> Result<Browser, Failure> {
    let opened = Browser::open(&settings.amqp, Shelf::DeadLetters).await;
    opened.map_err(|fault| Failure::Running(fault.to_string()))
}

/// Counts the messages that are selected, gives them back, and asks. Where there is nothing to move it does not ask.
async fn agrees(settings: &Settings, selection: &Selection) -> Result<bool, Failure> {
    let (limits, mut sieve) = (service::limits(&settings.jobs), selection.begin(settings).await?);
    let (mut selected, mut late) = (0_u64, 0_u64);
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
                let letter = Letter::of(&found, &limits);
                if sieve.takes(&letter) {
                    selected += 1;
                    late += u64::from(letter.is_late());
                }
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
    if late > 0 {
        remark(&format!("{} will be answered EXPIRED: see --help", told_late(late)));
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
    /// How many of those that are redriven are past their deadline.
    late: u64,
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
            late: 0,
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
            let letter = Letter::of(&found, &self.limits);
            if self.sieve.takes(&letter) {
                self.late += u64::from(letter.is_late());
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
/// added, but for its deadline: that goes on counting among the dead letters, as a `notAfter` does.
fn redrivable(found: Found, route: Route) -> (Outgoing, Hold) {
    let (body, properties, hold) = found.into_parts();
    let count = i64::try_from(redriven(&properties)).unwrap_or(i64::MAX).saturating_add(1);
    let expiry = letters_expiry(&properties, Timestamp::now());
    let expiration = expiry.and_then(|expiry| match expiry.given_by {
        GivenBy::Expiration(Some(span)) => Some((ORIGINAL_EXPIRATION, HeaderValue::Text(span.as_millis().to_string()))),
        GivenBy::Expiration(None) | GivenBy::NotAfter => None,
    });
    let headers = expiration.into_iter().chain([(REDRIVEN, HeaderValue::Integer(count))]);
    let copy: Properties = properties
        .republished(expiry.map(|expiry| expiry.at), headers)
        .without_headers(&[REJECT_CATEGORY, REJECT_MESSAGE, REJECTED_AT])
        .without_headers(&carried_headers::LEFT_BEHIND);
    (Outgoing { route, body: Bytes::from(body), envelope: Envelope::Copy(copy) }, hold)
}

fn summarise(
    arguments: &Arguments,
    settings: &Settings,
    &Moving { of_background, late, .. }: &Moving<'_>,
    redriven: u64,
    (there, missed): (u32, u32),
) -> Result<ExitCode, Failure> {
    let queue = settings.amqp.jobs_queue.as_str();
    if arguments.json {
        let summary = json!({
            "redriven": redriven, "deadLetters": there, "queue": queue, "toBackgroundQueue": of_background,
            "pastDeadline": late,
            "notLookedAt": missed,
        });
        return output::result(&summary.to_string());
    }
    let background = settings.amqp.background().ok().map(|background| (background.to_string(), of_background));
    let each = [(queue.to_owned(), redriven - of_background)].into_iter().chain(background);
    let each: Vec<String> =
        each.filter(|(_, letters)| *letters > 0).map(|(queue, n)| format!("{n} on {queue}")).collect();
    let are = if redriven == 1 { "is" } else { "are" };
    let put_back = if each.is_empty() { String::new() } else { format!(": {}", each.join(", ")) };
    let late = if late > 0 { format!("; {} will be answered EXPIRED", told_late(late)) } else { String::new() };
    let left = match u64::from(there.saturating_sub(missed)).saturating_sub(redriven) {
        0 => String::new(),
        1 => "; 1 was not selected".to_owned(),
        left => format!("; {left} were not selected"),
    };
    let missed = match missed {
        0 => String::new(),
        missed => format!("; {missed} could not be looked at, since another consumer has or had them: redrive again"),
    };
    output::result(&format!("{redriven} of {there} dead letters {are} back{put_back}{late}{left}{missed}"))
}
