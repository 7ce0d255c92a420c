//! What became of the lines, counted while the command runs; and where it ends before they are answered, how to go on.

use std::fmt;
use std::fs::{File, Metadata};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Arguments;
use crate::cli::output::remark;
use crate::config::Settings;
use crate::contract::grouped::Grouped;

/// Lines that stand for jobs, and what became of them.
#[derive(Debug, Default)]
pub struct Tally {
    read: AtomicU64,
    answered: AtomicU64,
    /// Jobs that were done for all their pairs.
    done: AtomicU64,
    /// Not answered, and HubSpot may have changed something for them.
    sent: AtomicU64,
    pairs: Mutex<Pairs>,
    last_line: AtomicU64,
    read_to_end: AtomicBool,
}

/// As the line of progress has it.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { answered, done, unanswered, sent: _ } = self.counts();
        let others = Grouped(answered.saturating_sub(done));
        write!(f, "jobs: {} done, {others} not, {} in hand", Grouped(done), Grouped(unanswered))?;
        write!(f, "{}", self.pairs())
    }
}

impl Tally {
    pub fn read(&self, line: u64) {
        self.read.fetch_add(1, Ordering::Relaxed);
        self.last_line.store(line, Ordering::Relaxed);
    }

    pub fn read_to_end(&self) {
        self.read_to_end.store(true, Ordering::Relaxed);
    }

    /// For this many lines more a request is on the wire that may change something.
    pub fn sent(&self, lines: u64) {
        self.sent.fetch_add(lines, Ordering::Relaxed);
    }

    /// For this many of them it came back before HubSpot had done anything.
    pub fn turned_away(&self, lines: u64) {
        self.sent.fetch_sub(lines, Ordering::Relaxed);
    }

    pub fn answered(&self, is_done: bool, was_sent: bool) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.done.fetch_add(u64::from(is_done), Ordering::Relaxed);
        self.sent.fetch_sub(u64::from(was_sent), Ordering::Relaxed);
    }

    pub fn pairs_so_far(&self, pairs: Pairs) {
        *self.pairs.lock().unwrap_or_else(PoisonError::into_inner) = pairs;
    }

    fn pairs(&self) -> Pairs {
        *self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether every job of the input is done. Of a pipe, only what was read counts: nobody knows whether more would have
    /// come.
    pub fn is_all_done(&self, is_file: bool) -> bool {
        self.done.load(Ordering::Relaxed) == self.read.load(Ordering::Relaxed)
            && (!is_file || self.read_to_end.load(Ordering::Relaxed))
    }

    fn counts(&self) -> Counts {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (read, answered, done) = (of(&self.read), of(&self.answered), of(&self.done));
        Counts { answered, done, unanswered: read.saturating_sub(answered), sent: of(&self.sent) }
    }
}

/// What HubSpot says of pairs.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Pairs {
    pub looked_at: u64,
    pub restored: u64,
    pub removed: u64,
    /// Of the removed ones, those that were read back and are gone; `None` where nothing is read back.
    pub proven: Option<u64>,
}

/// The end of the line of progress. Until something is changed it tells of looks; for a plan it tells of nothing else.
impl fmt::Display for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { looked_at, restored, removed, proven } = *self;
        if let (Some(proven), 1..) = (proven, removed) {
            write!(f, "; pairs removed: {}, of them proven: {}", Grouped(removed), Grouped(proven))?;
        }
        if restored > 0 {
            write!(f, "; pairs restored: {}", Grouped(restored))?;
        }
        if looked_at > 0 && restored + removed == 0 {
            write!(f, "; pairs looked at: {}", Grouped(looked_at))?;
        }
        Ok(())
    }
}

/// As they are at one moment.
#[derive(Clone, Copy, Debug)]
struct Counts {
    answered: u64,
    done: u64,
    unanswered: u64,
    /// Of the unanswered ones.
    sent: u64,
}

/// How to go on after an interruption: what the command line says, and where stdout goes.
#[derive(Clone, Debug)]
pub struct WayOn {
    is_file: bool,
    /// As typed, without `--failed`; `None` where the input is a stream, which must be given again.
    command: Option<Vec<String>>,
    failed: Option<PathBuf>,
    /// Where the outcomes are.
    outcomes: Option<PathBuf>,
    /// The command that restores; `None` unless everything that is removed is recorded.
    undo: Option<String>,
}

impl WayOn {
    pub fn new(arguments: &Arguments, settings: &Settings, is_file: bool) -> Self {
        let is_named = arguments.file.as_deref().is_some_and(|file| file != Path::new("-"));
        let typed = || without_failed(std::env::args_os().map(|word| word.to_string_lossy().into_owned()));
        let records = settings.hubspot.listed().iter().all(|account| account.safety.journal.is_on());
        let group = arguments.hints.group.as_ref().map(|group| format!(" --group {}", quoted(group.as_str())));
        Self {
            is_file,
            command: is_named.then(typed),
            failed: arguments.failed.clone(),
            outcomes: stdout_file(),
            undo: records.then(|| format!("undo{}", group.unwrap_or_default())),
        }
    }

    /// Says on stderr what was not answered and how to go on; nothing where all was.
    pub fn say(&self, tally: &Tally) {
        let Counts { answered, unanswered, sent, done: _ } = tally.counts();
        let is_left_unread = self.is_file && !tally.read_to_end.load(Ordering::Relaxed);
        if unanswered == 0 && !is_left_unread {
            return;
        }
        let sent = sent.min(unanswered);
        remark(&format!("jobs that were read and not answered: {}", Grouped(unanswered)));
        if sent > 0 {
            let undo = self.undo.as_ref().map(|undo| format!("; `{undo}` brings back what they removed"));
            remark(&format!(
                "  sent to HubSpot, which may have done them, but not answered or not proven yet: {}{}",
                Grouped(sent),
                undo.unwrap_or_default()
            ));
        }
        if unanswered > sent {
            remark(&format!("  not done, since never sent, or turned away: {}", Grouped(unanswered - sent)));
        }
        if is_left_unread {
            remark(&format!("what stands below line {} was not read", tally.last_line.load(Ordering::Relaxed)));
        }
        remark(&format!("to go on: {}", self.command(answered > 0)));
    }

    /// A command that is right as it stands, as far as that can be known.
    fn command(&self, any_outcomes: bool) -> String {
        let mut words = self.command.clone().unwrap_or_default();
        if let (Some(failed), false) = (&self.failed, words.is_empty()) {
            words.extend(["--failed".to_owned(), new_name(failed).to_string_lossy().into_owned()]);
        }
        let mut words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        if any_outcomes {
            let outcomes = self.outcomes.as_ref().map(|path| quoted(&path.to_string_lossy()));
            words.push(format!("--resume {}", outcomes.as_deref().unwrap_or("OUTCOMES-SO-FAR")));
        }
        let rest = self.outcomes.as_deref().map(|outcomes| new_name(&outcomes.with_file_name("rest.ndjson")));
        words.push(format!(
            "> {}",
            rest.map_or_else(|| "rest.ndjson".to_owned(), |path| quoted(&path.to_string_lossy()))
        ));
        match self.command {
            Some(_) => words.join(" "),
            None => format!("the same input and command again, with {}", words.join(" ")),
        }
    }
}

/// The words without `--failed` and its file: the flag may be given only once, and that file may not be written over.
fn without_failed(words: impl Iterator<Item = String>) -> Vec<String> {
    let mut left = Vec::new();
    let mut words = words;
    while let Some(word) = words.next() {
        if word == "--failed" {
            words.next();
        } else if !word.starts_with("--failed=") {
            left.push(word);
        }
    }
    left
}

/// The name itself, or one like it that no file has.
fn new_name(path: &Path) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|extension| format!(".{}", extension.to_string_lossy())).unwrap_or_default();
    let numbered = (2_u64..).map(|number| path.with_file_name(format!("{stem}-{number}{extension}")));
    std::iter::once(path.to_owned()).chain(numbered).find(|name| !name.exists()).unwrap_or_else(|| path.to_owned())
}

/// As a shell reads it.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:,@%+=".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The file that stdout goes to, from the working directory.
fn stdout_file() -> Option<PathBuf> {
    let path = std::fs::read_link("/proc/self/fd/1").ok()?;
    if !is_stdout(&std::fs::metadata(&path).ok()?) {
        return None;
    }
    let here = std::env::current_dir().ok();
    let below = here.and_then(|here| Some(path.strip_prefix(here).ok()?.to_owned()));
    Some(below.unwrap_or(path))
}

/// Whether this is the file that stdout goes to.
pub fn is_stdout(file: &Metadata) -> bool {
    let stdout = std::io::stdout().as_fd().try_clone_to_owned().map(File::from).and_then(|stdout| stdout.metadata());
    file.is_file() && stdout.is_ok_and(|stdout| (stdout.dev(), stdout.ino()) == (file.dev(), file.ino()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn progress_speaks_of_what_is_done_with_the_pairs() {
        let told = |looked_at, restored, removed, proven| {
            let tally = Tally::default();
            tally.pairs_so_far(Pairs { looked_at, restored, removed, proven });
            tally.to_string().strip_prefix("jobs: 0 done, 0 not, 0 in hand").unwrap().to_owned()
        };
        assert_eq!(told(0, 0, 0, Some(0)), "");
        assert_eq!(told(1_200, 0, 0, Some(0)), "; pairs looked at: 1,200");
        assert_eq!(told(1_200, 36, 0, Some(0)), "; pairs restored: 36");
        assert_eq!(told(1_200, 0, 1_100, Some(4)), "; pairs removed: 1,100, of them proven: 4");
        assert_eq!(told(0, 2, 3, Some(1)), "; pairs removed: 3, of them proven: 1; pairs restored: 2");
        assert_eq!(told(9, 0, 3, None), "");
    }

    #[test]
    fn the_command_is_right_as_it_stands() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("failed.csv"), "").unwrap();
        let typed = ["archiver", "archive", "my pairs.csv", "--failed", "failed.csv", "--group=it's", "--failed=x"];
        let way_on = WayOn {
            is_file: true,
            command: Some(without_failed(typed.map(str::to_owned).into_iter())),
            failed: Some(path("failed.csv")),
            outcomes: Some(path("outcomes.ndjson")),
            undo: None,
        };
        let here = directory.path().display();
        let again = format!(r"archiver archive 'my pairs.csv' '--group=it'\''s' --failed {here}/failed-2.csv");
        let resumed = format!("{again} --resume {here}/outcomes.ndjson > {here}/rest.ndjson");
        assert_eq!(way_on.command(true), resumed);
        std::fs::write(path("rest.ndjson"), "").unwrap();
        // An empty file has nothing to go on from.
        assert_eq!(way_on.command(false), format!("{again} > {here}/rest-2.ndjson"));
        let streamed = WayOn { command: None, outcomes: None, ..way_on };
        let words = "the same input and command again, with --resume OUTCOMES-SO-FAR > rest.ndjson";
        assert_eq!(streamed.command(true), words);
    }
}
