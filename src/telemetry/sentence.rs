//! An event of the log as a sentence, for a person who looks on.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// `warning: portal 4711, lane contacts/companies: paused: HubSpot answered 401: …. Set hubspot.access_token …`
///
/// Only those fields are shown that say where it is, what is wrong and how to mend it.
#[derive(Clone, Copy, Debug)]
pub struct Sentence;

impl<S, N> FormatEvent<S, N> for Sentence
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut parts = Parts::default();
        event.record(&mut parts);
        let Parts { places, message, detail, mend } = parts;
        let level = *event.metadata().level();
        let word = if level == Level::ERROR {
            "error: "
        } else if level == Level::WARN {
            "warning: "
        } else {
            ""
        };
        let place = if places.is_empty() { String::new() } else { format!("{}: ", places.join(", ")) };
        let detail = if detail.is_empty() { String::new() } else { format!(": {}", detail.trim_end_matches('.')) };
        let mend = if mend.is_empty() { String::new() } else { format!(". {mend}") };
        let line = format!("{word}{place}{message}{detail}{mend}");
        // What HubSpot says may have anything in it.
        let line: String = line.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        writeln!(out, "{line}")
    }
}

/// Fields that say where it is, and how a person calls them.
const PLACES: [(&str, &str); 4] = [("portal_id", "portal"), ("lane", "lane"), ("file", "file"), ("setting", "setting")];

#[derive(Default)]
struct Parts {
    places: Vec<String>,
    message: String,
    detail: String,
    mend: String,
}

impl Parts {
    fn note(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = value,
            "detail" => self.detail = value,
            "mend" => self.mend = value,
            name => {
                let known = PLACES.iter().find(|(field, _)| *field == name);
                self.places.extend(known.map(|(_, called)| format!("{called} {value}")));
            }
        }
    }
}

impl Visit for Parts {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.note(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.note(field, format!("{value:?}"));
    }
}
