//! `probe`: what it sees of HubSpot is so, and whatever happens, what was there is there again.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use harness::{SimulatorProcess, eventually};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::program::{Ran, Settings, command, on_a_terminal, run, run_with};
use super::terminal::Terminal;

const TOKEN: &str = "pat-eu1-top-secret";
const SOON: Duration = Duration::from_secs(90);

/// Contact 1 at company 9, which is its Primary and has it labelled, and at company 10; contact 2 at none.
async fn simulator(more: Value) -> SimulatorProcess {
    let simulator = SimulatorProcess::start(&["--limit", "off", "--existing", "nothing"]).await.unwrap();
    let types = |ids: &[(&str, u32)]| -> Vec<Value> {
        ids.iter().map(|(category, id)| json!({"associationCategory": category, "associationTypeId": id})).collect()
    };
    let start = json!({"everyAccount": {"associations": {
        "labels": labels(&[]),
        "create": [
            {"from": "contacts", "to": "companies", "fromIds": 1, "toIds": 9,
                "types": types(&[("HUBSPOT_DEFINED", 1), ("USER_DEFINED", 37)])},
            {"from": "contacts", "to": "companies", "fromIds": 1, "toIds": 10},
            {"from": "contacts", "to": "companies", "fromIds": 5, "toIds": 9, "types": types(&[("USER_DEFINED", 51)])},
            {"from": "contacts", "to": "companies", "fromIds": 6, "toIds": 9, "types": types(&[("INTEGRATOR_DEFINED", 61)])},
        ],
    }}});
    simulator.configure(&start).await.unwrap();
    simulator.configure(&more).await.unwrap();
    simulator
}

/// Those that are always there, and more.
fn labels(more: &[Value]) -> Value {
    let always = [
        json!({"from": "contacts", "to": "companies", "typeId": 37, "label": "Manager", "inverseLabel": "Managed by"}),
        json!({"from": "contacts", "to": "companies", "typeId": 41, "label": "Friend"}),
        json!({"from": "contacts", "to": "companies", "typeId": 51, "label": "Owned", "creation": "owner-only"}),
        json!({"from": "contacts", "to": "companies", "typeId": 61, "label": "Synced", "category": "INTEGRATOR_DEFINED"}),
    ];
    [&always, more].concat().into()
}

#[tokio::test]
async fn it_sees_what_is_so_and_puts_back_labels_and_primary() {
    let simulator = simulator(json!({"everyAccount": {"associations": {"readLag": "300ms"}}})).await;
    let before = simulator.get("/_sim/associations").await.unwrap();
    let ran = probe(&simulator, 1, 9, &["--wait", "3s"]).await;
    let report: Value = serde_json::from_str(ran.fine()).unwrap();
    assert_eq!((&report["complete"], &report["putBack"]), (&json!(true), &json!(true)), "{report}");
    let facts = facts(&report);
    for (fact, verdict, seen) in [
        ("default_is_two_way", "not_seen", "associated already"),
        ("create_is_two_way", "confirmed", "in both"),
        ("removal_is_two_way", "confirmed", "in both"),
        ("folding", "measured", "it does:"),
        ("removal_shows", "confirmed", "after "),
        ("removal_answers", "confirmed", "204 without a body"),
        ("repeated_removal", "confirmed", "204"),
        ("absent_label", "confirmed", "the types stayed"),
        ("create_replaces", "confirmed", "the label Friend is gone"),
        ("primary", "measured", "no other record became Primary"),
        ("plain_is_listed", "confirmed", "plain (279)"),
        ("ids_are_directional", "confirmed", "plain (280)"),
        ("ids_are_numbers", "confirmed", "numbers"),
        ("nothing_is_named", "not_seen", "no record without associations"),
        ("page_size", "not_seen", "3 associations on a page"),
        ("unfinished", "confirmed", "COMPLETE"),
        ("limits", "measured", ""),
    ] {
        let (found, words) = &facts[fact];
        assert!(found == verdict && words.contains(seen), "{fact}: {found}, {words}");
    }
    assert_eq!(simulator.get("/_sim/associations").await.unwrap(), before);
    let state = simulator.state().await.unwrap();
    assert!(report["requests"].as_u64().unwrap() < 60, "{report}");
    assert_eq!(state["pairsArchivedTotal"], 2, "{state}");
}

#[tokio::test]
async fn it_sees_a_portal_where_associations_have_one_direction() {
    let one_way = json!({"reads": {"ids": "strings"}, "success": 200,
        "everyAccount": {"associations": {"oneWay": true}}});
    let simulator = simulator(one_way).await;
    let before = simulator.get("/_sim/associations").await.unwrap();
    let ran = probe(&simulator, 2, 9, &["--wait", "400ms"]).await;
    let facts = facts(&serde_json::from_str(ran.fine()).unwrap());
    for (fact, verdict, seen) in [
        ("default_is_two_way", "refuted", "in the other not"),
        ("create_is_two_way", "refuted", "in the other not"),
        ("folding", "measured", "it does not"),
        ("removal_answers", "confirmed", "200 with a body"),
        ("primary", "not_seen", "not Primary"),
        ("ids_are_directional", "not_seen", "nothing is shown"),
        ("ids_are_numbers", "refuted", "strings"),
        ("nothing_is_named", "confirmed", "named in errors"),
    ] {
        let (found, words) = &facts[fact];
        assert!(found == verdict && words.contains(seen), "{fact}: {found}, {words}");
    }
    assert_eq!(simulator.get("/_sim/associations").await.unwrap(), before);
}

#[tokio::test]
async fn a_signal_in_the_middle_puts_back_what_was_there() {
    for (signal, from) in [(Signal::INT, 1), (Signal::TERM, 2)] {
        let simulator = simulator(json!({"latency": "40ms"})).await;
        let before = simulator.get("/_sim/associations").await.unwrap();
        let child = start(&simulator, from).await;
        kill_process(Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap(), signal).unwrap();
        let output = tokio::time::timeout(SOON, child.wait_with_output()).await.unwrap().unwrap();
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("stopped by a signal; the two records are associated as before"), "{stderr}");
        let report: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!((&report["complete"], &report["putBack"]), (&json!(false), &json!(true)), "{report}");
        assert_eq!(simulator.get("/_sim/associations").await.unwrap(), before, "{signal:?}");
    }
}

#[tokio::test]
async fn what_is_there_is_told_before_it_is_touched_as_jobs_that_are_taken() {
    let simulator = simulator(json!({"latency": "40ms"})).await;
    let only = settings(&simulator);
    let named =
        [only[0], only[2], ("hubspot.accounts.0.portal_id", "4711"), ("hubspot.accounts.0.access_token", TOKEN)];
    for settings in [&only[..], &named] {
        let before = simulator.get("/_sim/associations").await.unwrap();
        let mut child = start_with(&simulator, 1, settings).await;
        child.start_kill().unwrap();
        let output = tokio::time::timeout(SOON, child.wait_with_output()).await.unwrap().unwrap();
        let stderr = text(output.stderr);
        let jobs = jobs(&stderr);
        assert_eq!(jobs.len(), 2, "{stderr}");
        let types = |job: &Value| job["inputs"][0]["types"].as_array().unwrap().clone();
        let ids = |job: &Value| -> Vec<u64> {
            types(job).iter().map(|one| one["associationTypeId"].as_u64().unwrap()).collect()
        };
        assert_eq!((&jobs[0]["action"], ids(&jobs[0])), (&json!("restore"), vec![1, 279, 37]));
        assert_eq!((&jobs[1]["fromObjectType"], ids(&jobs[1])), (&json!("companies"), vec![2, 280, 38]));
        let lines: String = jobs.iter().map(|job| format!("{job}\n")).collect();
        let taken = run_with(&["enqueue", "--dry-run", "-"], settings, &lines).await;
        assert_eq!(taken.code, 0, "{taken:?}");

        let create =
            json!([{"from": "contacts", "to": "companies", "fromIds": 1, "toIds": 9, "types": types(&jobs[0])}]);
        // Its last request may still be on its way when it is killed.
        eventually(SOON, "what was there before", async || {
            simulator.configure(&json!({"everyAccount": {"associations": {"create": create}}})).await?;
            Ok((simulator.get("/_sim/associations").await? == before).then_some(()))
        })
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn what_could_not_be_put_back_is_left_alone() {
    let simulator = simulator(json!({})).await;
    let before = simulator.get("/_sim/associations").await.unwrap();
    let ran = probe(&simulator, 6, 9, &[]).await;
    assert!(ran.error(1).contains("Synced (INTEGRATOR_DEFINED 61), which could not be put back"), "{ran:?}");
    // HubSpot itself knows what it takes.
    let ran = probe(&simulator, 5, 9, &["--wait", "1s"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("does not take the types that are there"), "{ran:?}");
    assert_eq!(simulator.get("/_sim/associations").await.unwrap(), before);
    assert_eq!(simulator.state().await.unwrap()["pairsArchivedTotal"], 0);
}

#[tokio::test]
async fn what_cannot_be_put_back_is_told_as_jobs() {
    let simulator = simulator(json!({})).await;
    // The rehearsal and two changes of labels are taken, and nothing more.
    let fault = json!([{"when": {"kind": "create", "requests": [5, 1000]}, "then": {"missing-scopes": ["crm.objects.contacts.write"]}}]);
    simulator.put_faults(&fault).await.unwrap();
    let ran = probe(&simulator, 1, 9, &["--wait", "100ms"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("what was there is not put back"), "{ran:?}");
    let told = jobs(ran.stderr.split("these jobs for `enqueue` put back what was there").nth(1).unwrap());
    assert_eq!(told.len(), 2, "{ran:?}");
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&report["putBack"], &report["jobsThatPutBack"]), (&json!(false), &json!(told)));
}

#[tokio::test]
async fn what_becomes_of_others_meanwhile_is_told() {
    let other = json!({"from": "contacts", "to": "companies", "typeId": 71, "label": "Other"});
    let create = json!([{"from": "contacts", "to": "companies", "fromIds": 1, "toIds": 10,
        "types": [{"associationCategory": "USER_DEFINED", "associationTypeId": 71}]}]);
    let associations = json!({"labels": labels(&[other]), "create": create});
    let simulator = simulator(json!({"latency": "40ms", "everyAccount": {"associations": associations}})).await;
    let child = start(&simulator, 1).await;
    simulator.configure(&json!({"everyAccount": {"associations": {"labels": labels(&[])}}})).await.unwrap();
    let output = tokio::time::timeout(SOON, child.wait_with_output()).await.unwrap().unwrap();
    let stderr = text(output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("another association of theirs is not what it was"), "{stderr}");
    let told = jobs(stderr.split("what another association of the two records had").nth(1).unwrap());
    let of = |job: &Value| (job["fromObjectType"].clone(), job["inputs"][0]["to"][0]["id"].clone());
    assert_eq!(told.iter().map(of).collect::<Vec<_>>(), [(json!("contacts"), json!("10"))]);
}

#[tokio::test]
async fn the_wrong_portal_and_wrong_usage_change_nothing() {
    let simulator = simulator(json!({})).await;
    let mut elsewhere = arguments(1, 9, &["--yes"]);
    elsewhere[2] = "4712".to_owned();
    let ran = run_probe(&simulator, &elsewhere).await;
    assert!(ran.error(1).contains("the token is of portal 4711, not of 4712"), "{ran:?}");
    for (changed, words) in [
        (vec!["--yes", "--from-type", "cars"], "--from-type"),
        (vec!["--yes", "--from-type", "companies", "--from-id", "9"], "the same record"),
        (vec![], "give --yes"),
    ] {
        let mut arguments = arguments(1, 9, &[]);
        for pair in changed.iter().filter(|word| **word != "--yes").collect::<Vec<_>>().chunks(2) {
            let at = arguments.iter().position(|word| word == pair[0]).unwrap();
            arguments[at + 1] = (*pair[1]).to_owned();
        }
        arguments.extend(changed.contains(&"--yes").then(|| "--yes".to_owned()));
        let ran = run_probe(&simulator, &arguments).await;
        assert!(ran.error(2).contains(words), "{ran:?}");
    }
    let asked = arguments(1, 9, &[]);
    let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
    let shown = on_a_terminal(&asked, &settings(&simulator), "n\n").await;
    assert!(shown.contains("Only in a test account") && shown.contains("nothing was changed"), "{shown}");
    let mut terminal = Terminal::start(&asked, &settings(&simulator), (120, 40));
    for (said, key) in [("[y/N] ", "\u{3}"), ("nothing was changed", "")] {
        let shown = async || Ok(terminal.raw().contains(said).then_some(()));
        eventually(SOON, said, shown).await.unwrap_or_else(|_| panic!("{}", terminal.raw()));
        terminal.press(key);
    }
    assert!(!terminal.raw().contains("put back first"), "nothing was changed: {}", terminal.raw());
    let state = simulator.state().await.unwrap();
    assert_eq!((&state["pairsArchivedTotal"], &state["pairsCreated"]), (&json!(0), &json!(0)));
}

/// A probe that has begun to change something. Its next change is answered late: whatever the test does now comes in time.
async fn start(simulator: &SimulatorProcess, from: u64) -> tokio::process::Child {
    start_with(simulator, from, &settings(simulator)).await
}

async fn start_with(simulator: &SimulatorProcess, from: u64, settings: Settings<'_>) -> tokio::process::Child {
    let late = json!([{"when": {"kind": "archive", "requests": [2, 2]}, "then": {"latency": "3s"}}]);
    simulator.put_faults(&late).await.unwrap();
    let archived = async || anyhow::Ok(simulator.state().await?["pairsArchivedTotal"].as_u64().unwrap_or(0));
    let before = archived().await.unwrap();
    let arguments = arguments(from, 9, &["--yes", "--json", "--wait", "2s"]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut command = command(&arguments, settings);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let changed = async || Ok((archived().await? > before).then_some(()));
    eventually(SOON, "the removal", changed).await.unwrap();
    child
}

async fn probe(simulator: &SimulatorProcess, from: u64, to: u64, more: &[&str]) -> Ran {
    run_probe(simulator, &arguments(from, to, &[&["--yes", "--json"], more].concat())).await
}

async fn run_probe(simulator: &SimulatorProcess, arguments: &[String]) -> Ran {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ran = run(&arguments, &settings(simulator)).await;
    assert!(!ran.stdout.contains(TOKEN) && !ran.stderr.contains(TOKEN), "{ran:?}");
    ran
}

fn settings(simulator: &SimulatorProcess) -> [(&str, &str); 3] {
    [("hubspot.base_url", simulator.uri()), ("hubspot.access_token", TOKEN), ("rate_limit.requests", "2000")]
}

fn arguments(from: u64, to: u64, more: &[&str]) -> Vec<String> {
    let (from, to) = (from.to_string(), to.to_string());
    let pair = ["--from-type", "contacts", "--from-id", &from, "--to-type", "companies", "--to-id", &to];
    [&["probe", "--account", "4711"], &pair[..], more].concat().into_iter().map(str::to_owned).collect()
}

/// Verdict and words of each fact.
fn facts(report: &Value) -> BTreeMap<String, (String, String)> {
    let text = |fact: &Value, field: &str| fact[field].as_str().unwrap().to_owned();
    let facts = report["facts"].as_array().unwrap().iter();
    facts.map(|fact| (text(fact, "fact"), (text(fact, "verdict"), text(fact, "seen")))).collect()
}

/// The jobs among lines.
fn jobs(lines: &str) -> Vec<Value> {
    lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}
