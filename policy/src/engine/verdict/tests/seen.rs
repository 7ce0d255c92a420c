//! What holds for every reply to a read or a creation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use proptest::sample::select;

use super::properties::{any_damage, any_headers, any_reply_object, any_scalar, any_status, check_texts};
use super::*;
use crate::contract::association::{AssociationType, Label, LabelCategory};
use crate::contract::text::TEXT_MAX_BYTES;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn every_reply_has_its_judgement(
        status in any_status(),
        headers in any_headers(),
        body in any_answer(),
        damage in prop_oneof![3 => Just(Vec::new()), 1 => vec(any_damage(), 1..4)],
        whole in prop::bool::weighted(0.9),
        records in btree_set(100_001u64..100_006, 1..5),
    ) {
        let mut bytes = body.to_string().into_bytes();
        damage.into_iter().for_each(|damage| damage.inflict(&mut bytes));
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let body = if whole { Body::Whole(bytes.into()) } else { Body::TooLarge(bytes.into()) };
        let reply = Reply::Answer(Answer { status, headers, body });
        let evidence = Evidence { text, accepted: (200..300).contains(&status) && whole };

        let asked: Vec<_> = records.iter().map(|&from| LookAsked { from: id(from), after: Some("1".into()) }).collect();
        check_look(&judge_look(&reply, &asked), &asked, &evidence)?;
        let made = pairs_between(&records);
        for creation in [Creation::Types, Creation::Default] {
            check_creation(&judge_creation(&reply, &made, creation), &made, &evidence)?;
        }
    }

    #[test]
    fn what_hubspot_shows_is_what_is_seen(world in any_world(), strings: bool, order in any::<u64>()) {
        let asked: Vec<_> = world.keys().map(|&from| LookAsked { from: id(from), after: None }).collect();
        let reply = Reply::Answer(answer(207, told(&world, strings, order).to_string()));
        let Ok(verdicts) = judge_look(&reply, &asked) else { panic!() };
        for ((from, there), verdict) in world.iter().zip(verdicts) {
            let found = there.iter().map(|(to, labels)| {
                let types: Vec<_> = labels.iter().map(|&label| AssociationType { label, name: name(label) }).collect();
                Found { to: id(*to), types: Some(types.into()) }
            });
            let expected = RecordView { found: found.collect(), next: None };
            prop_assert_eq!(verdict, RecordVerdict::Seen(expected), "{}", from);
        }
    }
}

struct Evidence {
    text: String,
    /// A success whose body came whole.
    accepted: bool,
}

impl Evidence {
    fn says(&self, word: &str) -> bool {
        self.text.contains(word)
    }
}

fn check_look(
    judged: &Result<Vec<RecordVerdict>, Judgement>,
    asked: &[LookAsked],
    evidence: &Evidence,
) -> Result<(), TestCaseError> {
    match judged {
        Ok(verdicts) => {
            prop_assert_eq!(verdicts.len(), asked.len());
            prop_assert!(!verdicts.iter().all(|verdict| *verdict == RecordVerdict::Untouched));
            for (record, verdict) in asked.iter().zip(verdicts) {
                match verdict {
                    RecordVerdict::Seen(view) => check_view(view, record, evidence)?,
                    RecordVerdict::Suspect(refusal) => {
                        prop_assert!(asked.len() > 1);
                        check_texts(refusal)?;
                    }
                    RecordVerdict::Refused(refusal) => {
                        prop_assert!(asked.len() == 1 || evidence.says(&record.from.to_string()));
                        check_texts(refusal)?;
                    }
                    RecordVerdict::Again(again) => check_texts(&again.refusal)?,
                    RecordVerdict::Untouched => prop_assert!(asked.len() > 1),
                }
            }
        }
        Err(Judgement::Suspect(refusal)) => {
            prop_assert!(asked.len() > 1);
            check_texts(refusal)?;
        }
        Err(Judgement::Archived | Judgement::Each(_)) => prop_assert!(false, "not in terms of records"),
        Err(Judgement::LaneRefused(refusal)) => check_texts(refusal)?,
        Err(Judgement::Again(again)) => check_texts(&again.refusal)?,
        Err(Judgement::Throttled(throttled)) => check_texts(&throttled.refusal)?,
        Err(Judgement::PauseLane(pause)) => check_texts(&pause.refusal)?,
        Err(Judgement::PauseAccount(pause)) => check_texts(&pause.refusal)?,
    }
    Ok(())
}

fn check_view(view: &RecordView, record: &LookAsked, evidence: &Evidence) -> Result<(), TestCaseError> {
    let none_there = evidence.says("NO_ASSOCIATIONS_FOUND");
    let named = evidence.accepted && evidence.says(&record.from.to_string());
    prop_assert!(none_there || named, "nobody said anything of {:?}", record);
    prop_assert!(view.found.is_sorted_by(|a, b| a.to < b.to));
    prop_assert!(view.next.is_none() || view.next != record.after);
    for Found { to, types } in &view.found {
        prop_assert!(evidence.says(&to.to_string()));
        let Some(types) = types else { continue };
        prop_assert!(types.is_sorted_by(|a, b| a.label < b.label));
        prop_assert!(types.iter().flat_map(|one| &one.name).all(|name| (1..=TEXT_MAX_BYTES).contains(&name.len())));
    }
    Ok(())
}

fn check_creation(judgement: &Judgement, pairs: &[Pair], evidence: &Evidence) -> Result<(), TestCaseError> {
    let done =
        |pair: &Pair| evidence.accepted && evidence.says(&pair.from.to_string()) && evidence.says(&pair.to.to_string());
    match judgement {
        Judgement::Archived => prop_assert!(pairs.iter().all(done)),
        Judgement::Each(verdicts) => {
            prop_assert_eq!(verdicts.len(), pairs.len());
            prop_assert!(!verdicts.iter().all(|verdict| *verdict == PairVerdict::Untouched));
            for (pair, verdict) in pairs.iter().zip(verdicts) {
                prop_assert!(*verdict != PairVerdict::Archived || done(pair), "{:?}", pair);
            }
        }
        Judgement::Suspect(_)
        | Judgement::LaneRefused(_)
        | Judgement::Again(_)
        | Judgement::Throttled(_)
        | Judgement::PauseLane(_)
        | Judgement::PauseAccount(_) => {}
    }
    Ok(())
}

fn pairs_between(records: &BTreeSet<u64>) -> Vec<Pair> {
    records.iter().map(|&from| Pair { from: id(from), to: id(200_000 + from % 3) }).collect()
}

/// HubSpot's fields with results of reads and of creations, mostly as they should be.
fn any_answer() -> impl Strategy<Value = Value> {
    let results = prop_oneof![9 => vec(any_result(), 0..5).prop_map(Value::from), 1 => any_scalar()];
    (any_reply_object(), results).prop_map(|(mut body, results)| {
        body["results"] = results;
        body
    })
}

fn any_result() -> impl Strategy<Value = Value> {
    let from = || (100_001u64..100_007).prop_flat_map(|id| select(vec![json!(id), json!(id.to_string())]));
    let to = || (200_000u64..200_004).prop_flat_map(|id| select(vec![json!(id), json!(id.to_string())]));
    let one_type = prop_oneof![
        4 => (1u64..4, select(["HUBSPOT_DEFINED", "USER_DEFINED", "NEW"].as_slice()), any_scalar()).prop_map(
            |(id, category, label)| json!({"category": category, "typeId": id, "label": label})),
        1 => any_scalar(),
    ];
    let associated =
        (to(), vec(one_type, 0..4)).prop_map(|(to, types)| json!({"toObjectId": to, "associationTypes": types}));
    let associated = prop_oneof![9 => associated, 1 => any_scalar()];
    let paging = prop_oneof![
        4 => Just(Value::Null),
        2 => select(["1", "2"].as_slice()).prop_map(|after| json!({"next": {"after": after}})),
        1 => any_scalar(),
    ];
    let page = (from(), vec(associated, 0..4), paging)
        .prop_map(|(from, to, paging)| json!({"from": {"id": from}, "to": to, "paging": paging}));
    let created = (from(), to()).prop_map(|(from, to)| json!({"fromObjectId": from, "toObjectId": to, "labels": []}));
    let default = (from(), to()).prop_map(|(from, to)| json!({"from": {"id": from}, "to": {"id": to}}));
    prop_oneof![5 => page, 3 => created, 3 => default, 1 => any_scalar()]
}

type Sample = BTreeMap<u64, BTreeMap<u64, BTreeSet<Label>>>;

fn any_world() -> impl Strategy<Value = Sample> {
    let label = (select(LabelCategory::ALL.as_slice()), 1u64..4)
        .prop_map(|(category, type_id)| Label { category, type_id: type_id.try_into().unwrap() });
    let there = btree_map(1..u64::MAX, btree_set(label, 0..4), 0..5);
    btree_map(1..u64::MAX, there, 1..6)
}

fn name(label: Label) -> Option<Arc<str>> {
    (label.category != LabelCategory::HubspotDefined).then(|| format!("Label {}", label.type_id).into())
}

/// As HubSpot tells it: in any order, and a record without associations is an error.
fn told(world: &Sample, strings: bool, order: u64) -> Value {
    let mut random = fastrand::Rng::with_seed(order);
    let written = |id: u64| if strings { json!(id.to_string()) } else { json!(id) };
    let (mut results, mut errors) = (Vec::new(), Vec::new());
    for (from, there) in world {
        let mut to: Vec<_> = there
            .iter()
            .map(|(to, labels)| {
                let mut types: Vec<_> = labels
                    .iter()
                    .map(|&label| json!({"category": label.category.as_str(), "typeId": label.type_id, "label": name(label).as_deref()}))
                    .collect();
                random.shuffle(&mut types);
                json!({"toObjectId": written(*to), "associationTypes": types})
            })
            .collect();
        random.shuffle(&mut to);
        if to.is_empty() {
            errors
                .push(json!({"category": "OBJECT_NOT_FOUND", "subCategory": "crm.associations.NO_ASSOCIATIONS_FOUND",
                "context": {"fromObjectId": [from.to_string()]}}));
        } else {
            results.push(json!({"from": {"id": from.to_string()}, "to": to}));
        }
    }
    random.shuffle(&mut results);
    json!({"status": "COMPLETE", "results": results, "numErrors": errors.len(), "errors": errors})
}
