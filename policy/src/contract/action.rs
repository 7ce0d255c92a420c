//! What a job wants to be done with its pairs.

/// `action` of a job and of its outcome.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum Action {
    /// The associations, or some labels of them, are removed.
    #[default]
    Archive,
    /// The associations are created again. The types that a pair already has are kept.
    Restore {
        /// A Primary label is restored even where another record is primary by now.
        include_primary: bool,
    },
}

impl Action {
    /// The action that this word on the wire names.
    pub fn of_word(word: &str) -> Option<Self> {
        [Self::Archive, Self::Restore { include_primary: false }].into_iter().find(|action| action.as_str() == word)
    }

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Archive => "archive",
            Self::Restore { .. } => "restore",
        }
    }
}
