//! Whether an account may send at all, where several workers share its quota.

use super::clock::Now;
use crate::lease::reach::Reach;

/// Who else may be sending.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tenancy {
    /// Nobody is asked: the quota is not shared, or each worker has its own.
    Alone,
    /// Another worker, so this one does not.
    StandingBy,
    /// Nobody, until then.
    Until(Reach),
}

impl Tenancy {
    pub fn may_send(self, now: Now) -> bool {
        match self {
            Self::Alone => true,
            Self::StandingBy => false,
            Self::Until(reach) => reach.covers(now),
        }
    }
}
