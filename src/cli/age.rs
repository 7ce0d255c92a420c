//! Times as they are given on the command line.

use std::time::Duration;

use jiff::Timestamp;

/// How long ago: `90s`, `1h`, `2d`. The error is for the command line.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "write a time span, such as 90s, 15m, 1h or 2d".to_owned())
}

/// A time, or how long ago: `2026-11-28T09:00:00Z`, `1h`. The error is for the command line.
pub fn parse_since(text: &str) -> Result<Timestamp, String> {
    let ago = || Timestamp::now().checked_sub(humantime::parse_duration(text).ok()?).ok();
    let read = text.parse().ok().or_else(ago);
    read.ok_or_else(|| "write a time, such as 2026-11-28T09:00:00Z, or how long ago, such as 1h or 2d".to_owned())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_time_is_told_in_several_ways() {
        assert_eq!(parse_since("2026-11-28T09:00:00Z").unwrap().to_string(), "2026-11-28T09:00:00Z");
        let now = Timestamp::now();
        let hour_ago = now.duration_since(parse_since("1h").unwrap());
        assert!((3_590..3_601).contains(&hour_ago.as_secs()), "{hour_ago}");
        assert!(parse_since("soon").unwrap_err().contains("such as 1h"));
        assert!(parse_duration("yesterday").unwrap_err().contains("such as 90s"));
    }
}
