//! Where the jobs come from: a file, or stdin, which may be a file too.

use std::fmt;
use std::fs::File as StdFile;
use std::io::{Cursor, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::path::Path;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::fs::File;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};

use super::hints::Hints;
use super::rows::{Expected, Format, Naming, Rows};
use crate::cli::exit::Failure;
use crate::cli::output::remark;
use crate::contract::job::JobLimits;

/// Most bytes taken from a pipe that must be read more than once.
const MAX_SPOOLED_BYTES: u64 = 16 * 1024 * 1024 * 1024;
/// This much of it stays in memory; what is larger needs a temporary file.
const MAX_BYTES_IN_MEMORY: u64 = 8 * 1024 * 1024;
/// Read at once.
const BUFFER_BYTES: usize = 256 * 1024;

pub type Input = Box<dyn AsyncBufRead + Unpin + Send>;

/// A file of jobs, opened.
pub struct Source {
    /// As messages name it.
    pub name: String,
    content: Content,
    format: Format,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("name", &self.name).field("format", &self.format).finish_non_exhaustive()
    }
}

enum Content {
    /// From `start` on, since a shell may have read a part of it.
    File {
        file: StdFile,
        start: u64,
    },
    Memory(Bytes),
    /// Gives what it has only once.
    Pipe(Box<dyn AsyncRead + Unpin + Send>),
}

/// Names stdin in messages.
const STDIN: &str = "stdin";

impl Source {
    /// `path`: `None` or `-` is stdin.
    pub async fn open(path: Option<&Path>, naming: Naming, limits: JobLimits, hints: &Hints) -> Result<Self, Failure> {
        let format = |expected| Format { expected, naming, limits, hints: hints.clone() };
        let Some(path) = path.filter(|path| *path != Path::new("-")) else {
            return Ok(Self { name: STDIN.to_owned(), content: stdin(), format: format(Expected::Either) });
        };
        let name = path.display().to_string();
        let unreadable = |error: std::io::Error| Failure::Usage(format!("{name} cannot be read: {error}"));
        let file = File::open(path).await.map_err(unreadable)?;
        let metadata = file.metadata().await.map_err(unreadable)?;
        if metadata.is_dir() {
            return Err(Failure::Usage(format!("{name} is a directory: name a file of jobs")));
        }
        let is_csv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
        let content = match metadata.is_file() {
            true => Content::File { file: file.into_std().await, start: 0 },
            false => Content::Pipe(Box::new(file)),
        };
        Ok(Self { name, content, format: format(if is_csv { Expected::Csv } else { Expected::Either }) })
    }

    /// Whether the rows can be read more than once.
    pub fn is_repeatable(&self) -> bool {
        match self.content {
            Content::File { .. } | Content::Memory(_) => true,
            Content::Pipe(_) => false,
        }
    }

    /// When the file was last written to; `None` where it is no file.
    pub fn written_at(&self) -> Option<Timestamp> {
        match &self.content {
            Content::File { file, .. } => Timestamp::try_from(file.metadata().ok()?.modified().ok()?).ok(),
            Content::Memory(_) | Content::Pipe(_) => None,
        }
    }

    /// Takes all that a pipe gives, so that the rows can be read more than once: a little into memory, which works where
    /// no file can be made, more into a temporary file, which is gone with the process.
    pub async fn keep(self) -> Result<Self, Failure> {
        let Self { name, content, format } = self;
        let content = match content {
            Content::File { .. } | Content::Memory(_) => content,
            Content::Pipe(mut pipe) => {
                let unreadable = |error| Failure::Usage(format!("{name} cannot be read to the end: {error}"));
                let mut head = Vec::new();
                (&mut pipe).take(MAX_BYTES_IN_MEMORY).read_to_end(&mut head).await.map_err(unreadable)?;
                match (head.len() as u64) < MAX_BYTES_IN_MEMORY {
                    true => Content::Memory(Bytes::from(head)),
                    false => Content::File { file: spool(&name, &head, pipe).await?, start: 0 },
                }
            }
        };
        Ok(Self { name, content, format })
    }

    /// All rows from the first.
    pub fn rows(&mut self) -> Result<Rows<Input>, Failure> {
        let input: Input = match &mut self.content {
            Content::File { file, start } => {
                let again = file.seek(SeekFrom::Start(*start)).and_then(|_| file.try_clone());
                let file = again
                    .map_err(|error| Failure::Usage(format!("{} cannot be read from the start: {error}", self.name)))?;
                Box::new(BufReader::with_capacity(BUFFER_BYTES, File::from_std(file)))
            }
            Content::Memory(bytes) => Box::new(Cursor::new(bytes.clone())),
            Content::Pipe(pipe) => {
                let pipe = std::mem::replace(pipe, Box::new(tokio::io::empty()));
                Box::new(BufReader::new(pipe))
            }
        };
        Ok(Rows::new(input, self.format.clone()))
    }
}

/// Says that a source has not a single row. A file like that is more likely a mistake before this command than a task
/// that is done, so it is a failure. Through stdin may come what another command has let pass, and that may be nothing.
pub fn no_jobs(name: &str) -> Result<(), Failure> {
    let said = format!("{name} has no jobs in it: nothing was done");
    if name == STDIN {
        remark(&said);
        return Ok(());
    }
    let mend = "check what has written it (a CSV has a row for each job below its header)";
    Err(Failure::Usage(format!("{said}; {mend}")))
}

/// A file that stdin was opened from is read in place.
fn stdin() -> Content {
    let place = || {
        let mut file = StdFile::from(std::io::stdin().as_fd().try_clone_to_owned().ok()?);
        let start = file.stream_position().ok()?;
        file.metadata().is_ok_and(|metadata| metadata.is_file()).then_some(Content::File { file, start })
    };
    place().unwrap_or_else(|| Content::Pipe(Box::new(tokio::io::stdin())))
}

async fn spool(name: &str, head: &[u8], pipe: impl AsyncRead + Unpin) -> Result<StdFile, Failure> {
    let no_file = |error: std::io::Error| {
        Failure::Running(format!(
            "{name} needs a temporary file: {error}; set TMPDIR to a folder with room, or give a file"
        ))
    };
    let mut file = File::from_std(tempfile::tempfile().map_err(no_file)?);
    file.write_all(head).await.map_err(no_file)?;
    let copied = tokio::io::copy(&mut pipe.take(MAX_SPOOLED_BYTES), &mut file).await;
    let copied = copied.map_err(|error| Failure::Usage(format!("{name} cannot be read to the end: {error}")))?;
    if copied >= MAX_SPOOLED_BYTES {
        return Err(Failure::Usage(format!("{name} gives more than {MAX_SPOOLED_BYTES} bytes: use a file instead")));
    }
    file.flush().await.map_err(no_file)?;
    Ok(file.into_std().await)
}
