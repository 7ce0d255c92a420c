//! Alerts and the sections of the runbook.

use crate::corpus::{Document, all, nothing_wrong, root};

const RUNBOOK: &str = "docs/operating.md";

/// Name and `runbook_url` of each.
fn alerts() -> Vec<(String, String)> {
    let rules = std::fs::read_to_string(root().join("deploy/prometheus/alerts.yml")).unwrap();
    let mut alerts = Vec::new();
    for line in rules.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("- alert: ") {
            alerts.push((name.to_owned(), String::new()));
        } else if let (Some(url), Some((_, of))) = (line.strip_prefix("runbook_url: "), alerts.last_mut()) {
            url.clone_into(of);
        }
    }
    alerts
}

#[test]
fn every_alert_leads_to_the_section_that_names_it() {
    let runbook = Document::read(RUNBOOK);
    let anchors = runbook.anchors();
    let mut wrong = Vec::new();
    for (name, url) in alerts() {
        let Some((file, anchor)) = url.split_once('#') else {
            wrong.push(format!("{name} has no runbook_url with a section"));
            continue;
        };
        if !file.ends_with(RUNBOOK) || !anchors.contains(anchor) {
            wrong.push(format!("{name} leads nowhere: {url}"));
        }
        if !section(&runbook, anchor).contains(&format!("`{name}`")) {
            wrong.push(format!("the section #{anchor} of {RUNBOOK} does not name {name}"));
        }
    }
    nothing_wrong(wrong);
}

#[test]
fn every_alert_named_exists() {
    let alerts = alerts();
    assert!(alerts.len() > 10, "{alerts:?}");
    let mut wrong = Vec::new();
    for document in all() {
        for span in document.spans().iter().filter(|span| span.starts_with("AssociationArchiver")) {
            if !alerts.iter().any(|(name, _)| name == span) {
                wrong.push(format!("{}: there is no alert {span}", document.path));
            }
        }
    }
    nothing_wrong(wrong);
}

/// The text from the heading of that anchor to the next.
fn section(document: &Document, anchor: &str) -> String {
    let mut inside = false;
    let mut text = String::new();
    for line in document.prose().lines() {
        if line.starts_with('#') {
            let alone = Document { path: String::new(), text: line.to_owned() };
            inside = alone.anchors().contains(anchor);
        } else if inside {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}
