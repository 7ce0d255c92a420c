//! Nothing a test starts outlives it, however it ends: returned, panicked or killed.
//!
//! Each owner of processes has a small shell beside it that waits on a pipe. The pipe closes when the owner is dropped or
//! when the whole test process is gone, and the shell then kills every process that carries the owner's mark in its
//! environment (children inherit it) and removes the owner's directory.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result};

/// The environment variable that marks what belongs to a keeper; its value is the keeper's directory.
pub const MARK: &str = "HARNESS_KEEPER";

/// A temporary directory and the promise that it goes, together with all that was started in its name.
#[derive(Debug)]
pub struct Keeper {
    directory: PathBuf,
    shell: Child,
    /// Closing it is the order to clear up.
    line: Option<ChildStdin>,
}

impl Keeper {
    /// Makes a fresh directory whose name begins with `name` and sets the shell beside it.
    pub fn start(name: &str) -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix(&format!("{name}-"))
            .tempdir()
            .context("no temporary directory could be made: check TMPDIR and the free disk space")?;
        let mut shell = Command::new("/bin/sh")
            .args(["-c", include_str!("keeper.sh"), "keeper"])
            .args([OsStr::new(MARK), directory.path().as_os_str()])
            // Else the keeper of an outer test would kill this one before it has done its work.
            .env_remove(MARK)
            .process_group(0)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("/bin/sh could not be started as a keeper")?;
        let line = shell.stdin.take();
        Ok(Self { directory: directory.keep(), shell, line })
    }

    /// Private to the owner, gone with it.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Puts what `command` will start, and all its descendants, under this keeper.
    ///
    /// It also gets a process group of its own: a Ctrl-C in the terminal is for the test, which then ends it by this way.
    pub fn guard(&self, command: &mut Command) {
        command.env(MARK, &self.directory).process_group(0);
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.line.take());
        // Bounded by the rounds in the script. An error here would mean that somebody else reaped the shell.
        let _ = self.shell.wait();
    }
}
