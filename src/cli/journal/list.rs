//! `journal list`.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::counted;
use super::gathering::{Chosen, Meant, State, gather};
use super::selection::{Place, Selection};
use crate::cli::exit::Failure;
use crate::cli::output::{Output, Reader, remark};
use crate::cli::paint::{Paint, Tone, harmless};
use crate::config::Settings;
use crate::contract::grouped::Grouped;
use crate::contract::ids::Group;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    place: Place,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// A table on stdout.
pub async fn list(settings: &Settings, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let gathered = gather(settings, &arguments.place, &arguments.selection, Meant::All).await?;
    let (mut output, paint) = (Output::stdout(), Paint::for_stdout());
    if !arguments.json && !gathered.entries.is_empty() {
        output.line(&paint.text(Tone::Heading, &row(&HEADINGS.map(str::to_owned))))?;
    }
    for chosen in &gathered.entries {
        let line = if arguments.json { json_line(chosen).to_string() } else { row(&cells(chosen)) };
        if output.line(&line)? == Reader::Gone {
            break;
        }
    }
    output.flush()?;
    if !arguments.json {
        let pairs = counted(gathered.pairs, "pair", "pairs");
        remark(&format!("{pairs} in {}", counted(gathered.entries.len(), "entry", "entries")));
    }
    Ok(ExitCode::SUCCESS)
}

const HEADINGS: [&str; 9] = ["RECORDED AT", "CHANGE", "PORTAL", "LANE", "PAIRS", "DONE", "REFUSED", "UNKNOWN", "JOBS"];
/// Most texts fit; longer ones push their line to the right. The last column is as wide as it is.
const WIDTHS: [usize; 8] = [20, 11, 10, 24, 7, 7, 7, 7];
/// Jobs named in the table; the others are counted.
const NAMED_JOBS: usize = 2;

fn count(chosen: &Chosen, state: State) -> usize {
    chosen.pairs.iter().filter(|(place, _)| chosen.state(*place) == state).count()
}

fn cells(chosen: &Chosen) -> [String; 9] {
    let entry = &chosen.entry;
    let counted = |state| count(chosen, state).to_string();
    let done = count(chosen, State::Archived) + count(chosen, State::Restored);
    let mut jobs: Vec<String> = entry.jobs.iter().take(NAMED_JOBS).map(|job| harmless(job.id.as_str())).collect();
    if entry.jobs.len() > NAMED_JOBS {
        jobs.push(format!("and {} more", Grouped((entry.jobs.len() - NAMED_JOBS) as u64)));
    }
    [
        format!("{:.0}", entry.at),
        entry.kind.as_str().to_owned(),
        entry.portal.map_or("-".to_owned(), |portal| portal.to_string()),
        lane(chosen),
        chosen.pairs.len().to_string(),
        done.to_string(),
        counted(State::Refused),
        counted(State::Unknown),
        jobs.join(", "),
    ]
}

fn lane(chosen: &Chosen) -> String {
    let entry = &chosen.entry;
    let labels = match entry.extent {
        crate::contract::association::Extent::Whole => "",
        crate::contract::association::Extent::Labels(_) => "/labels",
    };
    format!("{}/{}{labels}", entry.from_type.as_written(), entry.to_type.as_written())
}

fn row(cells: &[String; 9]) -> String {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(WIDTHS) {
        line.push_str(&format!("{cell:width$}  "));
    }
    line.push_str(&cells[8]);
    line
}

fn json_line(chosen: &Chosen) -> Value {
    let entry = &chosen.entry;
    let mut groups: Vec<&str> = entry.jobs.iter().filter_map(|job| job.group.as_ref().map(Group::as_str)).collect();
    groups.sort_unstable();
    groups.dedup();
    json!({
        "entry": entry.id.0.to_string(),
        "at": format!("{:.3}", entry.at),
        "change": entry.kind.as_str(),
        "portalId": entry.portal.map(|portal| portal.0),
        "fromObjectType": entry.from_type.as_written(),
        "toObjectType": entry.to_type.as_written(),
        "numPairs": chosen.pairs.len(),
        "numArchived": count(chosen, State::Archived),
        "numRestored": count(chosen, State::Restored),
        "numRefused": count(chosen, State::Refused),
        "numUnknown": count(chosen, State::Unknown),
        "jobIds": entry.jobs.iter().map(|job| job.id.as_str()).collect::<Vec<_>>(),
        "groups": groups,
    })
}
