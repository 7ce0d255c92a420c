//! W3C trace context, as jobs carry it in their headers.

/// Where in a trace a job was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TraceContext {
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
    pub flags: u8,
    /// As it came; empty where there is none.
    pub state: String,
}

/// Longer ones may be cut off by anybody on the way, says the standard; they are left out here.
const MAX_STATE_BYTES: usize = 512;

impl TraceContext {
    /// `None` where the header is not what the standard demands.
    pub fn parse(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        let mut parts = traceparent.trim().split('-');
        let [version] = hex(parts.next()?)?;
        let (trace_id, span_id, [flags]) = (hex(parts.next()?)?, hex(parts.next()?)?, hex(parts.next()?)?);
        // Later versions may have more parts; the first has not, and the last number is no version.
        let malformed = version == u8::MAX || (version == 0 && parts.next().is_some());
        if malformed || trace_id == [0; 16] || span_id == [0; 8] {
            return None;
        }
        let state = tracestate.filter(|state| state.len() <= MAX_STATE_BYTES).unwrap_or_default().to_owned();
        Some(Self { trace_id, span_id, flags, state })
    }
}

/// Reads exactly this many bytes, written as lower-case hexadecimal digits.
fn hex<const BYTES: usize>(digits: &str) -> Option<[u8; BYTES]> {
    let all_small = digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    if digits.len() != 2 * BYTES || !all_small {
        return None;
    }
    let mut bytes = [0; BYTES];
    for (byte, pair) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(digits.get(pair..pair + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
#[expect(clippy::unwrap_used)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn the_standards_example_is_read() {
        let context = TraceContext::parse(GOOD, Some("vendor=opaque")).unwrap();
        assert_eq!(context.trace_id[..3], [0x0a, 0xf7, 0x65]);
        assert_eq!(context.span_id, [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]);
        assert_eq!((context.flags, context.state.as_str()), (1, "vendor=opaque"));
        let later = TraceContext::parse(&format!("01{}-more", &GOOD[2..]), None);
        assert_eq!(later.unwrap().trace_id, context.trace_id);
    }

    #[test]
    fn what_breaks_the_standard_is_no_context() {
        let cases = [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c8031é-b7ad6b7169203331-01",
        ];
        for case in cases {
            assert_eq!(TraceContext::parse(case, None), None, "{case}");
        }
        assert_eq!(TraceContext::parse(GOOD, Some(&"x".repeat(513))).unwrap().state, "");
    }
}
