//! Pages that are made from the code.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::{env, fs};

use association_archiver::cli::command_line;
use association_archiver::config::{SettingDoc, documented_settings};
use association_archiver::telemetry::metrics::{Metrics, documented_metrics};
use association_archiver::telemetry::snapshot::Snapshot;
use jiff::Timestamp;

use crate::corpus::root;

/// Set to anything but nothing, the pages are written instead of compared.
const UPDATE: &str = "UPDATE";

#[test]
fn the_page_of_settings_is_that_of_the_code() {
    same("docs/settings.md", &settings_page());
}

#[test]
fn the_page_of_metrics_is_that_of_the_code() {
    same("docs/metrics.md", &metrics_page());
}

#[test]
fn the_page_of_commands_is_that_of_the_code() {
    same("docs/commands.md", &commands_page());
}

fn same(path: &str, made: &str) {
    let file = root().join(path);
    if env::var_os(UPDATE).is_some_and(|value| !value.is_empty()) {
        fs::write(file, made).unwrap();
        return;
    }
    let kept = fs::read_to_string(file).unwrap_or_default();
    let differs = kept.lines().zip(made.lines()).position(|(kept, made)| kept != made);
    let line = differs.unwrap_or_else(|| kept.lines().count().min(made.lines().count()));
    assert!(
        kept == made,
        "{path} is not what the code says, first in line {}:\n  kept: {}\n  made: {}\nUPDATE=1 cargo test --test documents writes it anew",
        line + 1,
        kept.lines().nth(line).unwrap_or("(the end)"),
        made.lines().nth(line).unwrap_or("(the end)"),
    );
}

fn settings_page() -> String {
    let mut page = String::from(SETTINGS_HEAD);
    let mut section = String::new();
    for SettingDoc { key, value, has_default, meaning } in documented_settings() {
        let (of, name) = section_and_name(&key);
        if of != section {
            section = of.to_owned();
            let heading = if of.ends_with("[]") { format!("[[{}]]", of.trim_end_matches("[]")) } else { of.to_owned() };
            write!(page, "\n## {heading}\n\n").unwrap();
            if of.ends_with("[]") {
                page.push_str(SETTINGS_LIST);
            }
            page.push_str("| setting | default | meaning |\n|---|---|---|\n");
        }
        let default = if has_default { format!("`{value}`") } else { format!("–, for example `{value}`") };
        writeln!(page, "| `{name}` | {} | {} |", cell(&default), cell(&meaning)).unwrap();
    }
    page
}

const SETTINGS_HEAD: &str = "# Settings

<!-- Made from config/default.toml by `UPDATE=1 cargo test --test documents`: change it there. -->

Layers, later wins: built-in defaults, `config/default.toml` under the working directory, the file named by `--config`, environment variables. The variable of `amqp.prefetch` is `ARCHIVER__AMQP__PREFETCH`, with two underscores between levels; an empty variable counts as not set. An unknown key is refused by name.

Durations are written `200ms`, `10s`, `24h`; sizes `256MiB`. Every secret has a twin that ends in `_file`, the path of a file that holds the secret alone: set one of the two, never both. `association-archiver check` tells whether the settings are right.
";

const SETTINGS_LIST: &str = "One such section for each account; in the environment they are numbered from 0, as in `ARCHIVER__HUBSPOT__ACCOUNTS__0__PORTAL_ID`. An account has either a token or the three `oauth` settings.\n\n";

/// `hubspot.accounts[].oauth.client_id` is in the section `hubspot.accounts[]`.
fn section_and_name(key: &str) -> (&str, &str) {
    let in_list = key.find("[].").map(|at| (&key[..at + 2], &key[at + 3..]));
    in_list.unwrap_or_else(|| key.split_once('.').unwrap())
}

fn metrics_page() -> String {
    let mut page = String::from(METRICS_HEAD);
    let values = label_values();
    for metric in documented_metrics() {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, kind, help) = (metric.name, metric.kind.as_str(), cell(metric.help));
        writeln!(page, "| `{name}` | {kind} | {} | {help} |", labels.join(", ")).unwrap();
    }
    page.push_str("\n## Values of labels\n\n| metric | label | values |\n|---|---|---|\n");
    for ((metric, label), words) in values {
        let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
        writeln!(page, "| `{metric}` | `{label}` | {} |", words.join(", ")).unwrap();
    }
    page.push_str(METRICS_FOOT);
    page
}

const METRICS_HEAD: &str = "# Metrics

<!-- Made from the code by `UPDATE=1 cargo test --test documents`. -->

`GET /metrics` gives them in Prometheus' text format. Counters count from the start of the process. Every value of a label that belongs to a closed set is there from the start, at 0. Dashboard and alert rules that use them: `deploy/grafana/dashboard.json`, `deploy/prometheus/alerts.yml`.

| metric | type | labels | meaning |
|---|---|---|---|
";

const METRICS_FOOT: &str = "
`portal_id` is the account's portal, `none` where the only account is configured without one. Metrics by account are left out where there are more than 50 accounts; the highest share of a ceiling and the counts of paused accounts are there for any number.
";

/// What an account or a release names is no closed set.
const OPEN_LABELS: [&str; 2] = ["portal_id", "version"];

/// The closed sets, as an idle worker shows them.
fn label_values() -> BTreeMap<(String, String), Vec<String>> {
    let mut idle = Snapshot::default();
    idle.broker.parked = [Some(0); 4];
    let text = Metrics::new(Timestamp::UNIX_EPOCH).render(&idle);
    let mut values = BTreeMap::<(String, String), Vec<String>>::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, rest)) = line.split_once('{') else { continue };
        let labels = rest.rsplit_once('}').unwrap().0;
        for (label, value) in labels.split(',').map(|label| label.split_once('=').unwrap()) {
            if label != "le" && !OPEN_LABELS.contains(&label) {
                values.entry((name.to_owned(), label.to_owned())).or_default().push(value.trim_matches('"').to_owned());
            }
        }
    }
    values
}

#[test]
fn each_label_has_its_values_or_is_open() {
    let shown: BTreeSet<String> = label_values().into_keys().map(|(metric, _)| metric).collect();
    for metric in documented_metrics() {
        let closed = metric.labels.iter().any(|label| !OPEN_LABELS.contains(label));
        assert_eq!(closed, shown.contains(metric.name), "{}", metric.name);
    }
}

fn commands_page() -> String {
    let mut page = String::from(COMMANDS_HEAD);
    let mut command = command_line();
    command.build();
    write_command(&command, &mut page);
    page
}

const COMMANDS_HEAD: &str = "# Commands

<!-- Made from the code by `UPDATE=1 cargo test --test documents`. -->

What `--help` says. Errors go to stderr, one line that names the cause and the mend.

| exit code | meaning |
|---|---|
| 0 | as it should be; for `run` that includes a drained stop |
| 1 | it failed while running: the broker refused or could not be reached, the grace was over before all was finished, a second signal, a question was answered with no, or `check` found something wrong |
| 2 | wrong usage or settings, or a file that cannot be read |
| 3 | `archive` and `enqueue --follow`: not every job is done, that is `ARCHIVED`, `RESTORED` or, where it was only to be looked at, `PLANNED` |
";

fn write_command(command: &clap::Command, page: &mut String) {
    let name = command.get_bin_name().unwrap_or(command.get_name()).to_owned();
    let help = command.clone().render_long_help().to_string();
    let help: Vec<&str> = help.trim_end().lines().map(str::trim_end).collect();
    write!(page, "\n## {name}\n\n```text\n{}\n```\n", help.join("\n")).unwrap();
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        write_command(below, page);
    }
}

/// A cell of a table has no end of line and no stroke.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
