//! What came back for one request, as the shell hands it to the engine.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use crate::contract::text::{TEXT_MAX_BYTES, cut};

/// What came back for one request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    Answer(Answer),
    Silence(Silence),
}

/// A status line arrived, and the headers with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Headers,
    pub body: Body,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    Whole(Bytes),
    /// The start of a body whose transport broke.
    CutOff(Bytes),
    /// The start of a body that is larger than the shell reads.
    TooLarge(Bytes),
}

/// No status line arrived.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Silence {
    /// No connection could be made, so nothing was sent; says why: name lookup, a closed port, a time-out.
    Refused(String),
    /// The connection is not trusted, so nothing was sent; says why.
    Tls(String),
    /// `hubspot.request_timeout` passed: whether HubSpot did it is unknown.
    TimedOut,
    /// The connection broke after sending began: whether HubSpot did it is unknown.
    Reset,
}

/// The headers that the engine reads; every one of them may be missing.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Headers {
    pub retry_after: Option<RetryAfter>,
    pub rate: RateHeaders,
    /// At most [`TEXT_MAX_BYTES`].
    pub correlation_id: Option<Box<str>>,
    /// Name of the request at HubSpot's edge, at most [`TEXT_MAX_BYTES`].
    pub cf_ray: Option<Box<str>>,
}

/// `Retry-After`, in either form that HTTP allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RetryAfter {
    Seconds(u64),
    At(Timestamp),
}

/// The `X-HubSpot-RateLimit-…` headers: what the account may send and what is left of it.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct RateHeaders {
    /// Requests allowed in each `interval`.
    pub max: Option<u64>,
    pub remaining: Option<u64>,
    pub interval: Option<Duration>,
    pub daily_remaining: Option<u64>,
    /// Requests of a whole day, for all apps of the account.
    pub daily: Option<u64>,
}

impl Headers {
    /// Reads what it can: a header that is missing or makes no sense is `None`.
    ///
    /// `lookup` is asked for names in lower case and gives a header's first value.
    pub fn read<'a>(lookup: impl Fn(&'static str) -> Option<&'a [u8]>) -> Self {
        let text = |name| lookup(name).and_then(|value| str::from_utf8(value).ok()).map(str::trim);
        let number = |name| text(name).and_then(digits);
        let short = |name| text(name).filter(|value| !value.is_empty()).map(|value| cut(value, TEXT_MAX_BYTES).into());
        Self {
            retry_after: text("retry-after").and_then(RetryAfter::parse),
            rate: RateHeaders {
                max: number("x-hubspot-ratelimit-max"),
                remaining: number("x-hubspot-ratelimit-remaining"),
                interval: number("x-hubspot-ratelimit-interval-milliseconds").map(Duration::from_millis),
                daily_remaining: number("x-hubspot-ratelimit-daily-remaining"),
                daily: number("x-hubspot-ratelimit-daily"),
            },
            correlation_id: short("x-hubspot-correlation-id"),
            cf_ray: short("cf-ray"),
        }
    }
}

impl RetryAfter {
    /// Longest wait that is taken from a header: what HubSpot documents for a portal that is being moved.
    pub const MAX: Duration = Duration::from_secs(24 * 60 * 60);

    /// How long to wait, seen from `now`; at most [`RetryAfter::MAX`], zero for a time that has passed.
    pub fn wait(self, now: Timestamp) -> Duration {
        let asked = match self {
            Self::Seconds(seconds) => Duration::from_secs(seconds),
            Self::At(time) => Duration::try_from(now.duration_until(time)).unwrap_or(Duration::ZERO),
        };
        asked.min(Self::MAX)
    }

    /// Whole seconds, or a date in any of the three forms of RFC 9110, section 5.6.7.
    fn parse(text: &str) -> Option<Self> {
        if let Some(seconds) = digits(text) {
            return Some(Self::Seconds(seconds));
        }
        let obsolete = |format| {
            let civil = jiff::civil::DateTime::strptime(format, text).ok()?;
            jiff::tz::TimeZone::UTC.to_timestamp(civil).ok()
        };
        let time = jiff::fmt::rfc2822::parse(text).map(|zoned| zoned.timestamp()).ok();
        time.or_else(|| obsolete("%A, %d-%b-%y %H:%M:%S GMT"))
            .or_else(|| obsolete("%a %b %e %H:%M:%S %Y"))
            .map(Self::At)
    }
}

/// Plain digits; a number too large for 64 bits counts as the largest.
fn digits(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn reads_the_headers_of_a_throttled_answer() {
        let headers = read(&[
            ("retry-after", "7"),
            ("x-hubspot-ratelimit-max", "190"),
            ("x-hubspot-ratelimit-remaining", " 12 "),
            ("x-hubspot-ratelimit-interval-milliseconds", "10000"),
            ("x-hubspot-ratelimit-daily-remaining", "0"),
            ("x-hubspot-ratelimit-daily", "250000"),
            ("x-hubspot-correlation-id", "corr"),
            ("cf-ray", "ray-FRA"),
        ]);

        let rate = RateHeaders {
            max: Some(190),
            remaining: Some(12),
            interval: Some(Duration::from_secs(10)),
            daily_remaining: Some(0),
            daily: Some(250_000),
        };
        let expected = Headers {
            retry_after: Some(RetryAfter::Seconds(7)),
            rate,
            correlation_id: Some("corr".into()),
            cf_ray: Some("ray-FRA".into()),
        };
        assert_eq!(headers, expected);
    }

    #[test]
    fn what_makes_no_sense_is_as_if_it_were_missing() {
        let headers = read(&[
            ("retry-after", "soon"),
            ("x-hubspot-ratelimit-max", "-1"),
            ("x-hubspot-ratelimit-remaining", "1.5"),
            ("x-hubspot-ratelimit-interval-milliseconds", ""),
            ("x-hubspot-correlation-id", "  "),
        ]);
        assert_eq!(headers, Headers::default());

        let binary: &[u8] = &[0xff, 0xfe];
        assert_eq!(Headers::read(|_| Some(binary)), Headers::default());
    }

    #[test]
    fn long_names_are_cut() {
        let long = "r".repeat(5_000);
        let headers = read(&[("cf-ray", &long), ("x-hubspot-correlation-id", &long)]);
        assert_eq!(headers.cf_ray.map(|ray| ray.len()), Some(TEXT_MAX_BYTES));
        assert_eq!(headers.correlation_id.map(|id| id.len()), Some(TEXT_MAX_BYTES));
    }

    #[test]
    fn retry_after_is_read_in_every_form_of_http() {
        let at = RetryAfter::At("1994-11-06T08:49:37Z".parse().unwrap());
        for (text, expected) in [
            ("0", Some(RetryAfter::Seconds(0))),
            ("86400", Some(RetryAfter::Seconds(86_400))),
            ("99999999999999999999999", Some(RetryAfter::Seconds(u64::MAX))),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(at)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(at)),
            ("Sun Nov  6 08:49:37 1994", Some(at)),
            ("", None),
            ("-5", None),
            ("Sun, 99 Nov 1994 08:49:37 GMT", None),
        ] {
            assert_eq!(RetryAfter::parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_wait_is_never_longer_than_a_day_nor_negative() {
        let now: Timestamp = "2026-12-01T00:00:00Z".parse().unwrap();
        let at = |text: &str| RetryAfter::At(text.parse().unwrap()).wait(now);

        assert_eq!(RetryAfter::Seconds(30).wait(now), Duration::from_secs(30));
        assert_eq!(RetryAfter::Seconds(u64::MAX).wait(now), RetryAfter::MAX);
        assert_eq!(at("2026-12-01T00:01:00Z"), Duration::from_secs(60));
        assert_eq!(at("2026-11-30T00:00:00Z"), Duration::ZERO);
        assert_eq!(at("9999-01-01T00:00:00Z"), RetryAfter::MAX);
    }

    fn read(headers: &[(&str, &str)]) -> Headers {
        Headers::read(|name| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_bytes()))
    }
}
