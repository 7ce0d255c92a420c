//! An archive request as HubSpot wants it: path and body.

use crate::config::ApiVersion;
use crate::contract::association::{Extent, Label, Pair, RecordId};
use crate::engine::command::LaneId;

/// The path after the base URL, without a slash in front; needs no escaping.
pub fn path(version: ApiVersion, lane: &LaneId) -> String {
    path_of(version, &lane.extent, lane.from_type.path_segment(), lane.to_type.path_segment())
}

/// The same for any two segments, such as the placeholders of a template.
pub fn path_of(version: ApiVersion, extent: &Extent, from: &str, to: &str) -> String {
    let action = match extent {
        Extent::Whole => "archive",
        Extent::Labels(_) => "labels/archive",
    };
    match version {
        ApiVersion::V4 => format!("crm/v4/associations/{from}/{to}/batch/{action}"),
        ApiVersion::March2026 | ApiVersion::September2026 => {
            format!("crm/associations/{}/{from}/{to}/batch/{action}", version.as_str())
        }
    }
}

/// The JSON body for `pairs`, which are distinct and grouped by `from`.
///
/// A whole association goes as one input for each `from`, with an array of `to`; labels go as one input for each pair,
/// with a single `to`. HubSpot answers the wrong one of the two shapes with success and does nothing.
pub(super) fn body(extent: &Extent, pairs: &[Pair]) -> Vec<u8> {
    match extent {
        Extent::Whole => whole_associations(pairs),
        Extent::Labels(labels) => labels_only(labels, pairs),
    }
}

/// Digits of the largest record id.
const ID_BYTES: usize = 20;

const BODY_OPEN: &str = r#"{"inputs":["#;
const BODY_CLOSE: &str = "]}";
const FROM_OPEN: &str = r#"{"from":{"id":""#;
const FROM_CLOSE: &str = r#""},"to":["#;
const TO_OPEN: &str = r#"{"id":""#;
const TO_CLOSE: &str = r#""}"#;
const INPUT_CLOSE: &str = "]}";
const LABELLED_FROM: &str = r#""from":{"id":""#;
const LABELLED_TO: &str = r#""},"to":{"id":""#;
const LABELLED_CLOSE: &str = r#""}}"#;

fn whole_associations(pairs: &[Pair]) -> Vec<u8> {
    let most_for_a_pair = FROM_OPEN.len()
        + FROM_CLOSE.len()
        + TO_OPEN.len()
        + TO_CLOSE.len()
        + INPUT_CLOSE.len()
        + ",".len()
        + 2 * ID_BYTES;
    let mut body = Body::for_inputs(pairs.len(), most_for_a_pair);
    for of_one_from in pairs.chunk_by(|a, b| a.from == b.from) {
        let Some(first) = of_one_from.first() else { continue };
        body.text(FROM_OPEN);
        body.id(first.from);
        body.text(FROM_CLOSE);
        for pair in of_one_from {
            body.text(TO_OPEN);
            body.id(pair.to);
            body.text(TO_CLOSE);
            body.text(",");
        }
        body.replace_comma(INPUT_CLOSE);
        body.text(",");
    }
    body.end()
}

fn labels_only(labels: &[Label], pairs: &[Pair]) -> Vec<u8> {
    let types = types_of(labels);
    let most_for_a_pair =
        types.len() + LABELLED_FROM.len() + LABELLED_TO.len() + LABELLED_CLOSE.len() + ",".len() + 2 * ID_BYTES;
    let mut body = Body::for_inputs(pairs.len(), most_for_a_pair);
    for pair in pairs {
        body.text(&types);
        body.text(LABELLED_FROM);
        body.id(pair.from);
        body.text(LABELLED_TO);
        body.id(pair.to);
        body.text(LABELLED_CLOSE);
        body.text(",");
    }
    body.end()
}

/// The start of each input: the same labels for every pair.
fn types_of(labels: &[Label]) -> String {
    let types: Vec<String> = labels
        .iter()
        .map(|Label { category, type_id }| {
            format!(r#"{{"associationCategory":"{}","associationTypeId":{type_id}}}"#, category.as_str())
        })
        .collect();
    format!(r#"{{"types":[{}],"#, types.join(","))
}

/// The bytes of a body that grows input by input.
struct Body {
    bytes: Vec<u8>,
    digits: itoa::Buffer,
}

impl Body {
    fn for_inputs(count: usize, most_for_each: usize) -> Self {
        let mut bytes = Vec::with_capacity(BODY_OPEN.len() + BODY_CLOSE.len() + count * most_for_each);
        bytes.extend_from_slice(BODY_OPEN.as_bytes());
        Self { bytes, digits: itoa::Buffer::new() }
    }

    fn text(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    fn id(&mut self, id: RecordId) {
        self.bytes.extend_from_slice(self.digits.format(id.0.get()).as_bytes());
    }

    /// Ends a list, whose last item has left a comma behind.
    fn replace_comma(&mut self, close: &str) {
        if self.bytes.last() == Some(&b',') {
            self.bytes.pop();
        }
        self.text(close);
    }

    fn end(mut self) -> Vec<u8> {
        self.replace_comma(BODY_CLOSE);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use std::collections::BTreeSet;
    use std::num::NonZeroU64;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::contract::association::LabelCategory;
    use crate::contract::ids::AccountIndex;
    use crate::contract::object_type::ObjectType;

    #[test]
    fn the_version_and_the_removal_choose_the_path() {
        let paths = |extent: Extent| {
            let lane = LaneId {
                account: AccountIndex(0),
                from_type: ObjectType::parse("Contact").unwrap(),
                to_type: ObjectType::parse("2-123456").unwrap(),
                extent,
            };
            [ApiVersion::V4, ApiVersion::March2026, ApiVersion::September2026].map(|version| path(version, &lane))
        };
        assert_eq!(
            paths(Extent::Whole),
            [
                "crm/v4/associations/contacts/2-123456/batch/archive",
                "crm/associations/2026-03/contacts/2-123456/batch/archive",
                "crm/associations/2026-09/contacts/2-123456/batch/archive",
            ]
        );
        assert_eq!(
            paths(some_labels()),
            [
                "crm/v4/associations/contacts/2-123456/batch/labels/archive",
                "crm/associations/2026-03/contacts/2-123456/batch/labels/archive",
                "crm/associations/2026-09/contacts/2-123456/batch/labels/archive",
            ]
        );
    }

    #[test]
    fn all_of_one_from_share_an_input() {
        let pairs = [pair(1, 2), pair(1, 3), pair(u64::MAX, 4)];
        let text = String::from_utf8(body(&Extent::Whole, &pairs)).unwrap();
        assert_eq!(
            text,
            r#"{"inputs":[{"from":{"id":"1"},"to":[{"id":"2"},{"id":"3"}]},{"from":{"id":"18446744073709551615"},"to":[{"id":"4"}]}]}"#
        );
    }

    #[test]
    fn a_label_input_has_one_to() {
        let expected = json!({"inputs": [
            {
                "types": [
                    {"associationCategory": "USER_DEFINED", "associationTypeId": 37},
                    {"associationCategory": "WORK", "associationTypeId": u64::MAX},
                ],
                "from": {"id": "1"}, "to": {"id": "2"},
            },
            {
                "types": [
                    {"associationCategory": "USER_DEFINED", "associationTypeId": 37},
                    {"associationCategory": "WORK", "associationTypeId": u64::MAX},
                ],
                "from": {"id": "1"}, "to": {"id": "3"},
            },
        ]});
        let written: Value = serde_json::from_slice(&body(&some_labels(), &[pair(1, 2), pair(1, 3)])).unwrap();
        assert_eq!(written, expected);
    }

    #[test]
    fn the_room_made_for_a_body_is_enough() {
        let pairs: Vec<Pair> = (0..100).map(|i| pair(u64::MAX - i, u64::MAX)).collect();
        for extent in [Extent::Whole, some_labels()] {
            let written = body(&extent, &pairs);
            let exact = BODY_OPEN.len() + BODY_CLOSE.len() + pairs.len() * (written.capacity() / pairs.len());
            assert!(written.len() <= exact, "{} bytes of {exact}", written.len());
            assert!(written.capacity() < written.len() + 2 * pairs.len(), "the buffer grew: {}", written.capacity());
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_as_the_same_pairs(ids in prop::collection::vec((1..50_u64, 1..u64::MAX), 1..200)) {
            let pairs: Vec<Pair> =
                ids.into_iter().collect::<BTreeSet<_>>().into_iter().map(|(from, to)| pair(from, to)).collect();

            let whole: Value = serde_json::from_slice(&body(&Extent::Whole, &pairs)).unwrap();
            let mut read = Vec::new();
            let mut froms = BTreeSet::new();
            for input in whole["inputs"].as_array().unwrap() {
                let from = input["from"]["id"].as_str().unwrap();
                prop_assert!(froms.insert(from), "{} twice", from);
                for to in input["to"].as_array().unwrap() {
                    read.push(Pair { from: record(from), to: record(to["id"].as_str().unwrap()) });
                }
            }
            prop_assert_eq!(&read, &pairs);

            let labelled: Value = serde_json::from_slice(&body(&some_labels(), &pairs)).unwrap();
            let read: Vec<Pair> = labelled["inputs"].as_array().unwrap().iter().map(|input| {
                let id = |end: &str| record(input[end]["id"].as_str().unwrap());
                Pair { from: id("from"), to: id("to") }
            }).collect();
            prop_assert_eq!(&read, &pairs);
        }
    }

    fn some_labels() -> Extent {
        let label = |category, id| Label { category, type_id: NonZeroU64::new(id).unwrap() };
        Extent::Labels([label(LabelCategory::UserDefined, 37), label(LabelCategory::Work, u64::MAX)].into())
    }

    fn pair(from: u64, to: u64) -> Pair {
        Pair { from: RecordId(NonZeroU64::new(from).unwrap()), to: RecordId(NonZeroU64::new(to).unwrap()) }
    }

    fn record(digits: &str) -> RecordId {
        RecordId::parse(digits).unwrap()
    }
}
