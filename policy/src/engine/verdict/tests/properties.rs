//! What holds for every status, header and body.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::contract::text::{MESSAGE_MAX_BYTES, TEXT_MAX_BYTES};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn bytes_of_any_kind_are_judged(
        status in any_status(),
        headers in any_headers(),
        bytes in vec(any::<u8>(), 0..200),
        cut_off: bool,
        pairs in any_pairs(),
    ) {
        check(status, headers, bytes, cut_off, &pairs)?;
    }

    #[test]
    fn json_of_hubspots_fields_is_judged(
        status in any_status(),
        headers in any_headers(),
        body in any_reply_object(),
        cut_off in prop::bool::weighted(0.05),
        pairs in any_pairs(),
    ) {
        check(status, headers, body.to_string().into_bytes(), cut_off, &pairs)?;
    }

    #[test]
    fn damaged_json_is_judged(
        status in any_status(),
        headers in any_headers(),
        body in any_reply_object(),
        damage in vec(any_damage(), 1..4),
        pairs in any_pairs(),
    ) {
        let mut bytes = body.to_string().into_bytes();
        damage.into_iter().for_each(|damage| damage.inflict(&mut bytes));
        check(status, headers, bytes, false, &pairs)?;
    }

    #[test]
    fn an_honest_account_by_pair_is_taken_at_its_word(pairs in any_pairs(), bad in vec(any::<Index>(), 0..6)) {
        let bad: BTreeSet<usize> = bad.iter().map(|index| index.index(pairs.len())).collect();
        let entry = |index: &usize| json!({"status": "error", "category": "VALIDATION_ERROR", "message": "m",
            "context": {"fromObjectId": [pairs[*index].from.to_string()], "toObjectId": [pairs[*index].to.to_string()]}});
        let errors: Vec<_> = bad.iter().map(entry).collect();
        let body = json!({"status": "COMPLETE", "results": [], "numErrors": errors.len(), "errors": errors});
        let judgement = judge_json(207, &body, &pairs);

        let expected = |refused: char, rest: char| -> String {
            (0..pairs.len()).map(|index| if bad.contains(&index) { refused } else { rest }).collect()
        };
        if bad.is_empty() {
            prop_assert_eq!(judgement, Judgement::Archived);
        } else {
            prop_assert_eq!(letters(&judgement), expected('R', 'A'));
            let refused = json!({"status": "error", "category": "VALIDATION_ERROR", "errors": body["errors"]});
            prop_assert_eq!(letters(&judge_json(400, &refused, &pairs)), expected('R', 'U'));
        }
    }

    #[test]
    fn an_honest_account_by_record_refuses_no_neighbour(pairs in any_pairs(), bad in vec(any::<Index>(), 1..6)) {
        let bad: BTreeSet<RecordId> = bad.iter().map(|index| pairs[index.index(pairs.len())].from).collect();
        let entry = |from: &RecordId| json!({"category": "VALIDATION_ERROR", "context": {"fromObjectId": from.to_string()}});
        let errors: Vec<_> = bad.iter().map(entry).collect();
        let body = json!({"status": "COMPLETE", "numErrors": errors.len(), "errors": errors});

        let judgement = judge_json(207, &body, &pairs);
        for (pair, letter) in pairs.iter().zip(letters(&judgement).chars()) {
            let alone = pairs.iter().filter(|other| other.from == pair.from).count() == 1;
            let expected = match (bad.contains(&pair.from), alone) {
                (false, _) => 'A',
                (true, true) => 'R',
                (true, false) => 'S',
            };
            prop_assert_eq!(letter, expected, "{:?}", pair);
        }
    }
}

/// The promises that hold whatever HubSpot answers.
fn check(status: u16, headers: Headers, bytes: Vec<u8>, cut_off: bool, pairs: &[Pair]) -> Result<(), TestCaseError> {
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let body = if cut_off { Body::CutOff(bytes.into()) } else { Body::Whole(bytes.into()) };
    let reply = Reply::Answer(Answer { status, headers, body });
    let judgement = judge(&reply, pairs);
    prop_assert_eq!(&judge(&reply, pairs), &judgement, "the same reply, the same judgement");

    let accepted = (200..300).contains(&status) && !cut_off;
    let nothing_there = text.contains("NO_ASSOCIATIONS_FOUND");
    match &judgement {
        Judgement::Archived => prop_assert!(accepted || nothing_there),
        Judgement::Each(verdicts) => {
            prop_assert_eq!(verdicts.len(), pairs.len());
            let words = Words { text: &text, pairs };
            for (pair, verdict) in pairs.iter().zip(verdicts) {
                check_verdict(*pair, verdict, &words, accepted || nothing_there)?;
            }
            prop_assert!(!verdicts.iter().all(|verdict| *verdict == PairVerdict::Archived));
            prop_assert!(!verdicts.iter().all(|verdict| *verdict == PairVerdict::Untouched));
        }
        Judgement::Suspect(refusal) => {
            prop_assert!(pairs.len() > 1, "a pair that was alone needs no isolation");
            check_texts(refusal)?;
        }
        Judgement::LaneRefused(refusal) => {
            prop_assert!(text.contains("Unable to infer object type from:"));
            check_texts(refusal)?;
        }
        Judgement::Again(again) => check_texts(&again.refusal)?,
        Judgement::Throttled(throttled) => check_texts(&throttled.refusal)?,
        Judgement::PauseLane(pause) => check_texts(&pause.refusal)?,
        Judgement::PauseAccount(pause) => check_texts(&pause.refusal)?,
    }
    Ok(())
}

fn check_verdict(pair: Pair, verdict: &PairVerdict, words: &Words<'_>, may_archive: bool) -> Result<(), TestCaseError> {
    match verdict {
        PairVerdict::Archived => prop_assert!(may_archive, "{pair:?} was not archived"),
        PairVerdict::Refused(refusal) => {
            prop_assert!(words.single_out(pair), "{pair:?} was refused because of a neighbour");
            check_texts(refusal)?;
        }
        PairVerdict::Suspect(refusal) => {
            prop_assert!(words.pairs.len() > 1);
            check_texts(refusal)?;
        }
        PairVerdict::Again(again) => check_texts(&again.refusal)?,
        PairVerdict::Untouched => prop_assert!(words.pairs.len() > 1),
    }
    Ok(())
}

pub(super) fn check_texts(refusal: &Refusal) -> Result<(), TestCaseError> {
    prop_assert!(refusal.message.len() <= MESSAGE_MAX_BYTES);
    prop_assert!(!refusal.message.is_empty());
    prop_assert!(refusal.source.category().len() <= TEXT_MAX_BYTES);
    prop_assert!(refusal.sub_category.as_ref().is_none_or(|text| text.len() <= TEXT_MAX_BYTES));
    prop_assert!(refusal.correlation_id.as_ref().is_none_or(|text| text.len() <= TEXT_MAX_BYTES));
    Ok(())
}

/// A body as a reader sees it who knows nothing of its structure.
struct Words<'a> {
    text: &'a str,
    pairs: &'a [Pair],
}

impl Words<'_> {
    /// Whether a pair may be refused at all: it was alone in the request, or the body contains both its ids, or
    /// one of them, which then either no other pair has or is that of a record said not to exist.
    fn single_out(&self, pair: Pair) -> bool {
        let missing = self.text.contains("OBJECT_NOT_FOUND");
        let says = |id: RecordId| self.text.contains(&id.to_string());
        let only = |same: fn(&Pair, &Pair) -> bool| self.pairs.iter().filter(|other| same(other, &pair)).count() == 1;
        let from = says(pair.from) && (missing || only(|a, b| a.from == b.from));
        let to = says(pair.to) && (missing || only(|a, b| a.to == b.to));
        self.pairs.len() == 1 || from || to || (says(pair.from) && says(pair.to))
    }
}

/// A change to a body, made at a place relative to its length.
#[derive(Clone, Debug)]
pub(super) enum Damage {
    Replace(Index, u8),
    Insert(Index, u8),
    Truncate(Index),
    Duplicate(Index, Index),
}

impl Damage {
    pub(super) fn inflict(self, bytes: &mut Vec<u8>) {
        let length = bytes.len();
        if length == 0 {
            return;
        }
        match self {
            Self::Replace(at, byte) => bytes[at.index(length)] = byte,
            Self::Insert(at, byte) => bytes.insert(at.index(length), byte),
            Self::Truncate(at) => bytes.truncate(at.index(length)),
            Self::Duplicate(from, to) => {
                let tail = bytes[from.index(length)..].to_vec();
                let at = to.index(length);
                bytes.splice(at..at, tail);
            }
        }
    }
}

pub(super) fn any_damage() -> impl Strategy<Value = Damage> {
    let byte = || prop_oneof![any::<u8>(), select(b"{}[]\":,0n\\ ".as_slice())];
    prop_oneof![
        (any::<Index>(), byte()).prop_map(|(at, byte)| Damage::Replace(at, byte)),
        (any::<Index>(), byte()).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        any::<Index>().prop_map(Damage::Truncate),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Damage::Duplicate(from, to)),
    ]
}

pub(super) fn any_status() -> impl Strategy<Value = u16> {
    prop_oneof![
        6 => select([200, 204, 207, 400, 404, 422].as_slice()),
        2 => 200u16..600,
        1 => any::<u16>(),
    ]
}

pub(super) fn any_headers() -> impl Strategy<Value = Headers> {
    let value = || prop::option::of(prop_oneof![vec(any::<u8>(), 0..300), "[0-9]{1,25}".prop_map(String::into_bytes)]);
    (value(), value(), value()).prop_map(|(retry_after, correlation_id, rate)| {
        Headers::read(|name| match name {
            "retry-after" => retry_after.as_deref(),
            "x-hubspot-correlation-id" => correlation_id.as_deref(),
            _ => rate.as_deref(),
        })
    })
}

/// Distinct pairs, with records shared between them and a few that stand on both sides.
fn any_pairs() -> impl Strategy<Value = Vec<Pair>> {
    let pair = (100_001u64..100_006, 100_005u64..100_010);
    proptest::collection::btree_set(pair, 1..12)
        .prop_map(|set| set.into_iter().map(|(from, to)| Pair { from: id(from), to: id(to) }).collect())
}

pub(super) fn any_reply_object() -> impl Strategy<Value = Value> {
    let status = select(["COMPLETE", "PENDING", "CANCELED", "error", "odd"].as_slice()).prop_map(Value::from);
    let count = prop_oneof![(0u64..5).prop_map(Value::from), any_scalar()];
    (any_error(any_detail()), prop::option::of(prop_oneof![5 => status, 1 => any_scalar()]), prop::option::of(count))
        .prop_flat_map(|(error, status, count)| {
            let errors = prop_oneof![9 => vec(any_error(any_detail()), 0..5).prop_map(Value::from), 1 => any_scalar()];
            (Just(error), Just(status), Just(count), any::<bool>(), errors)
        })
        .prop_map(|(error, status, count, is_error, errors)| {
            let mut body = if is_error { error } else { json!({"results": []}) };
            if !is_error || body.get("errors").is_none() {
                body["errors"] = errors;
            }
            let optional = [("status", status), ("numErrors", count)];
            for (key, value) in optional {
                if let Some(value) = value {
                    body[key] = value;
                }
            }
            body
        })
}

fn any_detail() -> BoxedStrategy<Value> {
    any_error(Just(Value::Null))
}

fn any_error<D: Strategy<Value = Value> + 'static>(detail: D) -> BoxedStrategy<Value> {
    let category = select(
        ["VALIDATION_ERROR", "OBJECT_NOT_FOUND", "CONFLICT", "RATE_LIMITS", "MISSING_SCOPES", "EXPIRED_AUTHENTICATION"]
            .as_slice(),
    );
    let sub_category = prop_oneof![
        Just(json!("crm.associations.NO_ASSOCIATIONS_FOUND")),
        Just(json!({"name": "NO_ASSOCIATIONS_FOUND"})),
        Just(json!("crm.associations.INVALID_IDENTIFIER")),
        any_scalar(),
    ];
    let message = prop_oneof![Just("Unable to infer object type from: x".to_owned()), ".{0,600}"];
    let fields = (
        prop::option::of(prop_oneof![8 => category.prop_map(Value::from), 1 => any_scalar()]),
        prop::option::of(sub_category),
        prop::option::of(prop_oneof![8 => message.prop_map(Value::from), 1 => any_scalar()]),
        prop::option::of(any_context()),
        prop::option::of(vec(detail, 0..3)),
    );
    fields
        .prop_map(|(category, sub_category, message, context, details)| {
            let details = details.map(Value::from);
            let all = [
                ("category", category),
                ("subCategory", sub_category),
                ("message", message),
                ("context", context),
                ("errors", details),
            ];
            let present = all.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
            Value::Object(present.collect())
        })
        .boxed()
}

fn any_context() -> impl Strategy<Value = Value> {
    let key = select(["fromObjectId", "toObjectId", "ids", "objectId", "fromObjectType", "requiredScopes"].as_slice());
    let id = || (100_001u64..100_012).prop_flat_map(|id| select(vec![json!(id), json!(id.to_string())]));
    let ids = prop_oneof![id(), vec(id(), 0..4).prop_map(Value::from), any_scalar()];
    let map =
        vec((key.prop_map(str::to_owned), ids), 0..4).prop_map(|fields| Value::Object(fields.into_iter().collect()));
    prop_oneof![8 => map.clone(), 1 => vec(map, 0..3).prop_map(Value::from), 1 => any_scalar()]
}

pub(super) fn any_scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
    ]
}
