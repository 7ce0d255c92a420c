//! `journal export`: one row a pair.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::counted;
use super::gathering::{Chosen, Meant, gather};
use super::selection::{Place, Selection};
use crate::cli::exit::Failure;
use crate::cli::output::{Reader, remark};
use crate::cli::target::Target;
use crate::config::Settings;
use crate::contract::association::{AssociationType, Extent, Label};
use crate::contract::ids::Group;
use crate::contract::journal::{ChangeKind, EntryPair, JobName};

#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    place: Place,
    /// Writes to this new file instead of stdout, as CSV where its name ends with .csv
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Writes CSV to stdout
    #[arg(long, conflicts_with = "output")]
    csv: bool,
}

/// All rows that are meant.
pub async fn export(settings: &Settings, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let is_csv = arguments.output.as_deref().map_or(arguments.csv, is_csv);
    let mut target = Target::open(arguments.output.as_deref())?;
    let gathered = gather(settings, &arguments.place, &arguments.selection, Meant::All).await?;
    if is_csv {
        target.line(&csv_line(COLUMNS.map(str::to_owned))?)?;
    }
    'all: for chosen in &gathered.entries {
        for (place, pair) in &chosen.pairs {
            let line =
                if is_csv { csv_line(row(chosen, *place, pair))? } else { record(chosen, *place, pair).to_string() };
            if target.line(&line)? == Reader::Gone {
                break 'all;
            }
        }
    }
    target.finish()?;
    remark(&format!("{} exported", counted(gathered.pairs, "pair", "pairs")));
    Ok(ExitCode::SUCCESS)
}

fn is_csv(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"))
}

/// `enqueue` knows some of these and refuses the others: what was removed is not removed again by mistake.
const COLUMNS: [&str; 15] = [
    "from_object_type",
    "from_id",
    "to_object_type",
    "to_id",
    "portal_id",
    "state",
    "recorded_at",
    "removed_labels",
    "found_types",
    "read_from",
    "job_ids",
    "groups",
    "entry",
    "change",
    "created_types",
];

fn jobs<'a>(chosen: &'a Chosen, pair: &'a EntryPair) -> impl Iterator<Item = &'a JobName> {
    pair.jobs.iter().filter_map(|job| chosen.entry.jobs.get(*job as usize))
}

fn row(chosen: &Chosen, place: u32, pair: &EntryPair) -> [String; 15] {
    let entry = &chosen.entry;
    let joined = |words: Vec<String>| words.join("; ");
    let label = |label: &Label| format!("{} {}", label.category.as_str(), label.type_id);
    let types = |types: &[AssociationType]| joined(types.iter().map(|of| label(&of.label)).collect());
    let (removed, created) = match (entry.kind, &entry.extent) {
        (ChangeKind::Removal, Extent::Whole) => ("all".to_owned(), String::new()),
        (ChangeKind::Removal, Extent::Labels(labels)) => (joined(labels.iter().map(label).collect()), String::new()),
        (ChangeKind::Restoration, Extent::Whole) => (String::new(), "plain".to_owned()),
        (ChangeKind::Restoration, Extent::Labels(_)) => (String::new(), types(&pair.creates)),
    };
    let mut groups: Vec<String> = jobs(chosen, pair).filter_map(|job| Some(job.group.as_ref()?.to_string())).collect();
    groups.sort_unstable();
    groups.dedup();
    [
        entry.from_type.as_written().to_owned(),
        pair.pair.from.to_string(),
        entry.to_type.as_written().to_owned(),
        pair.pair.to.to_string(),
        entry.portal.map_or(String::new(), |portal| portal.to_string()),
        chosen.state(place).as_str().to_owned(),
        format!("{:.3}", entry.at),
        removed,
        types(&pair.types),
        entry.read.as_str().to_owned(),
        joined(jobs(chosen, pair).map(|job| job.id.to_string()).collect()),
        joined(groups),
        entry.id.0.to_string(),
        entry.kind.as_str().to_owned(),
        created,
    ]
}

fn record(chosen: &Chosen, place: u32, pair: &EntryPair) -> Value {
    let entry = &chosen.entry;
    let label =
        |label: &Label| json!({"associationCategory": label.category.as_str(), "associationTypeId": label.type_id});
    let types = |types: &[AssociationType]| -> Value {
        let types = types.iter().map(|of| {
            let mut of_pair = label(&of.label);
            of_pair["label"] = json!(of.name.as_deref());
            of_pair
        });
        types.collect()
    };
    let named = jobs(chosen, pair).map(|job| {
        json!({
            "jobId": job.id.as_str(),
            "group": job.group.as_ref().map(Group::as_str),
            "correlationId": job.correlation_id.as_deref(),
        })
    });
    json!({
        "from": {"id": pair.pair.from.to_string()},
        "to": {"id": pair.pair.to.to_string()},
        "portalId": entry.portal.map(|portal| portal.0),
        "fromObjectType": entry.from_type.as_written(),
        "toObjectType": entry.to_type.as_written(),
        "state": chosen.state(place).as_str(),
        "at": format!("{:.3}", entry.at),
        "change": entry.kind.as_str(),
        "labels": match &entry.extent {
            Extent::Whole => Value::Null,
            Extent::Labels(labels) => labels.iter().map(label).collect(),
        },
        "types": types(&pair.types),
        "creates": match entry.kind {
            ChangeKind::Removal => Value::Null,
            ChangeKind::Restoration => types(&pair.creates),
        },
        "readFrom": entry.read.as_str(),
        "jobs": named.collect::<Vec<_>>(),
        "entry": entry.id.0.to_string(),
    })
}

fn csv_line(fields: [String; 15]) -> Result<String, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::Running(format!("a row cannot be written: {error}"));
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(fields).map_err(|error| failed(&error))?;
    let line = writer.into_inner().map_err(|error| failed(&error))?;
    Ok(String::from_utf8_lossy(line.trim_ascii_end()).into_owned())
}
