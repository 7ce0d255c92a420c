//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand};

use super::exit::Failure;
use super::jobs_file::job_field::Field;
use super::output::remark;
use super::{
    archive, check, completions, dead_letters, enqueue, journal, manual, outcomes, pause, probe, run, schema, top, undo,
};
use crate::config::is_typo;

/// Archives HubSpot CRM associations in bulk.
#[derive(Parser, Debug)]
#[command(name = "association-archiver", version = VERSION, about, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Settings file (TOML), over the defaults and config/default.toml, under ARCHIVER__SECTION__KEY variables
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// With the commit it was built from, where that is known.
const VERSION: &str = env!("VERSION_WITH_COMMIT");

const RUN_EXAMPLES: &str = "\
Examples:
  association-archiver run
  association-archiver run --config /etc/association-archiver/config.toml";

const PAUSE_EXAMPLES: &str = "\
Examples:
  association-archiver pause 4711                              # by its portal id
  association-archiver pause 0 --lane contacts/companies       # by its place in the settings
  association-archiver resume 4711";

const RESUME_EXAMPLES: &str = "\
Examples:
  association-archiver resume 4711
  association-archiver resume 0 --lane contacts/companies";

const APPROVE_EXAMPLES: &str = "\
Examples:
  association-archiver approve 4711       # by its portal id
  association-archiver approve 0          # by its place in the settings";

const REJECT_EXAMPLES: &str = "\
Examples:
  association-archiver reject 4711
  association-archiver dead-letters list --reason GUARD_REJECTED";

#[derive(Subcommand, Debug)]
enum Command {
    #[command(after_long_help = RUN_EXAMPLES)]
    /// The service: takes jobs from RabbitMQ, archives, answers each; until a signal stops it
    Run,
    /// Says what is right and wrong with settings, broker and accounts; changes nothing
    Check(check::Arguments),
    /// Archives the pairs of a CSV, or jobs as NDJSON, without a broker; outcomes as NDJSON on stdout
    Archive(archive::Arguments),
    /// Publishes jobs from CSV or NDJSON to the jobs queue
    Enqueue(enqueue::Arguments),
    /// Shows what became of jobs, by the outcomes in the results queue; they stay where they are
    Outcomes(outcomes::Arguments),
    /// Looks into the dead-letter queue, writes it out, puts messages back on the jobs queue
    #[command(subcommand, after_long_help = dead_letters::LONG_HELP)]
    DeadLetters(dead_letters::Command),
    /// Shows or writes out what was recorded before it was removed
    #[command(subcommand)]
    Journal(journal::Command),
    /// Puts jobs on the jobs queue that restore what the journal says was removed
    Undo(undo::Arguments),
    #[command(after_long_help = PAUSE_EXAMPLES)]
    /// Pauses an account, or one of its lanes, in the running service
    Pause(pause::Arguments),
    #[command(after_long_help = RESUME_EXAMPLES)]
    /// Ends a pause
    Resume(pause::Arguments),
    /// Measures with two records of a test account what HubSpot's documents leave open, and puts back what was there
    Probe(probe::Arguments),
    #[command(after_long_help = APPROVE_EXAMPLES)]
    /// Lets an account that its guard has stopped (safety.max_pairs) go on for another window
    Approve(pause::GuardArguments),
    #[command(after_long_help = REJECT_EXAMPLES)]
    /// Fails the removals that an account's guard has stopped, and later ones until approve, with GUARD_REJECTED
    Reject(pause::GuardArguments),
    /// Shows the running service live on a terminal
    Top(top::Arguments),
    /// Prints the contract: JSON Schema of jobs and outcomes, AsyncAPI 3
    Schema(schema::Arguments),
    /// Prints the completions for a shell
    Completions(completions::Arguments),
    /// Prints the manual page, or writes the pages of all commands
    Man(manual::Arguments),
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    match Arguments::try_parse() {
        Ok(arguments) => arguments.obey().unwrap_or_else(Failure::report),
        Err(error) => misunderstood(&error),
    }
}

/// What the command line understands, as clap models it.
pub fn command_line() -> clap::Command {
    Arguments::command()
}

impl Arguments {
    fn obey(self) -> Result<ExitCode, Failure> {
        let Self { command, config } = self;
        let config = config.as_deref();
        match command {
            Command::Run => run::run(config),
            Command::Check(arguments) => check::check(config, &arguments),
            Command::Archive(arguments) => archive::archive(config, &arguments),
            Command::Enqueue(arguments) => enqueue::enqueue(config, &arguments),
            Command::Outcomes(arguments) => outcomes::outcomes(config, &arguments),
            Command::DeadLetters(command) => dead_letters::dead_letters(config, &command),
            Command::Journal(command) => journal::journal(config, &command),
            Command::Undo(arguments) => undo::undo(config, &arguments),
            Command::Pause(arguments) => pause::pause(config, &arguments),
            Command::Resume(arguments) => pause::resume(config, &arguments),
            Command::Probe(arguments) => probe::probe(config, &arguments),
            Command::Approve(arguments) => pause::approve(config, &arguments),
            Command::Reject(arguments) => pause::reject(config, &arguments),
            Command::Top(arguments) => top::top(config, &arguments),
            Command::Schema(arguments) => schema::schema(&arguments),
            Command::Completions(arguments) => completions::completions(Self::command(), &arguments),
            Command::Man(arguments) => manual::manual(Self::command(), &arguments),
        }
    }
}

/// Help and version as clap has them; a usage error in one line, as every other error, and a tip in another, where it
/// can be trusted.
fn misunderstood(error: &clap::Error) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        // A reader who has gone needs no help any more.
        let _ = error.print();
        return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
    }
    let text = error.to_string();
    let cause = text.split("\n\nUsage:").next().unwrap_or_default();
    let cause = cause.split("\n\nFor more information").next().unwrap_or_default();
    let cause = cause.strip_prefix("error: ").unwrap_or(cause);
    let (tips, cause): (Vec<&str>, Vec<&str>) = cause.lines().partition(|line| line.trim_start().starts_with("tip:"));
    let cause = cause.join(" ");
    let code = Failure::Usage(format!("{}; --help lists what is understood", cause.trim())).report();
    let typed = typed_wrongly(error);
    let mut tips: Vec<String> =
        tips.iter().map(|tip| tip.trim().to_owned()).filter(|tip| is_near(typed, tip)).collect();
    if tips.is_empty() && error.kind() == ErrorKind::UnknownArgument {
        let command = text.split("Usage: ").nth(1).and_then(|usage| usage.split_whitespace().nth(1));
        tips.extend(tip_of_column(typed, command.unwrap_or_default()));
    }
    tips.iter().for_each(|tip| remark(tip));
    code
}

/// The word that is not understood.
fn typed_wrongly(error: &clap::Error) -> &str {
    let kinds = [ContextKind::InvalidSubcommand, ContextKind::InvalidValue, ContextKind::InvalidArg];
    let word = kinds.into_iter().find_map(|kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.as_str()),
        Some(_) | None => None,
    });
    word.unwrap_or_default()
}

/// Whether one of the words that a tip names in quotes is what was meant: clap names what is not near at all, such as
/// `--config` to whoever typed `--no-confirm`, and it would have an option it does not know taken for a file's name.
fn is_near(typed: &str, tip: &str) -> bool {
    let typed = typed.trim_start_matches('-');
    let named = tip.split('\'').skip(1).step_by(2).map(|word| word.trim_start_matches('-'));
    !tip.contains("as a value")
        && typed.len() > 1
        && named.into_iter().any(|word| is_typo(typed, word) || word.starts_with(typed) || typed.starts_with(word))
}

/// Where the word is no option of `archive` and `enqueue`, but names what stands in a column of their files.
fn tip_of_column(typed: &str, command: &str) -> Option<String> {
    if !matches!(command, "archive" | "enqueue") {
        return None;
    }
    let name = typed.trim_start_matches('-').replace('-', "_");
    let field = match name.as_str() {
        "type" | "label" | "labels" => Field::Types,
        name => Field::of_name(name)?,
    };
    Some(format!(
        "tip: {} is no option but a column of the CSV, with a cell for each row, such as {:?}",
        field.name(),
        field.example()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    /// Every command, without those that only have commands below them.
    fn commands() -> Vec<clap::Command> {
        let mut command = Arguments::command();
        command.build();
        let (mut below, mut commands) = (vec![command], Vec::new());
        while let Some(command) = below.pop() {
            if command.has_subcommands() {
                below.extend(command.get_subcommands().filter(|it| it.get_name() != "help").cloned());
            } else {
                commands.push(command);
            }
        }
        commands
    }

    #[test]
    fn a_wrong_value_is_answered_with_an_example() {
        let mut refused = 0;
        for command in commands() {
            let name = command.get_bin_name().unwrap_or_default();
            for argument in command.get_arguments().filter(|argument| argument.get_action().takes_values()) {
                let option = argument.get_long().map(|long| format!("--{long}"));
                let typed = name.split(' ').map(str::to_owned).chain(option).chain(["?!".to_owned()]);
                let Err(error) = Arguments::command().try_get_matches_from(typed) else { continue };
                let told = error.to_string();
                // Else it takes any text, and something else is missing.
                if matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue) {
                    assert!(told.contains("such as") || told.contains("possible values"), "{name}: {told}");
                    refused += 1;
                }
            }
        }
        assert!(refused > 30, "{refused}");
    }

    #[test]
    fn a_tip_names_what_may_be_meant_or_is_not_given() {
        for (typed, tip, is_given) in [
            ("--failes", "tip: a similar argument exists: '--failed'", true),
            ("--out", "tip: a similar argument exists: '--outcomes'", true),
            ("--from-object-type", "tip: a similar argument exists: '--from'", true),
            ("enqeue", "tip: a similar subcommand exists: 'enqueue'", true),
            ("rejects", "tip: some similar subcommands exist: 'resume', 'reject'", true),
            ("--no-confirm", "tip: a similar argument exists: '--config'", false),
            ("--format", "tip: a similar argument exists: '--from'", false),
            ("status", "tip: a similar subcommand exists: 'pause'", false),
            ("--types", "tip: to pass '--types' as a value, use '-- --types'", false),
        ] {
            assert_eq!(is_near(typed, tip), is_given, "{typed}: {tip}");
        }
        let tip = tip_of_column("--types", "archive").unwrap_or_default();
        assert!(tip.contains("types is no option but a column") && tip.contains("USER_DEFINED 37"), "{tip}");
        assert_eq!(tip_of_column("--label", "enqueue"), Some(tip));
        assert_eq!(tip_of_column("--force", "archive"), None);
        assert_eq!(tip_of_column("--types", "undo"), None);
    }

    #[test]
    fn every_command_has_examples_and_they_are_understood() {
        for command in commands() {
            let name = command.get_bin_name().unwrap_or_default();
            let help = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
            let examples = help.lines().map(str::trim).filter(|line| line.starts_with(name));
            let examples: Vec<&str> = examples.collect();
            assert!(!examples.is_empty(), "{name} has no examples");
            for example in examples {
                let typed = example.split([' ']).filter(|word| !word.is_empty());
                let typed: Vec<&str> = typed.take_while(|word| !word.starts_with(['>', '|', '#'])).collect();
                // A quoted word may have spaces in it; what it is does not matter here.
                let quoted = example.split('"').step_by(2).collect::<Vec<_>>().join("A=from_id");
                let typed: Vec<&str> = if example.contains('"') { quoted.split(' ').collect() } else { typed };
                let read = Arguments::command().try_get_matches_from(&typed);
                assert!(read.is_ok(), "{example}: {read:?}");
            }
        }
    }
}
