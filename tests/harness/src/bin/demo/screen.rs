//! What may be done to the output: redrawing on a terminal, colours unless they are not wanted.

use std::env;
use std::io::IsTerminal;

#[derive(Clone, Copy, Debug)]
pub struct Screen {
    terminal: bool,
    colours: bool,
}

impl Screen {
    /// As stdout and the environment are: `NO_COLOR` (any value but the empty one) and `TERM=dumb` are minded.
    pub fn of_stdout() -> Self {
        let dumb = env::var_os("TERM").is_none_or(|term| term == "dumb");
        let terminal = std::io::stdout().is_terminal() && !dumb;
        let unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { terminal, colours: terminal && !unwanted }
    }

    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    pub fn strong(&self, text: &str) -> String {
        self.painted(text, "1")
    }

    pub fn faint(&self, text: &str) -> String {
        self.painted(text, "2")
    }

    pub fn good(&self, text: &str) -> String {
        self.painted(text, "32")
    }

    pub fn bad(&self, text: &str) -> String {
        self.painted(text, "31")
    }

    pub fn accent(&self, text: &str) -> String {
        self.painted(text, "36")
    }

    fn painted(&self, text: &str, code: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// 20000 as 20,000.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn thousands_are_parted() {
        assert_eq!([0, 999, 1_000, 20_000, 1_234_567].map(grouped), ["0", "999", "1,000", "20,000", "1,234,567"]);
    }
}
