//! What became of the lines, counted while the command runs; and where it ends before they are answered, how to go on.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Arguments;
use crate::cli::output::remark;
use crate::cli::way_back::{Undo, quoted};
use crate::config::Settings;
use crate::contract::action::Action;
use crate::contract::grouped::Grouped;
use crate::contract::ids::Group;

/// Lines that stand for jobs, and what became of them.
#[derive(Debug, Default)]
pub struct Tally {
    read: AtomicU64,
    answered: AtomicU64,
    /// Jobs that were done for all their pairs.
    done: AtomicU64,
    /// Not answered, and HubSpot may have changed something for them.
    archiving: AtomicU64,
    restoring: AtomicU64,
    pairs: Mutex<Pairs>,
    last_line: AtomicU64,
    read_to_end: AtomicBool,
}

/// As the line of progress has it.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { answered, done, unanswered, archiving: _, restoring: _ } = self.counts();
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

    /// For one more line of this action a request is on the wire that may change something.
    pub fn sent(&self, action: Action) {
        self.sent_for(action).fetch_add(1, Ordering::Relaxed);
    }

    /// For one of them it came back before HubSpot had done anything.
    pub fn turned_away(&self, action: Action) {
        self.sent_for(action).fetch_sub(1, Ordering::Relaxed);
    }

    /// `sent`: the action of a line for which HubSpot may have changed something.
    pub fn answered(&self, is_done: bool, sent: Option<Action>) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.done.fetch_add(u64::from(is_done), Ordering::Relaxed);
        if let Some(action) = sent {
            self.sent_for(action).fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn sent_for(&self, action: Action) -> &AtomicU64 {
        match action {
            Action::Archive => &self.archiving,
            Action::Restore { .. } => &self.restoring,
        }
    }

    /// For whoever does not wait for the table.
    pub fn answered_in_words(&self) -> String {
        let Counts { answered, done, .. } = self.counts();
        format!("jobs done: {}; answered, but not done: {}", Grouped(done), Grouped(answered.saturating_sub(done)))
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
        let unanswered = read.saturating_sub(answered);
        let archiving = of(&self.archiving).min(unanswered);
        Counts { answered, done, unanswered, archiving, restoring: of(&self.restoring).min(unanswered - archiving) }
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
    /// Of the unanswered ones, those for which HubSpot may have removed something.
    archiving: u64,
    /// And those for which it may have restored something.
    restoring: u64,
}

impl Counts {
    /// What is not answered, a string a line. `undo`: how what was removed comes back.
    fn unanswered_in_words(self, undo: Option<&str>) -> Vec<String> {
        let Self { answered: _, done: _, unanswered, archiving, restoring } = self;
        let undo = undo.map(|undo| format!("; {undo}")).unwrap_or_default();
        let line =
            |count: u64, what: &str, beside: &str| (count > 0).then(|| format!("{what}: {}{beside}", Grouped(count)));
        let lines = [
            line(unanswered, "jobs that were read and not answered", ""),
            line(
                archiving,
                "  sent to HubSpot to archive, and perhaps done, but not answered or not proven yet",
                &undo,
            ),
            line(
                restoring,
                "  sent to HubSpot to restore, and perhaps done, but not answered yet",
                "; to send them again restores only what is still missing",
            ),
            line(unanswered - archiving - restoring, "  for which HubSpot has changed nothing", ""),
        ];
        lines.into_iter().flatten().collect()
    }
}

/// How to go on after an interruption: what the command line says, and where stdout goes.
#[derive(Clone, Debug)]
pub struct WayOn {
    /// The jobs of a file, without those that were done before; `None` for a stream.
    jobs: Option<u64>,
    /// `None` where the input is a stream, which must be given again.
    command: Option<Command>,
    /// Outcomes of the runs before this one.
    resumed: Vec<PathBuf>,
    failed: Option<PathBuf>,
    outcomes: Outcomes,
    /// Which command restores; `None` unless everything that is removed is recorded.
    undo: Option<String>,
}

/// The command as it was typed, without what differs from run to run: `--resume` and `--failed`.
#[derive(Clone, Debug)]
struct Command {
    words: Vec<String>,
    /// What a shell has opened for stdin.
    stdin: Option<PathBuf>,
}

/// Where the outcomes are.
#[derive(Clone, Debug)]
enum Outcomes {
    File(PathBuf),
    /// On a terminal: no command can read them again.
    Shown,
    /// In a pipe, whose end has them.
    Elsewhere,
}

impl WayOn {
    /// `jobs`: of a file, without those that were done before. `group`: of all jobs that archive, as far as that is known.
    pub fn new(
        arguments: &Arguments,
        (settings, undo): (&Settings, &Undo),
        (jobs, group): (Option<u64>, Option<&Group>),
    ) -> Self {
        let is_named = arguments.file.as_deref().is_some_and(|file| file != Path::new("-"));
        let stdin = if is_named { None } else { opened_file(std::io::stdin(), "0") };
        let typed = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
        let command = Command { words: without(typed, &["--resume", "--failed"]), stdin };
        let records = settings.hubspot.listed().iter().all(|account| account.safety.journal.is_on());
        Self {
            jobs,
            command: (is_named || command.stdin.is_some()).then_some(command),
            resumed: arguments.resume.clone(),
            failed: arguments.failed.clone(),
            outcomes: match opened_file(std::io::stdout(), "1") {
                Some(path) => Outcomes::File(path),
                None if std::io::stdout().is_terminal() => Outcomes::Shown,
                None => Outcomes::Elsewhere,
            },
            undo: records.then(|| {
                format!("`{}` brings back what they removed{}", undo.without_broker(group), Undo::beside(group))
            }),
        }
    }

    /// Says on stderr what was not answered and how to go on; nothing where all was.
    pub fn say(&self, tally: &Tally) {
        let counts @ Counts { answered, unanswered, .. } = tally.counts();
        let is_left = self.jobs.is_some() && !tally.read_to_end.load(Ordering::Relaxed);
        if unanswered == 0 && !is_left {
            return;
        }
        counts.unanswered_in_words(self.undo.as_deref()).iter().for_each(|line| remark(line));
        if is_left {
            remark(&format!("what stands below line {} was not begun", tally.last_line.load(Ordering::Relaxed)));
        }
        if let Some(jobs) = self.jobs {
            let left = Grouped(jobs.saturating_sub(answered));
            remark(&format!("left without an answer: {left} of the {} jobs of this run", Grouped(jobs)));
        }
        if let (Outcomes::Shown, 1..) = (&self.outcomes, answered) {
            remark("the outcomes so far are in no file, so all jobs are sent again, which does no harm");
        }
        remark(&format!("to go on: {}", self.command(answered > 0)));
    }

    /// A command that is right as it stands, as far as that can be known.
    fn command(&self, any_outcomes: bool) -> String {
        let mut added: Vec<String> = Vec::new();
        let mut add =
            |option: &str, path: &Path| added.extend([option.to_owned(), path.to_string_lossy().into_owned()]);
        self.resumed.iter().for_each(|path| add("--resume", path));
        match &self.outcomes {
            Outcomes::File(path) if any_outcomes => add("--resume", path),
            Outcomes::Elsewhere if any_outcomes => add("--resume", Path::new("OUTCOMES-SO-FAR")),
            Outcomes::File(_) | Outcomes::Shown | Outcomes::Elsewhere => {}
        }
        if let Some(failed) = &self.failed {
            add("--failed", &new_name(failed));
        }
        let rest = match &self.outcomes {
            Outcomes::File(outcomes) => new_name(&outcomes.with_file_name("rest.ndjson")),
            Outcomes::Shown | Outcomes::Elsewhere => new_name(Path::new("rest.ndjson")),
        };
        let to_rest = format!("> {}", quoted(&rest.to_string_lossy()));
        let Some(Command { words, stdin }) = &self.command else {
            let added = added.iter().map(|word| quoted(word)).chain([to_rest]).collect::<Vec<_>>();
            return format!("the same input and command again, with {}", added.join(" "));
        };
        // Behind `--` a word is a file, whatever it looks like.
        let (before, behind) = words.split_at(words.iter().position(|word| word == "--").unwrap_or(words.len()));
        let words = [before, &added, behind].concat();
        let words = words.iter().map(|word| quoted(word));
        let from = stdin.iter().map(|path| format!("< {}", quoted(&path.to_string_lossy())));
        words.chain(from).chain([to_rest]).collect::<Vec<_>>().join(" ")
    }
}

/// The words without these options and their values.
fn without(mut words: impl Iterator<Item = String>, options: &[&str]) -> Vec<String> {
    let mut left: Vec<String> = Vec::new();
    while let Some(word) = words.next() {
        let is_whole = options.contains(&word.as_str());
        let has_value = word.split_once('=').is_some_and(|(option, _)| options.contains(&option));
        match (left.iter().any(|word| word == "--"), is_whole, has_value) {
            (false, true, _) => drop(words.next()),
            (false, false, true) => {}
            (true, _, _) | (false, false, false) => left.push(word),
        }
    }
    left
}

/// The name itself, or one like it that no file has: behind `failed.csv` and `failed-2.csv` comes `failed-3.csv`.
fn new_name(path: &Path) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|extension| format!(".{}", extension.to_string_lossy())).unwrap_or_default();
    let named = |stem: &str| path.with_file_name(format!("{stem}{extension}"));
    // Where the file without the number is not there, the number is a part of the name, such as a year.
    let numbered = stem
        .rsplit_once('-')
        .filter(|(before, number)| number.bytes().all(|byte| byte.is_ascii_digit()) && named(before).exists());
    let stem = numbered.map_or(&*stem, |(before, _)| before);
    let numbered = (2_u64..).map(|number| named(&format!("{stem}-{number}")));
    std::iter::once(path.to_owned()).chain(numbered).find(|name| !name.exists()).unwrap_or_else(|| path.to_owned())
}

/// The file that a shell has opened for stdin or stdout, as seen from the working directory.
fn opened_file(stream: impl AsFd, number: &str) -> Option<PathBuf> {
    let path = std::fs::read_link(Path::new("/proc/self/fd").join(number)).ok()?;
    if !is_open_as(stream, &std::fs::metadata(&path).ok()?) {
        return None;
    }
    let here = std::env::current_dir().ok();
    let below = here.and_then(|here| Some(path.strip_prefix(here).ok()?.to_owned()));
    Some(below.unwrap_or(path))
}

/// Whether this is the file that stdout goes to.
pub fn is_stdout(file: &Metadata) -> bool {
    is_open_as(std::io::stdout(), file)
}

fn is_open_as(stream: impl AsFd, file: &Metadata) -> bool {
    let open = stream.as_fd().try_clone_to_owned().map(File::from).and_then(|open| open.metadata());
    file.is_file() && open.is_ok_and(|open| (open.dev(), open.ino()) == (file.dev(), file.ino()))
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
    fn what_is_not_answered_is_told_by_what_it_was_to_do() {
        let restore = Action::Restore { include_primary: false };
        let told = |actions: &[Action], unsent: usize| {
            let tally = Tally::default();
            (0..).take(actions.len() + unsent).for_each(|line| tally.read(line));
            actions.iter().for_each(|action| tally.sent(*action));
            // One more of each was sent and answered, and another one was turned away.
            for action in [Action::Archive, restore] {
                tally.read(0);
                tally.sent(action);
                tally.answered(true, Some(action));
                tally.sent(action);
                tally.turned_away(action);
            }
            tally.counts().unanswered_in_words(Some("`undo` brings it back")).join("\n")
        };
        let archiving = "  sent to HubSpot to archive, and perhaps done, but not answered or not proven yet: 1; `undo` brings it back";
        let restoring = "  sent to HubSpot to restore, and perhaps done, but not answered yet: 2; to send them again restores \
                         only what is still missing";
        let unsent = "  for which HubSpot has changed nothing: 3";
        let of =
            |count: u64, lines: &[&str]| format!("jobs that were read and not answered: {count}\n{}", lines.join("\n"));
        assert_eq!(told(&[Action::Archive], 0), of(1, &[archiving]));
        assert_eq!(told(&[restore, restore], 3), of(5, &[restoring, unsent]));
        assert_eq!(told(&[Action::Archive, restore, restore], 3), of(6, &[archiving, restoring, unsent]));
        // So it is where all jobs are plans.
        assert_eq!(told(&[], 3), of(3, &[unsent]));
        assert_eq!(told(&[], 0), "");
    }

    #[test]
    fn the_command_is_right_as_it_stands() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("failed.csv"), "").unwrap();
        let typed =
            "archiver archive --resume=first pairs.csv --map A=from_id --failed failed.csv --resume second --yes";
        let words = typed.split(' ').map(|word| word.replace("pairs", "my pairs").replace("A=", "it's="));
        let way_on = WayOn {
            jobs: Some(1),
            command: Some(Command { words: without(words, &["--resume", "--failed"]), stdin: None }),
            resumed: vec!["first".into(), "second".into()],
            failed: Some(path("failed.csv")),
            outcomes: Outcomes::File(path("outcomes.ndjson")),
            undo: None,
        };
        let here = directory.path().display();
        let again = r"archiver archive 'my pairs.csv' --map 'it'\''s=from_id' --yes --resume first --resume second";
        let failed = format!("--failed {here}/failed-2.csv");
        let resumed = format!("{again} --resume {here}/outcomes.ndjson {failed} > {here}/rest.ndjson");
        assert_eq!(way_on.command(true), resumed);
        std::fs::write(path("rest.ndjson"), "").unwrap();
        for (taken, next) in [("failed-2.csv", "failed-3.csv"), ("export-2026.csv", "export-2026-2.csv")] {
            std::fs::write(path(taken), "").unwrap();
            assert_eq!(new_name(&path(taken)), path(next));
        }
        let failed = format!("--failed {here}/failed-3.csv");
        // An empty file has nothing to go on from.
        assert_eq!(way_on.command(false), format!("{again} {failed} > {here}/rest-2.ndjson"));

        let words = ["archiver", "archive", "--", "--failed"].map(str::to_owned);
        let words = without(words.into_iter(), &["--resume", "--failed"]);
        let (failed, resumed) = (None, Vec::new());
        let behind = WayOn { command: Some(Command { words, stdin: None }), failed, resumed, ..way_on };
        let shown = WayOn { outcomes: Outcomes::Shown, ..behind.clone() };
        assert_eq!(shown.command(true), "archiver archive -- --failed > rest.ndjson");
        let piped = WayOn { outcomes: Outcomes::Elsewhere, ..behind };
        assert_eq!(piped.command(true), "archiver archive --resume OUTCOMES-SO-FAR -- --failed > rest.ndjson");
        let words = ["archiver", "archive"].map(str::to_owned).to_vec();
        let read = WayOn { command: Some(Command { words, stdin: Some("my jobs".into()) }), ..shown };
        assert_eq!(read.command(true), "archiver archive < 'my jobs' > rest.ndjson");
        let streamed = WayOn { command: None, ..piped };
        let words = "the same input and command again, with --resume OUTCOMES-SO-FAR > rest.ndjson";
        assert_eq!(streamed.command(true), words);
    }
}
