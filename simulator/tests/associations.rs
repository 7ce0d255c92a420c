//! Associations over HTTP, with their types in both directions: read, created, labelled, listed; and in virtual time
//! what happens to them later.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::time::Duration;

use hubspot_simulator::inventory::Association;
use hubspot_simulator::request::Kind;
use hubspot_simulator::sighting::Violation;
use hubspot_simulator::{Request, Settings, Simulator, World};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CONTACTS: &str = "/crm/v4/associations/contacts/companies";
const COMPANIES: &str = "/crm/v4/associations/companies/contacts";

/// Contacts 1 to 3 at company 9; 37 and 38 are the two ends of a label.
fn settings(more: Value) -> Value {
    let mut settings = json!({
        "everyAccount": {"limit": "off", "associations": {
            "labels": [{"from": "contacts", "to": "companies", "typeId": 37, "label": "Manager", "inverseLabel": "Managed by"}],
            "create": [{"from": "contacts", "to": "companies", "fromIds": "1-3", "toIds": 9}],
        }},
    });
    merge(&mut settings, more);
    settings
}

fn merge(into: &mut Value, more: Value) {
    if let Value::Object(fields) = more {
        fields.into_iter().for_each(|(key, value)| merge(&mut into[key], value));
    } else {
        *into = more;
    }
}

fn world(more: Value) -> World {
    let mut world = World::new(1, Timestamp::now());
    serde_json::from_value::<Settings>(settings(more)).unwrap().apply(&mut world);
    world
}

struct Far(Simulator);

impl Far {
    async fn with(more: Value) -> Self {
        Self(Simulator::start(world(more)).await.unwrap())
    }

    /// Status and body of one request.
    async fn ask(&self, method: &str, target: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut stream = TcpStream::connect(self.0.addr()).await.unwrap();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer t\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        (answer[9..12].parse().unwrap(), serde_json::from_str(body).unwrap_or_default())
    }

    async fn post(&self, target: &str, body: Value) -> (u16, Value) {
        self.ask("POST", target, &body).await
    }

    async fn create(&self, inputs: Value) -> (u16, Value) {
        self.post(&format!("{CONTACTS}/batch/create"), json!({"inputs": inputs})).await
    }

    async fn read(&self, inputs: Value) -> (u16, Value) {
        self.post(&format!("{CONTACTS}/batch/read"), json!({"inputs": inputs})).await
    }

    /// The types of every pair of one direction.
    async fn pairs(&self, from: &str, to: &str) -> BTreeMap<(u64, u64), Vec<u32>> {
        let (_, listed) = self.ask("GET", &format!("/_sim/associations?from={from}&to={to}"), &Value::Null).await;
        let listed: Vec<Association> = serde_json::from_value(listed).unwrap();
        let pair = |one: Association| {
            let types = one.types.iter().map(|label| label.type_id).collect();
            ((one.from.parse().unwrap(), one.to.parse().unwrap()), types)
        };
        listed.into_iter().map(pair).collect()
    }
}

fn pair(from: u64, to: u64, types: &[(&str, u32)]) -> Value {
    let types: Vec<Value> =
        types.iter().map(|(category, id)| json!({"associationCategory": category, "associationTypeId": id})).collect();
    json!({"from": {"id": from.to_string()}, "to": {"id": to.to_string()}, "types": types})
}

/// `toObjectId` and type ids of each result, by `from.id`; the order says nothing.
fn results(body: &Value) -> BTreeMap<String, BTreeMap<u64, Vec<u64>>> {
    let record = |result: &Value| {
        let to = result["to"].as_array().unwrap().iter().map(|to| {
            let mut types: Vec<u64> =
                to["associationTypes"].as_array().unwrap().iter().map(|one| one["typeId"].as_u64().unwrap()).collect();
            types.sort_unstable();
            let id = to["toObjectId"].as_u64().or_else(|| to["toObjectId"].as_str()?.parse().ok()).unwrap();
            (id, types)
        });
        (result["from"]["id"].as_str().unwrap().to_owned(), to.collect())
    };
    body["results"].as_array().unwrap().iter().map(record).collect()
}

const MANAGER: (&str, u32) = ("USER_DEFINED", 37);
const PRIMARY: (&str, u32) = ("HUBSPOT_DEFINED", 1);
const PLAIN: (&str, u32) = ("HUBSPOT_DEFINED", 279);

#[tokio::test]
async fn a_read_names_types_and_labels_and_reports_who_has_none() {
    let far = Far::with(json!({})).await;
    assert_eq!(far.create(json!([pair(1, 9, &[MANAGER, PRIMARY])])).await.0, 201);
    let (status, body) = far.read(json!([{"id": "1"}, {"id": "2"}, {"id": "5"}])).await;
    assert_eq!((status, &body["status"], &body["numErrors"]), (207, &json!("COMPLETE"), &json!(1)));
    let expected = [("1", vec![1, 37, 279]), ("2", vec![279])];
    assert_eq!(results(&body), expected.map(|(from, types)| (from.to_owned(), [(9, types)].into())).into());
    let first = body["results"].as_array().unwrap().iter().find(|result| result["from"]["id"] == "1").unwrap();
    let types = first["to"][0]["associationTypes"].as_array().unwrap();
    let label = |id: u32| types.iter().find(|one| one["typeId"] == id).map(|one| (&one["category"], &one["label"]));
    assert_eq!(label(37), Some((&json!("USER_DEFINED"), &json!("Manager"))));
    assert_eq!(label(279), Some((&json!("HUBSPOT_DEFINED"), &Value::Null)));
    let error = &body["errors"][0];
    assert_eq!(error["subCategory"], "crm.associations.NO_ASSOCIATIONS_FOUND");
    assert_eq!(error["context"]["fromObjectId"], json!(["5"]));
    let (status, body) = far.read(json!([{"id": "1"}])).await;
    assert_eq!((status, body.get("errors")), (200, None));
}

#[tokio::test]
async fn the_other_direction_has_types_of_its_own_in_every_version_of_the_path() {
    let far = Far::with(json!({})).await;
    far.create(json!([pair(1, 9, &[MANAGER, PRIMARY])])).await;
    let dated = |version| format!("/crm/associations/{version}/0-2/0-1");
    for path in [COMPANIES.to_owned(), dated("2026-03"), dated("2026-09")] {
        let (status, body) = far.post(&format!("{path}/batch/read"), json!({"inputs": [{"id": "9"}]})).await;
        let all = [(1, vec![2, 38, 280]), (2, vec![280]), (3, vec![280])].into();
        assert_eq!((status, results(&body)), (200, [("9".to_owned(), all)].into()), "{path}");
    }
}

#[tokio::test]
async fn long_lists_come_in_pages() {
    let far = Far::with(json!({"reads": {"page": 4}, "everyAccount": {"associations": {
        "create": [{"from": "contacts", "to": "companies", "fromIds": 1, "toIds": "1-10"}],
    }}}))
    .await;
    let (mut seen, mut after) = (Vec::new(), Value::Null);
    for expected in [4, 4, 2] {
        let mut input = json!({"id": "1"});
        if !after.is_null() {
            input["after"] = after;
        }
        let (status, body) = far.read(json!([input])).await;
        let page = &results(&body)["1"];
        assert_eq!((status, page.len()), (200, expected));
        seen.extend(page.keys().copied());
        after = body["results"][0]["paging"]["next"]["after"].clone();
    }
    assert_eq!((seen, after), ((1..=10).collect(), Value::Null));
    assert_eq!(far.read(json!([{"id": "1", "after": "nonsense"}])).await.0, 400);
}

#[tokio::test]
async fn ids_are_numbers_or_strings_and_the_order_differs_unless_told_otherwise() {
    let many: Vec<Value> = (1..=3).map(|id| json!({"id": id.to_string()})).collect();
    let order = |body: &Value| -> Vec<String> {
        body["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|result| result["from"]["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let far = Far::with(json!({})).await;
    let mut orders = std::collections::BTreeSet::new();
    for _ in 0..40 {
        let (_, body) = far.read(json!(many)).await;
        assert_eq!(body["results"][0]["to"][0]["toObjectId"], 9);
        orders.insert(order(&body));
    }
    assert!(orders.len() > 1, "always {orders:?}");
    let far = Far::with(json!({"reads": {"ids": "strings", "order": "sorted"}})).await;
    let (_, body) = far.read(json!(many)).await;
    assert_eq!(
        (&body["results"][0]["to"][0]["toObjectId"], order(&body).as_slice()),
        (&json!("9"), ["1", "2", "3"].map(str::to_owned).as_slice())
    );
}

#[tokio::test]
async fn an_id_that_is_none_is_told_apart_from_one_without_associations() {
    let inputs = json!([{"id": "1"}, {"id": "x"}, {"id": "13"}]);
    let far = Far::with(json!({"everyAccount": {"badIds": [13]}})).await;
    let (status, body) = far.read(inputs.clone()).await;
    assert_eq!((status, results(&body).len(), &body["numErrors"]), (207, 1, &json!(2)));
    for error in body["errors"].as_array().unwrap() {
        assert_eq!(error["subCategory"], "crm.associations.INVALID_IDENTIFIER", "{error}");
    }
    for (mode, named) in [("400-named", true), ("400-unnamed", false)] {
        let far = Far::with(json!({"everyAccount": {"badIds": [13], "badMode": mode}})).await;
        let (status, body) = far.read(inputs.clone()).await;
        assert_eq!((status, &body["subCategory"]), (400, &json!("crm.associations.INVALID_IDENTIFIER")));
        let ids: Vec<&Value> =
            body["errors"].as_array().into_iter().flatten().map(|error| &error["context"]["fromObjectId"][0]).collect();
        assert_eq!(ids, if named { vec!["13", "x"] } else { vec![] }, "{mode}");
    }
}

#[tokio::test]
async fn a_creation_takes_the_place_of_labels_in_both_directions() {
    let far = Far::with(json!({})).await;
    let (status, body) = far.create(json!([pair(1, 9, &[MANAGER]), pair(4, 9, &[PLAIN])])).await;
    assert_eq!(
        (status, &body["results"][0]["labels"], &body["results"][0]["toObjectId"]),
        (201, &json!(["Manager"]), &json!(9))
    );
    far.create(json!([pair(1, 9, &[PRIMARY])])).await;
    let pairs = far.pairs("contacts", "companies").await;
    assert_eq!((&pairs[&(1, 9)], &pairs[&(4, 9)]), (&vec![1, 279], &vec![279]));
    assert_eq!(far.pairs("companies", "contacts").await[&(9, 1)], [2, 280]);
    assert_eq!(far.0.world().state().pairs_created, 3);
}

#[tokio::test]
async fn a_type_that_is_not_defined_is_refused_in_three_ways() {
    let inputs = json!([pair(1, 9, &[("USER_DEFINED", 279)]), pair(4, 9, &[MANAGER])]);
    for (answer, status, state, made) in
        [("partial", 207, "COMPLETE", true), ("refused", 400, "error", false), ("canceled", 201, "CANCELED", false)]
    {
        let far = Far::with(json!({"creates": {"unknownType": answer}})).await;
        let (code, body) = far.create(inputs.clone()).await;
        assert_eq!((code, &body["status"]), (status, &json!(state)), "{answer}");
        assert_eq!(far.pairs("contacts", "companies").await.contains_key(&(4, 9)), made, "{answer}");
        let error = body["errors"][0].clone();
        if answer == "canceled" {
            assert_eq!((error, &body["results"]), (Value::Null, &json!([])));
        } else {
            assert_eq!(error["subCategory"], "crm.associations.INVALID_ASSOCIATION_TYPE", "{answer}");
            assert_eq!(error["context"]["fromObjectId"], json!(["1"]), "{answer}");
        }
    }
    let label = json!([{"from": "contacts", "to": "companies", "typeId": 37, "label": "Theirs", "category": "INTEGRATOR_DEFINED", "creation": "owner-only"}]);
    let far = Far::with(json!({"everyAccount": {"associations": {"labels": label}}})).await;
    assert_eq!(
        far.create(json!([pair(1, 9, &[("INTEGRATOR_DEFINED", 37)])])).await.0,
        207,
        "only its owner can make it"
    );
}

#[tokio::test]
async fn a_second_primary_moves_or_is_refused() {
    for (second, status, first) in [("moves", 201, vec![279]), ("refused", 207, vec![1, 279])] {
        let far = Far::with(json!({"creates": {"secondPrimary": second}})).await;
        assert_eq!(far.create(json!([pair(1, 8, &[PRIMARY]), pair(2, 8, &[PRIMARY])])).await.0, 201);
        let (code, body) = far.create(json!([pair(1, 9, &[PRIMARY])])).await;
        assert_eq!((code, body["results"].as_array().unwrap().is_empty()), (status, second == "refused"));
        let pairs = far.pairs("contacts", "companies").await;
        assert_eq!((&pairs[&(1, 8)], &pairs[&(2, 8)]), (&first, &vec![1, 279]), "{second}");
    }
}

#[tokio::test]
async fn the_default_association_leaves_labels_alone_and_reports_errors_inside_a_200() {
    let far = Far::with(json!({"everyAccount": {"associations": {"missing": {"contacts": [6]}}}})).await;
    far.create(json!([pair(1, 9, &[MANAGER])])).await;
    let plain = |from: u64| json!({"from": {"id": from.to_string()}, "to": {"id": "9"}});
    let target = format!("{CONTACTS}/batch/associate/default");
    let (status, body) = far.post(&target, json!({"inputs": [plain(1), plain(5), plain(6)]})).await;
    assert_eq!(
        (status, &body["numErrors"], &body["errors"][0]["category"]),
        (200, &json!(1), &json!("OBJECT_NOT_FOUND"))
    );
    let spec = |result: &Value| (result["from"]["id"].clone(), result["associationSpec"]["associationTypeId"].clone());
    let specs: Vec<_> = body["results"].as_array().unwrap().iter().map(spec).collect();
    assert_eq!(
        specs,
        [(json!("1"), json!(279)), (json!("9"), json!(280)), (json!("5"), json!(279)), (json!("9"), json!(280))]
    );
    let pairs = far.pairs("contacts", "companies").await;
    assert_eq!((&pairs[&(1, 9)], &pairs[&(5, 9)], pairs.get(&(6, 9))), (&vec![279, 37], &vec![279], None));
}

#[tokio::test]
async fn archiving_removes_all_and_labels_only_themselves_in_both_directions() {
    let far = Far::with(json!({})).await;
    far.create(json!([pair(1, 9, &[MANAGER]), pair(2, 9, &[MANAGER])])).await;
    let labels = format!("{CONTACTS}/batch/labels/archive");
    assert_eq!(far.post(&labels, json!({"inputs": [pair(1, 9, &[MANAGER]), pair(3, 9, &[PLAIN])]})).await.0, 204);
    let whole = json!({"inputs": [{"from": {"id": "9"}, "to": [{"id": "2"}]}]});
    assert_eq!(far.post(&format!("{COMPANIES}/batch/archive"), whole).await.0, 204);
    assert_eq!(far.pairs("contacts", "companies").await, [((1, 9), vec![279])].into());
    assert_eq!(far.pairs("companies", "contacts").await, [((9, 1), vec![280])].into());
}

#[tokio::test]
async fn a_one_way_portal_keeps_the_other_direction() {
    let far = Far::with(json!({"everyAccount": {"associations": {"oneWay": true}}})).await;
    // What was there before came in one direction too.
    assert!(far.pairs("companies", "contacts").await.is_empty());
    let both = json!([{"from": "companies", "to": "contacts", "fromIds": 9, "toIds": "1-3"}]);
    assert_eq!(far.post("/_sim/associations", both).await.0, 204);
    let whole = json!({"inputs": [{"from": {"id": "1"}, "to": [{"id": "9"}]}]});
    far.post(&format!("{CONTACTS}/batch/archive"), whole).await;
    assert_eq!(far.pairs("contacts", "companies").await.len(), 2);
    assert_eq!(far.pairs("companies", "contacts").await.len(), 3);
}

#[tokio::test]
async fn deleted_records_are_neither_shown_nor_associated() {
    let far =
        Far::with(json!({"everyAccount": {"associations": {"missing": {"contacts": [1], "companies": [7]}}}})).await;
    let (status, body) = far.read(json!([{"id": "1"}, {"id": "2"}])).await;
    assert_eq!((status, results(&body).len()), (207, 1));
    assert_eq!(body["errors"][0]["subCategory"], "crm.associations.NO_ASSOCIATIONS_FOUND", "as one without any");
    let (_, body) = far.post(&format!("{COMPANIES}/batch/read"), json!({"inputs": [{"id": "9"}]})).await;
    assert_eq!(results(&body)["9"].keys().copied().collect::<Vec<_>>(), [2, 3]);
    let (status, body) = far.create(json!([pair(1, 9, &[PLAIN]), pair(2, 7, &[PLAIN]), pair(5, 9, &[PLAIN])])).await;
    assert_eq!((status, &body["numErrors"], body["results"].as_array().unwrap().len()), (207, &json!(2), 1));
    assert_eq!(body["errors"][1]["message"], "There is no company 7.");
}

#[tokio::test]
async fn the_types_between_two_objects_are_listed_for_each_direction() {
    let far = Far::with(json!({})).await;
    for (target, expected) in [
        (format!("{CONTACTS}/labels"), [(279, Value::Null), (1, json!("Primary")), (37, json!("Manager"))]),
        (
            "/crm/associations/2026-09/companies/contacts/labels".to_owned(),
            [(280, Value::Null), (2, json!("Primary")), (38, json!("Managed by"))],
        ),
    ] {
        let (status, body) = far.ask("GET", &target, &Value::Null).await;
        let listed: Vec<_> = body["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| (one["typeId"].as_u64().unwrap(), one["label"].clone()))
            .collect();
        assert_eq!((status, listed.as_slice()), (200, expected.as_slice()), "{target}");
    }
    let (_, body) = far.ask("GET", "/crm/v4/associations/p_pets/contacts/labels", &Value::Null).await;
    assert_eq!(body["results"][0]["category"], "USER_DEFINED", "an account gives its own objects a number of its own");
}

#[tokio::test]
async fn a_label_whose_definition_is_gone_leaves_pairs_and_cannot_be_created() {
    let far = Far::with(json!({})).await;
    far.create(json!([pair(1, 9, &[MANAGER])])).await;
    assert_eq!(far.post("/_sim/config", json!({"everyAccount": {"associations": {"labels": []}}})).await.0, 204);
    assert_eq!(far.pairs("contacts", "companies").await[&(1, 9)], [279]);
    assert_eq!(far.create(json!([pair(1, 9, &[MANAGER])])).await.0, 207);
}

#[tokio::test]
async fn caps_are_kept_and_every_request_counts_in_the_limits() {
    let far = Far::with(json!({"maxRead": 2, "maxCreate": 1, "everyAccount": {"limit": "7/1h", "daily": 100}})).await;
    let two = json!([{"id": "1"}, {"id": "2"}]);
    assert_eq!(far.read(two.clone()).await.0, 200);
    assert_eq!(far.read(json!([{"id": "1"}, {"id": "2"}, {"id": "3"}])).await.0, 400);
    assert_eq!(far.read(json!([{"id": "1"}, {"id": "1"}])).await.0, 400);
    assert_eq!(far.create(json!([pair(1, 9, &[PLAIN])])).await.0, 201);
    assert_eq!(far.create(json!([pair(1, 9, &[PLAIN]), pair(2, 9, &[PLAIN])])).await.0, 400);
    assert_eq!(far.ask("GET", &format!("{CONTACTS}/labels"), &Value::Null).await.0, 200);
    let plain = json!({"inputs": [{"from": {"id": "1"}, "to": {"id": "9"}}]});
    assert_eq!(far.post(&format!("{CONTACTS}/batch/associate/default"), plain).await.0, 200);
    assert_eq!(far.read(two).await.0, 429);
    let state = far.0.world().state();
    let kinds = [(Kind::Read, 4), (Kind::Create, 2), (Kind::AssociateDefault, 1), (Kind::Labels, 1)];
    assert_eq!((state.requests_by_kind, state.accounts[0].requests_today), (kinds.into(), Some(7)));
    assert_eq!((state.violations[&Violation::TooManyFrom], state.violations[&Violation::RepeatedFrom]), (2, 1));
    let sizes: Vec<usize> = far.0.world().arrivals.iter().map(|arrival| arrival.pairs).collect();
    assert_eq!(sizes, [2, 3, 2, 1, 2, 0, 1, 2]);
}

#[tokio::test]
async fn types_must_be_named_where_they_are_asked_for() {
    let far = Far::with(json!({})).await;
    let none = json!({"inputs": [pair(1, 9, &[])]});
    for operation in ["labels/archive", "create"] {
        assert_eq!(far.post(&format!("{CONTACTS}/batch/{operation}"), none.clone()).await.0, 400, "{operation}");
    }
    assert_eq!(far.0.world().state().violations[&Violation::EmptyTypes], 2);
    assert_eq!(far.pairs("contacts", "companies").await.len(), 3, "nothing is removed");
}

#[tokio::test]
async fn an_answer_may_leave_a_record_out_without_a_word() {
    let far = Far::with(json!({})).await;
    let rules = json!([{"when": {"kind": "read"}, "then": {"omitted": 1}}]);
    assert_eq!(far.ask("PUT", "/_sim/faults", &rules).await.0, 204);
    let (status, body) = far.read(json!([{"id": "1"}, {"id": "2"}, {"id": "3"}])).await;
    assert_eq!((status, results(&body).len(), body.get("errors")), (200, 2, None));
}

#[tokio::test]
async fn all_that_exists_is_listed_for_comparison() {
    let far = Far::with(json!({})).await;
    let (_, before) = far.ask("GET", "/_sim/associations", &Value::Null).await;
    assert_eq!(before.as_array().unwrap().len(), 6, "three pairs, each in both directions");
    assert_eq!(
        before[0],
        json!({"portalId": 4711, "fromObjectType": "0-1", "from": "1", "toObjectType": "0-2", "to": "9",
        "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 279}]})
    );
    let whole = json!({"inputs": [{"from": {"id": "1"}, "to": [{"id": "9"}]}]});
    far.post(&format!("{CONTACTS}/batch/archive"), whole).await;
    assert_eq!(far.0.world().state().pairs_existing, Some(4));
    far.create(json!([pair(1, 9, &[PLAIN])])).await;
    assert_eq!(far.ask("GET", "/_sim/associations", &Value::Null).await.1, before);
    for (target, mend) in
        [("/_sim/associations?from=contacts", "neither"), ("/_sim/associations?from=a&to=b", "object type")]
    {
        let (status, body) = far.ask("GET", target, &Value::Null).await;
        assert!(status == 400 && body["error"].as_str().unwrap().contains(mend), "{body}");
    }
    let (status, body) = far.post("/_sim/associations", json!([{"from": "contacts"}])).await;
    assert!(status == 400 && body["error"].as_str().unwrap().contains("associations are not understood"), "{body}");
}

#[test]
fn reads_lag_and_another_app_makes_pairs_again() {
    let mut world = world(json!({"everyAccount": {"associations": {
        "readLag": "2s", "otherApp": {"after": "5s", "times": 1, "records": [1]},
    }}}));
    let mut ask = |operation: &str, body: &Value, seconds: u64| {
        let (target, text) = (format!("{CONTACTS}/batch/{operation}"), body.to_string());
        let answer = world.handle(&Request::post(&target, "Bearer t", text.as_bytes()), Duration::from_secs(seconds));
        world.answered(&answer);
        serde_json::from_slice::<Value>(&answer.body).unwrap_or_default()
    };
    let whole = |from: u64| json!({"from": {"id": from.to_string()}, "to": [{"id": "9"}]});
    let both = json!({"inputs": [whole(1), whole(2)]});
    let read = json!({"inputs": [{"id": "1"}, {"id": "2"}]});
    ask("archive", &both, 0);
    let mut there = |seconds| results(&ask("read", &read, seconds)).into_keys().collect::<Vec<_>>().join(",");
    assert_eq!([there(1), there(2), there(4), there(5)], ["1,2", "", "", "1"]);
    ask("archive", &both, 6);
    let mut there = |seconds| results(&ask("read", &read, seconds)).into_keys().collect::<Vec<_>>().join(",");
    assert_eq!([there(7), there(8), there(99)], ["1", "", ""], "it makes the pair again once");
    assert_eq!(world.state().pairs_returned, 1);
}
