//! Reads a small file whole.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The text of a file of at most `max_bytes`; a longer one is an error, and so is anything but UTF-8. A byte order mark
/// at its start, as editors on Windows put it there, is no part of the text.
pub(super) fn read(path: &Path, max_bytes: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    let read = File::open(path)?.take(max_bytes + 1).read_to_end(&mut bytes)?;
    if read as u64 > max_bytes {
        return Err(io::Error::other(format!("it is longer than {max_bytes} bytes")));
    }
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8 text"))
}
