//! A built program as a child process: output kept, signals, exit code, and what it costs.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::deadline::eventually;
use crate::keeper::Keeper;

/// Of each stream the last lines are kept, up to this many bytes.
const KEPT_BYTES: usize = 4 * 1024 * 1024;
const LONGEST_LINE_BYTES: u64 = 256 * 1024;
const TAIL_LINES: usize = 60;
const KILL_LIMIT: Duration = Duration::from_secs(30);
/// Until a line that is about to be written is there.
const LINE_LIMIT: Duration = Duration::from_secs(60);
/// Until the last lines of a process that has ended are read; longer only where another process holds its streams.
const LAST_LINES_LIMIT: Duration = Duration::from_secs(5);

/// Killed when dropped; its output is printed when that happens in a panic.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Mutex<Child>,
    stdout: Arc<Lines>,
    stderr: Arc<Lines>,
    keeper: Keeper,
}

impl Process {
    /// Starts `command` with its output captured and nothing on stdin, in the keeper's directory.
    pub fn start(name: &str, mut command: Command, keeper: Keeper) -> Result<Self> {
        keeper.guard(&mut command);
        command.current_dir(keeper.directory()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("{name} could not be started"))?;
        let stdout = Lines::of(child.stdout.take().context("no stdout")?);
        let stderr = Lines::of(child.stderr.take().context("no stderr")?);
        Ok(Self { name: name.to_owned(), child: Mutex::new(child), stdout, stderr, keeper })
    }

    pub fn id(&self) -> u32 {
        self.child().id()
    }

    /// Its working directory, removed with it.
    pub fn directory(&self) -> &Path {
        self.keeper.directory()
    }

    /// The kept lines of its standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.text(usize::MAX)
    }

    /// The kept lines of its standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.text(usize::MAX)
    }

    /// The last lines of both streams, for an error message.
    pub fn last_words(&self) -> String {
        format!(
            "--- {} stdout\n{}\n--- {} stderr\n{}\n",
            self.name,
            self.stdout.text(TAIL_LINES),
            self.name,
            self.stderr.text(TAIL_LINES)
        )
    }

    /// `None` while it runs; else its exit code, or 128 + the signal that ended it, as shells say it.
    pub fn ended(&self) -> Result<Option<i32>> {
        Ok(self.child().try_wait()?.map(code))
    }

    /// Sends SIGTERM.
    pub fn term(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Sends SIGINT, as Ctrl-C does.
    pub fn interrupt(&self) -> Result<()> {
        self.signal(Signal::INT)
    }

    /// Sends SIGSTOP.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Sends SIGCONT.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Sends SIGKILL and returns when it is gone.
    pub async fn kill9(&self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.wait(KILL_LIMIT).await.map(drop)
    }

    /// Waits for its end, and until all that it has said is read; the code is that of [`Process::ended`].
    pub async fn wait(&self, deadline: Duration) -> Result<i32> {
        let code = eventually(deadline, &format!("{} to end", self.name), async || self.ended())
            .await
            .with_context(|| self.last_words())?;
        let all_is_read = async || Ok((self.stdout.has_ended() && self.stderr.has_ended()).then_some(()));
        // Fails where one of its children lives on with its streams: then what was read so far must do.
        let _ = eventually(LAST_LINES_LIMIT, "its last lines", all_is_read).await;
        Ok(code)
    }

    /// Waits until a line of its standard error has all these words, and gives that line. What a process does may be
    /// seen elsewhere before the line about it is.
    pub async fn says(&self, words: &[&str]) -> Result<String> {
        let has_all = |line: &&str| words.iter().all(|word| line.contains(word));
        eventually(LINE_LIMIT, &format!("a line with {words:?}"), async || {
            Ok(self.stderr().lines().find(has_all).map(str::to_owned))
        })
        .await
        .with_context(|| self.last_words())
    }

    /// User and system CPU time since its start, in microseconds; the kernel counts in steps of 10,000.
    pub fn cpu_micros(&self) -> Result<u64> {
        cpu_micros(&self.proc("stat")?)
    }

    /// The most memory it has had resident, in bytes. Only while it runs.
    pub fn peak_rss_bytes(&self) -> Result<u64> {
        self.status_kib("VmHWM:").map(|kib| kib * 1024)
    }

    /// Memory resident now, in bytes.
    pub fn rss_bytes(&self) -> Result<u64> {
        self.status_kib("VmRSS:").map(|kib| kib * 1024)
    }

    /// Open file descriptors now.
    pub fn open_files(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.id()))?.count())
    }

    fn status_kib(&self, field: &str) -> Result<u64> {
        let status = self.proc("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let line = line.with_context(|| format!("{} has no {field} (it has ended)", self.name))?;
        line.trim().trim_end_matches(" kB").parse().with_context(|| format!("{field}{line}"))
    }

    fn proc(&self, file: &str) -> Result<String> {
        fs::read_to_string(format!("/proc/{}/{file}", self.id())).with_context(|| format!("{} has ended", self.name))
    }

    /// Sends any signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let mut child = self.child();
        // Once reaped, the id may belong to anybody.
        if let Some(status) = child.try_wait()? {
            bail!("{} has ended already with code {}", self.name, code(status));
        }
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a process id out of range")?;
        kill_process(pid, signal).with_context(|| format!("signal {signal:?} to {}", self.name))
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        {
            let mut child = self.child();
            // Both fail only when it is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            eprintln!("{}", self.last_words());
        }
    }
}

/// Finds a program of this workspace: the environment `variable`, else beside the running test executable.
pub fn find_binary(name: &str, variable: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        let path = PathBuf::from(path);
        ensure!(path.is_file(), "{variable} names {}, and no file is there", path.display());
        return path.canonicalize().with_context(|| path.display().to_string());
    }
    // Test executables lie in `deps/`, one below the programs; examples likewise; programs side by side.
    let executable = std::env::current_exe().context("the path of the running executable is not known")?;
    let places = executable.ancestors().skip(1).take(2).map(|directory| directory.join(name));
    places.into_iter().find(|path| path.is_file()).with_context(|| {
        format!(
            "{name} is not built beside {}: run `cargo build --workspace`, or set {variable} to its path",
            executable.display()
        )
    })
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// The end of a stream, read by a thread of its own so that the child never waits for the test.
#[derive(Debug, Default)]
struct Lines {
    kept: Mutex<Kept>,
    ended: AtomicBool,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<String>,
    bytes: usize,
}

impl Lines {
    fn of(stream: impl Read + Send + 'static) -> Arc<Self> {
        let lines = Arc::new(Self::default());
        let writer = Arc::clone(&lines);
        // Ends with the stream, that is with the child.
        thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while let Ok(1..) = (&mut stream).take(LONGEST_LINE_BYTES).read_until(b'\n', &mut line) {
                writer.keep(String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned());
                line.clear();
            }
            writer.ended.store(true, Ordering::Release);
        });
        lines
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    fn keep(&self, line: String) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bytes += line.len();
        kept.lines.push_back(line);
        while kept.bytes > KEPT_BYTES {
            let Some(oldest) = kept.lines.pop_front() else { break };
            kept.bytes -= oldest.len();
        }
    }

    fn text(&self, most_lines: usize) -> String {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let skipped = kept.lines.len().saturating_sub(most_lines);
        kept.lines.iter().skip(skipped).map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

/// User and system CPU time in microseconds, from the text of a process's `/proc/<id>/stat` (proc_pid_stat(5)).
pub(crate) fn cpu_micros(stat: &str) -> Result<u64> {
    // The second field is the name in brackets and may contain anything, brackets and spaces too.
    let after_name = stat.rsplit_once(')').map(|(_, rest)| rest).context("no name in /proc stat")?;
    let ticks: Vec<u64> = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse)
        .collect::<Result<_, _>>()
        .context("/proc stat without times")?;
    Ok(ticks.iter().sum::<u64>() * 1_000_000 / rustix::param::clock_ticks_per_second())
}
