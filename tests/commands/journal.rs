//! `journal list` and `journal export`: what was recorded, by every filter, from the file and from the stream, whatever
//! state it is in.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use harness::{Job, SimulatorProcess, job};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::program::{bare_ground, ground, run, run_with};

/// A journal as removals have left it.
pub struct Removals {
    directory: TempDir,
    pub simulator: SimulatorProcess,
    /// Who was associated with whom before.
    pub before: Value,
}

/// Two groups and a job without one, two pairs of object types, labels, and a pair that is not there.
fn jobs() -> [Job; 7] {
    [
        job("plain-1").field("group", "spring").pair(1, 9001),
        job("plain-2").field("group", "spring").pair(2, 9001),
        job("labelled").field("group", "spring").pair(3, 9002),
        job("one-label").field("group", "autumn").labels(4, 9002, &[37]),
        job("absent").field("group", "autumn").pair(5, 9003),
        job("deal").field("group", "autumn").types("deals", "tickets").pair(6, 7),
        job("nameless").pair(8, 9001),
    ]
}

/// A request that HubSpot refused in part and one of a worker that was killed before the answer, long ago.
const EARLIER: &str = r#"{"version":1,"record":"entry","id":"0b9c5d3e-0000-4000-8000-000000000001","at":"2026-01-01T10:00:00.000Z","portalId":4711,"fromObjectType":"contacts","toObjectType":"companies","readFrom":"from","labels":null,"types":[{"associationCategory":"HUBSPOT_DEFINED","associationTypeId":279,"label":null}],"jobs":[{"jobId":"old","group":"winter","correlationId":null}],"first":0,"pairs":[{"from":"101","to":"9001","types":[0],"jobs":[0]},{"from":"102","to":"9001","types":[0],"jobs":[0]}]}
{"version":1,"record":"completion","entry":"0b9c5d3e-0000-4000-8000-000000000001","at":"2026-01-01T10:00:01.000Z","archived":[[0,0]],"refused":[[1,1]],"unknown":[]}
"#;

impl Removals {
    pub async fn new(journal: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let simulator = SimulatorProcess::start(&["--existing", "nothing", "--limit", "off"]).await.unwrap();
        let labels = [37, 39].map(|id| json!({"associationCategory": "USER_DEFINED", "associationTypeId": id}));
        let seeds = json!([
            {"from": "contacts", "to": "companies", "fromIds": [1, 2, 8], "toIds": 9001},
            {"from": "contacts", "to": "companies", "fromIds": [3, 4], "toIds": 9002, "types": labels},
            {"from": "deals", "to": "tickets", "fromIds": 6, "toIds": 7},
        ]);
        simulator.associate(&seeds).await.unwrap();
        let before = simulator.get("/_sim/associations").await.unwrap();
        let removals = Self { directory, simulator, before };
        let lines: String = jobs().iter().map(|job| format!("{}\n", job.to_json())).collect();
        let settings = [removals.hubspot().as_slice(), journal].concat();
        let ran = run_with(&["archive"], &settings, &lines).await;
        assert_eq!(ran.lines().len(), jobs().len());
        removals
    }

    pub async fn in_a_file() -> (Self, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("journal.ndjson");
        let removals = Self::new(&[("safety.journal", "file"), ("safety.journal_file", file.to_str().unwrap())]).await;
        let kept = removals.directory.path().join("journal.ndjson");
        std::fs::copy(&file, &kept).unwrap();
        (removals, kept)
    }

    pub fn hubspot(&self) -> [(&str, &str); 2] {
        [("hubspot.base_url", self.simulator.uri()), ("hubspot.access_token", "x")]
    }

    pub fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }
}

pub fn append(file: &Path, text: impl AsRef<[u8]>) {
    use std::io::Write;
    std::fs::OpenOptions::new().append(true).open(file).unwrap().write_all(text.as_ref()).unwrap();
}

/// The `from` records of the pairs that a selection exports.
async fn chosen(filters: &[&str], settings: &[(&str, &str)]) -> BTreeSet<u64> {
    let exported = run(&[&["journal", "export"][..], filters].concat(), settings).await;
    exported.lines().iter().map(|row| row["from"]["id"].as_str().unwrap().parse().unwrap()).collect()
}

/// What each filter takes, and several together, is the same from either store.
async fn by_filters(settings: &[(&str, &str)]) {
    let cases: [(&[&str], &[u64]); 13] = [
        (&[], &[1, 2, 3, 4, 5, 6, 8]),
        (&["--group", "spring"], &[1, 2, 3]),
        (&["--group", "autumn", "--from-type", "0-3"], &[6]),
        (&["--group", "spring", "--job-id", "plain-2"], &[2]),
        (&["--group", "autumn", "--job-id", "plain-2"], &[]),
        (&["--job-id", "nameless"], &[8]),
        (&["--from-type", "Contact", "--to-type", "company"], &[1, 2, 3, 4, 5, 8]),
        (&["--to-type", "tickets"], &[6]),
        (&["--from-type", "tickets"], &[]),
        (&["--since", "1h"], &[1, 2, 3, 4, 5, 6, 8]),
        (&["--until", "1h"], &[]),
        (&["--since", "1h", "--until", "2030-01-01T00:00:00Z", "--group", "spring"], &[1, 2, 3]),
        (&["--portal", "4711"], &[]),
    ];
    for (filters, expected) in cases {
        assert_eq!(chosen(filters, settings).await, expected.iter().copied().collect(), "{filters:?}");
        let listed = run(&[&["journal", "list", "--json"][..], filters].concat(), settings).await.lines();
        let pairs: u64 = listed.iter().map(|entry| entry["numPairs"].as_u64().unwrap()).sum();
        assert_eq!(pairs, expected.len() as u64, "{filters:?}");
    }
}

#[tokio::test]
async fn filters_hold_alone_and_together_in_a_file() {
    let (_removals, file) = Removals::in_a_file().await;
    let file = file.to_str().unwrap();
    by_filters(&[("safety.journal", "file"), ("safety.journal_file", file)]).await;

    append(Path::new(file), EARLIER);
    let named = |filters: &[&str]| filters.iter().chain(&["--file", file]).map(|word| (*word).to_owned()).collect();
    for (filters, expected) in [
        (&["--portal", "4711"][..], &[101, 102][..]),
        (&["--until", "2026-02-01T00:00:00Z"], &[101, 102]),
        (&["--since", "2026-02-01T00:00:00Z", "--group", "winter"], &[]),
    ] {
        let filters: Vec<String> = named(filters);
        let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
        assert_eq!(chosen(&filters, &[]).await, expected.iter().copied().collect(), "{filters:?}");
    }
}

#[tokio::test]
async fn filters_hold_alone_and_together_in_a_stream() {
    let (_, uri) = ground("journal-filters").await;
    let settings = [("safety.journal", "stream"), ("amqp.uri", uri.as_str())];
    let _removals = Removals::new(&settings).await;
    by_filters(&settings).await;
}

#[tokio::test]
async fn what_became_of_each_pair_is_shown_as_a_table_and_as_csv() {
    let (removals, file) = Removals::in_a_file().await;
    append(&file, EARLIER);
    // A worker died before the answer to this one.
    append(&file, EARLIER.lines().next().unwrap().replace("0001\"", "0002\"").replace("winter", "unanswered") + "\n");
    let settings = [("safety.journal", "file"), ("safety.journal_file", file.to_str().unwrap())];
    let table = run(&["journal", "list", "--portal", "4711"], &settings).await;
    let rows: Vec<Vec<&str>> = table.fine().lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["RECORDED", "AT", "CHANGE", "PORTAL", "LANE", "PAIRS", "DONE", "REFUSED", "UNKNOWN", "JOBS"]);
    assert_eq!(rows[1], ["2026-01-01T10:00:00Z", "removal", "4711", "contacts/companies", "2", "1", "1", "0", "old"]);
    assert_eq!(rows[2], ["2026-01-01T10:00:00Z", "removal", "4711", "contacts/companies", "2", "0", "0", "2", "old"]);
    assert_eq!(table.stderr, "4 pairs in 2 entries\n");
    let one = run(&["journal", "list", "--job-id", "one-label"], &settings).await;
    assert!(one.fine().contains("contacts/companies/labels") && one.stderr == "1 pair in 1 entry\n", "{one:?}");

    let header = "from_object_type,from_id,to_object_type,to_id,portal_id,state,recorded_at,removed_labels,found_types,\
                  read_from,job_ids,groups,entry,change,created_types";
    let csv = run(&["journal", "export", "--csv", "--group", "winter"], &settings).await;
    let id = "0b9c5d3e-0000-4000-8000-000000000001";
    let row = |from: u64, state: &str| {
        format!(
            "contacts,{from},companies,9001,4711,{state},2026-01-01T10:00:00.000Z,all,HUBSPOT_DEFINED 279,from,old,winter,{id},removal,"
        )
    };
    assert_eq!(csv.fine(), format!("{header}\n{}\n{}\n", row(101, "ARCHIVED"), row(102, "REFUSED")));
    assert_eq!(csv.stderr, "2 pairs exported\n");
    let label = run(&["journal", "export", "--csv", "--job-id", "one-label"], &settings).await;
    assert!(label.fine().contains(",USER_DEFINED 37,USER_DEFINED 37,from,one-label,"), "{label:?}");

    // By its name; a file that is there is left alone; and nobody archives an export again by mistake.
    let (csv, ndjson) = (removals.path("removed.csv"), removals.path("removed.ndjson"));
    run(&["journal", "export", "--group", "winter", "--output", &csv], &settings).await.fine();
    run(&["journal", "export", "--group", "winter", "--output", &ndjson], &settings).await.fine();
    assert!(std::fs::read_to_string(&csv).unwrap().starts_with(header));
    let written = std::fs::read_to_string(&ndjson).unwrap();
    let first: Value = serde_json::from_str(written.lines().next().unwrap()).unwrap();
    assert_eq!((&first["state"], &first["jobs"][0]["jobId"]), (&json!("ARCHIVED"), &json!("old")));
    let again = run(&["journal", "export", "--output", &csv], &settings).await;
    assert!(again.error(2).ends_with("name a new file"), "{again:?}");
    for file in [&csv, &ndjson] {
        let refused = run(&["enqueue", file, "--dry-run"], &settings).await;
        assert_eq!(refused.code, 2, "{refused:?}");
    }
}

#[tokio::test]
async fn where_nothing_is_found_that_is_said_and_is_a_fault_of_an_undo_only() {
    let (_removals, file) = Removals::in_a_file().await;
    let settings = [("safety.journal", "file"), ("safety.journal_file", file.to_str().unwrap())];
    let nothing = ["--group", "spring", "--job-id", "deal"];
    for (command, stdout_lines, said) in [
        (&["journal", "list"][..], 0, "0 pairs in 0 entries\n"),
        (&["journal", "list", "--json"], 0, ""),
        (&["journal", "export"], 0, "0 pairs exported\n"),
        (&["journal", "export", "--csv"], 1, "0 pairs exported\n"),
    ] {
        let ran = run(&[command, &nothing].concat(), &settings).await;
        assert_eq!((ran.fine().lines().count(), ran.stderr.as_str()), (stdout_lines, said), "{command:?}");
    }
    // A script must not take it for an undo.
    for command in [&["undo"][..], &["undo", "--print"], &["undo", "--restores", "--print"]] {
        let ran = run(&[command, &nothing].concat(), &settings).await;
        let said = ran.stderr.ends_with("error: no pair in the journal meets these conditions: nothing was done\n");
        assert!(ran.code == 2 && said && ran.stdout.is_empty(), "{ran:?}");
    }
    // What is misspelt, or was never recorded, is told with what there is.
    for (arguments, said) in [
        (&["journal", "list", "--group", "sprng"][..], "the journal has no group \"sprng\"; the latest there are: "),
        (&["journal", "export", "--group", "sprng"], "the journal has no group \"sprng\"; the latest there are: "),
        (&["undo", "--print", "--group", "sprng"], "the journal has no group \"sprng\"; the latest there are: "),
        (
            &["undo", "--print", "--restores", "--group", "spring"],
            "the group \"spring\" has restored nothing, but removed",
        ),
        (
            &["undo", "--print", "--portal", "4711"],
            "has nothing of portal 4711; entries without a portal, since their account",
        ),
    ] {
        let ran = run(arguments, &settings).await;
        assert_eq!(ran.code, if arguments[0] == "undo" { 2 } else { 0 }, "{ran:?}");
        assert!(ran.stderr.starts_with(said) || ran.stderr.contains(said), "{ran:?}");
    }
    let groups = run(&["undo", "--print", "--group", "sprng"], &settings).await.stderr;
    assert!(groups.contains("spring") && groups.contains("autumn"), "{groups}");
    // It was not there, so it was not removed.
    let absent = run(&["undo", "--print", "--job-id", "absent"], &settings).await;
    assert_eq!(absent.fine(), "");
    assert_eq!(absent.stderr, "left out, since nothing was there to be removed: 1\nthere is nothing to restore\n");
}

#[tokio::test]
async fn what_cannot_be_read_is_told_with_its_mend_and_what_can_be_read_is() {
    let (removals, file) = Removals::in_a_file().await;
    let named = file.to_str().unwrap();
    for command in [&["journal", "list"][..], &["journal", "export"], &["undo", "--group", "spring", "--print"]] {
        let off = run(command, &[]).await;
        assert!(off.error(2).contains("safety.journal is \"off\""), "{off:?}");
        let missing = removals.path("nowhere.ndjson");
        let ran = run(&[command, &["--file", &missing]].concat(), &[]).await;
        let error = ran.error(2);
        assert!(error.contains(&missing) && error.contains("it is made with the first removal"), "{error}");
        let directory = removals.path("");
        let ran = run(&[command, &["--file", &directory]].concat(), &[]).await;
        assert!(ran.error(2).contains("name the worker's file"), "{ran:?}");
        let ran = run(command, &[("safety.journal", "stream"), ("amqp.uri", "amqp://127.0.0.1:1")]).await;
        assert!(ran.error(1).contains("cannot be reached"), "{ran:?}");
    }
    let (_, uri) = bare_ground("journal-nowhere").await;
    let ran = run(&["journal", "list"], &[("safety.journal", "stream"), ("amqp.uri", &uri)]).await;
    let words = "stream \"association-archiver.journal\" does not exist, so nothing is recorded there: ";
    assert!(ran.error(1).starts_with(words), "{ran:?}");

    // Two lines that are no records, one of a later version, and one that a crash has cut off.
    append(&file, "{\"version\":1,\"record\":\"entry\"}\n\0\0\0\n{\"version\":2,\"record\":\"summary\",\"of\":7}\n");
    append(&file, &EARLIER[..300]);
    let listed = run(&["journal", "list", "--file", named], &[]).await;
    assert!(listed.fine().contains("plain-1") && !listed.stdout.contains("winter"), "{listed:?}");
    let said = "records that cannot be read, and were passed over: 2\n\
                records of a later version, which this one does not know, were passed over: 1\n7 pairs in ";
    assert!(listed.stderr.starts_with(said), "{listed:?}");
    let undone = run(&["undo", "--file", named, "--group", "spring", "--print"], &[]).await;
    assert_eq!(undone.lines().len(), 1);
    assert!(undone.stderr.contains("passed over: 2\n") && undone.stderr.contains("passed over: 1\n"), "{undone:?}");
}

#[tokio::test]
async fn restorations_are_shown_beside_removals() {
    let (removals, file) = Removals::in_a_file().await;
    let settings =
        [&removals.hubspot()[..], &[("safety.journal", "file"), ("safety.journal_file", file.to_str().unwrap())]]
            .concat();
    let undo = run(&["undo", "--print", "--since", "1h", "--as-group", "back"], &settings).await;
    let restored = run_with(&["archive"], &settings, undo.fine()).await.lines();
    assert!(restored.iter().all(|outcome| outcome["status"] == "RESTORED" && outcome["journaled"] == true));
    let table = run(&["journal", "list", "--group", "back"], &settings).await;
    let rows: Vec<Vec<&str>> = table.fine().lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(rows.len() > 2 && rows[1..].iter().all(|row| row[1] == "restoration" && row[4] == row[5]), "{table:?}");
    let listed = run(&["journal", "list", "--json"], &settings).await.lines();
    let sum = |key: &str| listed.iter().map(|entry| entry[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("numArchived"), sum("numRestored"), sum("numUnknown")), (7, 6, 0));

    let csv = run(&["journal", "export", "--csv", "--group", "back"], &settings).await;
    let plain = csv.fine().lines().find(|row| row.starts_with("contacts,1,companies,9001,")).unwrap();
    assert!(plain.contains(",RESTORED,") && plain.ends_with(",restoration,plain"), "{plain}");
    let label = csv.stdout.lines().find(|row| row.starts_with("contacts,4,companies,9002,")).unwrap();
    assert!(label.ends_with(",restoration,USER_DEFINED 37") && label.contains("USER_DEFINED 39"), "{label}");
    let exported = run(&["journal", "export"], &settings).await.lines();
    let of = |change: &str| exported.iter().filter(|row| row["change"] == change).collect::<Vec<_>>();
    assert_eq!((of("removal").len(), of("restoration").len()), (7, 6));
    assert!(of("removal").iter().all(|row| row["creates"].is_null() && row["state"] == "ARCHIVED"));
    let one = of("restoration").into_iter().find(|row| row["from"]["id"] == "4").unwrap();
    assert_eq!((&one["creates"][0]["associationTypeId"], one["types"].as_array().unwrap().len()), (&json!(37), 2));
}
