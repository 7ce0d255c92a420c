//! Findings, for people and for scripts.

use serde_json::{Value, json};

use super::finding::{Finding, Rating};
use crate::cli::paint::{Paint, Tone, harmless};

/// A line a finding, its mend below, and a sum at the end. What is wrong comes last, where it is not scrolled away.
pub fn text(findings: &[Finding]) -> String {
    let paint = Paint::for_stdout();
    let width = |of: fn(&Finding) -> &str| findings.iter().map(|finding| of(finding).chars().count()).max();
    let verdict_width = width(|finding| finding.verdict.words()).unwrap_or(0);
    let subject_width = width(|finding| &finding.subject).unwrap_or(0);
    let indent = " ".repeat(verdict_width + subject_width + 4);
    let mut text = String::new();
    let by_rating = Rating::ALL.iter().rev();
    let in_order = by_rating.flat_map(|rating| findings.iter().filter(move |finding| finding.verdict == *rating));
    for Finding { verdict, subject, detail, mend } in in_order {
        let word = paint.text(tone(*verdict), &format!("{:verdict_width$}", verdict.words()));
        text.push_str(&format!("{word}  {:subject_width$}  {}\n", harmless(subject), harmless(detail)));
        if let Some(mend) = mend {
            text.push_str(&format!("{indent}{} {}\n", paint.text(Tone::Quiet, "mend:"), harmless(mend)));
        }
    }
    let counts = Rating::ALL.map(|verdict| {
        let count = findings.iter().filter(|finding| finding.verdict == verdict).count();
        let many = if verdict == Rating::Warning && count > 1 { "s" } else { "" };
        (count > 0).then(|| format!("{count} {}{many}", verdict.words()))
    });
    let counts: Vec<String> = counts.into_iter().flatten().collect();
    text.push_str(&format!("\n{}\n", counts.join(", ")));
    text
}

/// `ok`: nothing is wrong.
pub fn json(findings: &[Finding]) -> Value {
    let wrong = findings.iter().any(|finding| finding.verdict == Rating::Wrong);
    let lines = findings.iter().map(|Finding { verdict, subject, detail, mend }| {
        json!({"verdict": verdict.as_str(), "subject": subject, "detail": detail, "mend": mend})
    });
    json!({"ok": !wrong, "findings": lines.collect::<Vec<_>>()})
}

fn tone(verdict: Rating) -> Tone {
    match verdict {
        Rating::Right => Tone::Good,
        Rating::Warning => Tone::Doubtful,
        Rating::Wrong => Tone::Bad,
        Rating::NotVerified => Tone::Quiet,
    }
}
