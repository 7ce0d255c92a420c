//! Changes to an input, chosen byte by byte from the entropy of the engine, so that it can shrink them.

/// Most changes to one input.
const MOST_CHANGES: usize = 6;
/// Longest input that comes of it, in bytes.
const MOST_BYTES: usize = 16 * 1024;

pub struct Mutation<'a> {
    pub entropy: &'a [u8],
    pub tokens: &'a [Vec<u8>],
}

impl Mutation<'_> {
    /// A number below `end`; 0 when the entropy is used up.
    pub fn below(&mut self, end: usize) -> usize {
        let number = usize::from(self.byte()) << 8 | usize::from(self.byte());
        number % end.max(1)
    }

    /// Changes `bytes`; `other` is what may be spliced in. Without entropy nothing changes.
    pub fn inflict(mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        for _ in 0..=self.below(MOST_CHANGES) {
            if self.entropy.is_empty() || bytes.is_empty() {
                return;
            }
            self.change(bytes, other);
            bytes.truncate(MOST_BYTES);
        }
    }

    fn change(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        let kind = self.byte() % 12;
        let at = self.below(bytes.len());
        match kind {
            0 => bytes[at] ^= 1 << (self.byte() % 8),
            1 => bytes[at] = self.byte(),
            2 => bytes.truncate(at),
            3 => {
                let end = self.end(at, bytes.len());
                bytes.drain(at..end);
            }
            4 => {
                let end = self.end(at, bytes.len());
                let copy = bytes[at..end].repeat(1 + self.below(4));
                bytes.splice(end..end, copy);
            }
            5 => {
                let from = self.below(other.len());
                let to = self.end(from, other.len());
                bytes.splice(at..at, other[from..to].iter().copied());
            }
            6 => {
                let depth = [3, 127, 128, 300][self.below(4)];
                let bracket = if self.byte().is_multiple_of(2) { b"[".as_slice() } else { b"{\"a\":".as_slice() };
                bytes.splice(at..at, bracket.repeat(depth));
            }
            7 => {
                let word = self.token();
                bytes.splice(at..at, word);
            }
            8..=10 => self.replace_value(bytes, at),
            _ => self.repeat_line(bytes, at),
        }
    }

    /// Puts a word in the place of the number or the text that stands at `at` or follows it.
    fn replace_value(&mut self, bytes: &mut Vec<u8>, at: usize) {
        let is_value = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.".contains(byte);
        let Some(start) = bytes[at..].iter().position(is_value).map(|offset| at + offset) else { return };
        let end = bytes[start..].iter().position(|byte| !is_value(byte)).map_or(bytes.len(), |offset| start + offset);
        let word = self.token();
        bytes.splice(start..end, word);
    }

    fn repeat_line(&mut self, bytes: &mut Vec<u8>, at: usize) {
        let start = bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |before| before + 1);
        let end = bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |offset| at + offset + 1);
        let line = bytes[start..end].to_vec();
        bytes.splice(end..end, line);
    }

    /// Where a stretch from `start` ends: most are short.
    fn end(&mut self, start: usize, most: usize) -> usize {
        let length = match self.byte() {
            short @ 0..200 => usize::from(short % 16) + 1,
            _ => self.below(most),
        };
        (start + length).min(most)
    }

    fn token(&mut self) -> Vec<u8> {
        self.tokens[self.below(self.tokens.len())].clone()
    }

    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.entropy.split_first() else { return 0 };
        self.entropy = rest;
        first
    }
}
