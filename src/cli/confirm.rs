//! A question before something is changed, where there is somebody to answer it.

use std::io::{IsTerminal, Write};

use rustix::termios::{QueueSelector, tcflush};
use tokio::signal::unix::{SignalKind, signal};

use super::exit::Failure;
use super::output::remark;

/// Whether somebody can be asked.
pub fn has_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks on stderr and reads the answer from stdin. What was typed earlier is dropped; only a clear yes is one, and Ctrl-C is a no.
pub async fn agrees(question: &str) -> Result<bool, Failure> {
    // From before the question is shown, so that Ctrl-C is heard as soon as somebody can have read it.
    let mut interrupts =
        signal(SignalKind::interrupt()).map_err(|error| Failure::Running(format!("no signals: {error}")))?;
    let question = format!("{question} [y/N] ");
    let asked = tokio::task::spawn_blocking(move || {
        // What was typed before the question was shown answers something else. Where this fails, stdin is no terminal.
        let _ = tcflush(std::io::stdin(), QueueSelector::IFlush);
        let mut stderr = std::io::stderr();
        write!(stderr, "{question}").and_then(|()| stderr.flush())?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).map(|_| answer)
    });
    let asked = tokio::select! {
        asked = asked => asked,
        // What is read from a terminal cannot be called off, and need not be: the command ends.
        Some(()) = interrupts.recv() => {
            remark("");
            return Ok(false);
        }
    };
    match asked {
        Ok(Ok(answer)) => Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")),
        Ok(Err(error)) => Err(Failure::Usage(format!("no answer could be read: {error}; give --yes to go ahead"))),
        Err(error) => Err(Failure::Running(error.to_string())),
    }
}
