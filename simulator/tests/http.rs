//! The world over a real connection: what a client sees of faults, limits and long bodies.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use hubspot_simulator::{Rule, Simulator, World};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const ARCHIVE: &str = "/crm/v4/associations/contacts/companies/batch/archive";
const BODY: &str = r#"{"inputs":[{"from":{"id":"1"},"to":[{"id":"2"}]}]}"#;

/// Longest wait for anything here.
const PATIENCE: Duration = Duration::from_secs(10);

async fn simulator(rules: Value) -> Simulator {
    let mut world = World::new(1, Timestamp::now());
    world.faults.install(serde_json::from_value::<Vec<Rule>>(rules).unwrap(), Duration::ZERO);
    world.behaviour.success = hubspot_simulator::behaviour::Success::Ok;
    Simulator::start(world).await.unwrap()
}

fn request(method: &str, target: &str, body: &str) -> String {
    format!(
        "{method} {target} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer t\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// What comes until the peer ends the connection, and how it ends it.
async fn until_end(stream: &mut TcpStream) -> (Vec<u8>, Result<(), ErrorKind>) {
    let mut seen = Vec::new();
    let end = timeout(PATIENCE, stream.read_to_end(&mut seen)).await.expect("the connection stays open");
    (seen, end.map(|_| ()).map_err(|error| error.kind()))
}

/// One answer on a connection that stays open: status and body.
async fn answer(stream: &mut TcpStream) -> (u16, Vec<u8>) {
    let mut seen = Vec::new();
    let (mut head, mut length) = (None, 0);
    while head.is_none_or(|head| seen.len() < head + length) {
        let read = timeout(PATIENCE, stream.read_buf(&mut seen)).await.expect("no answer").unwrap();
        assert_ne!(read, 0, "closed after {:?}", String::from_utf8_lossy(&seen));
        if head.is_none() {
            head = seen.windows(4).position(|end| end == b"\r\n\r\n").map(|at| at + 4);
            let text = String::from_utf8_lossy(&seen).into_owned();
            let line = text.lines().find_map(|line| line.strip_prefix("content-length: "));
            length = line.map_or(0, |line| line.parse().unwrap());
        }
    }
    let status = String::from_utf8_lossy(&seen[9..12]).parse().unwrap();
    (status, seen.split_off(head.unwrap()))
}

async fn exchange(simulator: &Simulator, method: &str, target: &str, body: &str) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(simulator.addr()).await.unwrap();
    stream.write_all(request(method, target, body).as_bytes()).await.unwrap();
    answer(&mut stream).await
}

fn archived(simulator: &Simulator) -> u64 {
    simulator.world().state().pairs_archived_total
}

#[tokio::test]
async fn a_connection_is_kept_for_many_requests() {
    let simulator = simulator(json!([])).await;
    let mut stream = TcpStream::connect(simulator.addr()).await.unwrap();
    for _ in 0..3 {
        stream.write_all(request("POST", ARCHIVE, BODY).as_bytes()).await.unwrap();
        assert_eq!(answer(&mut stream).await.0, 200);
    }
    // Two at once, and one that comes byte by byte.
    stream.write_all(request("POST", ARCHIVE, BODY).repeat(2).as_bytes()).await.unwrap();
    for byte in request("POST", ARCHIVE, BODY).bytes() {
        stream.write_all(&[byte]).await.unwrap();
    }
    let both = timeout(PATIENCE, async {
        while archived(&simulator) < 6 {
            tokio::task::yield_now().await;
        }
    });
    both.await.expect("six requests are carried out");
    assert_eq!(simulator.world().in_flight.most, 1);
}

#[tokio::test]
async fn a_reset_ends_the_connection_without_an_answer() {
    for (when, done) in [("unread", 0), ("undone", 0), ("done", 1)] {
        let simulator = simulator(json!([{"then": {"reset": when}}])).await;
        let mut stream = TcpStream::connect(simulator.addr()).await.unwrap();
        stream.write_all(request("POST", ARCHIVE, BODY).as_bytes()).await.unwrap();
        let (seen, end) = until_end(&mut stream).await;
        assert_eq!((seen.as_slice(), end), (b"".as_slice(), Err(ErrorKind::ConnectionReset)), "{when}");
        assert_eq!(archived(&simulator), done, "{when}");
        assert_eq!(simulator.world().state().requests_by_status.get(&0), Some(&1), "{when}");
        assert_eq!(simulator.world().in_flight.now, 0, "{when}");
    }
}

#[tokio::test]
async fn a_reset_before_the_body_does_not_wait_for_it() {
    let simulator = simulator(json!([{"then": {"reset": "unread"}}])).await;
    let mut stream = TcpStream::connect(simulator.addr()).await.unwrap();
    let whole = request("POST", ARCHIVE, BODY);
    stream.write_all(&whole.as_bytes()[..whole.len() - 5]).await.unwrap();
    let (seen, end) = until_end(&mut stream).await;
    assert_eq!((seen.len(), end), (0, Err(ErrorKind::ConnectionReset)));
}

#[tokio::test]
async fn a_cut_answer_is_shorter_than_it_says() {
    let simulator = simulator(json!([{"then": {"cut": {"afterBytes": 10}}}])).await;
    let mut stream = TcpStream::connect(simulator.addr()).await.unwrap();
    stream.write_all(request("POST", ARCHIVE, BODY).as_bytes()).await.unwrap();
    let (seen, end) = until_end(&mut stream).await;
    let text = String::from_utf8(seen).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert_eq!((body, end), (r#"{"status":"#, Ok(())));
    let length: usize = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    assert!(length > 10);
    assert_eq!(archived(&simulator), 1);
}

#[tokio::test]
async fn a_stalled_answer_goes_on_in_the_end() {
    let lasting = Duration::from_millis(300);
    let simulator = simulator(json!([{"then": {"stall": {"afterBytes": 4, "lasting": "300ms"}}}])).await;
    let started = Instant::now();
    let (status, body) = exchange(&simulator, "POST", ARCHIVE, BODY).await;
    assert!(started.elapsed() >= lasting);
    assert_eq!((status, serde_json::from_slice::<Value>(&body).unwrap()["status"].clone()), (200, json!("COMPLETE")));
}

#[tokio::test]
async fn latency_holds_back_the_answer_and_not_other_connections() {
    let simulator = simulator(json!([])).await;
    simulator.world().behaviour.latency = Duration::from_millis(200);
    let started = Instant::now();
    let one = exchange(&simulator, "POST", ARCHIVE, BODY);
    let other = exchange(&simulator, "POST", ARCHIVE, BODY);
    let (one, other) = tokio::join!(one, other);
    assert_eq!((one.0, other.0), (200, 200));
    let took = started.elapsed();
    assert!((Duration::from_millis(200)..Duration::from_millis(390)).contains(&took), "{took:?}");
    assert_eq!(simulator.world().in_flight.most, 2);
}

#[tokio::test]
async fn chunks_and_expectations_are_understood() {
    let simulator = simulator(json!([])).await;
    let mut stream = TcpStream::connect(simulator.addr()).await.unwrap();
    let (early, late) = BODY.split_at(20);
    let chunked = format!(
        "POST {ARCHIVE} HTTP/1.1\r\nauthorization: Bearer t\r\ntransfer-encoding: chunked\r\n\r\n\
         14\r\n{early}\r\n{:x}\r\n{late}\r\n0\r\n\r\n",
        late.len()
    );
    stream.write_all(chunked.as_bytes()).await.unwrap();
    assert_eq!(answer(&mut stream).await.0, 200);
    let head = format!(
        "POST {ARCHIVE} HTTP/1.1\r\nauthorization: Bearer t\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        BODY.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(answer(&mut stream).await.0, 100);
    stream.write_all(BODY.as_bytes()).await.unwrap();
    assert_eq!(answer(&mut stream).await.0, 200);
    assert_eq!(archived(&simulator), 2);
}

#[tokio::test]
async fn what_is_too_large_or_no_http_is_refused() {
    let simulator = simulator(json!([])).await;
    let large = format!("POST {ARCHIVE} HTTP/1.1\r\ncontent-length: {}\r\n\r\n", (32 << 20) + 1);
    let endless = format!("GET /{} HTTP/1.1\r\n", "x".repeat(20_000));
    for (text, status) in [(large.as_str(), "413"), ("nonsense\r\n\r\n", "400"), (endless.as_str(), "431")] {
        let mut stream = TcpStream::connect(simulator.addr()).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let (seen, _) = until_end(&mut stream).await;
        assert!(seen.starts_with(format!("HTTP/1.1 {status}").as_bytes()), "{}", String::from_utf8_lossy(&seen));
    }
}

#[tokio::test]
async fn the_running_world_can_be_asked_and_changed() {
    let simulator = simulator(json!([])).await;
    exchange(&simulator, "POST", ARCHIVE, BODY).await;
    exchange(&simulator, "POST", ARCHIVE, BODY).await;
    let (status, listed) = exchange(&simulator, "GET", "/_sim/archived?from=contacts&to=0-2", "").await;
    let expected = json!([{"fromObjectType": "0-1", "from": "1", "toObjectType": "0-2", "to": "2", "times": 2}]);
    assert_eq!((status, serde_json::from_slice::<Value>(&listed).unwrap()), (200, expected));
    let config = json!({"everyAccount": {"tokens": ["other"]}}).to_string();
    assert_eq!(exchange(&simulator, "POST", "/_sim/config", &config).await.0, 204);
    assert_eq!(exchange(&simulator, "POST", ARCHIVE, BODY).await.0, 401);
    let config = json!({"everyAccount": {"tokens": ["t"], "limit": "off"}}).to_string();
    assert_eq!(exchange(&simulator, "POST", "/_sim/config", &config).await.0, 204);
    let rules = json!([{"then": {"answer": {"status": 503}}}]).to_string();
    assert_eq!(exchange(&simulator, "PUT", "/_sim/faults", &rules).await.0, 204);
    assert_eq!(exchange(&simulator, "POST", ARCHIVE, BODY).await.0, 503);
    let (status, error) = exchange(&simulator, "PUT", "/_sim/faults", "[{}]").await;
    assert_eq!(status, 400);
    assert!(String::from_utf8(error).unwrap().contains("then"));
    let (_, state) = exchange(&simulator, "GET", "/_sim/state", "").await;
    let state: hubspot_simulator::State = serde_json::from_slice(&state).unwrap();
    assert_eq!(state.requests_by_status, [(200, 2), (401, 1), (503, 1)].into());
    assert_eq!((state.pairs_archived_distinct, state.pairs_archived_repeatedly), (Some(1), Some(1)));
}

#[tokio::test]
async fn a_stopped_server_ends_its_connections_and_frees_its_port() {
    let simulator = simulator(json!([])).await;
    simulator.world().behaviour.latency = Duration::from_secs(600);
    let addr = simulator.addr();
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(request("POST", ARCHIVE, BODY).as_bytes()).await.unwrap();
    simulator.stop().await;
    assert_eq!(until_end(&mut stream).await.0, b"");
    assert!(TcpStream::connect(addr).await.is_err());
}
