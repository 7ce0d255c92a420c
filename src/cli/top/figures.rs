//! Numbers, spans of time and bars as they are read at a glance.

use ratatui::text::Span;

use crate::contract::grouped::Grouped;
pub use crate::telemetry::duration_words::span;
use crate::telemetry::duration_words::whole;

pub fn count(number: u64) -> String {
    Grouped(number).to_string()
}

/// `1 job`, `2,455 jobs`: `one` is the word for one.
pub fn of(number: u64, one: &str) -> String {
    format!("{} {one}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A dash where nobody can say.
pub fn count_or_dash(number: Option<u64>) -> String {
    number.map_or_else(|| "–".to_owned(), count)
}

/// What is told may end in a full stop or not.
pub fn sentence(words: &str) -> String {
    if words.ends_with(['.', '!', '?', '…']) { words.to_owned() } else { format!("{words}.") }
}

/// `2,455/s`, and `0.4/s` where there is little.
pub fn rate(per_second: f64) -> String {
    if per_second > 0.0 && per_second < 10.0 {
        return format!("{per_second:.1}/s");
    }
    format!("{}/s", count(whole(per_second)))
}

pub fn span_or_dash(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "–".to_owned(), span)
}

/// `████░░░░░░`: the two shades differ without a colour.
pub fn bar(used: u64, of: u64, width: usize) -> String {
    let full = match (used, of) {
        (0, _) | (_, 0) => 0,
        // What is used at all is seen, and what is left at all too.
        _ if used >= of => width,
        _ => (width * share(used, of) / 1_000).clamp(1, width.saturating_sub(1).max(1)),
    };
    format!("{}{}", "█".repeat(full), "░".repeat(width - full))
}

/// A share in thousandths.
fn share(used: u64, of: u64) -> usize {
    usize::try_from(u128::from(used) * 1_000 / u128::from(of.max(1))).unwrap_or(usize::MAX)
}

/// How many of `width` cells each part gets: in proportion, and one at least for whatever is there at all.
pub fn cells(parts: &[u64], width: usize) -> Vec<usize> {
    let all: u128 = parts.iter().copied().map(u128::from).sum();
    let cell = |part: u64| match part {
        0 => 0,
        _ => usize::try_from(u128::from(part) * width as u128 / all).unwrap_or(width).max(1),
    };
    let mut cells: Vec<usize> = parts.iter().copied().map(cell).collect();
    // What rounding left over, or took too much, is the largest part's.
    while let Some(largest) = (0..cells.len()).max_by_key(|place| (cells[*place], parts[*place])) {
        let sum: usize = cells.iter().sum();
        if all == 0 || sum == width || (sum > width && cells[largest] == 0) {
            break;
        }
        cells[largest] = if sum < width { cells[largest] + width - sum } else { cells[largest] - 1 };
    }
    cells
}

/// As many values as fit, each the mean of as many neighbours as needed; the latest stays whole at the end.
pub fn squeezed(values: &[u64], width: usize) -> Vec<u64> {
    let together = values.len().div_ceil(width.max(1)).max(1);
    let mut squeezed: Vec<u64> =
        values.rchunks(together).map(|chunk| chunk.iter().sum::<u64>() / chunk.len().max(1) as u64).collect();
    squeezed.reverse();
    squeezed
}

/// Lines of at most `width` cells, broken between words, and within a word that is longer than a line.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_whitespace() {
        let long = cells_of(word);
        if used > 0 && used + 1 + long > width {
            lines.push(String::new());
            used = 0;
        }
        if used > 0 {
            push(&mut lines, ' ');
            used += 1;
        }
        for letter in word.chars() {
            let wide = cells_of(letter.encode_utf8(&mut [0; 4]));
            if used + wide > width && used > 0 {
                lines.push(String::new());
                used = 0;
            }
            push(&mut lines, letter);
            used += wide;
        }
    }
    lines
}

fn push(lines: &mut [String], letter: char) {
    if let Some(line) = lines.last_mut() {
        line.push(letter);
    }
}

pub fn cells_of(text: &str) -> usize {
    Span::raw(text).width()
}

/// At most `width` cells; what is cut ends with an ellipsis.
pub fn cut(text: &str, width: usize) -> String {
    if cells_of(text) <= width {
        return text.to_owned();
    }
    let mut cut = String::new();
    for letter in text.chars() {
        if cells_of(&cut) + cells_of(letter.encode_utf8(&mut [0; 4])) + 1 > width {
            break;
        }
        cut.push(letter);
    }
    if width > 0 {
        cut.push('…');
    }
    cut
}

/// Cut, or filled with spaces, to just `width` cells.
pub fn fitted(text: &str, width: usize) -> String {
    let text = cut(text, width);
    let missing = width.saturating_sub(cells_of(&text));
    format!("{text}{}", " ".repeat(missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_short_and_one_is_no_more_than_one() {
        assert_eq!((of(1, "message"), of(1_300, "message")), ("1 message".to_owned(), "1,300 messages".to_owned()));
        for (per_second, told) in [(0.0, "0/s"), (0.42, "0.4/s"), (2_455.2, "2,455/s")] {
            assert_eq!(rate(per_second), told);
        }
    }

    #[test]
    fn a_bar_shows_what_little_is_used_or_left() {
        for (used, of, drawn) in [
            (0, 100, "░░░░"),
            (1, 100, "█░░░"),
            (50, 100, "██░░"),
            (99, 100, "███░"),
            (100, 100, "████"),
            (5, 0, "░░░░"),
        ] {
            assert_eq!(bar(used, of, 4), drawn, "{used} of {of}");
        }
        assert_eq!(bar(u64::MAX, u64::MAX, 3), "███");
    }

    #[test]
    fn cells_are_shared_out_and_nothing_that_is_there_has_none() {
        for (parts, width) in [
            (vec![1, 1, 1_000_000], 10),
            (vec![0, 0], 10),
            (vec![3, 3, 3], 10),
            (vec![u64::MAX, u64::MAX, 1], 80),
            (vec![1; 7], 7),
            (vec![1; 7], 3),
        ] {
            let cells = cells(&parts, width);
            let sum: usize = cells.iter().sum();
            assert_eq!(sum, if parts.iter().all(|part| *part == 0) { 0 } else { width }, "{parts:?}: {cells:?}");
            if width >= parts.len() {
                assert!(
                    parts.iter().zip(&cells).all(|(part, cell)| (*part > 0) == (*cell > 0)),
                    "{parts:?}: {cells:?}"
                );
            }
        }
    }

    #[test]
    fn a_sentence_has_one_full_stop() {
        for (words, told) in [("not valid", "not valid."), ("not valid.", "not valid."), ("why?", "why?"), ("", ".")] {
            assert_eq!(sentence(words), told);
        }
    }

    #[test]
    fn text_is_broken_between_words_and_cut_where_it_must() {
        assert_eq!(wrapped("give the app the scope", 9), ["give the", "app the", "scope"]);
        assert_eq!(wrapped("an id of 0123456789", 6), ["an id", "of", "012345", "6789"]);
        assert_eq!(wrapped("日本語 日本", 5), ["日本", "語", "日本"]);
        assert_eq!(wrapped("", 5), [""]);
        assert_eq!(
            (cut("contacts", 5), fitted("a", 3), cut("ab", 0)),
            ("cont…".to_owned(), "a  ".to_owned(), String::new())
        );
        assert_eq!(squeezed(&[1, 1, 5, 7, 8], 3), [1, 3, 7]);
    }
}
