//! `batch/archive` and `batch/labels/archive`: what a request takes from an account's associations.

use serde_json::{Value, json};

use crate::account::Account;
use crate::association::Removed;
use crate::behaviour::{Behaviour, NotAssociated, Success};
use crate::object_type::Lane;
use crate::refusal::{About, BadMode, Complaint, Failure, Types};
use crate::reply::{Answer, Ending, Voice};
use crate::wire::Input;

/// `batch/archive`, and `batch/labels/archive` for inputs with labels.
pub(crate) fn archive(
    account: &mut Account,
    behaviour: &Behaviour,
    types: Types<'_>,
    inputs: &[Input],
    voice: Voice<'_>,
) -> Answer {
    let mut complaints = refused(account, inputs);
    if !complaints.is_empty() {
        match account.bad_records.mode {
            BadMode::PartialNamed | BadMode::PartialUnnamed => {}
            BadMode::RefusedNamed | BadMode::RefusedFirstNamed | BadMode::RefusedUnnamed => {
                return refused_whole(account, behaviour, types, &complaints, voice);
            }
        }
    }
    for input in inputs {
        archive_input(account, behaviour.not_associated, types.lane, input, &mut complaints);
    }
    if complaints.is_empty() {
        return match behaviour.success {
            Success::NoContent => Answer::empty(204),
            Success::Ok => voice.completed(200, "COMPLETE", &[]),
            Success::MultiStatus => voice.completed(207, "COMPLETE", &[]),
        };
    }
    complaints.sort_by_key(|complaint| (complaint.from, complaint.to));
    voice.completed(207, "COMPLETE", &account.bad_records.errors(&complaints, types, behaviour.context))
}

/// One complaint for each pair that names a bad record.
pub(crate) fn refused(account: &Account, inputs: &[Input]) -> Vec<Complaint> {
    if account.bad_records.ids.is_empty() {
        return Vec::new();
    }
    let pairs = inputs.iter().flat_map(|input| input.to.iter().map(|&to| (input.from, to)));
    pairs
        .filter(|&(from, to)| account.bad_records.refuses(from, to))
        .map(|(from, to)| Complaint { from, to, about: About::BadRecord })
        .collect()
}

pub(crate) fn refused_whole(
    account: &Account,
    behaviour: &Behaviour,
    types: Types<'_>,
    complaints: &[Complaint],
    voice: Voice<'_>,
) -> Answer {
    let bad = &account.bad_records;
    let mut more = json!({});
    let named = match bad.mode {
        BadMode::RefusedNamed => complaints,
        BadMode::RefusedFirstNamed => &complaints[..1],
        BadMode::RefusedUnnamed | BadMode::PartialNamed | BadMode::PartialUnnamed => &[],
    };
    if !named.is_empty() {
        more["errors"] = Value::Array(bad.errors(named, types, behaviour.context));
    }
    if let Some(sub_category) = &bad.sub_category {
        more["subCategory"] = json!(sub_category);
    }
    match bad.failure {
        Failure::Status(status) => {
            voice.error(status, Some(&bad.category), "The batch has inputs that are not valid.", more)
        }
        Failure::Garbage => Answer::json(200, "<html>"),
        Failure::Cut => Answer { ending: Ending::Cut { after_bytes: 10 }, ..voice.completed(200, "COMPLETE", &[]) },
        Failure::Reset => Answer::reset(),
    }
}

/// Archives the pairs of one input that are not refused.
fn archive_input(
    account: &mut Account,
    not_associated: NotAssociated,
    lane: &Lane,
    input: &Input,
    complaints: &mut Vec<Complaint>,
) {
    let bad = &account.bad_records;
    let good: Vec<u64>;
    let tos = if input.to.iter().any(|&to| bad.refuses(input.from, to)) {
        good = input.to.iter().copied().filter(|&to| !bad.refuses(input.from, to)).collect();
        &good
    } else {
        &input.to
    };
    let mut note = |to, removed| match (removed, not_associated) {
        (Removed::WasNotThere, NotAssociated::Reported) => {
            complaints.push(Complaint { from: input.from, to, about: About::NotAssociated });
        }
        (Removed::WasNotThere, NotAssociated::Silent) | (Removed::Archived, _) => {}
    };
    if input.labels.is_empty() {
        account.associations.archive(lane, input.from, tos, note);
    } else {
        for &to in tos {
            note(to, account.associations.remove_labels(lane, input.from, to, &input.labels));
        }
    }
}
