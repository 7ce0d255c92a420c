//! What may be ordered of the chosen row, and what is asked before it is.

use super::status::{Account, Guard};

/// An order to the service, as it was shown to whoever gives it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Order {
    pub verb: Verb,
    pub target: Target,
}

/// An account, or a lane of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// `portal 4711, contacts → companies`
    pub subject: String,
    /// `/accounts/4711/lanes/contacts/companies`
    pub path: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    Pause,
    Resume,
    Approve,
    Reject,
}

impl Order {
    pub fn path(&self) -> String {
        format!("{}/{}", self.target.path, self.verb.as_str())
    }

    /// The consequence comes after the answer that is waited for, so that a narrow screen cuts the consequence.
    pub fn question(&self) -> String {
        let consequence = match self.verb {
            Verb::Pause => "Its jobs wait in the broker until it is resumed.",
            Verb::Resume => "What stands for a reason of its own is tried at once.",
            Verb::Approve => "Everything passes its guard for one window; then pairs are counted anew.",
            Verb::Reject => "All its removals end with GUARD_REJECTED until it is approved.",
        };
        format!("{} {}? y/n  {consequence}", self.verb.as_title(), self.target.subject)
    }

    /// Once the service has carried it out, with what it notes.
    pub fn done(&self, note: Option<&str>) -> String {
        let subject = &self.target.subject;
        match self.verb {
            Verb::Pause => format!("{subject} is paused until it is resumed"),
            Verb::Resume => format!("{subject}: {}", note.unwrap_or("the order to resume it is carried out")),
            Verb::Approve => format!("{subject} is approved: everything passes its guard for one window"),
            Verb::Reject => format!("{subject} is rejected: its removals end with GUARD_REJECTED until it is approved"),
        }
    }

    /// Once a worker that stands by has passed it on.
    pub fn handed_on(&self) -> String {
        let Self { verb, target } = self;
        format!("{}: the order to {} goes on to the worker that holds the lease", target.subject, verb.as_str())
    }
}

impl Verb {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Approve => "approve",
            Self::Reject => "reject",
        }
    }

    fn as_title(self) -> &'static str {
        match self {
            Self::Pause => "Pause",
            Self::Resume => "Resume",
            Self::Approve => "Approve",
            Self::Reject => "Reject",
        }
    }

    /// Whether it answers a guard.
    pub fn is_answer(self) -> bool {
        match self {
            Self::Approve | Self::Reject => true,
            Self::Pause | Self::Resume => false,
        }
    }

    pub fn key(self) -> char {
        match self {
            Self::Pause | Self::Resume => 'p',
            Self::Approve => 'a',
            Self::Reject => 'r',
        }
    }
}

impl Target {
    pub fn account(index: u64, portal_id: Option<u64>) -> Self {
        let account = portal_id.unwrap_or(index);
        Self { subject: account_name(index, portal_id), path: format!("/accounts/{account}") }
    }

    pub fn lane(index: u64, portal_id: Option<u64>, (from, to): (&str, &str)) -> Self {
        let Self { subject, path } = Self::account(index, portal_id);
        Self { subject: format!("{subject}, {from} → {to}"), path: format!("{path}/lanes/{from}/{to}") }
    }

    /// `kind`: the reason for which it stands. Whatever stands for a reason of its own is tried at once by a resumption,
    /// but a guard waits for its own two answers.
    pub fn orders(self, kind: Option<&str>) -> Vec<Order> {
        let verbs: &[Verb] = match kind {
            None => &[Verb::Pause],
            Some("guard") => &[Verb::Approve, Verb::Reject],
            Some(_) => &[Verb::Resume],
        };
        verbs.iter().map(|verb| Order { verb: *verb, target: self.clone() }).collect()
    }
}

/// What may be ordered of an account. An account that was rejected does not stand still, and yet wants an approval.
pub fn orders_of(account: &Account) -> Vec<Order> {
    let target = Target::account(account.index, account.portal_id);
    let stopped = account.guard.as_ref().filter(|guard| guard.is_stopped());
    let kind = account.own_pause().map(|pause| pause.kind.as_str()).filter(|kind| *kind != "guard");
    let mut orders = target.clone().orders(kind);
    let answers: &[Verb] = match stopped {
        Some(Guard { state, .. }) if state == "waiting" => &[Verb::Approve, Verb::Reject],
        Some(_) => &[Verb::Approve],
        None => &[],
    };
    orders.extend(answers.iter().map(|verb| Order { verb: *verb, target: target.clone() }));
    orders
}

pub fn account_name(index: u64, portal_id: Option<u64>) -> String {
    portal_id.map_or_else(|| format!("account {index}"), |portal| format!("portal {portal}"))
}
