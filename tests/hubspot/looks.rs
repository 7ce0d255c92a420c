//! Reads and creations against HubSpot as the simulator knows it, with its switches.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use association_archiver::config::ApiVersion;
use association_archiver::contract::association::{AssociationType, Label, LabelCategory, Pair, RecordId};
use association_archiver::contract::object_type::ObjectType;
use association_archiver::engine::verdict::{
    Creation, Found, Judgement, LookAsked, PairVerdict, RecordVerdict, RecordView, judge, judge_creation, judge_look,
};
use association_archiver::hubspot::bearer::BearerToken;
use association_archiver::hubspot::client::{HubspotClient, ObjectTypes};
use hubspot_simulator::{Rule, Settings, Simulator, World};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::far_end::{TOKEN, call, settings};

const TIMEOUT: Duration = Duration::from_secs(30);
const PLAIN: Label = label(LabelCategory::HubspotDefined, 279);
const PRIMARY: Label = label(LabelCategory::HubspotDefined, 1);
const MANAGER: Label = label(LabelCategory::UserDefined, 37);

#[tokio::test]
async fn whatever_the_form_of_the_answer_what_is_there_is_seen() {
    let mut far = Far::with(json!({})).await;
    assert!(matches!(far.create(&[(pair(1, 9), &[MANAGER, PRIMARY])]).await, Judgement::Archived));
    let all = types(&[(PRIMARY, "Primary"), (PLAIN, ""), (MANAGER, "Manager")]);
    let plain = types(&[(PLAIN, "")]);
    for ids in ["numbers", "strings"] {
        for version in [ApiVersion::V4, ApiVersion::March2026, ApiVersion::September2026] {
            set(&json!({"reads": {"ids": ids, "order": "shuffled"}}), &mut far.simulator.world());
            far.speak(version);
            let [one, two, none] = far.look_all(&[1, 2, 5]).await.try_into().unwrap();
            assert_eq!(one, [found(9, &all)], "{ids} {version:?}");
            assert_eq!(two, [found(9, &plain), found(10, &plain)]);
            assert_eq!(none, []);
        }
    }
}

#[tokio::test]
async fn pages_are_read_to_their_end() {
    let create = json!([{"from": "contacts", "to": "companies", "fromIds": "1-3", "toIds": "100-125"}]);
    let far = Far::with(json!({"reads": {"page": 7}, "everyAccount": {"associations": {"create": create}}})).await;
    let first = far.look(&[asked(1, None)]).await;
    let [RecordVerdict::Seen(RecordView { found, next: Some(_) })] = first.as_slice() else { panic!("{first:?}") };
    assert_eq!(found.len(), 7);
    let counts: Vec<usize> = far.look_all(&[1, 2, 3]).await.iter().map(Vec::len).collect();
    assert_eq!(counts, [27, 28, 27]);
}

#[tokio::test]
async fn what_a_read_still_shows_for_a_while_is_there_until_it_is_not() {
    let far = Far::with(json!({"everyAccount": {"associations": {"readLag": "3s"}}})).await;
    let began = Instant::now();
    let mut call = call();
    call.pairs = [pair(1, 9)].into();
    assert_eq!(judge(&far.client.send_batch(&call, &token()).await, &call.pairs), Judgement::Archived);
    assert_eq!(far.look_all(&[1]).await[0].len(), 1, "a read that follows at once");
    while !far.look_all(&[1]).await[0].is_empty() {
        assert!(began.elapsed() < TIMEOUT);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn records_that_hubspot_names_as_text_are_found_one_by_one() {
    let far = Far::with(json!({"context": {"form": "text"}})).await;
    let together = far.look(&[asked(1, None), asked(5, None), asked(6, None)]).await;
    assert!(matches!(&together[..], [RecordVerdict::Seen(_), RecordVerdict::Suspect(_), RecordVerdict::Suspect(_)]));
    assert_eq!(far.look_all(&[5]).await, [[]]);
}

#[tokio::test]
async fn a_result_that_is_left_out_is_not_taken_for_gone() {
    let far = Far::with(json!({})).await;
    let rules: Vec<Rule> = serde_json::from_value(json!([{"then": {"omitted": 1}}])).unwrap();
    far.simulator.world().faults.install(rules, Duration::ZERO);
    let verdicts = far.look(&[asked(1, None), asked(2, None), asked(3, None)]).await;
    let again = verdicts.iter().filter(|verdict| matches!(verdict, RecordVerdict::Again(_))).count();
    let seen = verdicts.iter().filter(|verdict| matches!(verdict, RecordVerdict::Seen(view) if !view.found.is_empty()));
    assert_eq!((again, seen.count()), (1, 2), "{verdicts:?}");
}

#[tokio::test]
async fn what_is_created_is_there_and_what_is_refused_is_named() {
    let unknown = label(LabelCategory::UserDefined, 99);
    for (form, expected) in [("partial", "AR"), ("refused", "UR"), ("canceled", "SS")] {
        let far = Far::with(json!({"creates": {"unknownType": form}})).await;
        let judgement = far.create(&[(pair(1, 20), &[MANAGER]), (pair(2, 20), &[unknown])]).await;
        assert_eq!(letters(&judgement), expected, "{form}");
        assert_eq!(letters(&far.create(&[(pair(2, 20), &[unknown])]).await), "R", "{form}");
        let there = far.look_all(&[1, 2]).await.concat();
        assert_eq!(there.iter().any(|found| found.to == id(20)), expected == "AR", "{form}");
    }
}

#[tokio::test]
async fn the_default_association_leaves_labels_and_reports_both_directions() {
    let missing = json!({"contacts": [404]});
    let mut far = Far::with(json!({"everyAccount": {"associations": {"missing": missing}}})).await;
    far.create(&[(pair(1, 9), &[MANAGER])]).await;
    let pairs = [pair(1, 9), pair(404, 9), pair(3, 50), pair(50, 3)];
    for version in [ApiVersion::V4, ApiVersion::September2026] {
        far.speak(version);
        assert_eq!(letters(&far.create_default(&pairs).await), "ARAA", "{version:?}");
    }
    let there = far.look_all(&[1, 3]).await;
    assert_eq!(there[0][0], found(9, &types(&[(PLAIN, ""), (MANAGER, "Manager")])));
    assert!(there[1].contains(&found(50, &types(&[(PLAIN, "")]))));
}

/// One letter a pair: `A`rchived (here: created), `R`efused, `S`uspect, `G` (again), `U`ntouched.
fn letters(judgement: &Judgement) -> String {
    let letter = |verdict: &PairVerdict| match verdict {
        PairVerdict::Archived => 'A',
        PairVerdict::Refused(_) => 'R',
        PairVerdict::Suspect(_) => 'S',
        PairVerdict::Again(_) => 'G',
        PairVerdict::Untouched => 'U',
    };
    match judgement {
        Judgement::Each(verdicts) => verdicts.iter().map(letter).collect(),
        Judgement::Archived => "A".to_owned(),
        Judgement::Suspect(_) => "SS".to_owned(),
        other => panic!("{other:?}"),
    }
}

/// Contacts 1 to 3 at company 9, contact 2 at company 10 as well.
struct Far {
    simulator: Simulator,
    client: HubspotClient,
    contacts: ObjectType,
    companies: ObjectType,
}

impl Far {
    async fn with(more: Value) -> Self {
        let there = json!({"everyAccount": {"existing": "nothing", "associations": {
            "labels": [{"from": "contacts", "to": "companies", "typeId": 37, "label": "Manager"}],
            "create": [
                {"from": "contacts", "to": "companies", "fromIds": "1-3", "toIds": 9},
                {"from": "contacts", "to": "companies", "fromIds": 2, "toIds": 10},
            ],
        }}});
        let mut world = World::new(1, Timestamp::now());
        set(&there, &mut world);
        set(&more, &mut world);
        let simulator = Simulator::start(world).await.unwrap();
        let client = HubspotClient::new(&settings(&simulator.base_url(), TIMEOUT)).unwrap();
        let [contacts, companies] = ["contacts", "companies"].map(|name| ObjectType::parse(name).unwrap());
        Self { simulator, client, contacts, companies }
    }

    fn speak(&mut self, api_version: ApiVersion) {
        let mut settings = settings(&self.simulator.base_url(), TIMEOUT);
        settings.api_version = api_version;
        self.client = HubspotClient::new(&settings).unwrap();
    }

    fn lane(&self) -> ObjectTypes<'_> {
        ObjectTypes { from: &self.contacts, to: &self.companies }
    }

    async fn look(&self, asked: &[LookAsked]) -> Vec<RecordVerdict> {
        let records: Vec<_> = asked.iter().map(|record| (record.from, record.after.as_deref())).collect();
        match judge_look(&self.client.read(self.lane(), &records, &token()).await, asked) {
            Ok(verdicts) => verdicts,
            other => panic!("{other:?}"),
        }
    }

    /// What each contact is associated with, page after page.
    async fn look_all(&self, contacts: &[u64]) -> Vec<Vec<Found>> {
        let mut all: BTreeMap<RecordId, Vec<Found>> = contacts.iter().map(|&from| (id(from), Vec::new())).collect();
        let mut open: Vec<_> = contacts.iter().map(|&from| asked(from, None)).collect();
        while !open.is_empty() {
            let verdicts = self.look(&open).await;
            let mut more = Vec::new();
            for (record, verdict) in open.into_iter().zip(verdicts) {
                let RecordVerdict::Seen(RecordView { found, next }) = verdict else { panic!("{verdict:?}") };
                all.get_mut(&record.from).unwrap().extend(found);
                more.extend(next.map(|next| LookAsked { from: record.from, after: Some(next) }));
            }
            open = more;
        }
        all.into_values().collect()
    }

    async fn create(&self, wanted: &[(Pair, &[Label])]) -> Judgement {
        let pairs: Vec<Pair> = wanted.iter().map(|(pair, _)| *pair).collect();
        judge_creation(&self.client.create(self.lane(), wanted, &token()).await, &pairs, Creation::Types)
    }

    async fn create_default(&self, pairs: &[Pair]) -> Judgement {
        judge_creation(&self.client.create_default(self.lane(), pairs, &token()).await, pairs, Creation::Default)
    }
}

fn set(settings: &Value, world: &mut World) {
    Settings::deserialize(settings).unwrap().apply(world);
}

fn token() -> BearerToken {
    BearerToken::new(&TOKEN.into()).unwrap()
}

fn asked(from: u64, after: Option<&str>) -> LookAsked {
    LookAsked { from: id(from), after: after.map(Arc::from) }
}

fn found(to: u64, types: &Arc<[AssociationType]>) -> Found {
    Found { to: id(to), types: Some(Arc::clone(types)) }
}

/// Without a name where it is empty.
fn types(types: &[(Label, &str)]) -> Arc<[AssociationType]> {
    let name = |name: &str| (!name.is_empty()).then(|| Arc::from(name));
    types.iter().map(|&(label, text)| AssociationType { label, name: name(text) }).collect()
}

const fn label(category: LabelCategory, type_id: u64) -> Label {
    Label { category, type_id: NonZeroU64::new(type_id).unwrap() }
}

fn pair(from: u64, to: u64) -> Pair {
    Pair { from: id(from), to: id(to) }
}

fn id(number: u64) -> RecordId {
    RecordId(number.try_into().unwrap())
}
