//! The fields of one row of CSV, and what stands between them.

/// What separates the fields of a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Separator {
    Comma,
    Semicolon,
    Tab,
}

impl Separator {
    const ALL: [Self; 3] = [Self::Comma, Self::Semicolon, Self::Tab];

    fn byte(self) -> u8 {
        match self {
            Self::Comma => b',',
            Self::Semicolon => b';',
            Self::Tab => b'\t',
        }
    }

    /// What a line `sep=;` says, as spreadsheets write it above the header. `None`: it is no such line.
    pub fn declared(line: &str) -> Option<Result<Self, String>> {
        // A spreadsheet that saves such a file again fills the line up with separators.
        let said = line.get(..4).filter(|start| start.eq_ignore_ascii_case("sep=")).and(line.get(4..))?;
        let separator =
            said.chars().next().map(|first| Self::ALL.into_iter().find(|known| char::from(known.byte()) == first));
        Some(match separator {
            Some(Some(separator)) => Ok(separator),
            Some(None) => {
                Err(format!("the separator {:?} is not read: save the file with commas, semicolons or tabs", said))
            }
            // A tab at the end of the line may have been taken for white space.
            None => Ok(Self::Tab),
        })
    }

    /// The one that stands most often between the names of a header.
    pub fn of_header(line: &str) -> Self {
        let unquoted: String = line.split('"').step_by(2).collect();
        let count = |separator: &Self| unquoted.bytes().filter(|byte| *byte == separator.byte()).count();
        // Of equals the last is taken, and nearly all are commas.
        Self::ALL.into_iter().rev().max_by_key(count).unwrap_or(Self::Comma)
    }
}

/// Whether a quote is open at the end, so that the row goes on in the next line.
pub fn is_open(row: &str) -> bool {
    row.bytes().filter(|&byte| byte == b'"').count() % 2 == 1
}

/// The fields of one row, without the white space around them.
pub fn fields(row: &str, separator: Separator) -> Result<Vec<String>, String> {
    // The reader would take one outside of quotes for the end of the row and pass over all that follows.
    if row.contains('\r') && !row.contains('\n') {
        return Err("has a carriage return inside: save the file with line feeds between its rows".to_owned());
    }
    if is_open(row) {
        return Err("has a quote that is not closed".to_owned());
    }
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .delimiter(separator.byte())
        .flexible(true)
        .trim(csv::Trim::All)
        .buffer_capacity(row.len().clamp(64, 64 * 1024))
        .from_reader(row.as_bytes());
    let mut records = reader.records();
    let first = records.next();
    if records.next().is_some() {
        return Err(
            "has a quote in the middle of a field: put the field into quotes and double those inside".to_owned()
        );
    }
    match first {
        Some(Ok(record)) => Ok(record.iter().map(str::to_owned).collect()),
        Some(Err(error)) => Err(format!("is no CSV: {error}")),
        None => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_separator_is_declared_or_seen() {
        for (line, separator) in
            [("sep=;", Separator::Semicolon), ("SEP=,,,", Separator::Comma), ("sep=\t", Separator::Tab)]
        {
            assert_eq!(Separator::declared(line).unwrap().unwrap(), separator);
        }
        assert!(Separator::declared("sep=|").unwrap().unwrap_err().contains("\"|\" is not read"));
        assert!(Separator::declared("separator,x").is_none() && Separator::declared("é").is_none());
        for (header, separator) in [
            ("a,b;c,d", Separator::Comma),
            ("a;b;\"c,d,e,f\"", Separator::Semicolon),
            ("a\tb\tc", Separator::Tab),
            ("a", Separator::Comma),
        ] {
            assert_eq!(Separator::of_header(header), separator, "{header}");
        }
    }

    #[test]
    fn quotes_hold_separators_quotes_and_line_breaks() {
        assert_eq!(fields(" a ,\"b,c\",d", Separator::Comma).unwrap(), ["a", "b,c", "d"]);
        assert_eq!(fields("1;\"x;\"\"y\"\"\n z\";2", Separator::Semicolon).unwrap(), ["1", "x;\"y\"\n z", "2"]);
        assert!(fields("a,\"b", Separator::Comma).unwrap_err().contains("not closed"));
        // Two stray quotes must not join two rows.
        assert!(fields("1,5\" tap,2\n3,6\" tap,4", Separator::Comma).unwrap_err().contains("in the middle"));
        assert!(fields("a\rb", Separator::Comma).unwrap_err().contains("carriage return"));
    }
}
