//! Durations as people write them into the settings.

use std::fmt::{Display, Formatter, Result};
use std::time::Duration;

/// `90d`, `1h 30m`, `200ms`: rounded to milliseconds, and to two units at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AsSet(pub Duration);

/// In milliseconds.
const UNITS: [(u128, &str); 5] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];

impl Display for AsSet {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let exact = (self.0.as_micros() + 500) / 1_000;
        // The second unit that is not zero decides: what is smaller is rounded away.
        let precision = parts(exact).nth(1).map_or(1, |(_, size, _)| size);
        let rounded = (exact + precision / 2) / precision * precision;
        let told: Vec<String> = parts(rounded).map(|(number, _, unit)| format!("{number}{unit}")).collect();
        if told.is_empty() { f.write_str("0s") } else { f.write_str(&told.join(" ")) }
    }
}

/// Number, size and name of each unit that is not zero.
fn parts(millis: u128) -> impl Iterator<Item = (u128, u128, &'static str)> {
    let mut rest = millis;
    let of_unit = move |(size, unit): (u128, &'static str)| {
        let number = rest / size;
        rest %= size;
        (number > 0).then_some((number, size, unit))
    };
    UNITS.into_iter().filter_map(of_unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_told_as_it_is_set() {
        let day = 86_400_000;
        for (millis, told) in [
            (0, "0s"),
            (200, "200ms"),
            (1_500, "1s 500ms"),
            (60_000, "1m"),
            (90_000, "1m 30s"),
            (3_600_500, "1h 500ms"),
            (3_723_004, "1h 2m"),
            (7_199_600, "2h"),
            (90 * day, "90d"),
            (89 * day + 86_399_000, "90d"),
        ] {
            assert_eq!(AsSet(Duration::from_millis(millis)).to_string(), told);
        }
        assert_eq!(AsSet(Duration::from_micros(999_600)).to_string(), "1s");
        assert!(AsSet(Duration::MAX).to_string().contains("d "));
    }
}
