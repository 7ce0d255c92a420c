//! Alerts and the sections of the runbook.

use association_archiver::contract::ids::AccountIndex;
use association_archiver::engine::pause::PauseKind;
use association_archiver::telemetry::mend::Mends;

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

/// The page, `/status` and the log lead to sections of the runbook, too.
#[test]
fn every_mend_leads_to_a_section() {
    let anchors = Document::read(RUNBOOK).anchors();
    let mends = PauseKind::ALL.map(|kind| Mends::default().of(kind, AccountIndex(0)).section.to_owned());
    let script = std::fs::read_to_string(root().join("src/admin/page/page.js")).unwrap();
    let rules = script.lines().skip_while(|line| !line.contains("const SECTIONS")).take_while(|line| *line != "];");
    let mut sections: Vec<String> = mends.into_iter().collect();
    for part in rules.flat_map(|line| line.split('"').skip(1).step_by(2)) {
        sections.push(part.to_owned());
    }
    for (_, after) in script.match_indices("\"#").map(|(at, _)| script.split_at(at + 2)) {
        sections
            .extend(after.split_once('"').map(|(section, _)| section.to_owned()).filter(|section| !section.is_empty()));
    }
    assert!(sections.len() > 15, "{sections:?}");
    nothing_wrong(sections.into_iter().filter_map(|section| {
        (!anchors.contains(section.as_str())).then(|| format!("{RUNBOOK} has no section #{section}"))
    }));
}
