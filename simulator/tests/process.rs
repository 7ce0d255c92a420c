//! The binary: its flags, its first line, its end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};

use hubspot_simulator::State;

const BINARY: &str = env!("CARGO_BIN_EXE_hubspot-simulator");

struct Running {
    child: Child,
    addr: String,
}

impl Running {
    fn start(flags: &[&str]) -> Self {
        let mut child = Command::new(BINARY).args(flags).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addr = line.trim().strip_prefix("listening on http://").expect(&line).to_owned();
        Self { child, addr }
    }

    /// The whole answer.
    fn send(&self, method: &str, target: &str, token: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.addr).unwrap();
        write!(
            stream,
            "{method} {target} HTTP/1.1\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
             connection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn archive(&self, token: &str, from: u64) -> String {
        let body = format!(r#"{{"inputs":[{{"from":{{"id":"{from}"}},"to":[{{"id":"2"}}]}}]}}"#);
        let answer = self.send("POST", "/crm/v4/associations/contacts/companies/batch/archive", token, &body);
        answer["HTTP/1.1 ".len()..][..3].to_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn failed(flags: &[&str]) -> Output {
    let output = Command::new(BINARY).args(flags).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    output
}

#[test]
fn flags_shape_the_world_and_a_signal_ends_it() {
    for signal in ["-TERM", "-INT"] {
        let flags =
            ["--token", "1=a", "--token", "2=b", "--limit", "2/1h", "--bad-id", "13", "--bad-mode", "400-named"];
        let mut running = Running::start(&flags);
        let statuses = ["a", "a", "a", "b", "c"].map(|token| running.archive(token, 1));
        assert_eq!(statuses, ["204", "204", "429", "204", "401"]);
        assert_eq!(running.archive("b", 13), "400");
        let answer = running.send("GET", "/_sim/state", "", "");
        let state: State = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        let portals: Vec<_> = state.accounts.iter().map(|account| account.portal_id).collect();
        assert_eq!((portals, state.throttled), (vec![Some(1), Some(2), None], 1));
        let pid = running.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        assert_eq!(running.child.wait().unwrap().code(), Some(0), "{signal}");
    }
}

#[test]
fn flags_fill_the_account_with_associations() {
    let label = r#"{"from":"contacts","to":"companies","typeId":37,"label":"Manager"}"#;
    let flags = [
        ["--associate", "contacts:1-3=companies:9"].as_slice(),
        &["--label", label, "--missing", "contacts:3", "--read-page", "1", "--read-ids", "strings", "--read-sorted"],
        &["--read-lag", "1h", "--recreate-after", "1h", "--recreate-times", "2", "--unknown-type", "refused"],
        &["--second-primary", "refused", "--max-read", "2"],
    ];
    let running = Running::start(&flags.concat());
    let batch = "/crm/v4/associations/companies/contacts/batch";
    let read = running.send("POST", &format!("{batch}/read"), "t", r#"{"inputs":[{"id":"9"}]}"#);
    assert!(read.contains(r#""toObjectId":"1""#) && read.contains(r#""after":"0-1-1""#), "{read}");
    let labels = running.send("GET", "/crm/v4/associations/contacts/companies/labels", "t", "");
    assert!(labels.contains("Manager"), "{labels}");
    let pair = r#"{"inputs":[{"from":{"id":"9"},"to":{"id":"4"},"types":[{"associationCategory":"WORK","associationTypeId":5}]}]}"#;
    assert!(running.send("POST", &format!("{batch}/create"), "t", pair).starts_with("HTTP/1.1 400"));
    let state = running.send("GET", "/_sim/state", "", "");
    assert!(state.contains(r#""pairsExisting":6"#), "{state}");
}

#[test]
fn wrong_flags_say_what_is_right() {
    for (flags, mend) in [
        (["--limit", "100"], "100/10s"),
        (["--latency", "80"], "80ms"),
        (["--token", "abc"], "PORTAL=TOKEN"),
        (["--success", "201"], "204, 200 or 207"),
        (["--time-zone", "Mars"], "Europe/Berlin"),
        (["--associate", "contacts:1"], "contacts:1-1000=companies:9001"),
        (["--label", "{}"], "from"),
        (["--missing", "contacts"], "contacts:5"),
        (["--faults", "/nowhere"], "--faults"),
    ] {
        let error = String::from_utf8(failed(&flags).stderr).unwrap();
        assert!(error.contains(mend), "{flags:?}: {error}");
    }
}
