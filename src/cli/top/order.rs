//! What may be ordered of the chosen row, and what is asked before it is.

use super::status::{Account, Guard};
use crate::lease::order::Instruction;

/// An order to the service, as it was shown to whoever gives it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Order {
    pub instruction: Instruction,
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

impl Order {
    pub fn path(&self) -> String {
        format!("{}/{}", self.target.path, self.instruction.as_str())
    }

    /// The key that gives it.
    pub fn key(&self) -> char {
        match self.instruction {
            Instruction::Pause | Instruction::Resume => 'p',
            Instruction::Approve => 'a',
            Instruction::Reject => 'r',
        }
    }

    pub fn answers_guard(&self) -> bool {
        match self.instruction {
            Instruction::Approve | Instruction::Reject => true,
            Instruction::Pause | Instruction::Resume => false,
        }
    }

    /// The consequence comes after the answer that is waited for, so that a narrow screen cuts the consequence.
    pub fn question(&self) -> String {
        let consequence = match self.instruction {
            Instruction::Pause => "Its jobs wait in the broker until it is resumed.",
            Instruction::Resume => "What stands for a reason of its own is tried at once.",
            Instruction::Approve => "Everything passes its guard for one window; then pairs are counted anew.",
            Instruction::Reject => "All its removals end with GUARD_REJECTED until it is approved.",
        };
        format!("{} {}? y/n  {consequence}", title(self.instruction), self.target.subject)
    }

    /// Once the service has carried it out, with what it notes.
    pub fn done(&self, note: Option<&str>) -> String {
        let subject = &self.target.subject;
        match self.instruction {
            Instruction::Pause => format!("{subject} is paused until it is resumed"),
            Instruction::Resume => format!("{subject}: {}", note.unwrap_or("the order to resume it is carried out")),
            Instruction::Approve => format!("{subject} is approved: everything passes its guard for one window"),
            Instruction::Reject => {
                format!("{subject} is rejected: its removals end with GUARD_REJECTED until it is approved")
            }
        }
    }

    /// Once a worker that stands by has passed it on.
    pub fn handed_on(&self) -> String {
        let Self { instruction, target } = self;
        format!("{}: the order to {} goes on to the worker that holds the lease", target.subject, instruction.as_str())
    }
}

fn title(instruction: Instruction) -> &'static str {
    match instruction {
        Instruction::Pause => "Pause",
        Instruction::Resume => "Resume",
        Instruction::Approve => "Approve",
        Instruction::Reject => "Reject",
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
        let instructions: &[Instruction] = match kind {
            None => &[Instruction::Pause],
            Some("guard") => &[Instruction::Approve, Instruction::Reject],
            Some(_) => &[Instruction::Resume],
        };
        instructions.iter().map(|instruction| Order { instruction: *instruction, target: self.clone() }).collect()
    }
}

/// What may be ordered of an account. An account that was rejected does not stand still, and yet wants an approval.
pub fn orders_of(account: &Account) -> Vec<Order> {
    let target = Target::account(account.index, account.portal_id);
    let stopped = account.guard.as_ref().filter(|guard| guard.is_stopped());
    let kind = account.own_pause().map(|pause| pause.kind.as_str()).filter(|kind| *kind != "guard");
    let mut orders = target.clone().orders(kind);
    let answers: &[Instruction] = match stopped {
        Some(Guard { state, .. }) if state == "waiting" => &[Instruction::Approve, Instruction::Reject],
        Some(_) => &[Instruction::Approve],
        None => &[],
    };
    orders.extend(answers.iter().map(|instruction| Order { instruction: *instruction, target: target.clone() }));
    orders
}

pub fn account_name(index: u64, portal_id: Option<u64>) -> String {
    portal_id.map_or_else(|| format!("account {index}"), |portal| format!("portal {portal}"))
}
