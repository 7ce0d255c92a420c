//! How long something takes or has lasted, as people read it at a glance. The page, `top`, `/readyz` and the answers to
//! orders have it in these words. Settings are told back in the form in which they are written, such as `1m 30s`:
//! [`crate::contract::as_set`].

/// `12 s`, `3 min 20 s`, `5 h 10 min`, `2 d 4 h`.
pub fn span(seconds: f64) -> String {
    if seconds < 9.95 {
        return format!("{:.1} s", seconds.max(0.0)).replace(".0", "");
    }
    let seconds = whole(seconds);
    let two = |large: u64, unit, small: u64, small_unit| match small {
        0 => format!("{large} {unit}"),
        _ => format!("{large} {unit} {small} {small_unit}"),
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => two(seconds / 60, "min", seconds % 60, "s"),
        3_600..86_400 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
        86_400.. => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

/// The nearest whole number.
pub fn whole(number: f64) -> u64 {
    // Negative, endless and unknown become the nearest number there is.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as says just that")]
    let whole = number.round() as u64;
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        let spans = [(0.0, "0 s"), (2.44, "2.4 s"), (9.96, "10 s"), (59.6, "1 min"), (200.0, "3 min 20 s")];
        for (seconds, told) in spans.into_iter().chain([(18_600.0, "5 h 10 min"), (187_200.0, "2 d 4 h")]) {
            assert_eq!(span(seconds), told);
        }
    }
}
