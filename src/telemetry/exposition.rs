//! The text format that Prometheus reads (version 0.0.4), written from the instruments.

use std::fmt::{Display, Write};

/// What goes with [`Exposition::into_text`] as `Content-Type`.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A metric as the documents name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Description {
    pub name: &'static str,
    pub kind: Kind,
    /// One sentence.
    pub help: &'static str,
    pub labels: &'static [&'static str],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A page of metrics under construction.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    families: Vec<Description>,
}

impl Exposition {
    /// Begins a metric; its samples follow.
    pub fn family(&mut self, description: Description) -> Family<'_> {
        let Description { name, kind, help, labels: _ } = description;
        self.families.push(description);
        // Writing into a string cannot fail.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {}\n", kind.as_str());
        Family { out: &mut self.text, description }
    }

    pub fn into_text(self) -> String {
        self.text
    }

    /// The metrics written, in their order.
    pub fn families(&self) -> &[Description] {
        &self.families
    }
}

/// One metric's samples.
#[derive(Debug)]
pub struct Family<'a> {
    out: &'a mut String,
    description: Description,
}

impl Family<'_> {
    /// `values` are those of the description's labels, in their order.
    pub fn sample(&mut self, values: &[&str], value: impl Display) {
        self.line("", values, None, value);
    }

    /// `buckets` are pairs of an upper bound and the number of observations up to it, in rising order; what lies
    /// above the last is told by `count` alone.
    pub fn distribution(&mut self, values: &[&str], buckets: impl Iterator<Item = (f64, u64)>, sum: f64, count: u64) {
        for (bound, cumulated) in buckets {
            self.line("_bucket", values, Some(&bound.to_string()), cumulated);
        }
        self.line("_bucket", values, Some("+Inf"), count);
        self.line("_sum", values, None, sum);
        self.line("_count", values, None, count);
    }

    fn line(&mut self, suffix: &str, values: &[&str], bound: Option<&str>, value: impl Display) {
        self.out.push_str(self.description.name);
        self.out.push_str(suffix);
        let labels = self.description.labels.iter().copied().zip(values.iter().copied());
        let mut separator = '{';
        for (label, value) in labels.chain(bound.map(|bound| ("le", bound))) {
            self.out.push(separator);
            self.out.push_str(label);
            self.out.push_str("=\"");
            escape(value, self.out);
            self.out.push('"');
            separator = ',';
        }
        if separator == ',' {
            self.out.push('}');
        }
        // Writing into a string cannot fail.
        let _ = writeln!(self.out, " {value}");
    }
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

fn escape(value: &str, out: &mut String) {
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let mut page = Exposition::default();
        let gauge = Description { name: "held", kind: Kind::Gauge, help: "Jobs held.", labels: &["portal_id", "kind"] };
        page.family(gauge).sample(&["4711", "a\"b\\c\nd"], 3);
        let histogram = Description { name: "took_seconds", kind: Kind::Histogram, help: "Time.", labels: &[] };
        page.family(histogram).distribution(&[], [(0.5, 1), (10.0, 3)].into_iter(), 7.25, 4);
        assert_eq!(page.families(), [gauge, histogram]);
        let expected = r#"# HELP held Jobs held.
# TYPE held gauge
held{portal_id="4711",kind="a\"b\\c\nd"} 3
# HELP took_seconds Time.
# TYPE took_seconds histogram
took_seconds_bucket{le="0.5"} 1
took_seconds_bucket{le="10"} 3
took_seconds_bucket{le="+Inf"} 4
took_seconds_sum 7.25
took_seconds_count 4
"#;
        assert_eq!(page.into_text(), expected);
    }
}
