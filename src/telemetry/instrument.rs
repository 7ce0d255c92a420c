//! What counts: a few atomics each, so that counting on the hot path takes no lock and looks nothing up.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::exposition::{Description, Exposition, Kind};
use super::label::Label;

/// Something that writes itself onto the metrics page.
pub trait Instrument {
    fn write(&self, page: &mut Exposition);
}

/// Counts up from the start of the process.
#[derive(Debug)]
pub struct Counter {
    description: Description,
    count: AtomicU64,
}

impl Counter {
    pub fn new(name: &'static str, help: &'static str) -> Self {
        Self { description: Description { name, kind: Kind::Counter, help, labels: &[] }, count: AtomicU64::new(0) }
    }

    pub fn increment(&self) {
        self.add(1);
    }

    pub fn add(&self, amount: u64) {
        self.count.fetch_add(amount, Ordering::Relaxed);
    }

    /// Takes over a total that is counted elsewhere; one that lies behind changes nothing.
    pub fn follow(&self, total: u64) {
        self.count.fetch_max(total, Ordering::Relaxed);
    }

    pub fn read(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl Instrument for Counter {
    fn write(&self, page: &mut Exposition) {
        page.family(self.description).sample(&[], self.read());
    }
}

/// A count for each value of a label, all of them there from the start.
#[derive(Debug)]
pub struct CounterOf<L> {
    description: Description,
    counts: Box<[LabelledCount]>,
    label: PhantomData<L>,
}

/// One value's count.
#[derive(Debug)]
pub struct LabelledCount {
    word: &'static str,
    count: AtomicU64,
}

impl LabelledCount {
    pub fn increment(&self) {
        self.add(1);
    }

    pub fn add(&self, amount: u64) {
        self.count.fetch_add(amount, Ordering::Relaxed);
    }

    /// As [`Counter::follow`].
    pub fn follow(&self, total: u64) {
        self.count.fetch_max(total, Ordering::Relaxed);
    }

    pub fn read(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl<L: Label> CounterOf<L> {
    pub fn new(name: &'static str, help: &'static str) -> Self {
        let count = |value: L| LabelledCount { word: value.word(), count: AtomicU64::new(0) };
        Self {
            description: Description { name, kind: Kind::Counter, help, labels: L::NAMES },
            counts: L::all().into_iter().map(count).collect(),
            label: PhantomData,
        }
    }

    pub fn of(&self, value: L) -> &LabelledCount {
        &self.counts[value.index()]
    }

    pub fn sum(&self) -> u64 {
        self.counts.iter().map(LabelledCount::read).sum()
    }
}

impl<L: Label> Instrument for CounterOf<L> {
    fn write(&self, page: &mut Exposition) {
        let mut family = page.family(self.description);
        for count in &self.counts {
            family.sample(&[count.word], count.read());
        }
    }
}

/// A distribution of whole numbers.
#[derive(Debug)]
pub struct Numbers(Histogram);

impl Numbers {
    /// `bounds` must rise.
    pub fn new(name: &'static str, help: &'static str, bounds: &'static [u64]) -> Self {
        Self(Histogram::new(name, help, bounds, 1.0))
    }

    pub fn observe(&self, number: u64) {
        self.0.observe(number);
    }
}

impl Instrument for Numbers {
    fn write(&self, page: &mut Exposition) {
        self.0.write(page);
    }
}

/// A distribution of times, told in seconds.
#[derive(Debug)]
pub struct Times(Histogram);

impl Times {
    /// `bounds`, in microseconds, must rise.
    pub fn new(name: &'static str, help: &'static str, bounds: &'static [u64]) -> Self {
        Self(Histogram::new(name, help, bounds, 1e6))
    }

    pub fn observe(&self, time: Duration) {
        self.0.observe(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }
}

impl Instrument for Times {
    fn write(&self, page: &mut Exposition) {
        self.0.write(page);
    }
}

/// How often values up to each of a few bounds were observed.
#[derive(Debug)]
struct Histogram {
    description: Description,
    bounds: &'static [u64],
    /// How many of what is observed make one of the metric's unit.
    per_unit: f64,
    /// How many lay between a bound and the one before it; at the end, how many lay above the last bound.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    fn new(name: &'static str, help: &'static str, bounds: &'static [u64], per_unit: f64) -> Self {
        Self {
            description: Description { name, kind: Kind::Histogram, help, labels: &[] },
            bounds,
            per_unit,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }
    }

    fn observe(&self, value: u64) {
        self.counts[self.bounds.partition_point(|&bound| bound < value)].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    fn write(&self, page: &mut Exposition) {
        let mut cumulated = 0;
        let mut counts = self.counts.iter().map(|count| {
            cumulated += count.load(Ordering::Relaxed);
            cumulated
        });
        let bounds = self.bounds.iter().map(|&bound| bound as f64 / self.per_unit);
        let buckets: Vec<(f64, u64)> = bounds.zip(counts.by_ref()).collect();
        let count = counts.next().unwrap_or_default();
        let sum = self.sum.load(Ordering::Relaxed) as f64 / self.per_unit;
        page.family(self.description).distribution(&[], buckets.into_iter(), sum, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::outcome::Status;

    fn text(instrument: &impl Instrument) -> String {
        let mut page = Exposition::default();
        instrument.write(&mut page);
        page.into_text()
    }

    #[test]
    fn every_value_of_a_label_is_there_from_the_start() {
        let outcomes = CounterOf::<Status>::new("outcomes_total", "Outcomes.");
        outcomes.of(Status::Partial).add(2);
        assert_eq!(
            text(&outcomes).lines().skip(2).collect::<Vec<_>>(),
            [
                r#"outcomes_total{status="ARCHIVED"} 0"#,
                r#"outcomes_total{status="PARTIAL"} 2"#,
                r#"outcomes_total{status="FAILED"} 0"#,
                r#"outcomes_total{status="RESTORED"} 0"#,
                r#"outcomes_total{status="PLANNED"} 0"#,
                r#"outcomes_total{status="EXPIRED"} 0"#,
                r#"outcomes_total{status="REJECTED"} 0"#,
            ]
        );
        assert_eq!(outcomes.sum(), 2);
    }

    #[test]
    fn a_followed_total_never_falls() {
        let counter = Counter::new("pairs_total", "Pairs.");
        counter.follow(7);
        counter.follow(5);
        assert_eq!(counter.read(), 7);
    }

    #[test]
    fn a_bound_counts_what_equals_it() {
        let took = Times::new("took_seconds", "Time.", &[500_000, 1_000_000]);
        for millis in [499, 500, 501, 1_000, 1_001] {
            took.observe(Duration::from_millis(millis));
        }
        let text = text(&took);
        assert_eq!(
            text.lines().skip(2).collect::<Vec<_>>(),
            [
                r#"took_seconds_bucket{le="0.5"} 2"#,
                r#"took_seconds_bucket{le="1"} 4"#,
                r#"took_seconds_bucket{le="+Inf"} 5"#,
                "took_seconds_sum 3.501",
                "took_seconds_count 5",
            ]
        );
    }
}
