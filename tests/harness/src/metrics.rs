//! Prometheus' text format, read.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

/// All samples of one scrape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    pub samples: Vec<Sample>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Metrics {
    /// Comments, timestamps and exemplars are skipped; anything else that is no sample is an error.
    pub fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let samples = lines.map(|line| sample(line).with_context(|| format!("not a sample: {line:?}")));
        Ok(Self { samples: samples.collect::<Result<_>>()? })
    }

    /// The sum over all samples of this name that carry all these labels; 0 where there is none, as for a counter that
    /// has not been touched.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).map(|sample| sample.value).sum()
    }

    /// The sample of this name with all these labels; `None` unless there is exactly one.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut matching = self.matching(name, labels);
        let first = matching.next()?;
        matching.next().is_none().then_some(first.value)
    }

    /// Whether any sample has this name.
    pub fn has(&self, name: &str) -> bool {
        self.matching(name, &[]).next().is_some()
    }

    fn matching<'a>(&'a self, name: &'a str, labels: &'a [(&str, &str)]) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| {
            let carries = |(key, value): &(&str, &str)| sample.labels.get(*key).is_some_and(|own| own == value);
            sample.name == name && labels.iter().all(carries)
        })
    }
}

fn sample(line: &str) -> Option<Sample> {
    let name_end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = read_labels(inside, &mut labels)?;
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// Reads `a="x",b="y"}` and returns what follows the bracket.
fn read_labels<'a>(mut rest: &'a str, labels: &mut BTreeMap<String, String>) -> Option<&'a str> {
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some(after);
        }
        let (key, quoted) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = quoted.char_indices();
        let end = loop {
            match characters.next()? {
                (index, '"') => break index,
                (_, '\\') => value.push(match characters.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, plain) => value.push(plain),
            }
        };
        labels.insert(key.to_owned(), value);
        rest = quoted.get(end + 1..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_found_by_name_and_labels() -> Result<()> {
        let text = "# HELP x_total Words.\n# TYPE x_total counter\nx_total{status=\"A\",way=\"in\"} 3\n\
                    x_total{status=\"B\",way=\"in\"} 4.5 # {trace=\"1\"} 1\nheld 7 1700000000\n\
                    b{le=\"+Inf\",q=\"a \\\"},b\"} 1\n# EOF\n";
        let metrics = Metrics::parse(text)?;
        assert_eq!(metrics.sum("x_total", &[]), 7.5);
        assert_eq!(metrics.sum("x_total", &[("status", "B")]), 4.5);
        assert_eq!(metrics.value("x_total", &[]), None);
        assert_eq!(metrics.value("held", &[]), Some(7.0));
        assert_eq!(metrics.value("b", &[("le", "+Inf"), ("q", "a \"},b")]), Some(1.0));
        assert!(!metrics.has("x"));
        assert!(Metrics::parse("<html>").is_err());
        Ok(())
    }
}
