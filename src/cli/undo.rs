//! `undo`: what the journal says was removed comes back by jobs like all others; and what was restored goes again.

use std::path::Path;
use std::process::ExitCode;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::jobs::{Manner, UndoJob, jobs};
use self::wanted::{LaneName, Wanted, What};
use super::bar::bar;
use super::enqueue::message_id::Run;
use super::enqueue::publishing::send_jobs;
use super::exit::Failure;
use super::journal::counted;
use super::journal::gathering::{Meant, gather};
use super::journal::selection::{Place, Selection};
use super::output::{Output, Reader, remark};
use super::paint::harmless;
use super::signals::{self, FirstWords};
use super::way_back::{Undo, lag_in_words};
use super::{confirm, option_values, output, runtime};
use crate::amqp::connection::ConnectFault;
use crate::amqp::route::Route;
use crate::amqp::sender::{SendFault, Sender};
use crate::config::Settings;
use crate::contract::grouped::Grouped;
use crate::contract::ids::Group;
use crate::contract::journal::ChangeKind;
use crate::contract::text::cut;
use crate::telemetry::progress;
use crate::worker::service;

mod jobs;
mod wanted;

#[derive(clap::Args, Debug)]
#[command(after_long_help = LONG_HELP)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    place: Place,
    /// Takes restorations back instead: what an undo, or another job that restores, has created goes again
    #[arg(long)]
    restores: bool,
    /// Only looks what would be done: sets dryRun in every job
    #[arg(long)]
    plan: bool,
    /// Restores Primary labels also where another record is primary by now
    #[arg(long, conflicts_with = "restores")]
    include_primary: bool,
    /// The group of the jobs; else `undo-` and the group or job that is undone
    #[arg(long, value_name = "NAME", value_parser = option_values::group)]
    as_group: Option<Group>,
    /// Prints the jobs as NDJSON and publishes nothing
    #[arg(long)]
    print: bool,
    /// Does not ask
    #[arg(long, short)]
    yes: bool,
    /// The summary as JSON, on stdout
    #[arg(long, conflicts_with = "print")]
    json: bool,
}

const LONG_HELP: &str = "\
Needs safety.journal to have been on when the associations were removed. At least one condition must be given; with
several of them all must hold.

What went is created again with its labels; what a pair has by now stays. Pairs that HubSpot refused to remove are left
out. Pairs of which the journal does not know whether they were removed, since the worker was killed, are restored: where
they are still there, that changes nothing. Two undos of the same thing change nothing more than one, so that an
interrupted one can be given again. A record has one Primary at most: where another record is primary by now, that label
is left out and named in the outcome, unless --include-primary is given.

A pair that was brought back and removed again, all by jobs that the conditions meet, gets what its latest removal took; where
a job that they do not meet removed it again, it is left out.

With --restores the conditions are for restorations instead, such as the group of an undo. Pairs that were not associated
before are removed, of others only the types that were added. Pairs that the journal shows as changed since are left out,
and so are those of which it does not know whether they were restored. Without a terminal this needs --yes.

Exit code 2: the journal has no pair that meets the conditions, as where a group is misspelt. With `--print |
association-archiver archive -` a shell shows that code after `set -o pipefail` only; else it shows that of `archive`.

The jobs go the way of all jobs, and their outcomes are in the results queue, where `outcomes --group` shows them.

Examples:
  association-archiver undo --group import-2026-11 --plan
  association-archiver undo --group import-2026-11
  association-archiver undo --portal 4711 --since 2026-11-28T09:00:00Z --until 2026-11-28T10:00:00Z --yes
  association-archiver undo --file journal.ndjson --job-id crm-sync-81f2 --print
  association-archiver undo --restores --group undo-import-2026-11 --plan";

/// Told to whoever interrupts it.
const FINISHED_FIRST: FirstWords = FirstWords::Said("what is on its way to the broker is finished first");

/// Publishes jobs that restore what the journal covers; the same ones each time.
pub fn undo(config: Option<&Path>, arguments: &Arguments) -> Result<ExitCode, Failure> {
    if arguments.selection.is_empty() {
        return Err(Failure::Usage(
            "nothing says what is to be undone: give --job-id, --group, --portal, --from-type, --to-type, --since or --until"
                .to_owned(),
        ));
    }
    let removes = arguments.restores && !arguments.plan && !arguments.print;
    if removes && !arguments.yes && !confirm::has_terminal() {
        return Err(Failure::Usage(
            "there is no terminal on which to ask before something is removed: give --yes".to_owned(),
        ));
    }
    let settings = Settings::load(config)?;
    super::remark_on_settings(&settings);
    runtime::block_on(run(&settings, config, arguments))
}

async fn run(settings: &Settings, config: Option<&Path>, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let kind = if arguments.restores { ChangeKind::Restoration } else { ChangeKind::Removal };
    let gathered = gather(settings, &arguments.place, &arguments.selection, Meant::OfKind(kind)).await?;
    let wanted = match kind {
        ChangeKind::Removal => Wanted::of_removals(&gathered),
        ChangeKind::Restoration => Wanted::of_restorations(&gathered),
    };
    drop(gathered);
    let manner = Manner {
        kind,
        group: match &arguments.as_group {
            Some(group) => group.clone(),
            None => default_group(&arguments.selection)?,
        },
        include_primary: arguments.include_primary,
        plan: arguments.plan,
    };
    let jobs = jobs(&wanted, &manner, &service::limits(&settings.jobs))?;
    show(&wanted, &manner, jobs.len());
    if !wanted.is_anything() {
        // A script must not take a misspelt group for an undo.
        if arguments.json {
            summarise(arguments, settings, &wanted, &manner, 0)?;
        }
        return Err(Failure::Usage("no pair in the journal meets these conditions: nothing was done".to_owned()));
    }
    if arguments.print {
        return print(&jobs);
    }
    if jobs.is_empty() {
        return summarise(arguments, settings, &wanted, &manner, 0);
    }
    let asks = !arguments.yes && confirm::has_terminal();
    if asks && !confirm::agrees(&question(settings, &manner, jobs.len())).await? {
        remark("nothing was published");
        return Ok(ExitCode::FAILURE);
    }
    let published = publish(settings, config, jobs).await?;
    summarise(arguments, settings, &wanted, &manner, published)
}

fn question(settings: &Settings, manner: &Manner, jobs: usize) -> String {
    let what = match (manner.kind, manner.plan, jobs) {
        (ChangeKind::Removal, true, 1) => "looks what it would restore",
        (ChangeKind::Removal, true, _) => "look what they would restore",
        (ChangeKind::Removal, false, 1) => "restores them",
        (ChangeKind::Removal, false, _) => "restore them",
        (ChangeKind::Restoration, true, 1) => "looks what it would remove",
        (ChangeKind::Restoration, true, _) => "look what they would remove",
        (ChangeKind::Restoration, false, 1) => "removes what was restored",
        (ChangeKind::Restoration, false, _) => "remove what was restored",
    };
    let queue = &settings.amqp.jobs_queue;
    format!("Put {} on {queue} that {what}?", counted(jobs, "job", "jobs"))
}

/// The group where none is given: equal conditions give it the same name, so an undo that is repeated is one group.
fn default_group(selection: &Selection) -> Result<Group, Failure> {
    let Selection { job_id, group, portal, from_type, to_type, since, until } = selection;
    let types = [from_type, to_type].map(|of| of.as_ref().map(|of| of.path_segment().to_owned()));
    let times = [since, until].map(|time| time.map(|time| format!("{time:.0}")));
    let words = [group.clone(), job_id.clone(), portal.map(|portal| portal.to_string())].into_iter();
    let words: Vec<String> = words.chain(types).chain(times).flatten().collect();
    let name = format!("undo-{}", words.join("-"));
    Group::new(cut(&name, Group::MAX_BYTES)).ok_or_else(|| {
        Failure::Usage("the jobs' group cannot be named after these conditions: give --as-group".to_owned())
    })
}

fn print(jobs: &[UndoJob]) -> Result<ExitCode, Failure> {
    let mut output = Output::stdout();
    for job in jobs {
        if output.line(&String::from_utf8_lossy(&job.body))? == Reader::Gone {
            break;
        }
    }
    output.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Labels of a lane that are told by name.
const MAX_LABELS_SHOWN: usize = 10;

/// What the operator is asked about.
fn show(wanted: &Wanted, manner: &Manner, jobs: usize) {
    for (lane, pairs) in &wanted.lanes {
        let LaneName { portal, from, to } = lane;
        let of_types = pairs.values().filter(|what| matches!(what, What::Types(_))).count();
        let portal = portal.map_or(String::new(), |portal| format!("portal {portal}, "));
        let (pairs, of_types) = (counted(pairs.len(), "pair", "pairs"), Grouped(of_types as u64));
        match manner.kind {
            ChangeKind::Removal => remark(&format!("{portal}{from} to {to}: {pairs}, {of_types} of them with labels")),
            ChangeKind::Restoration => {
                remark(&format!("{portal}{from} to {to}: {pairs}, of {of_types} of them only labels that were added"));
            }
        }
        let labels = wanted.labels_in_words(lane);
        for (label, pairs) in labels.iter().take(MAX_LABELS_SHOWN) {
            remark(&harmless(&format!("  {label}: {}", Grouped(*pairs))));
        }
        if labels.len() > MAX_LABELS_SHOWN {
            remark(&format!("  … and {} more labels", labels.len() - MAX_LABELS_SHOWN));
        }
    }
    let is_turned = |lane: &LaneName| {
        wanted.lanes.keys().any(|other| lane.from != lane.to && (&other.from, &other.to) == (&lane.to, &lane.from))
    };
    if wanted.lanes.keys().any(is_turned) {
        remark("(some were read from the other side, to save requests; what is done is the same from both)");
    }
    let Wanted { back, refused, absent, changed, unknown, .. } = *wanted;
    if back > 0 {
        let back = Grouped(back);
        remark(&format!("of these, already restored since: {back} (to restore them again changes nothing)"));
    }
    let (verb, refusal, change) = match manner.kind {
        ChangeKind::Removal => (
            "restore",
            "HubSpot refused to remove them",
            "they came back, and another job, which has an undo of its own, removed them since",
        ),
        ChangeKind::Restoration => ("remove", "nothing was restored of them", "they were changed again since"),
    };
    for (pairs, reason) in [
        (refused, refusal),
        (absent, "nothing was there to be removed"),
        (changed, change),
        (unknown, "it is not known whether they were restored"),
    ] {
        if pairs > 0 {
            remark(&format!("left out, since {reason}: {}", Grouped(pairs)));
        }
    }
    match (wanted.pairs(), refused + absent + changed + unknown) {
        (0, 0) => {}
        (0, _) => remark(&format!("there is nothing to {verb}")),
        (pairs, _) => {
            let (pairs, jobs) = (counted(pairs, "pair", "pairs"), counted(jobs, "job", "jobs"));
            remark(&format!("together: {pairs} in {jobs} of the group {}", manner.group));
        }
    }
}

/// What is wrong, and where no broker answers, the way that needs none.
fn without_broker(fault: &SendFault, config: Option<&Path>) -> String {
    let way = match matches!(fault, SendFault::Connect(ConnectFault::Unreachable { .. })) {
        true => {
            format!("; without a broker give the same command with `{}` behind it", Undo::new(config).printed())
        }
        false => String::new(),
    };
    format!("{fault}{way}")
}

/// Messages published before their confirms are awaited.
const MAX_BATCH: usize = 200;

async fn publish(settings: &Settings, config: Option<&Path>, jobs: Vec<UndoJob>) -> Result<u64, Failure> {
    let stop = CancellationToken::new();
    signals::stop_on_signals(stop.clone(), FINISHED_FIRST, || {})
        .map_err(|error| Failure::Running(format!("no signals: {error}")))?;
    let sender = Sender::open(&settings.amqp, &stop).await;
    let sender = sender.map_err(|fault| Failure::Running(without_broker(&fault, config)))?;
    let (run, total) = (Run::new(), jobs.len() as u64);
    let bar = bar(total, 0, "jobs");
    let mut published = 0_u64;
    let mut fault = None;
    let mut numbered = (1..).zip(jobs).map(|(number, job)| (run.message_id(number), job.body));
    while fault.is_none() && published < total {
        fault = match send_jobs(&sender, Route::Jobs, numbered.by_ref().take(MAX_BATCH)).await {
            Ok((safe, fault)) => {
                published += safe as u64;
                fault.map(|fault| fault.to_string())
            }
            Err(fault) => Some(fault.to_string()),
        };
        bar.set_position(published);
        if stop.is_cancelled() && published < total {
            fault.get_or_insert_with(|| "stopped by a signal".to_owned());
        }
    }
    progress::end();
    sender.close().await;
    match fault {
        None => Ok(published),
        Some(fault) => Err(Failure::Running(format!(
            "{fault}; {published} of {total} jobs are enqueued: give the command again, which enqueues the same jobs"
        ))),
    }
}

fn summarise(
    arguments: &Arguments,
    settings: &Settings,
    wanted: &Wanted,
    manner: &Manner,
    published: u64,
) -> Result<ExitCode, Failure> {
    let queue = settings.amqp.jobs_queue.as_str();
    if arguments.json {
        let summary = json!({
            "pairs": wanted.pairs(), "back": wanted.back, "refused": wanted.refused, "absent": wanted.absent,
            "changed": wanted.changed, "unknown": wanted.unknown,
            "jobs": published, "group": manner.group.as_str(), "queue": queue,
        });
        return output::result(&summary.to_string());
    }
    if published > 0 {
        if manner.kind == ChangeKind::Removal && !manner.plan {
            remark(&lag_in_words());
        }
        let published = if published == 1 { "1 job is".to_owned() } else { format!("{} jobs are", Grouped(published)) };
        let group = &manner.group;
        return output::result(&format!(
            "{published} on {queue}; `outcomes --group` shows what becomes of the group {group}"
        ));
    }
    Ok(ExitCode::SUCCESS)
}
