//! The ids of the messages of one run: each its own, so that equal rows have outcomes that can be told apart; and the
//! line that a message came from can be read from its outcome.

/// One run of the command.
#[derive(Clone, Debug)]
pub struct Run(String);

impl Run {
    pub fn new() -> Self {
        Self(format!("{:032x}", fastrand::u128(..)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Of the job in this line.
    pub fn message_id(&self, line: u64) -> String {
        format!("{}-{line}", self.0)
    }

    /// The line whose job's outcome has this correlation id; `None` for those of others.
    pub fn line_of(&self, correlation_id: &str) -> Option<u64> {
        origin(correlation_id).filter(|(run, _)| *run == self.as_str()).map(|(_, line)| line)
    }
}

/// The run and the line that a job came from whose outcome has this correlation id; `None` where it is none of `enqueue`.
pub fn origin(correlation_id: &str) -> Option<(&str, u64)> {
    let (run, line) = correlation_id.split_once('-')?;
    let is_run = run.len() == 32 && run.bytes().all(|byte| byte.is_ascii_hexdigit());
    Some((run, line.parse().ok().filter(|_| is_run)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_known_by_its_message_id_and_others_are_not() {
        let (run, other) = (Run::new(), Run::new());
        assert_eq!(run.line_of(&run.message_id(42)), Some(42));
        assert_eq!(run.message_id(u64::MAX).len(), 32 + 1 + 20);
        for foreign in [other.message_id(42), "42".to_owned(), String::new(), format!("{}-x", run.as_str())] {
            assert_eq!(run.line_of(&foreign), None);
        }
    }
}
