//! Times on the wire: RFC 3339 in both directions, and nothing looser.

use jiff::tz::Offset;
use jiff::{RoundMode, Timestamp, TimestampRound, Unit};

/// Reads `2026-12-01T00:00:00Z` or the like with an offset; `None` for anything RFC 3339 does not allow.
///
/// Digits finer than a nanosecond are dropped. The last hours of the year 9999, which some write for "never", are later
/// than any time that can be kept: the last one stands for them.
pub fn parse(text: &str) -> Option<Timestamp> {
    let digits = fraction_digits(text)?;
    if digits > NANOSECOND_DIGITS {
        let (kept, dropped) = text.split_at(SECONDS_END + 1 + NANOSECOND_DIGITS);
        return parse(&format!("{kept}{}", dropped.trim_start_matches(|c: char| c.is_ascii_digit())));
    }
    text.parse().ok().or_else(|| {
        let year_before = format!("9998{}", text.strip_prefix("9999")?);
        year_before.parse::<Timestamp>().ok().map(|_| Timestamp::MAX)
    })
}

/// Length of `2026-12-01T00:00:00`.
const SECONDS_END: usize = 19;
const NANOSECOND_DIGITS: usize = 9;

/// The first full second that is not before `time`, for a time before which nothing happens, as people are told it. Clocks
/// are compared to the microsecond, and without this a midnight may be told as 23:59:59.999.
pub fn up_to_second(time: Timestamp) -> Timestamp {
    time.round(TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Ceil)).unwrap_or(time)
}

/// Appends the time in UTC with exactly three digits of milliseconds: `2026-12-01T00:00:00.000Z`.
///
/// Finer digits are dropped. A year that RFC 3339 cannot write comes out as 0000.
pub fn write(time: Timestamp, out: &mut Vec<u8>) {
    let utc = Offset::UTC.to_datetime(time);
    write_digits(u16::try_from(utc.year()).unwrap_or(0), 4, out);
    for (separator, part) in
        [(b'-', utc.month()), (b'-', utc.day()), (b'T', utc.hour()), (b':', utc.minute()), (b':', utc.second())]
    {
        out.push(separator);
        write_digits(part.unsigned_abs().into(), 2, out);
    }
    out.push(b'.');
    write_digits(utc.millisecond().unsigned_abs(), 3, out);
    out.push(b'Z');
}

/// The number of digits after the seconds; `None` where the text has not the shape of RFC 3339.
fn fraction_digits(text: &str) -> Option<usize> {
    let (date_time, rest) = text.as_bytes().split_at_checked(SECONDS_END)?;
    let (digits, zone) = match rest {
        [b'.', rest @ ..] => {
            let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
            (Some(digits).filter(|digits| *digits > 0)?, &rest[digits..])
        }
        _ => (0, rest),
    };
    let zone_fits = match zone {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', offset @ ..] => matches_shape(offset, b"dd:dd") && offset < b"24".as_slice(),
        _ => false,
    };
    (matches_shape(date_time, b"dddd-dd-ddTdd:dd:dd") && zone_fits).then_some(digits)
}

/// `d` stands for a digit, `T` for itself in either case.
fn matches_shape(text: &[u8], shape: &[u8]) -> bool {
    text.len() == shape.len()
        && text.iter().zip(shape).all(|(byte, want)| match want {
            b'd' => byte.is_ascii_digit(),
            b'T' => byte.eq_ignore_ascii_case(want),
            _ => byte == want,
        })
}

fn write_digits(mut value: u16, count: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + count, b'0');
    for digit in out[start..].iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn written(time: Timestamp) -> String {
        let mut out = Vec::new();
        write(time, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_time_before_which_nothing_happens_is_told_in_full_seconds_and_not_too_early() {
        for (time, told) in [
            ("2026-11-30T23:59:59.999999Z", "2026-12-01T00:00:00.000Z"),
            ("2026-12-01T00:00:00Z", "2026-12-01T00:00:00.000Z"),
            ("2026-12-01T00:00:00.000000001Z", "2026-12-01T00:00:01.000Z"),
        ] {
            assert_eq!(written(up_to_second(parse(time).unwrap())), told, "{time}");
        }
        assert_eq!(up_to_second(Timestamp::MAX), Timestamp::MAX);
    }

    #[test]
    fn reads_what_rfc_3339_allows() {
        for (text, same) in [
            ("2026-12-01T00:00:00Z", "2026-12-01T00:00:00.000Z"),
            ("2026-12-01t00:00:00z", "2026-12-01T00:00:00.000Z"),
            ("2026-12-01T02:30:00.5+02:30", "2026-12-01T00:00:00.500Z"),
            ("2026-11-30T23:59:59.123456789-00:00", "2026-11-30T23:59:59.123Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"),
            ("2026-12-01T00:00:00.1239999999999999999Z", "2026-12-01T00:00:00.123Z"),
            ("2026-12-01T00:00:00.0000000001+01:00", "2026-11-30T23:00:00.000Z"),
            ("9999-12-31T23:59:59Z", "9999-12-30T22:00:00.999Z"),
            ("9999-12-31T23:59:59.9999999999-12:00", "9999-12-30T22:00:00.999Z"),
        ] {
            assert_eq!(written(parse(text).unwrap()), same, "{text}");
        }
    }

    #[test]
    fn refuses_what_rfc_3339_does_not() {
        for text in [
            "",
            "2026-12-01",
            "2026-12-01T00:00Z",
            "2026-12-01T00:00:00",
            "2026-12-01 00:00:00Z",
            "2026-12-01T00:00:00.Z",
            "2026-12-01T00:00:00,5Z",
            "2026-12-01T00:00:00.12345678901",
            "9999-12-32T00:00:00Z",
            "9999-13-01T00:00:00Z",
            "9999-12-31T25:00:00Z",
            "2026-12-01T00:00:00+0200",
            "2026-12-01T00:00:00+02",
            "2026-12-01T00:00:00Z[UTC]",
            "2026-12-01T00:00:00 Z",
            "20261201T000000Z",
            "2026-13-01T00:00:00Z",
            "2026-02-30T00:00:00Z",
            "2026-12-01T24:00:00Z",
            "2026-12-01T00:00:00+25:99",
            "2026-12-01T00:00:00+24:00",
            "2026-12-01T00:00:00-23:60",
            "+002026-12-01T00:00:00Z",
            "tomorrow, at the latest",
            "1764547200",
            "２026-12-01T00:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn writes_what_it_reads(milliseconds in -62_135_596_800_000_i64..253_402_207_200_000) {
            let time = Timestamp::from_millisecond(milliseconds).unwrap();
            prop_assert_eq!(parse(&written(time)), Some(time));
            prop_assert_eq!(written(time), format!("{time:.3}"));
        }

        #[test]
        fn any_time_can_be_written(time in Timestamp::MIN.as_nanosecond()..=Timestamp::MAX.as_nanosecond()) {
            let text = written(Timestamp::from_nanosecond(time).unwrap());
            prop_assert_eq!(text.len(), "2026-12-01T00:00:00.000Z".len());
        }
    }
}
