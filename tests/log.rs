//! A process whose log nobody reads any more goes on working.

#![allow(clippy::unwrap_used)]

use std::process::{Command, Stdio};

use association_archiver::config::{LogFormat, LogSettings};
use association_archiver::telemetry::log;

const CHILD: &str = "ASSOCIATION_ARCHIVER_TEST_LOG_CHILD";

#[test]
fn a_closed_pipe_does_not_end_the_process() {
    if let Some(format) = std::env::var_os(CHILD) {
        return write_much(if format == "json" { LogFormat::Json } else { LogFormat::Pretty });
    }
    for format in ["json", "pretty"] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_closed_pipe_does_not_end_the_process", "--nocapture"])
            .env(CHILD, format)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stderr.take());
        assert!(child.wait().unwrap().success(), "{format}");
    }
}

/// More than a pipe holds.
fn write_much(format: LogFormat) {
    log::start(&LogSettings { format: Some(format), filter: "info".to_owned() }).unwrap();
    for line in 0..10_000 {
        tracing::info!(line, "nobody reads this");
    }
}
