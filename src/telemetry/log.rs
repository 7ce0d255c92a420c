//! Logs: one event a line on stderr, as JSON for machines or with colours for people.

use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write};

use thiserror::Error;
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::progress;
use super::sentence::Sentence;
use crate::config::{LogFormat, LogSettings};

/// Logs go to stderr from here on, for the rest of the process.
///
/// JSON: one object a line with `timestamp`, `level`, `message`, `target` and the event's own fields beside them.
/// Pretty: a line an event, coloured on a terminal unless `NO_COLOR` is set (no-color.org).
pub fn start(settings: &LogSettings) -> Result<(), LogFault> {
    let filter = filter(settings)?;
    let unset = if io::stderr().is_terminal() { LogFormat::Pretty } else { LogFormat::Json };
    let begun = match settings.format.unwrap_or(unset) {
        LogFormat::Json => tracing::subscriber::set_global_default(json(filter, Stderr)),
        LogFormat::Pretty => tracing::subscriber::set_global_default(pretty(filter, Stderr, wants_colours())),
    };
    begun.map_err(|_| LogFault::AlreadyStarted)
}

/// As [`start`], for a command at which somebody sits: where nothing else is set, a terminal shows warnings only, each
/// as a sentence, since the command says itself what it does.
pub fn start_for_a_person(settings: &LogSettings) -> Result<(), LogFault> {
    if settings.format.is_some() || !io::stderr().is_terminal() {
        return start(settings);
    }
    let is_set = settings.filter != LogSettings::default().filter;
    let filter = if is_set { filter(settings)? } else { EnvFilter::new("lapin=off,warn") };
    let begun = tracing::subscriber::set_global_default(sentences(filter, Stderr));
    begun.map_err(|_| LogFault::AlreadyStarted)
}

/// Whether [`start`] would take these settings.
pub fn check(settings: &LogSettings) -> Result<(), LogFault> {
    filter(settings).map(drop)
}

/// Why nothing is logged.
#[derive(Debug, Error)]
pub enum LogFault {
    #[error(
        "log.filter {filter:?} cannot be read: {cause}; give a level such as \"info\" or a list such as \"warn,association_archiver=debug\""
    )]
    Filter { filter: String, cause: String },
    #[error("logging was started twice in one process")]
    AlreadyStarted,
}

fn filter(settings: &LogSettings) -> Result<EnvFilter, LogFault> {
    let refused = |cause: tracing_subscriber::filter::ParseError| LogFault::Filter {
        filter: settings.filter.clone(),
        cause: cause.to_string(),
    };
    // The broker's library logs as errors what we ask for and answer, such as a look at a queue that is missing.
    EnvFilter::try_new(format!("lapin=off,{}", settings.filter)).map_err(refused)
}

fn json<W>(filter: EnvFilter, out: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_writer(out)
        .finish()
}

fn pretty<W>(filter: EnvFilter, out: W, colours: bool) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .with_ansi(colours)
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_writer(out)
        .finish()
}

fn sentences<W>(filter: EnvFilter, out: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .log_internal_errors(false)
        .event_format(Sentence)
        .with_env_filter(filter)
        .with_writer(out)
        .finish()
}

fn wants_colours() -> bool {
    io::stderr().is_terminal() && allows_colours(std::env::var_os("NO_COLOR").as_deref())
}

fn allows_colours(no_color: Option<&OsStr>) -> bool {
    no_color.is_none_or(OsStr::is_empty)
}

/// Stderr whose reader may go away: what cannot be written is lost, and nothing else happens.
struct Stderr;

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // All of it at once: a line of progress would be drawn behind a part.
        let _ = progress::beside(|| io::stderr().write_all(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Lines {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(line)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    fn settings(filter: &str) -> LogSettings {
        LogSettings { format: Some(LogFormat::Json), filter: filter.to_owned() }
    }

    #[test]
    fn json_is_one_object_a_line_with_the_fields_beside_the_message() {
        let lines = Lines::default();
        let subscriber = json(filter(&settings("info")).unwrap(), lines.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(portal_id = 4711, lane = "contacts>companies", "line one\nline two");
            tracing::debug!("not wanted");
        });

        let text = lines.text();
        assert_eq!(text.lines().count(), 1, "{text}");
        let event: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((event["level"].as_str(), event["message"].as_str()), (Some("INFO"), Some("line one\nline two")));
        assert_eq!((event["portal_id"].as_i64(), event["lane"].as_str()), (Some(4711), Some("contacts>companies")));
        assert_eq!(event["target"], module_path!());
        assert!(event["timestamp"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn pretty_has_colours_only_where_they_are_wanted() {
        for colours in [true, false] {
            let lines = Lines::default();
            let subscriber = pretty(filter(&settings("info")).unwrap(), lines.clone(), colours);
            tracing::subscriber::with_default(subscriber, || tracing::warn!(attempt = 2, "again"));
            assert_eq!(lines.text().contains('\x1b'), colours);
            assert!(lines.text().contains("again"));
        }
    }

    #[test]
    fn a_sentence_has_what_a_person_needs() {
        let lines = Lines::default();
        tracing::subscriber::with_default(sentences(EnvFilter::new("warn"), lines.clone()), || {
            let (lane, detail, mend) = ("contacts/companies", "HubSpot answered 401: no\u{1b}[2J", "Set a token.");
            tracing::warn!(
                portal_id = 4711,
                lane,
                kind = "unauthorized",
                detail,
                mend,
                runbook = "https://x",
                "paused"
            );
            tracing::warn!(file = %"a.ndjson", bytes = 3, "it was cut off");
            tracing::info!("not wanted");
        });
        let expected = "warning: portal 4711, lane contacts/companies: paused: HubSpot answered 401: no [2J. Set a token.\n\
                        warning: file a.ndjson: it was cut off\n";
        assert_eq!(lines.text(), expected);
    }

    #[test]
    fn no_color_counts_when_it_is_not_empty() {
        assert!(allows_colours(None));
        assert!(allows_colours(Some(OsStr::new(""))));
        assert!(!allows_colours(Some(OsStr::new("1"))));
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_named() {
        let fault = filter(&settings("association_archiver=loud")).unwrap_err();
        assert!(fault.to_string().starts_with("log.filter \"association_archiver=loud\" cannot be read"), "{fault}");
    }
}
