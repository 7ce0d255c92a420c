//! A batch request as HubSpot wants it: path and body.

use serde_json::Value;

use crate::config::ApiVersion;
use crate::contract::association::{Extent, Label, Pair, RecordId};
use crate::engine::command::{BatchCall, Request};

/// The path of a request after the base URL, without a slash in front; needs no escaping.
pub fn path(version: ApiVersion, call: &BatchCall) -> String {
    let (from, to) = match &call.request {
        Request::Look { reversed: true, .. } => (&call.lane.to_type, &call.lane.from_type),
        Request::ArchiveTurned if call.lane.extent == Extent::Whole => (&call.lane.to_type, &call.lane.from_type),
        Request::Archive
        | Request::ArchiveTurned
        | Request::ArchiveLabels
        | Request::Look { reversed: false, .. }
        | Request::Associate
        | Request::Create { .. } => (&call.lane.from_type, &call.lane.to_type),
    };
    Endpoint::of(call).path(version, from.path_segment(), to.path_segment())
}

/// The JSON body of a request.
pub(super) fn body_of(call: &BatchCall) -> Vec<u8> {
    match &call.request {
        Request::ArchiveTurned if call.lane.extent == Extent::Whole => {
            let turned: Vec<Pair> = call.pairs.iter().map(|pair| pair.turned()).collect();
            whole_associations(&turned)
        }
        // The types of labels are those of one direction: a removal of labels goes as it is asked for, whatever the request
        // says.
        Request::Archive | Request::ArchiveTurned | Request::ArchiveLabels => body(&call.lane.extent, &call.pairs),
        Request::Look { records, reversed: _ } => {
            let records: Vec<_> = records.iter().map(|asked| (asked.from, asked.after.as_deref())).collect();
            body_of_read(&records)
        }
        Request::Associate => body_of_default(&call.pairs),
        Request::Create { labels } => {
            let pairs: Vec<_> = call.pairs.iter().copied().zip(labels.iter().map(|labels| &**labels)).collect();
            body_of_create(&pairs)
        }
    }
}

/// The path of `GET …/labels`: the association types between two object types.
pub(super) fn path_of_labels(version: ApiVersion, from: &str, to: &str) -> String {
    format!("{}/labels", between(version, from, to))
}

/// The start of every path between two object types.
fn between(version: ApiVersion, from: &str, to: &str) -> String {
    match version {
        ApiVersion::V4 => format!("crm/v4/associations/{from}/{to}"),
        ApiVersion::March2026 | ApiVersion::September2026 => {
            format!("crm/associations/{}/{from}/{to}", version.as_str())
        }
    }
}

/// The batch requests between two object types.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Endpoint {
    Archive,
    ArchiveLabels,
    Read,
    Create,
    CreateDefault,
}

impl Endpoint {
    /// Whether a removal takes the whole association is told by the lane's extent alone, so that labels can never go as
    /// the whole, whatever the request says.
    pub fn of(call: &BatchCall) -> Self {
        match &call.request {
            Request::Archive | Request::ArchiveTurned | Request::ArchiveLabels => Self::removing(&call.lane.extent),
            Request::Look { .. } => Self::Read,
            Request::Associate => Self::CreateDefault,
            Request::Create { .. } => Self::Create,
        }
    }

    pub(super) fn removing(extent: &Extent) -> Self {
        match extent {
            Extent::Whole => Self::Archive,
            Extent::Labels(_) => Self::ArchiveLabels,
        }
    }

    /// The path after the base URL, without a slash in front, for segments that need no escaping.
    pub fn path(self, version: ApiVersion, from: &str, to: &str) -> String {
        let action = match self {
            Self::Archive => "archive",
            Self::ArchiveLabels => "labels/archive",
            Self::Read => "read",
            Self::Create => "create",
            Self::CreateDefault => "associate/default",
        };
        format!("{}/batch/{action}", between(version, from, to))
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

/// The JSON body of a `batch/read` for records, each with the cursor where its page begins.
pub fn body_of_read(records: &[(RecordId, Option<&str>)]) -> Vec<u8> {
    let most_for_a_record = READ_OPEN.len() + READ_CLOSE.len() + ",".len() + ID_BYTES;
    let cursors: usize =
        records.iter().filter_map(|(_, after)| *after).map(|after| AFTER.len() + after.len() + 2).sum();
    let mut body = Body::with_room(records.len() * most_for_a_record + cursors);
    for (from, after) in records {
        body.text(READ_OPEN);
        body.id(*from);
        match after {
            None => body.text(READ_CLOSE),
            Some(after) => {
                body.text(AFTER);
                // A cursor is HubSpot's own text, and may hold what JSON must escape.
                body.text(&Value::from(*after).to_string());
                body.text(INPUT_END);
            }
        }
        body.text(",");
    }
    body.end()
}

/// The JSON body of a `batch/create` for pairs, each with all the types that it is to have afterwards: HubSpot takes them
/// in place of those that are there. No list of types may be empty.
pub fn body_of_create(pairs: &[(Pair, &[Label])]) -> Vec<u8> {
    let types: usize = pairs.iter().map(|(_, labels)| labels.len() * MOST_FOR_A_TYPE).sum();
    let mut body = Body::with_room(pairs.len() * (TYPES_OPEN.len() + TYPES_CLOSE.len() + MOST_FOR_ONE_TO) + types);
    for (pair, labels) in pairs {
        body.text(&types_of(labels));
        body.one_to(*pair);
    }
    body.end()
}

/// The JSON body of a `batch/associate/default`: the plain association for each of the pairs.
pub fn body_of_default(pairs: &[Pair]) -> Vec<u8> {
    let mut body = Body::with_room(pairs.len() * ("{".len() + MOST_FOR_ONE_TO));
    for pair in pairs {
        body.text("{");
        body.one_to(*pair);
    }
    body.end()
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
const TYPES_OPEN: &str = r#"{"types":["#;
const TYPES_CLOSE: &str = "],";
const READ_OPEN: &str = r#"{"id":""#;
const READ_CLOSE: &str = r#""}"#;
const AFTER: &str = r#"","after":"#;
const INPUT_END: &str = "}";

/// Bytes of both ends of an input with one `to`.
const MOST_FOR_ONE_TO: usize =
    LABELLED_FROM.len() + LABELLED_TO.len() + LABELLED_CLOSE.len() + ",".len() + 2 * ID_BYTES;
/// Bytes of a type with the longest category and id, and a comma.
const MOST_FOR_A_TYPE: usize = r#"{"associationCategory":"INTEGRATOR_DEFINED","associationTypeId":},"#.len() + ID_BYTES;

fn whole_associations(pairs: &[Pair]) -> Vec<u8> {
    let most_for_a_pair = FROM_OPEN.len()
        + FROM_CLOSE.len()
        + TO_OPEN.len()
        + TO_CLOSE.len()
        + INPUT_CLOSE.len()
        + ",".len()
        + 2 * ID_BYTES;
    let mut body = Body::with_room(pairs.len() * most_for_a_pair);
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
    let mut body = Body::with_room(pairs.len() * (types.len() + MOST_FOR_ONE_TO));
    for pair in pairs {
        body.text(&types);
        body.one_to(*pair);
    }
    body.end()
}

/// The start of an input, up to its ends.
fn types_of(labels: &[Label]) -> String {
    let types: Vec<String> = labels
        .iter()
        .map(|Label { category, type_id }| {
            format!(r#"{{"associationCategory":"{}","associationTypeId":{type_id}}}"#, category.as_str())
        })
        .collect();
    format!("{TYPES_OPEN}{}{TYPES_CLOSE}", types.join(","))
}

/// The bytes of a body that grows input by input.
struct Body {
    bytes: Vec<u8>,
    digits: itoa::Buffer,
}

impl Body {
    fn with_room(for_inputs: usize) -> Self {
        let mut bytes = Vec::with_capacity(BODY_OPEN.len() + BODY_CLOSE.len() + for_inputs);
        bytes.extend_from_slice(BODY_OPEN.as_bytes());
        Self { bytes, digits: itoa::Buffer::new() }
    }

    fn text(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    fn id(&mut self, id: RecordId) {
        self.bytes.extend_from_slice(self.digits.format(id.0.get()).as_bytes());
    }

    /// The ends of an input that takes a single `to`, and the input's end.
    fn one_to(&mut self, pair: Pair) {
        self.text(LABELLED_FROM);
        self.id(pair.from);
        self.text(LABELLED_TO);
        self.id(pair.to);
        self.text(LABELLED_CLOSE);
        self.text(",");
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
    #![expect(clippy::unwrap_used, clippy::panic)]

    use std::collections::BTreeSet;
    use std::num::NonZeroU64;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::contract::association::LabelCategory;
    use crate::contract::ids::AccountIndex;
    use crate::contract::object_type::ObjectType;
    use crate::engine::command::{CallKey, LaneId, Sealed};
    use crate::engine::course::Course;

    #[test]
    fn every_batch_has_its_path_in_every_version() {
        let paths = |endpoint: Endpoint| {
            [ApiVersion::V4, ApiVersion::March2026, ApiVersion::September2026]
                .map(|version| endpoint.path(version, "contacts", "2-1"))
        };
        for (endpoint, end) in [
            (Endpoint::Archive, "archive"),
            (Endpoint::ArchiveLabels, "labels/archive"),
            (Endpoint::Read, "read"),
            (Endpoint::Create, "create"),
            (Endpoint::CreateDefault, "associate/default"),
        ] {
            let expected = ["v4/associations", "associations/2026-03", "associations/2026-09"]
                .map(|start| format!("crm/{start}/contacts/2-1/batch/{end}"));
            assert_eq!(paths(endpoint), expected);
        }
    }

    #[test]
    fn a_read_names_records_and_where_their_pages_begin() {
        let cursor = "0-2-\"7\"\\é\n";
        let records = [(pair(1, 1).from, None), (pair(u64::MAX, 1).from, Some(cursor)), (pair(3, 1).from, Some(""))];
        let written = body_of_read(&records);
        assert_eq!(
            read_back(&written),
            json!({"inputs": [
                {"id": "1"}, {"id": "18446744073709551615", "after": cursor}, {"id": "3", "after": ""},
            ]})
        );
        assert_eq!(read_back(&body_of_read(&[])), json!({"inputs": []}));
    }

    #[test]
    fn a_creation_names_the_types_of_each_pair() {
        let Extent::Labels(labels) = some_labels() else { panic!() };
        let written = body_of_create(&[(pair(1, 2), &labels), (pair(1, 3), &labels[..1])]);
        let buyer = json!({"associationCategory": "USER_DEFINED", "associationTypeId": 37});
        let work = json!({"associationCategory": "WORK", "associationTypeId": u64::MAX});
        assert_eq!(
            read_back(&written),
            json!({"inputs": [
                {"types": [buyer, work], "from": {"id": "1"}, "to": {"id": "2"}},
                {"types": [buyer], "from": {"id": "1"}, "to": {"id": "3"}},
            ]})
        );
        assert_eq!(
            read_back(&body_of_default(&[pair(1, 2), pair(1, 3)])),
            json!({"inputs": [
                {"from": {"id": "1"}, "to": {"id": "2"}}, {"from": {"id": "1"}, "to": {"id": "3"}},
            ]})
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
    fn a_turned_removal_goes_from_the_other_side_and_labels_never_do() {
        let lane = |extent| LaneId {
            account: AccountIndex(0),
            from_type: ObjectType::parse("contacts").unwrap(),
            to_type: ObjectType::parse("companies").unwrap(),
            extent,
            course: Course::ARCHIVE,
        };
        let call = |extent| BatchCall {
            call: CallKey::default(),
            lane: lane(extent),
            pairs: [pair(1, 9), pair(2, 9)].into(),
            request: Request::ArchiveTurned,
            sealed: Sealed::Full,
            failures: 0,
        };
        let whole = call(Extent::Whole);
        assert_eq!(path(ApiVersion::V4, &whole), "crm/v4/associations/companies/contacts/batch/archive");
        assert_eq!(
            read_back(&body_of(&whole)),
            json!({"inputs": [{"from": {"id": "9"}, "to": [{"id": "1"}, {"id": "2"}]}]})
        );
        let labels = call(some_labels());
        assert_eq!(path(ApiVersion::V4, &labels), "crm/v4/associations/contacts/companies/batch/labels/archive");
        assert_eq!(read_back(&body_of(&labels))["inputs"][0]["from"], json!({"id": "1"}));
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
        let longest = [Label { category: LabelCategory::IntegratorDefined, type_id: NonZeroU64::MAX }; 3];
        let with_types: Vec<_> = pairs.iter().map(|&pair| (pair, longest.as_slice())).collect();
        let records: Vec<_> = pairs.iter().map(|pair| (pair.from, Some("0-2-18446744073709551615"))).collect();
        for written in [body_of_create(&with_types), body_of_default(&pairs), body_of_read(&records)] {
            assert!(written.capacity() < written.len() + 4 * pairs.len(), "the buffer grew: {}", written.capacity());
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

    fn read_back(body: &[u8]) -> Value {
        serde_json::from_slice(body).unwrap()
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
