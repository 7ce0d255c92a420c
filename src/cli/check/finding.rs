//! One line of what was checked.

/// In the order of how much it matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rating {
    Right,
    /// It works, but not as well or not for as long as it could.
    Warning,
    Wrong,
    NotVerified,
}

impl Rating {
    pub const ALL: [Self; 4] = [Self::Wrong, Self::Warning, Self::NotVerified, Self::Right];

    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Warning => "warning",
            Self::Wrong => "wrong",
            Self::NotVerified => "not verified",
        }
    }

    /// For scripts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Warning => "warning",
            Self::Wrong => "wrong",
            Self::NotVerified => "not_verified",
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    pub verdict: Rating,
    /// `broker`, `queue association-archiver.jobs`, `account 4711`.
    pub subject: String,
    /// What was found, without secrets.
    pub detail: String,
    /// What to do about it; `None` only where all is right.
    pub mend: Option<String>,
}

impl Finding {
    pub fn right(subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { verdict: Rating::Right, subject: subject.into(), detail: detail.into(), mend: None }
    }

    pub fn warning(subject: impl Into<String>, detail: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::with(Rating::Warning, subject, detail, mend)
    }

    pub fn wrong(subject: impl Into<String>, detail: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::with(Rating::Wrong, subject, detail, mend)
    }

    pub fn not_verified(subject: impl Into<String>, detail: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::with(Rating::NotVerified, subject, detail, mend)
    }

    fn with(verdict: Rating, subject: impl Into<String>, detail: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { verdict, subject: subject.into(), detail: detail.into(), mend: Some(mend.into()) }
    }
}
