//! Lines of text from a file in UTF-8 or UTF-16, whatever spreadsheet or shell has written it.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

use crate::worker::lines::next_line;

/// Reads lines as UTF-8, one at a time. A byte order mark at the start of a line is left out: files that were joined
/// have one in the middle.
#[derive(Debug)]
pub struct TextLines<R> {
    input: R,
    encoding: Option<Encoding>,
    /// Bytes of a line that are kept.
    limit: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Encoding {
    /// Perhaps: whether a line is UTF-8 is found out by whoever reads it.
    Utf8,
    /// `first`: the unit behind the mark, which was read to tell it from UTF-32.
    Utf16 { order: ByteOrder, first: Option<u16> },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ByteOrder {
    Little,
    Big,
}

/// Why a file cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum TextFault {
    #[error(transparent)]
    Read(#[from] io::Error),
    /// Names the encoding and what to do, as one line.
    #[error("{0}")]
    Encoding(String),
}

const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";

/// What people give for a CSV, by its first bytes, and how to get one from it.
const NO_TEXTS: [(&[u8], &str); 4] = [
    (
        b"PK\x03\x04",
        "is a workbook (.xlsx, .ods) or another zip file, not a CSV: in the spreadsheet choose Save as (or Download), and \
         there CSV UTF-8 (comma separated), one sheet a file",
    ),
    (
        b"\xd0\xcf\x11\xe0",
        "is a workbook (.xls), not a CSV: in the spreadsheet choose Save as, and there CSV UTF-8 (comma separated), one sheet \
         a file",
    ),
    (b"\x1f\x8b", "is compressed: unpack it first, as with gunzip"),
    (b"%PDF", "is a PDF, not a CSV: export the table that it was made from as CSV UTF-8"),
];

/// Why a file that begins so has no lines to read.
fn no_text(first: &[u8]) -> Option<&'static str> {
    NO_TEXTS.iter().find(|(start, _)| first.starts_with(start)).map(|(_, what)| *what)
}

impl<R: AsyncBufRead + Unpin> TextLines<R> {
    pub fn new(input: R, limit: usize) -> Self {
        Self { input, encoding: None, limit }
    }

    /// Reads one line into `line`; of a longer one than the limit at least one byte more than the limit is kept, so that
    /// it is known to be cut. `false` at the end.
    pub async fn next(&mut self, line: &mut Vec<u8>) -> Result<bool, TextFault> {
        line.clear();
        let is_first = self.encoding.is_none();
        let encoding = match self.encoding {
            Some(encoding) => encoding,
            None => self.recognise().await?,
        };
        let more = match encoding {
            Encoding::Utf8 => {
                self.encoding = Some(encoding);
                next_line(&mut self.input, line, self.limit).await?
            }
            Encoding::Utf16 { order, first } => {
                self.encoding = Some(Encoding::Utf16 { order, first: None });
                self.next_utf16(line, order, first).await?
            }
        };
        if is_first && let Some(what) = no_text(line) {
            return Err(TextFault::Encoding(what.to_owned()));
        }
        if line.starts_with(UTF8_MARK) {
            line.drain(..UTF8_MARK.len());
        }
        if is_first && encoding == Encoding::Utf8 && line.contains(&0) {
            return Err(TextFault::Encoding(
                "has zero bytes, as UTF-16 without a byte order mark or UTF-32 has: save it as UTF-8".to_owned(),
            ));
        }
        Ok(more)
    }

    /// Looks at the first bytes; no more of them than needed, since a terminal may not give more for now.
    async fn recognise(&mut self) -> Result<Encoding, TextFault> {
        if !matches!(self.input.fill_buf().await?.first(), Some(0 | 0xfe | 0xff)) {
            return Ok(Encoding::Utf8);
        }
        let mut head = Vec::with_capacity(4);
        (&mut self.input).take(4).read_to_end(&mut head).await?;
        let utf16 = |order: ByteOrder, rest: &[u8]| match *rest {
            [] => Ok(Encoding::Utf16 { order, first: None }),
            [a, b] => Ok(Encoding::Utf16 { order, first: Some(order.unit([a, b])) }),
            _ => Err(cut_in_two()),
        };
        match head.as_slice() {
            [0xff, 0xfe, 0, 0] | [0, 0, 0xfe, 0xff] => {
                Err(TextFault::Encoding("is UTF-32, which is not read: save it as UTF-8".to_owned()))
            }
            [0xff, 0xfe, rest @ ..] => utf16(ByteOrder::Little, rest),
            [0xfe, 0xff, rest @ ..] => utf16(ByteOrder::Big, rest),
            other => {
                let bytes: Vec<String> = other.iter().map(|byte| format!("{byte:02X}")).collect();
                let bytes = bytes.join(" ");
                Err(TextFault::Encoding(format!("begins with the bytes {bytes}, which is no text: save it as UTF-8")))
            }
        }
    }

    async fn next_utf16(
        &mut self,
        line: &mut Vec<u8>,
        order: ByteOrder,
        first: Option<u16>,
    ) -> Result<bool, TextFault> {
        let mut next = first;
        let mut any = false;
        loop {
            let unit = match next.take() {
                Some(unit) => unit,
                None => match self.unit(order).await? {
                    Some(unit) => unit,
                    None => return Ok(any),
                },
            };
            any = true;
            if unit == u16::from(b'\n') {
                return Ok(true);
            }
            let lone = || TextFault::Encoding("is no valid UTF-16: half of a surrogate pair stands alone".to_owned());
            let mut units = [unit, 0];
            let is_pair = (0xd800..0xdc00).contains(&unit);
            if is_pair {
                units[1] = self.unit(order).await?.ok_or_else(lone)?;
            }
            for decoded in char::decode_utf16(units.into_iter().take(1 + usize::from(is_pair))) {
                let character = decoded.map_err(|_| lone())?;
                if line.len() <= self.limit {
                    line.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
        }
    }

    async fn unit(&mut self, order: ByteOrder) -> Result<Option<u16>, TextFault> {
        let mut bytes = [0; 2];
        let mut filled = 0;
        while filled < 2 {
            match self.input.read(&mut bytes[filled..]).await? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(cut_in_two()),
                read => filled += read,
            }
        }
        Ok(Some(order.unit(bytes)))
    }
}

impl ByteOrder {
    fn unit(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        }
    }
}

fn cut_in_two() -> TextFault {
    TextFault::Encoding("is UTF-16 that ends in the middle of a character: it was cut off".to_owned())
}

/// The line as text; the error names the first byte that is none, and the encoding it is likely of.
pub fn utf8(line: &[u8]) -> Result<&str, String> {
    str::from_utf8(line).map_err(|fault| {
        let at = fault.valid_up_to();
        let encoding = match line.get(at..) {
            Some([0xff, 0xfe, ..] | [0xfe, 0xff, ..]) => "UTF-16, to which this file was joined",
            _ => "Latin-1 or Windows-1252",
        };
        let byte = line.get(at).copied().unwrap_or_default();
        format!("is not UTF-8: byte {byte:02X} in place {}, probably of {encoding}; save the file as UTF-8", at + 1)
    })
}

/// The first character that nobody sees, with what stands before it.
pub fn invisible(text: &str) -> Option<String> {
    let (at, character) = text.char_indices().find(|(_, character)| is_invisible(*character))?;
    let before: String = text[..at].chars().rev().take(20).collect::<Vec<_>>().into_iter().rev().collect();
    let place = if before.is_empty() { "at its start".to_owned() } else { format!("after {before:?}") };
    Some(format!("has an invisible character, U+{:04X}, {place}; remove it", u32::from(character)))
}

/// Control and format characters, and spaces other than the usual one.
fn is_invisible(character: char) -> bool {
    let format_characters = ['\u{ad}', '\u{61c}', '\u{180e}', '\u{feff}', '\u{3164}', '\u{115f}', '\u{1160}'];
    character.is_control()
        || (character.is_whitespace() && character != ' ')
        || ('\u{200b}'..='\u{200f}').contains(&character)
        || ('\u{202a}'..='\u{202e}').contains(&character)
        || ('\u{2060}'..='\u{206f}').contains(&character)
        || format_characters.contains(&character)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use super::*;

    const LIMIT: usize = 20;

    async fn read(bytes: &[u8]) -> Result<Vec<String>, TextFault> {
        let mut lines = TextLines::new(bytes, LIMIT);
        let (mut line, mut read) = (Vec::new(), Vec::new());
        while lines.next(&mut line).await? {
            read.push(String::from_utf8_lossy(&line).into_owned());
        }
        Ok(read)
    }

    fn utf16(text: &str, order: ByteOrder) -> Vec<u8> {
        let bytes = |unit: u16| match order {
            ByteOrder::Little => unit.to_le_bytes(),
            ByteOrder::Big => unit.to_be_bytes(),
        };
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[tokio::test]
    async fn both_orders_of_utf16_and_utf8_read_alike() {
        let text = "\u{feff}aé\u{1f4a9}\r\n\n\u{feff}joined\nend";
        let expected = ["aé\u{1f4a9}\r", "", "joined", "end"];
        assert_eq!(read(text.as_bytes()).await.unwrap(), expected);
        assert_eq!(read(&utf16(text, ByteOrder::Little)).await.unwrap(), expected);
        assert_eq!(read(&utf16(text, ByteOrder::Big)).await.unwrap(), expected);
        for empty in ["", "\u{feff}"] {
            assert!(read(&utf16(empty, ByteOrder::Little)).await.unwrap().is_empty());
        }
    }

    #[tokio::test]
    async fn a_long_line_of_utf16_is_cut_as_one_of_utf8() {
        let text = format!("\u{feff}{}\nnext", "x".repeat(100));
        let read = read(&utf16(&text, ByteOrder::Big)).await.unwrap();
        assert_eq!(read, ["x".repeat(LIMIT + 1), "next".to_owned()]);
    }

    #[tokio::test]
    async fn what_cannot_be_read_names_its_encoding() {
        for (bytes, named) in [
            (&b"\xff\xfe\0\0a\0\0\0"[..], "UTF-32"),
            (b"\0\0\xfe\xff\0\0\0a", "UTF-32"),
            (b"a\0b\0\n\0", "UTF-16 without a byte order mark"),
            (b"\xff\xfea\0b", "cut off"),
            (b"\xff\xfea", "cut off"),
            (b"\xff\xfe\x00\xd8a\0", "surrogate"),
            (b"\xff\xd8\xff\xe0", "FF D8 FF E0, which is no text"),
            (b"PK\x03\x04\x14\0\x06\0", "is a workbook (.xlsx, .ods)"),
            (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0", "is a workbook (.xls)"),
            (b"\x1f\x8b\x08\0\n", "is compressed"),
            (b"%PDF-1.7\n", "is a PDF"),
        ] {
            let fault = read(bytes).await.unwrap_err().to_string();
            assert!(fault.contains(named), "{fault}");
        }
        assert!(utf8(b"caf\xe9").unwrap_err().contains("byte E9 in place 4, probably of Latin-1"));
        assert!(utf8(b"a\xff\xfeb\0").unwrap_err().contains("UTF-16"));
    }

    #[test]
    fn an_invisible_character_is_named_and_placed() {
        assert_eq!(invisible("10\u{200b}1").unwrap(), "has an invisible character, U+200B, after \"10\"; remove it");
        assert!(invisible("\u{a0}1").unwrap().contains("U+00A0, at its start"));
        assert_eq!(invisible("plain text, é"), None);
    }
}
