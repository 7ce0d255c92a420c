//! `batch/read`: which records are associated with each of some records, and by which types.

use fastrand::Rng;
use serde::Serialize;
use serde_json::{Value, json};

use crate::account::Account;
use crate::behaviour::{Behaviour, ContextShape, IdForm, Names, Order};
use crate::definition::{Definition, End};
use crate::label::{Label, LabelCategory};
use crate::object_type::Lane;
use crate::refusal::{About, BadMode, Complaint, INVALID_IDENTIFIER, Types};
use crate::reply::{Answer, Voice};
use crate::wire::ReadInput;

/// Answers a `batch/read`. Where everything exists nothing can be listed: then no record has associations.
pub(crate) fn read(
    account: &Account,
    behaviour: &Behaviour,
    types: Types<'_>,
    inputs: &[ReadInput],
    rng: &mut Rng,
    voice: Voice<'_>,
) -> Answer {
    let definitions = account.associations.definitions.of(types.lane);
    let (mut pages, mut complaints, mut malformed) = (Vec::new(), Vec::new(), Vec::new());
    for ReadInput { from, after } in inputs {
        let complain = |from, about| Complaint { from, to: 0, about };
        match from {
            Err(text) => malformed.push(not_an_id(account, types, text)),
            Ok(from) if account.bad_records.ids.contains(from) => {
                complaints.push(complain(*from, About::BadIdentifier))
            }
            Ok(from) => match cursor(types.lane, after.as_deref()) {
                Err(Unreadable) => return voice.validation("The paging cursor `after` is not valid."),
                Ok(after) => match page(account, behaviour, types.lane, *from, after, &definitions) {
                    Some(page) => pages.push(page),
                    None => complaints.push(complain(*from, About::NotAssociated)),
                },
            },
        }
    }
    let refused = !malformed.is_empty() || complaints.iter().any(|one| one.about == About::BadIdentifier);
    let bad = &account.bad_records;
    let whole = match bad.mode {
        BadMode::RefusedNamed | BadMode::RefusedFirstNamed | BadMode::RefusedUnnamed => refused,
        BadMode::PartialNamed | BadMode::PartialUnnamed => false,
    };
    if whole {
        complaints.retain(|one| one.about == About::BadIdentifier);
    }
    // A read knows no other end.
    let shape = ContextShape { names: Names::FromOnly, ..behaviour.context };
    let mut errors = bad.errors(&complaints, types, shape);
    errors.extend(malformed);
    if whole {
        let mut more = json!({"subCategory": bad.sub_category.as_deref().unwrap_or(INVALID_IDENTIFIER)});
        if bad.names_ids() {
            more["errors"] = Value::Array(errors);
        }
        return voice.error(400, Some(&bad.category), "The batch has ids that are not valid.", more);
    }
    match behaviour.reads.order {
        Order::Sorted => {}
        Order::Shuffled => shuffle(&mut pages, rng),
    }
    let at = format!("{:.3}", voice.wall);
    let body = Body {
        status: "COMPLETE",
        results: pages,
        started_at: &at,
        completed_at: &at,
        num_errors: (!errors.is_empty()).then_some(errors.len()),
        errors,
    };
    let status = if body.num_errors.is_some() { 207 } else { 200 };
    Answer::json(status, serde_json::to_vec(&body).unwrap_or_default())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    status: &'static str,
    results: Vec<Page>,
    started_at: &'a str,
    completed_at: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_errors: Option<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Value>,
}

#[derive(Serialize)]
struct Page {
    from: Record,
    to: Vec<Associated>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paging: Option<Value>,
}

#[derive(Serialize)]
struct Record {
    id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Associated {
    to_object_id: Value,
    association_types: Vec<Type>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Type {
    category: LabelCategory,
    type_id: u32,
    label: Option<String>,
}

/// The next associated records of one record; `None` where it never had any to show.
fn page(
    account: &Account,
    behaviour: &Behaviour,
    lane: &Lane,
    from: u64,
    after: Option<u64>,
    definitions: &[Definition],
) -> Option<Page> {
    if account.is_missing(lane, End::From, from) {
        return None;
    }
    let shown = account.associations.shown(lane, from, after).filter(|&(to, _)| !account.is_missing(lane, End::To, to));
    let mut to: Vec<(u64, Vec<Type>)> = Vec::new();
    let mut more = false;
    for (id, labels) in shown {
        if to.len() == behaviour.reads.page.get() {
            more = true;
            break;
        }
        to.push((id, labels.iter().map(|&label| named(label, definitions)).collect()));
    }
    if to.is_empty() && after.is_none() {
        return None;
    }
    let last = to.last().map(|&(id, _)| id).filter(|_| more);
    let paging = last.map(|last| {
        let after = format!("{}-{last}", lane.to.as_str());
        let path = format!("/crm/v4/objects/{}/{from}/associations/{}", lane.from.as_str(), lane.to.as_str());
        json!({"next": {"after": after, "link": format!("https://api.hubapi.com{path}?after={after}")}})
    });
    let written = |id: u64| match behaviour.reads.ids {
        IdForm::Numbers => json!(id),
        IdForm::Strings => json!(id.to_string()),
    };
    let associated = |(id, association_types)| Associated { to_object_id: written(id), association_types };
    Some(Page { from: Record { id: from.to_string() }, to: to.into_iter().map(associated).collect(), paging })
}

fn named(label: Label, definitions: &[Definition]) -> Type {
    let definition = definitions.iter().find(|definition| definition.label == label);
    let name = definition.and_then(|definition| definition.name.as_deref());
    Type { category: label.category, type_id: label.type_id, label: name.map(str::to_owned) }
}

fn shuffle(pages: &mut [Page], rng: &mut Rng) {
    rng.shuffle(pages);
    for page in pages {
        rng.shuffle(&mut page.to);
        for associated in &mut page.to {
            rng.shuffle(&mut associated.association_types);
        }
    }
}

/// A cursor that no answer gave.
struct Unreadable;

/// The record behind which a page begins: the type of the other end and its id, as an answer gave them.
fn cursor(lane: &Lane, after: Option<&str>) -> Result<Option<u64>, Unreadable> {
    let Some(after) = after else { return Ok(None) };
    let id = after.strip_prefix(lane.to.as_str()).and_then(|rest| rest.strip_prefix('-')).ok_or(Unreadable)?;
    id.parse().map(Some).map_err(|_| Unreadable)
}

fn not_an_id(account: &Account, types: Types<'_>, text: &str) -> Value {
    let (from_type, to_type) = (types.lane.from.singular(), types.lane.to.singular());
    let mut error = json!({
        "status": "error", "category": "VALIDATION_ERROR", "subCategory": INVALID_IDENTIFIER,
        "message": format!("{text:?} is no valid id of a {from_type}."),
    });
    if account.bad_records.names_ids() {
        error["context"] = json!({"fromObjectId": [text], "fromObjectType": [from_type], "toObjectType": [to_type]});
    }
    error
}
