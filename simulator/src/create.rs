//! `batch/create` and `batch/associate/default`: pairs that are made, or given other types.

use serde_json::{Value, json};

use crate::account::Account;
use crate::association::Given;
use crate::batch::{refused, refused_whole};
use crate::behaviour::{Behaviour, IdForm, SecondPrimary, UnknownType};
use crate::definition::{Creation, Definition, End};
use crate::label::Label;
use crate::object_type::Lane;
use crate::refusal::{About, BadMode, Complaint, Types};
use crate::reply::{Answer, Voice};
use crate::wire::Input;

/// `batch/create`: the types of an input take the place of all that the pair had, but for the plain one.
pub(crate) fn create(
    account: &mut Account,
    behaviour: &Behaviour,
    types: Types<'_>,
    inputs: &[Input],
    voice: Voice<'_>,
) -> Answer {
    let lane = types.lane;
    let mut complaints = match unfit(account, behaviour, types, inputs, voice) {
        Ok(complaints) => complaints,
        Err(answer) => return answer,
    };
    for (input, to) in pairs(inputs).filter(|pair| !complained(&complaints, pair)).collect::<Vec<_>>() {
        let unknown = |label: &&Label| {
            let definition = account.associations.definitions.find(lane, **label);
            definition.is_none_or(|definition| definition.creation == Creation::OwnerOnly)
        };
        if let Some(&label) = input.labels.iter().find(unknown) {
            complaints.push(Complaint { from: input.from, to, about: About::UnknownType(label) });
        }
    }
    let unknown_type = complaints.iter().any(|complaint| matches!(complaint.about, About::UnknownType(_)));
    match behaviour.creates.unknown_type {
        UnknownType::Refused if unknown_type => {
            let errors = account.bad_records.errors(&complaints, types, behaviour.context);
            return voice.error(400, Some("VALIDATION_ERROR"), "INVALID_ASSOCIATION_TYPE", json!({"errors": errors}));
        }
        UnknownType::Canceled if unknown_type => return answered(201, "CANCELED", Vec::new(), Vec::new(), voice),
        UnknownType::Partial | UnknownType::Refused | UnknownType::Canceled => {}
    }
    let mut results = Vec::with_capacity(inputs.len());
    for (input, to) in pairs(inputs) {
        if complained(&complaints, &(input, to)) {
            continue;
        }
        if let Some(holder) = primary_elsewhere(account, behaviour, lane, input, to) {
            complaints.push(Complaint { from: input.from, to, about: About::PrimaryElsewhere(holder) });
            continue;
        }
        account.associations.create_counted(lane, input.from, to, &input.labels, Given::Instead);
        results.push(created(account, behaviour, lane, input, to));
    }
    complaints.sort_by_key(|complaint| (complaint.from, complaint.to));
    let errors = account.bad_records.errors(&complaints, types, behaviour.context);
    answered(if errors.is_empty() { 201 } else { 207 }, "COMPLETE", results, errors, voice)
}

/// `batch/associate/default`: the plain type in both directions, beside what the pair has. Errors come inside a 200.
pub(crate) fn associate_default(
    account: &mut Account,
    behaviour: &Behaviour,
    types: Types<'_>,
    inputs: &[Input],
    voice: Voice<'_>,
) -> Answer {
    let lane = types.lane;
    let complaints = match unfit(account, behaviour, types, inputs, voice) {
        Ok(complaints) => complaints,
        Err(answer) => return answer,
    };
    let Definition { label, inverse, .. } = account.associations.definitions.plain(lane);
    let mut results = Vec::with_capacity(inputs.len() * 2);
    for (input, to) in pairs(inputs).filter(|pair| !complained(&complaints, pair)) {
        account.associations.create_counted(lane, input.from, to, &[], Given::Beside);
        for (from, to, label) in [(input.from, to, label), (to, input.from, inverse)] {
            results.push(json!({
                "from": {"id": from.to_string()}, "to": {"id": to.to_string()}, "associationSpec": label,
            }));
        }
    }
    let errors = account.bad_records.errors(&complaints, types, behaviour.context);
    answered(200, "COMPLETE", results, errors, voice)
}

fn pairs(inputs: &[Input]) -> impl Iterator<Item = (&Input, u64)> {
    inputs.iter().flat_map(|input| input.to.iter().map(move |&to| (input, to)))
}

fn complained(complaints: &[Complaint], (input, to): &(&Input, u64)) -> bool {
    complaints.iter().any(|complaint| (complaint.from, complaint.to) == (input.from, *to))
}

/// The pairs of bad and missing records, or the answer that refuses all for them.
fn unfit(
    account: &Account,
    behaviour: &Behaviour,
    types: Types<'_>,
    inputs: &[Input],
    voice: Voice<'_>,
) -> Result<Vec<Complaint>, Answer> {
    let mut complaints = refused(account, inputs);
    match account.bad_records.mode {
        BadMode::RefusedNamed | BadMode::RefusedFirstNamed | BadMode::RefusedUnnamed if !complaints.is_empty() => {
            return Err(refused_whole(account, behaviour, types, &complaints, voice));
        }
        BadMode::PartialNamed
        | BadMode::PartialUnnamed
        | BadMode::RefusedNamed
        | BadMode::RefusedFirstNamed
        | BadMode::RefusedUnnamed => {}
    }
    for (input, to) in pairs(inputs) {
        let ends = [(End::From, input.from), (End::To, to)];
        let missing = ends.into_iter().find(|&(end, id)| account.is_missing(types.lane, end, id));
        if let Some((end, _)) = missing {
            complaints.push(Complaint { from: input.from, to, about: About::NoSuchRecord(end) });
        }
    }
    Ok(complaints)
}

/// The record that keeps its Primary label, so that this pair cannot have it.
fn primary_elsewhere(account: &Account, behaviour: &Behaviour, lane: &Lane, input: &Input, to: u64) -> Option<u64> {
    match behaviour.creates.second_primary {
        SecondPrimary::Moves => None,
        SecondPrimary::Refused => {
            let labels = input.labels.iter();
            labels.into_iter().find_map(|&label| account.associations.primary_elsewhere(lane, input.from, to, label))
        }
    }
}

fn created(account: &Account, behaviour: &Behaviour, lane: &Lane, input: &Input, to: u64) -> Value {
    let definitions = &account.associations.definitions;
    let names = input.labels.iter().filter_map(|&label| definitions.find(lane, label)?.name);
    let id = |id: u64| match behaviour.reads.ids {
        IdForm::Numbers => json!(id),
        IdForm::Strings => json!(id.to_string()),
    };
    json!({
        "fromObjectTypeId": lane.from.as_str(), "fromObjectId": id(input.from),
        "toObjectTypeId": lane.to.as_str(), "toObjectId": id(to), "labels": names.collect::<Vec<_>>(),
    })
}

fn answered(status: u16, state: &str, results: Vec<Value>, errors: Vec<Value>, voice: Voice<'_>) -> Answer {
    let at = format!("{:.3}", voice.wall);
    let mut body = json!({"status": state, "results": results, "startedAt": at, "completedAt": at});
    if !errors.is_empty() {
        body["numErrors"] = json!(errors.len());
        body["errors"] = Value::Array(errors);
    }
    Answer::json(status, body.to_string())
}
