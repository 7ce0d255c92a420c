//! Jobs that restore, or that take a restoration back. For the same task they are the same jobs, so that a command that
//! was interrupted can be given again.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::wanted::{LaneName, Wanted, What};
use crate::cli::exit::Failure;
use crate::contract::association::Pair;
use crate::contract::ids::Group;
use crate::contract::job::{JobLimits, MAX_LABELS, MAX_LABELS_OF_ALL_PAIRS};
use crate::contract::journal::ChangeKind;

/// Pairs of one job: with as many labels as a pair may have, they are as many as a job may have.
const MAX_PAIRS: usize = MAX_LABELS_OF_ALL_PAIRS / MAX_LABELS;

/// Made once at random for the ids of these jobs. Changing it gives each another id.
const NAMESPACE: Uuid = Uuid::from_u128(0x6d1c2b2a_94a4_4d0e_8a1b_3f6d5c0e7f52);

/// What the operator said of all of them.
#[derive(Clone, Debug)]
pub struct Manner {
    /// What is to be taken back.
    pub kind: ChangeKind,
    pub group: Group,
    pub include_primary: bool,
    /// Look, and change nothing.
    pub plan: bool,
}

/// A job, by the id that is in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UndoJob {
    pub id: String,
    pub body: Vec<u8>,
}

/// All of them, in an order of their own.
pub fn jobs(wanted: &Wanted, manner: &Manner, limits: &JobLimits) -> Result<Vec<UndoJob>, Failure> {
    let mut jobs = Vec::new();
    for (lane, pairs) in &wanted.lanes {
        // Those of the same types stand together, so that they travel together.
        let mut sorted: Vec<(&What, Pair)> = pairs.iter().map(|(pair, what)| (what, *pair)).collect();
        sorted.sort();
        for some in sorted.chunks(MAX_PAIRS.min(limits.max_pairs)) {
            split(lane, some, manner, limits, &mut jobs)?;
        }
    }
    Ok(jobs)
}

fn split(
    lane: &LaneName,
    pairs: &[(&What, Pair)],
    manner: &Manner,
    limits: &JobLimits,
    jobs: &mut Vec<UndoJob>,
) -> Result<(), Failure> {
    let job = job(lane, pairs, manner);
    if job.body.len() <= limits.max_bytes {
        jobs.push(job);
        return Ok(());
    }
    if pairs.len() < 2 {
        let max = limits.max_bytes;
        return Err(Failure::Usage(format!("jobs.max_bytes ({max}) is too little for a job of one pair: raise it")));
    }
    let (some, others) = pairs.split_at(pairs.len() / 2);
    split(lane, some, manner, limits, jobs)?;
    split(lane, others, manner, limits, jobs)
}

fn job(lane: &LaneName, pairs: &[(&What, Pair)], manner: &Manner) -> UndoJob {
    let mut body = Map::new();
    if let Some(portal) = lane.portal {
        body.insert("portalId".to_owned(), json!(portal.0));
    }
    body.insert("fromObjectType".to_owned(), json!(lane.from));
    body.insert("toObjectType".to_owned(), json!(lane.to));
    let action = match manner.kind {
        ChangeKind::Removal => "restore",
        ChangeKind::Restoration => "archive",
    };
    body.insert("action".to_owned(), json!(action));
    body.insert("group".to_owned(), json!(manner.group.as_str()));
    if manner.include_primary {
        body.insert("includePrimary".to_owned(), json!(true));
    }
    if manner.plan {
        body.insert("dryRun".to_owned(), json!(true));
    }
    body.insert("inputs".to_owned(), inputs(pairs));
    let id = format!("undo-{}", Uuid::new_v5(&NAMESPACE, Value::Object(body.clone()).to_string().as_bytes()));
    body.insert("jobId".to_owned(), json!(id));
    UndoJob { id, body: Value::Object(body).to_string().into_bytes() }
}

/// One for each record and what is to be done there.
fn inputs(pairs: &[(&What, Pair)]) -> Value {
    let mut inputs: BTreeMap<(&What, u64), Vec<Value>> = BTreeMap::new();
    for (what, pair) in pairs {
        inputs.entry((what, pair.from.0.get())).or_default().push(json!({"id": pair.to.to_string()}));
    }
    let inputs = inputs.into_iter().map(|((what, from), to)| {
        let mut input = json!({"from": {"id": from.to_string()}, "to": to});
        match what {
            What::Whole => {}
            What::Types(types) => {
                let types = types.iter().map(
                    |label| json!({"associationCategory": label.category.as_str(), "associationTypeId": label.type_id}),
                );
                input["types"] = types.collect();
            }
        }
        input
    });
    inputs.collect()
}

#[cfg(test)]
mod tests;
