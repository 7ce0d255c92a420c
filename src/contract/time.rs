//! Times on the wire: RFC 3339 in both directions, and nothing looser.

use jiff::Timestamp;
use jiff::tz::Offset;

/// Reads `2026-12-01T00:00:00Z` or the like with an offset; `None` for anything RFC 3339 does not allow.
///
/// More than nine digits of a second are refused, since a nanosecond is the finest that can be kept.
pub fn parse(text: &str) -> Option<Timestamp> {
    if has_rfc_3339_shape(text.as_bytes()) { text.parse().ok() } else { None }
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

fn has_rfc_3339_shape(text: &[u8]) -> bool {
    let Some((date_time, rest)) = text.split_at_checked(19) else { return false };
    let zone = match rest {
        [b'.', rest @ ..] => {
            let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
            if !(1..=9).contains(&digits) {
                return false;
            }
            &rest[digits..]
        }
        _ => rest,
    };
    matches_shape(date_time, b"dddd-dd-ddTdd:dd:dd")
        && match zone {
            [b'Z' | b'z'] => true,
            [b'+' | b'-', offset @ ..] => matches_shape(offset, b"dd:dd"),
            _ => false,
        }
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
    fn reads_what_rfc_3339_allows() {
        for (text, same) in [
            ("2026-12-01T00:00:00Z", "2026-12-01T00:00:00.000Z"),
            ("2026-12-01t00:00:00z", "2026-12-01T00:00:00.000Z"),
            ("2026-12-01T02:30:00.5+02:30", "2026-12-01T00:00:00.500Z"),
            ("2026-11-30T23:59:59.123456789-00:00", "2026-11-30T23:59:59.123Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"),
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
            "2026-12-01T00:00:00.1234567890Z",
            "2026-12-01T00:00:00+0200",
            "2026-12-01T00:00:00+02",
            "2026-12-01T00:00:00Z[UTC]",
            "2026-12-01T00:00:00 Z",
            "20261201T000000Z",
            "2026-13-01T00:00:00Z",
            "2026-02-30T00:00:00Z",
            "2026-12-01T24:00:00Z",
            "2026-12-01T00:00:00+25:99",
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
