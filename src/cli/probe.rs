//! `probe`: finds out, with one pair of records of a test account, what HubSpot's documents leave open, and puts back
//! what was there.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use self::experiment::Experiment;
use self::facts::Facts;
use self::pair::{Between, Direction, Seen};
use self::restoring::{Restored, restore};
use self::table::Report;
use self::wire::{Broken, Wire};
use super::age::parse_duration;
use super::exit::Failure;
use super::output::remark;
use super::signals::{self, FirstWords};
use super::{confirm, option_values, output, runtime};
use crate::config::Settings;
use crate::contract::association::RecordId;
use crate::contract::ids::PortalId;
use crate::contract::object_type::ObjectType;

mod experiment;
mod facts;
mod pair;
mod restoring;
mod sightings;
mod table;
mod wire;

#[derive(clap::Args, Debug)]
#[command(after_long_help = LONG_HELP)]
pub struct Arguments {
    /// The portal id of the test account
    #[arg(long, value_name = "PORTAL", value_parser = option_values::portal)]
    account: PortalId,
    /// Object type of the one record
    #[arg(long, value_name = "TYPE", value_parser = option_values::object_type)]
    from_type: ObjectType,
    /// Id of the one record
    #[arg(long, value_name = "ID", value_parser = option_values::record)]
    from_id: RecordId,
    /// Object type of the other record
    #[arg(long, value_name = "TYPE", value_parser = option_values::object_type)]
    to_type: ObjectType,
    /// Id of the other record
    #[arg(long, value_name = "ID", value_parser = option_values::record)]
    to_id: RecordId,
    /// Longest wait until a read shows a change
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "15s")]
    wait: Duration,
    /// Does not ask
    #[arg(long, short)]
    yes: bool,
    /// What was seen as JSON
    #[arg(long)]
    json: bool,
}

const LONG_HELP: &str = "\
Associates the two records, labels the association, removes it, and looks after each step what HubSpot shows in either
direction. Nothing is done to any other record. What is associated at the beginning is put back at the end, also after
an error or a signal, and read again to prove it; before the first change it is printed as a job that `enqueue` takes.
It changes nothing where the two records are associated by types that could not be put back: those of other apps, and
those that HubSpot does not take again when it is asked for what is there already.

Use a test account: workflows and syncs see every change. On a terminal it asks first; elsewhere --yes is needed. Some
25 requests, one after another, at half of the account's ceiling.

Exit code 0: it ran to its end and all is put back; 1: it did not, or something is not as before; 2: wrong usage.

Examples:
  association-archiver probe --account 4711 --from-type contacts --from-id 101 --to-type companies --to-id 9001
  association-archiver probe --account 4711 --from-type contacts --from-id 101 --to-type companies --to-id 9001 --yes --json";

/// Told to whoever interrupts it.
const FINISHED_FIRST: FirstWords = FirstWords::Said("what was there before is put back first");

/// See [`LONG_HELP`].
pub fn probe(config: Option<&Path>, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let Arguments { account, from_type, from_id, to_type, to_id, wait, yes, json } = arguments;
    if from_type == to_type && from_id == to_id {
        return Err(Failure::Usage("--from-id and --to-id are the same record: name two".to_owned()));
    }
    if !yes && !confirm::has_terminal() {
        return Err(Failure::Usage(
            "probing asks first, and there is no terminal to ask on: give --yes to go ahead".to_owned(),
        ));
    }
    let settings = Settings::load(config)?;
    super::remark_on_settings(&settings);
    runtime::block_on(async {
        let stop = CancellationToken::new();
        let mut wire = Wire::open(&settings, *account, stop.clone()).await?;
        let (from, to) = ((from_type.clone(), *from_id), (to_type.clone(), *to_id));
        let between = Between::new(*account, wire.portal_in_settings(), from, to);
        let before = look(&mut wire, &between).await?;
        if let Some(obstacle) = before.obstacle(&between) {
            return Err(Failure::Running(format!("{obstacle}; nothing was changed")));
        }
        let jobs = before.jobs(&between);
        let record = format!("should it be killed, these jobs for `enqueue` put back what is there now:\n{jobs}");
        remark(&format!("{}\n{record}", before.summary(&between)));
        if !yes && !agrees(&between).await? {
            remark("nothing was changed");
            return Ok(ExitCode::FAILURE);
        }
        // Not before: until then there is nothing to put back.
        let last_words = format!("ended in the middle: what was there is not put back; {record}");
        signals::stop_on_signals(stop, FINISHED_FIRST, move || remark(&last_words))
            .map_err(|error| Failure::Running(format!("no signals: {error}")))?;
        let mut facts = Facts::default();
        let went = Experiment { wire: &mut wire, between: &between, before: &before, facts: &mut facts, wait: *wait }
            .run()
            .await;
        let restored = restore(&mut wire, &between, &before, *wait).await;
        facts.of_sightings(wire.sightings());
        facts.of_folding(&between);
        let report = Report { between: &between, requests: wire.requests(), went: &went, restored: &restored, facts };
        let text = if *json { format!("{}\n", report.json(&jobs)) } else { report.text() };
        let printed = output::print(text.as_bytes());
        let code = conclude(went, restored, &jobs)?;
        printed.map(|_| code)
    })
}

async fn look(wire: &mut Wire, between: &Between) -> Result<Seen, Failure> {
    let there = wire.read(between, Direction::There).await;
    let back = match &there {
        Ok(_) => wire.read(between, Direction::Back).await,
        Err(_) => Ok(pair::Listed::default()),
    };
    match (there, back) {
        (Ok(there), Ok(back)) => Ok(Seen { there, back }),
        (Err(broken), _) | (_, Err(broken)) => {
            Err(Failure::Running(format!("{}; nothing was changed", broken.words())))
        }
    }
}

async fn agrees(between: &Between) -> Result<bool, Failure> {
    confirm::agrees(&format!(
        "Associate and separate {between} several times, and put back what is there now? Only in a test account: \
         workflows and syncs see every change."
    ))
    .await
}

fn conclude(went: Result<(), Broken>, restored: Restored, jobs: &str) -> Result<ExitCode, Failure> {
    match restored {
        Restored::Untouched | Restored::AsBefore => {}
        Restored::Others(jobs) => {
            remark(&format!(
                "these jobs for `enqueue` put back what another association of the two records had:\n{jobs}"
            ));
            return Err(Failure::Running(
                "the two records are associated as before, but another association of theirs is not what it was; see above"
                    .to_owned(),
            ));
        }
        Restored::Not(why) => {
            remark(&format!("these jobs for `enqueue` put back what was there:\n{jobs}"));
            return Err(Failure::Running(format!("what was there is not put back: {why}")));
        }
    }
    match went {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(broken) => Err(Failure::Running(format!("{}; the two records are associated as before", broken.words()))),
    }
}
