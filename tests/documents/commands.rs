//! Commands and their flags, as the documents write them, given to the command line's own parser.

use std::collections::BTreeSet;

use association_archiver::cli::command_line;
use clap::error::ErrorKind;

use crate::corpus::{Document, all, nothing_wrong, root};

const NAME: &str = "association-archiver";

/// Where a command line was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// To be typed as it is.
    Console,
    /// Named in a sentence, perhaps without its arguments.
    Sentence,
}

#[test]
fn every_command_line_shown_is_understood() {
    let mut shown = 0;
    let mut wrong = Vec::new();
    for document in all() {
        for (place, line) in command_lines(&document) {
            shown += 1;
            if let Some(fault) = fault(&line, place) {
                wrong.push(format!("{}: {}\n    {fault}", document.path, line.join(" ")));
            }
        }
    }
    assert!(shown > 10, "only {shown} command lines were found: this test looks past them");
    nothing_wrong(wrong);
}

#[test]
fn every_flag_named_alone_exists() {
    let mut known = BTreeSet::from(["--help".to_owned(), "--version".to_owned()]);
    let mut command = command_line();
    command.build();
    flags(&command, &mut known);
    let mut wrong = Vec::new();
    for document in all().into_iter().filter(tells_of_the_worker) {
        for span in document.spans().into_iter().filter(|span| span.starts_with("--")) {
            let flag = span.split([' ', '=']).next().unwrap();
            if !known.contains(flag) {
                wrong.push(format!("{}: no command has {flag}", document.path));
            }
        }
    }
    nothing_wrong(wrong);
}

#[test]
fn every_command_and_flag_is_documented() {
    let page = Document::read("docs/commands.md");
    let mut command = command_line();
    command.build();
    let mut missing = Vec::new();
    undocumented(&command, &page, &mut missing);
    nothing_wrong(missing);
}

#[test]
fn every_verb_of_make_that_is_named_exists() {
    let makefile = std::fs::read_to_string(root().join("Makefile")).unwrap();
    let verbs: BTreeSet<&str> = makefile
        .lines()
        .filter(|line| !line.starts_with([' ', '\t', '.', '#']))
        .filter_map(|line| line.split_once(':').map(|(verb, _)| verb))
        .collect();
    let mut wrong = Vec::new();
    for document in all() {
        let consoles = document.fences().into_iter().filter(|fence| fence.language == "console");
        let lines = consoles.flat_map(|fence| typed(&fence.text)).chain(document.spans());
        for line in lines {
            let words = words(&line);
            if words.first().is_some_and(|word| word == "make")
                && let Some(verb) = words.get(1)
                && !verbs.contains(verb.as_str())
            {
                wrong.push(format!("{}: there is no `make {verb}`", document.path));
            }
        }
    }
    nothing_wrong(wrong);
}

/// The simulator, the benchmark and the deployment have flags of their own programs.
fn tells_of_the_worker(document: &Document) -> bool {
    ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].contains(&document.path.as_str())
        || document.path.starts_with("docs/")
}

fn command_lines(document: &Document) -> Vec<(Place, Vec<String>)> {
    let consoles = document.fences().into_iter().filter(|fence| fence.language == "console");
    let typed = consoles.flat_map(|fence| typed(&fence.text)).map(|line| (Place::Console, line));
    let named = document.spans().into_iter().map(|span| (Place::Sentence, span));
    typed
        .chain(named)
        .flat_map(|(place, line)| of_the_worker(&line).into_iter().map(move |line| (place, line)))
        .collect()
}

/// What follows the prompts.
fn typed(console: &str) -> Vec<String> {
    console.lines().filter_map(|line| line.strip_prefix("$ ").or(line.strip_prefix("# "))).map(str::to_owned).collect()
}

/// The worker's commands among those of a line.
fn of_the_worker(line: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let words = words(line);
    for command in words.split(|word| ["&&", "||", "|", ";"].contains(&word.as_str())) {
        let is_variable =
            |word: &String| word.split_once('=').is_some_and(|(name, _)| !name.is_empty() && !name.starts_with('-'));
        let mut rest = command.iter().skip_while(|word| is_variable(word) || *word == "sudo").cloned().peekable();
        if rest.next_if(|word| word == NAME).is_some() {
            found.push(rest.take_while(|word| !word.starts_with(['>', '<', '#']) && word != "2>").collect());
        }
    }
    found
}

/// Split as a shell does; quotes are taken off.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, c) if c.is_whitespace() => words.extend((!word.is_empty()).then(|| std::mem::take(&mut word))),
            (_, c) => word.push(c),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

fn fault(arguments: &[String], place: Place) -> Option<String> {
    if arguments.is_empty() && place == Place::Sentence {
        return None;
    }
    let arguments = [NAME].into_iter().chain(arguments.iter().map(String::as_str));
    let error = command_line().try_get_matches_from(arguments).err()?;
    let passes = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => true,
        ErrorKind::MissingRequiredArgument
        | ErrorKind::MissingSubcommand
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => place == Place::Sentence,
        _ => false,
    };
    (!passes).then(|| error.to_string().lines().next().unwrap_or_default().to_owned())
}

fn flags(command: &clap::Command, known: &mut BTreeSet<String>) {
    known.extend(command.get_arguments().filter_map(|argument| argument.get_long()).map(|long| format!("--{long}")));
    for below in command.get_subcommands() {
        flags(below, known);
    }
}

fn undocumented(command: &clap::Command, page: &Document, missing: &mut Vec<String>) {
    let name = command.get_bin_name().unwrap_or(command.get_name());
    let fences = page.fences();
    match fences.iter().find(|fence| fence.heading == name) {
        None => missing.push(format!("{name} is not in {}", page.path)),
        Some(help) => {
            for long in command.get_arguments().filter_map(|argument| argument.get_long()) {
                if !help.text.contains(&format!("--{long}")) {
                    missing.push(format!("{name}: --{long} is not in {}", page.path));
                }
            }
        }
    }
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        undocumented(below, page, missing);
    }
}

#[test]
fn a_command_is_found_in_its_line() {
    let line = "A=1 B='2 3' association-archiver archive --config \"a b\" jobs.ndjson >out && make demo # why";
    assert_eq!(of_the_worker(line), [["archive", "--config", "a b", "jobs.ndjson"]]);
    assert_eq!(of_the_worker("make demo"), Vec::<Vec<String>>::new());
    assert!(fault(&["archive".to_owned(), "--no-such".to_owned()], Place::Sentence).is_some());
    assert!(fault(&["run".to_owned()], Place::Console).is_none());
}
