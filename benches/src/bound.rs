//! What must hold, whether it does, and the table of both.

use serde::{Deserialize, Serialize};

/// A figure and the limit it must keep.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bound {
    pub figure: String,
    pub measured: f64,
    #[serde(flatten)]
    pub limit: Limit,
    pub holds: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    pub fn at_most(figure: &str, measured: f64, limit: f64) -> Self {
        Self { figure: figure.to_owned(), measured, limit: Limit::AtMost(limit), holds: measured <= limit }
    }

    pub fn at_least(figure: &str, measured: f64, limit: f64) -> Self {
        Self { figure: figure.to_owned(), measured, limit: Limit::AtLeast(limit), holds: measured >= limit }
    }
}

pub fn print_bounds(bounds: &[Bound]) {
    println!("\nmust hold");
    for Bound { figure, measured, limit, holds } in bounds {
        let limit = match limit {
            Limit::AtMost(limit) => format!("≤ {limit}"),
            Limit::AtLeast(limit) => format!("≥ {limit}"),
        };
        println!("  {figure:<58} {measured:>9.3} {limit:>9}  {}", if *holds { "holds" } else { "DOES NOT HOLD" });
    }
}

#[cfg(test)]
mod tests {
    use super::Bound;

    #[test]
    fn a_limit_itself_is_within_it_and_no_figure_is_not() {
        assert!(Bound::at_most("", 1.5, 1.5).holds);
        assert!(Bound::at_least("", 0.85, 0.85).holds);
        assert!(!Bound::at_most("", 1.51, 1.5).holds);
        assert!(!Bound::at_least("", f64::NAN, 0.85).holds);
        assert!(!Bound::at_most("", f64::NAN, 1.5).holds);
    }
}
