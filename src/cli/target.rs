//! Where an export goes.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::exit::Failure;
use super::output::{Output, Reader};

/// A new file, or stdout.
#[derive(Debug)]
pub enum Target {
    Stdout(Output),
    File { path: PathBuf, writer: BufWriter<std::fs::File> },
}

impl Target {
    /// A file that is there already is left alone.
    pub fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Self::Stdout(Output::stdout())) };
        let file = OpenOptions::new().write(true).create_new(true).open(path);
        let file = file
            .map_err(|error| Failure::Usage(format!("{} cannot be made: {error}; name a new file", path.display())))?;
        Ok(Self::File { path: path.to_owned(), writer: BufWriter::new(file) })
    }

    pub fn line(&mut self, line: &str) -> Result<Reader, Failure> {
        match self {
            Self::Stdout(output) => output.line(line),
            Self::File { path, writer } => {
                written(path, writeln!(writer, "{line}"))?;
                Ok(Reader::Listens)
            }
        }
    }

    /// What is in a file is on the disk.
    pub fn finish(&mut self) -> Result<(), Failure> {
        match self {
            Self::Stdout(output) => output.flush().map(drop),
            Self::File { path, writer } => {
                let flushed = writer.flush().and_then(|()| writer.get_ref().sync_all());
                written(path, flushed)
            }
        }
    }
}

fn written(path: &Path, written: std::io::Result<()>) -> Result<(), Failure> {
    written.map_err(|error| Failure::Running(format!("{} cannot be written: {error}", path.display())))
}
