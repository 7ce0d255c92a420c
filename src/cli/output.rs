//! What a command has to say on stdout, whose reader may go away before the end.

use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};
use std::process::ExitCode;

use super::exit::Failure;
use crate::telemetry::progress;

/// Buffered stdout. A reader that has gone, as `head` does, ends the command in good order.
#[derive(Debug)]
pub struct Output(BufWriter<StdoutLock<'static>>);

/// Whether there is still somebody to tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reader {
    Listens,
    Gone,
}

impl Output {
    pub fn stdout() -> Self {
        Self(BufWriter::new(io::stdout().lock()))
    }

    pub fn line(&mut self, text: &str) -> Result<Reader, Failure> {
        reader(self.0.write_all(text.as_bytes()).and_then(|()| self.0.write_all(b"\n")))
    }

    pub fn flush(&mut self) -> Result<Reader, Failure> {
        reader(self.0.flush())
    }
}

/// Writes one text and ends well, also where nobody reads it.
pub fn print(text: &[u8]) -> Result<ExitCode, Failure> {
    let mut stdout = io::stdout().lock();
    reader(stdout.write_all(text).and_then(|()| stdout.flush())).map(|_| ExitCode::SUCCESS)
}

/// What the command was asked for, in one line or a few, on stdout: what it says beside that is a [`remark`].
pub fn result(text: &str) -> Result<ExitCode, Failure> {
    print(format!("{text}\n").as_bytes())
}

/// Says something on stderr. Where nobody reads that, nothing else happens.
pub fn remark(text: &str) {
    let line = format!("{text}\n");
    let _ = progress::beside(|| io::stderr().write_all(line.as_bytes()));
}

fn reader(written: io::Result<()>) -> Result<Reader, Failure> {
    match written {
        Ok(()) => Ok(Reader::Listens),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(Failure::Running(format!("stdout cannot be written: {error}"))),
    }
}
