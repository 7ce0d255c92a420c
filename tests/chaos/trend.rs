//! Whether a row of measurements rises.

/// A straight line through measurements, by least squares.
#[derive(Clone, Copy, Debug)]
pub struct Trend {
    pub mean: f64,
    /// Units an hour.
    pub slope: f64,
    /// Standard error of the slope, units an hour.
    pub error: f64,
}

impl Trend {
    /// `points`: seconds since the start, and what was measured then. `None` for fewer than three.
    pub fn of(points: &[(f64, f64)]) -> Option<Self> {
        let count = points.len() as f64;
        if points.len() < 3 {
            return None;
        }
        let (mean_x, mean_y) = (mean(points.iter().map(|p| p.0), count), mean(points.iter().map(|p| p.1), count));
        let spread: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
        let slope = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum::<f64>() / spread;
        let residues = points.iter().map(|(x, y)| (y - mean_y - slope * (x - mean_x)).powi(2)).sum::<f64>();
        let error = (residues / (count - 2.0) / spread).sqrt();
        Some(Self { mean: mean_y, slope: slope * 3_600.0, error: error * 3_600.0 })
    }

    /// More than chance explains (three standard errors), and more than `tolerated` units in the time measured.
    ///
    /// Neighbouring measurements resemble each other, so the error is told too small and is no judge alone.
    pub fn rises(&self, hours: f64, tolerated: f64) -> bool {
        self.slope > 3.0 * self.error && self.slope * hours > tolerated
    }
}

fn mean(values: impl Iterator<Item = f64>, count: f64) -> f64 {
    values.sum::<f64>() / count
}

#[test]
fn a_rise_is_told_from_noise() {
    let noise = |n: u32| f64::from(n * 7_919 % 13);
    let points = |slope: f64| (0..200).map(|n| (f64::from(n), 50.0 + slope * f64::from(n) + noise(n))).collect();
    let (flat, rising): (Vec<_>, Vec<_>) = (points(0.0), points(0.1));
    let (flat, rising) = (Trend::of(&flat).unwrap(), Trend::of(&rising).unwrap());
    assert!(!flat.rises(200.0 / 3_600.0, 5.0), "{flat:?}");
    assert!(rising.rises(200.0 / 3_600.0, 5.0), "{rising:?}");
    assert!((rising.slope / 3_600.0 - 0.1).abs() < 0.01, "{rising:?}");
    assert!(Trend::of(&[(0.0, 1.0), (1.0, 1.0)]).is_none());
}
