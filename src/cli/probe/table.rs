//! What was seen, for people and for scripts.

use serde_json::{Value, json};

use super::facts::{Evidence, Facts};
use super::pair::Between;
use super::restoring::Restored;
use super::wire::Broken;
use crate::cli::paint::{Paint, Tone, harmless};

pub struct Report<'a> {
    pub between: &'a Between,
    pub requests: u32,
    pub went: &'a Result<(), Broken>,
    pub restored: &'a Restored,
    pub facts: Facts,
}

impl Report<'_> {
    /// A line for what the documents say, one below for what was seen, and how it ended.
    pub fn text(&self) -> String {
        let paint = Paint::for_stdout();
        let width = [Evidence::Confirmed, Evidence::Refuted, Evidence::Measured, Evidence::NotSeen]
            .map(|verdict| verdict.words().len())
            .into_iter()
            .max();
        let width = width.unwrap_or_default();
        let mut text = String::new();
        for (fact, verdict, seen) in self.facts.all() {
            let word = paint.text(tone(verdict), &format!("{:width$}", verdict.words()));
            let seen = format!("{} {}", paint.text(Tone::Quiet, "seen:"), harmless(seen));
            text.push_str(&format!("{word}  {}\n{:width$}  {seen}\n", fact.documented(), ""));
        }
        let (between, requests) = (self.between, self.requests);
        let end = match self.restored {
            Restored::Untouched => "were not changed",
            Restored::AsBefore => "are associated as before, read again to prove it",
            Restored::Others(_) => "are associated as before, but another association of theirs is not",
            Restored::Not(_) => "are not as before",
        };
        text.push_str(&format!("\n{between} {end}; {requests} requests\n"));
        text
    }

    /// `jobs`: what brings the pair back to what it was, one a line.
    pub fn json(&self, jobs: &str) -> Value {
        let facts = self.facts.all().map(|(fact, verdict, seen)| {
            json!({
                "fact": fact.as_str(), "documented": fact.documented(), "verdict": verdict.as_str(), "seen": seen,
            })
        });
        let put_back = match self.restored {
            Restored::Untouched | Restored::AsBefore => true,
            Restored::Others(_) | Restored::Not(_) => false,
        };
        let jobs: Vec<Value> = jobs.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        json!({
            "complete": self.went.is_ok(), "putBack": put_back, "requests": self.requests,
            "facts": facts.collect::<Vec<_>>(), "jobsThatPutBack": jobs,
        })
    }
}

fn tone(verdict: Evidence) -> Tone {
    match verdict {
        Evidence::Confirmed => Tone::Good,
        Evidence::Refuted => Tone::Bad,
        Evidence::Measured => Tone::Heading,
        Evidence::NotSeen => Tone::Quiet,
    }
}
