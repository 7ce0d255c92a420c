//! Texts from outside are cut before they go on: every text on the wire has a limit in bytes.

/// Longest `message` of an error, in bytes.
pub const MESSAGE_MAX_BYTES: usize = 500;

/// Longest of all other texts that are echoed, in bytes.
pub const TEXT_MAX_BYTES: usize = 128;

/// The first `max_bytes`, or a little less where a character would be cut in two.
pub fn cut(text: &str, max_bytes: usize) -> &str {
    let mut end = text.len().min(max_bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// What stands behind the byte order mark that some programs write at the start of a text in UTF-8.
pub fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}
