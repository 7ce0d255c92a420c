//! What the broker sends, made legible for the AMQP library before it reads it.
//!
//! The broker passes on whatever a producer wrote. The library ends the connection over a short string that is not
//! UTF-8, and overflows its stack over headers nested some thousand deep: one such message would come again and again,
//! until the broker had dead-lettered every job delivered with it. Only the offending bytes are replaced, one by one,
//! so that no length changes; bodies are not looked at.
//!
//! And the broker goes on sending on a channel that it has closed, deliveries above all, until it hears that the library
//! knows. The library has forgotten the channel by then, and ends the connection over the first such frame. So nothing
//! is passed on that comes for a closed channel.

use hashbrown::HashSet;

/// Stands for each byte that is not UTF-8: the control character "substitute", which no job id may hold.
const SUBSTITUTE: u8 = 0x1a;

/// Tables and arrays in one another; what lies deeper is handed on as bytes.
const MAX_DEPTH: usize = 32;

/// Larger frames with properties are handed on as they are; the broker's own limit is 128 KiB.
const MAX_FRAME_BYTES: usize = 1024 * 1024;

/// Read from the socket at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Type, channel and length of a frame.
const FRAME_HEADER_BYTES: usize = 7;
const METHOD_FRAME: u8 = 1;
const HEADER_FRAME: u8 = 2;
const BODY_FRAME: u8 = 3;

/// Class and method of what brings a message.
const DELIVER: [u8; 4] = [0, 60, 0, 60];
const GET_OK: [u8; 4] = [0, 60, 0, 71];
/// Those of the broker's word that a channel is closed, and of its word that one is open.
const CHANNEL_CLOSE: [u8; 4] = [0, 20, 0, 40];
const CHANNEL_OPEN_OK: [u8; 4] = [0, 20, 0, 11];

/// Bytes between the socket and the library. Frames that hold properties wait here until they are whole.
#[derive(Debug, Default)]
pub(super) struct Legible {
    buffer: Vec<u8>,
    /// The library has taken what lies before this index.
    taken: usize,
    /// What lies before this index may be taken.
    ready: usize,
    /// What lies before this index came from the socket.
    filled: usize,
    /// Bytes still to come of a frame that is handed on unread.
    passing: usize,
    /// Bytes still to come of a frame that is not handed on.
    dropping: usize,
    /// Channels that the broker has closed.
    closed: HashSet<u16>,
    /// Bytes of the body that is coming in, and how many of them are still to come.
    body: u64,
    body_left: u64,
    /// Bytes of bodies that came in whole.
    whole_bodies: u64,
}

impl Legible {
    /// Room for what comes next.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.taken > 0 {
            self.buffer.copy_within(self.taken..self.filled, 0);
            self.ready -= self.taken;
            self.filled -= self.taken;
            self.taken = 0;
        }
        if self.buffer.len() < self.filled + CHUNK_BYTES {
            self.buffer.resize(self.filled + CHUNK_BYTES, 0);
        }
        &mut self.buffer[self.filled..]
    }

    /// This many bytes were put into the room.
    pub(super) fn came(&mut self, count: usize) {
        self.filled += count;
        loop {
            let pass = self.passing.min(self.filled - self.ready);
            self.ready += pass;
            self.passing -= pass;
            self.drop_what_came();
            let rest = &mut self.buffer[self.ready..self.filled];
            let Some(&[kind, channel @ .., a, b, c, d]) = rest.first_chunk::<FRAME_HEADER_BYTES>() else { return };
            let (channel, payload) = (u16::from_be_bytes(channel), u32::from_be_bytes([a, b, c, d]) as usize);
            let whole = FRAME_HEADER_BYTES + payload + 1;
            if !self.closed.is_empty() && self.closed.contains(&channel) {
                match rest.get(FRAME_HEADER_BYTES..).and_then(|payload| payload.first_chunk()) {
                    Some(&CHANNEL_OPEN_OK) if kind == METHOD_FRAME => drop(self.closed.remove(&channel)),
                    None if payload >= CHANNEL_OPEN_OK.len() => return,
                    Some(_) | None => self.dropping = whole,
                }
                continue;
            }
            if !matches!(kind, METHOD_FRAME | HEADER_FRAME) || whole > MAX_FRAME_BYTES {
                self.passing = whole;
                if kind == BODY_FRAME {
                    self.count_body(payload as u64);
                }
            } else if rest.len() < whole {
                return;
            } else {
                let payload = &mut rest[FRAME_HEADER_BYTES..whole - 1];
                if kind == HEADER_FRAME
                    && let Some(size) = payload.get(4..12).and_then(|size| size.first_chunk())
                {
                    self.body = u64::from_be_bytes(*size);
                    self.body_left = self.body;
                }
                if kind == METHOD_FRAME && payload.first_chunk() == Some(&CHANNEL_CLOSE) {
                    self.closed.insert(channel);
                }
                let mut payload = Part(payload);
                // What cannot be followed is left to the library to complain of.
                let _followed = if kind == METHOD_FRAME { payload.method() } else { payload.content_header() };
                self.ready += whole;
            }
        }
    }

    fn drop_what_came(&mut self) {
        let count = self.dropping.min(self.filled - self.ready);
        if count > 0 {
            self.buffer.copy_within(self.ready + count..self.filled, self.ready);
            self.filled -= count;
            self.dropping -= count;
        }
    }

    /// Bytes of the bodies that came in whole since last asked.
    pub(super) fn take_whole_bodies(&mut self) -> u64 {
        std::mem::take(&mut self.whole_bodies)
    }

    fn count_body(&mut self, bytes: u64) {
        let left = self.body_left.saturating_sub(bytes);
        if left == 0 && self.body_left > 0 {
            self.whole_bodies += self.body;
        }
        self.body_left = left;
    }

    /// Nothing more comes: what is left is no frame, and handed on as it is.
    pub(super) fn ended(&mut self) {
        self.ready = self.filled;
    }

    /// Moves what is ready to `out`, as much as fits.
    pub(super) fn take(&mut self, out: &mut [u8]) -> usize {
        let count = out.len().min(self.ready - self.taken);
        out[..count].copy_from_slice(&self.buffer[self.taken..self.taken + count]);
        self.taken += count;
        count
    }
}

/// The unread part of a frame. Reading returns `None` where the bytes are not what they should be.
struct Part<'a>(&'a mut [u8]);

impl<'a> Part<'a> {
    fn method(&mut self) -> Option<()> {
        match *self.bytes(4)?.first_chunk()? {
            DELIVER => {
                self.short_string()?;
                self.bytes(9)?;
            }
            GET_OK => {
                self.bytes(9)?;
            }
            _ => return Some(()),
        }
        self.short_string()?;
        self.short_string()
    }

    fn content_header(&mut self) -> Option<()> {
        self.bytes(12)?;
        let flags = u16::from_be_bytes(*self.bytes(2)?.first_chunk()?);
        for bit in (2..16).rev().filter(|bit| flags & 1 << bit != 0) {
            match bit {
                13 => self.nested()?.table(0)?,
                12 | 11 => self.skip(1)?,
                6 => self.skip(8)?,
                _ => self.short_string()?,
            }
        }
        Some(())
    }

    fn table(&mut self, depth: usize) -> Option<()> {
        while !self.0.is_empty() {
            self.short_string()?;
            self.value(depth)?;
        }
        Some(())
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        let kind = self.bytes(1)?.first_mut()?;
        if matches!(kind, b'A' | b'F') && depth == MAX_DEPTH {
            *kind = b'x';
        }
        match *kind {
            b'V' => Some(()),
            b't' | b'b' | b'B' => self.skip(1),
            b's' | b'U' | b'u' => self.skip(2),
            b'I' | b'i' | b'f' => self.skip(4),
            b'D' => self.skip(5),
            b'L' | b'l' | b'd' | b'T' => self.skip(8),
            b'S' | b'x' => self.nested().map(|_| ()),
            b'F' => self.nested()?.table(depth + 1),
            b'A' => {
                let mut array = self.nested()?;
                while !array.0.is_empty() {
                    array.value(depth + 1)?;
                }
                Some(())
            }
            _ => None,
        }
    }

    fn short_string(&mut self) -> Option<()> {
        let length = *self.bytes(1)?.first()?;
        let text = self.bytes(length.into())?;
        let mut at = 0;
        while let Err(error) = std::str::from_utf8(&text[at..]) {
            let bad = at + error.valid_up_to();
            at = error.error_len().map_or(text.len(), |length| bad + length);
            text[bad..at].fill(SUBSTITUTE);
        }
        Some(())
    }

    /// What has its length in four bytes before it.
    fn nested(&mut self) -> Option<Part<'a>> {
        let length = u32::from_be_bytes(*self.bytes(4)?.first_chunk()?);
        self.bytes(length as usize).map(Part)
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.bytes(count).map(|_| ())
    }

    fn bytes(&mut self, count: usize) -> Option<&'a mut [u8]> {
        self.0.split_off_mut(..count)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use amq_protocol::frame::{AMQPFrame, parse_frame};
    use lapin::BasicProperties;
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&[kind, 0, 1], &length[..], payload, &[0xce]].concat()
    }

    fn on(channel: u8, mut frame: Vec<u8>) -> Vec<u8> {
        frame[2] = channel;
        frame
    }

    #[test]
    fn nothing_comes_out_for_a_channel_that_the_broker_has_closed() {
        let close = || frame(METHOD_FRAME, &[&CHANNEL_CLOSE[..], &[1, 150], &short(b"late"), &[0; 4]].concat());
        let (close_ok, open_ok) = (frame(METHOD_FRAME, &[0, 20, 0, 41]), frame(METHOD_FRAME, &CHANNEL_OPEN_OK));
        let message = || [deliver(b"key"), frame(HEADER_FRAME, &[0; 14]), body()].concat();
        let of_two = || [on(2, deliver(b"key")), on(2, body())].concat();
        let sent = [message(), close(), message(), of_two(), close_ok, body(), of_two()].concat();
        let again = [open_ok.clone(), message(), of_two()].concat();
        let expected = [message(), close(), of_two(), of_two(), open_ok, message(), of_two()].concat();
        for piece in [1, 3, 7, 11, 100, usize::MAX] {
            let mut sent = sent.clone();
            sent.extend(&again);
            assert_eq!(passed(&sent, piece.min(sent.len())), expected, "in pieces of {piece}");
        }
    }

    fn short(text: &[u8]) -> Vec<u8> {
        [&[u8::try_from(text.len()).unwrap()], text].concat()
    }

    fn long(content: &[u8]) -> Vec<u8> {
        [&u32::try_from(content.len()).unwrap().to_be_bytes(), content].concat()
    }

    /// Properties: content type, headers, priority, message id, timestamp, application.
    fn header(table: &[u8], message_id: &[u8]) -> Vec<u8> {
        let flags = (1_u16 << 15 | 1 << 13 | 1 << 11 | 1 << 7 | 1 << 6 | 1 << 3).to_be_bytes();
        let properties = [short(b"text/\xe4"), long(table), vec![9], short(message_id), vec![0xff; 8], short(b"app")];
        frame(HEADER_FRAME, &[&[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5], &flags[..], &properties.concat()].concat())
    }

    fn deliver(routing_key: &[u8]) -> Vec<u8> {
        let rest = [short(b"tag"), vec![0, 0, 0, 0, 0, 0, 0, 0xff, 1], short(b"exchange"), short(routing_key)];
        frame(METHOD_FRAME, &[&DELIVER[..], &rest.concat()].concat())
    }

    fn body() -> Vec<u8> {
        frame(3, b"\xff\xfe{}\x80")
    }

    /// What comes out when the bytes arrive in pieces of this size.
    fn passed(bytes: &[u8], piece: usize) -> Vec<u8> {
        let (mut legible, mut out) = (Legible::default(), Vec::new());
        let mut take_all = |legible: &mut Legible| {
            let mut some = [0; 100];
            loop {
                let count = legible.take(&mut some);
                out.extend_from_slice(&some[..count]);
                if count == 0 {
                    break;
                }
            }
        };
        for piece in bytes.chunks(piece.min(CHUNK_BYTES)) {
            legible.room()[..piece.len()].copy_from_slice(piece);
            legible.came(piece.len());
            take_all(&mut legible);
        }
        legible.ended();
        take_all(&mut legible);
        out
    }

    fn properties(bytes: &[u8]) -> BasicProperties {
        let Ok((_, AMQPFrame::Header(_, header))) = parse_frame(bytes) else { panic!("{bytes:?}") };
        header.properties
    }

    fn arrays(depth: usize) -> Vec<u8> {
        (0..depth).fold(b"V".to_vec(), |inner, _| [b"A".to_vec(), long(&inner)].concat())
    }

    #[test]
    fn what_is_not_utf_8_is_replaced_byte_by_byte() {
        let table = [
            short(b"\xffkey"),
            b"S".to_vec(),
            long(b"\xff is allowed here"),
            short(b"inner"),
            b"F".to_vec(),
            long(&[short(b"\xc3"), b"A".to_vec(), long(b"t\x01b\x80s\xff\xff")].concat()),
        ];
        let came = header(&table.concat(), "ä\u{20ac}".as_bytes().split_last().unwrap().1);
        assert!(parse_frame(came.as_slice()).is_err(), "the library would read it without help");
        let properties = properties(&passed(&came, came.len()));
        assert_eq!(properties.content_type().as_ref().unwrap().as_str(), "text/\u{1a}");
        assert_eq!(properties.message_id().as_ref().unwrap().as_str(), "ä\u{1a}\u{1a}");
        let headers = format!("{:?}", properties.headers());
        assert!(headers.contains(r"\u{1a}key") && headers.contains(r#""\u{1a}""#), "{headers}");

        let came = deliver(b"k\xff");
        assert!(parse_frame(came.as_slice()).is_err());
        assert!(parse_frame(passed(&came, came.len()).as_slice()).is_ok());
    }

    #[test]
    fn headers_in_one_another_become_bytes_where_they_are_too_deep() {
        let came = header(&[short(b"deep"), arrays(20_000)].concat(), b"m");
        let properties = properties(&passed(&came, came.len()));
        assert_eq!(properties.message_id().as_ref().unwrap().as_str(), "m");
        let shallow = header(&[short(b"deep"), arrays(MAX_DEPTH)].concat(), b"m");
        let changed = passed(&shallow, 1).iter().zip(&shallow).filter(|(a, b)| a != b).count();
        assert_eq!(changed, 1, "only the content type's letter");
    }

    #[test]
    fn the_end_hands_on_what_is_no_frame() {
        for bytes in [&b"AMQP\0\0\x09\x01"[..], b"\x02\0\x01\0\0\x01\0half a frame", b"\x02"] {
            assert_eq!(passed(bytes, 3), bytes);
        }
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_give_the_same(piece in 1_usize..300, id in proptest::collection::vec(any::<u8>(), 0..255)) {
            let came = [deliver(b"jobs"), header(b"", &id), body(), deliver(&id), header(b"", b"x"), body()].concat();
            let out = passed(&came, piece);
            prop_assert_eq!(&out, &passed(&came, came.len()));
            let mut rest = out.as_slice();
            for _ in 0..6 {
                rest = parse_frame(rest).unwrap().0;
            }
            prop_assert!(rest.is_empty());
            prop_assert_eq!(out.len(), came.len());
        }

        #[test]
        fn nothing_panics_and_no_byte_is_lost(bytes in proptest::collection::vec(any::<u8>(), 0..400), kind in 1_u8..4) {
            for came in [bytes.clone(), frame(kind, &bytes), header(&bytes, b"m")] {
                prop_assert_eq!(passed(&came, 7).len(), came.len());
            }
        }

        #[test]
        fn legible_bytes_stay_as_they_are(id in "\\PC{0,60}", name in "\\PC{0,60}") {
            let table = [short(name.as_bytes()), b"x".to_vec(), long(b"\xff")].concat();
            let came = deliver(id.as_bytes());
            prop_assert_eq!(passed(&came, 10), came);
            let came = header(&table, id.as_bytes());
            let differ = passed(&came, 10).iter().zip(&came).filter(|(a, b)| a != b).count();
            prop_assert_eq!(differ, 1, "only the content type's letter");
        }
    }
}
