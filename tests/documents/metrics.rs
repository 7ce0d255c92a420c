//! Metrics, by their names.

use std::collections::BTreeSet;

use association_archiver::telemetry::exposition::Kind;
use association_archiver::telemetry::metrics::documented_metrics;

use crate::corpus::{Document, all, nothing_wrong};

const PREFIX: &str = "association_archiver_";

/// The series that Prometheus keeps of them.
fn series() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for metric in documented_metrics() {
        names.insert(metric.name.to_owned());
        if matches!(metric.kind, Kind::Histogram) {
            names.extend(["_bucket", "_sum", "_count"].map(|part| format!("{}{part}", metric.name)));
        }
    }
    names
}

#[test]
fn every_metric_named_exists() {
    let series = series();
    let mut wrong = Vec::new();
    for document in all() {
        for (at, _) in document.text.match_indices(PREFIX) {
            let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            let name = document.text[at..].split(|c| !is_name(c)).next().unwrap();
            if name != PREFIX && !series.contains(name) {
                wrong.push(format!("{}: there is no metric {name}", document.path));
            }
        }
    }
    nothing_wrong(wrong);
}

#[test]
fn every_metric_is_documented() {
    let page = Document::read("docs/metrics.md");
    nothing_wrong(documented_metrics().iter().filter_map(|metric| {
        let row = format!("| `{}` | {} |", metric.name, metric.kind.as_str());
        (!page.text.contains(&row)).then(|| format!("{} is not in {}", metric.name, page.path))
    }));
}
