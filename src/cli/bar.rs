//! How far a command is, on a terminal.

use std::fmt;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{HumanDuration, HumanFloatCount, ProgressBar, ProgressState, ProgressStyle};

use super::paint::harmless;
use crate::telemetry::progress;

/// A bar on a terminal, until [`progress::end`], and nothing elsewhere. It begins at `from`.
pub fn bar(total: u64, from: u64, what: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(total).with_position(from);
    let template = format!("{{bar:30}} {{human_pos}} of {{human_len}} {what}{{pace}}");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        let shown = move |state: &ProgressState, out: &mut dyn fmt::Write| {
            let (done, left) = (state.pos().saturating_sub(from), total.saturating_sub(state.pos()));
            // Nobody reads a bar that cannot be drawn.
            let _ = out.write_str(&pace(done, left, state.elapsed()));
        };
        bar.set_style(style.with_key("pace", shown));
    }
    progress::show(&bar);
    bar
}

/// How far a file is read, on a terminal: `reading pairs.csv: 1,200,000 rows`. It is gone when this is dropped.
#[derive(Debug)]
pub struct ReadingBar(ProgressBar);

impl ReadingBar {
    /// `what`: the file is made of.
    pub fn begin(name: &str, what: &str) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::new_spinner().with_message(harmless(name));
        if let Ok(style) = ProgressStyle::with_template(&format!("{{spinner}} reading {{msg}}: {{human_pos}} {what}")) {
            bar.set_style(style);
        }
        progress::show(&bar);
        Self(bar)
    }

    pub fn one_more(&self) {
        self.0.inc(1);
    }
}

impl Drop for ReadingBar {
    fn drop(&mut self) {
        progress::end();
    }
}

/// No pace can be told of a shorter time.
const PACE_AFTER: Duration = Duration::from_secs(1);

/// `, 2,455/s, 3s left`; empty as long as it cannot be told.
fn pace(done: u64, left: u64, elapsed: Duration) -> String {
    if done == 0 || elapsed < PACE_AFTER {
        return String::new();
    }
    let per_second = done as f64 / elapsed.as_secs_f64();
    let rest = Duration::try_from_secs_f64(left as f64 / per_second).unwrap_or(Duration::MAX);
    format!(", {}/s, {:#} left", HumanFloatCount(per_second.round()), HumanDuration(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_pace_is_told_before_a_second_has_passed() {
        assert_eq!(pace(201, 3_413, Duration::from_micros(70)), "");
        assert_eq!(pace(0, 3_413, Duration::from_secs(9)), "");
        assert_eq!(pace(4_910, 7_365, Duration::from_secs(2)), ", 2,455/s, 3s left");
    }
}
