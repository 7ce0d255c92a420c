//! Durations and sizes as people write them.

use std::time::Duration;

/// `200ms`, `10s`, `1h 30m`; zero alone needs no unit. The error is the rule that was broken.
pub(super) fn duration(text: &str) -> Result<Duration, &'static str> {
    let plain_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if plain_number && text.bytes().all(|b| b == b'0') {
        return Ok(Duration::ZERO);
    }
    if plain_number {
        return Err("needs a unit, as in \"200ms\", \"10s\" or \"24h\"");
    }
    humantime::parse_duration(text).map_err(|_| "must be a duration such as \"200ms\", \"10s\" or \"24h\"")
}

/// `256MiB`, `64 kB`, `1048576` (bytes). The error is the rule that was broken.
pub(super) fn bytes(text: &str) -> Result<u64, &'static str> {
    const RULE: &str = "must be a size such as \"256MiB\", \"64kB\" or a number of bytes";
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| RULE)?;
    let unit: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return Err(RULE),
    };
    number.checked_mul(unit).ok_or(RULE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_unless_they_are_zero() {
        assert_eq!(duration("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(duration("1h 30m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert_eq!(duration("10"), Err("needs a unit, as in \"200ms\", \"10s\" or \"24h\""));
        for wrong in ["", " ", "-1s", "s", "10 parsecs", "99999999999999999999s", "1e3s", "10s10"] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn sizes_take_binary_and_decimal_units() {
        assert_eq!(bytes("256MiB"), Ok(256 * 1024 * 1024));
        assert_eq!(bytes("1 MiB"), Ok(1024 * 1024));
        assert_eq!(bytes("64kB"), Ok(64_000));
        assert_eq!(bytes("1048576"), Ok(1_048_576));
        for wrong in ["", "MiB", "-1", "1.5MiB", "1TiB", "1Mi", "99999999999999999999", "18446744073709551615GiB"] {
            assert!(bytes(wrong).is_err(), "{wrong:?}");
        }
    }
}
