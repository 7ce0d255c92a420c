//! `top` on a terminal and in a pipe, against a running service.

use std::time::Duration;

use harness::port::free_port;
use harness::worker::WorkerBuilder;
use harness::{SimulatorProcess, Worker, eventually, job};
use rustix::process::Signal;

use super::program::{JOBS, bare_ground, run};
use super::terminal::Terminal;

const SOON: Duration = Duration::from_secs(60);
const TOKEN: &str = "operators-secret";
const ACCOUNT: &str = "[[hubspot.accounts]]\nportal_id = 4711\naccess_token = \"pat\"\n";
const DOWN: &str = "\u{1b}[B";

fn service(uri: &str, simulator: &SimulatorProcess) -> WorkerBuilder {
    let service = Worker::builder().set("amqp.uri", uri).set("hubspot.base_url", simulator.uri());
    service.set("admin.token", TOKEN).config(ACCOUNT)
}

#[tokio::test]
async fn an_account_is_paused_from_the_terminal_whatever_its_size() {
    let (_, uri) = bare_ground("top").await;
    let simulator = SimulatorProcess::start(&[]).await.unwrap();
    let worker = service(&uri, &simulator).start().unwrap();
    worker.ready(SOON).await.unwrap();
    let settings = [("admin.listen", worker.admin().strip_prefix("http://").unwrap()), ("admin.token", TOKEN)];
    let mut terminal = Terminal::start(&["top"], &settings, (80, 24));
    terminal.shows(&["association-archiver  ready", "Accounts", "portal 4711  nothing in hand"]).await;

    terminal.press("p");
    terminal.shows(&["Pause portal 4711?", "y/n"]).await;
    terminal.press("n");
    terminal.press(DOWN);
    terminal.press("p");
    terminal.shows(&["y/n"]).await;
    terminal.press("y");
    terminal.shows(&["portal 4711 STANDS STILL: by hand", "What to do: Resume it on the page"]).await;
    assert_eq!(worker.status().await.unwrap()["paused"][0]["kind"], "operator");

    terminal.resize(40, 12);
    terminal.shows(&["association-archiver  NOT READY"]).await;
    let resized = async || Ok((terminal.screen().lines().count() == 12).then_some(()));
    eventually(SOON, "a screen of twelve lines", resized).await.unwrap();
    terminal.press("q");
    assert_eq!(terminal.ended().await, 0);

    // Without a token in the settings it is asked for.
    let mut terminal = Terminal::start(&["top", "--url", worker.admin()], &[], (80, 24));
    terminal.shows(&["portal 4711  PAUSED: by hand"]).await;
    // The first row only says that every account is paused.
    terminal.press(&format!("{DOWN}py"));
    terminal.shows(&["admin.token:"]).await;
    terminal.press(&format!("{TOKEN}\r"));
    terminal.shows(&["portal 4711: The operator's pause is over"]).await;
    worker.ready(SOON).await.unwrap();
    assert!(!terminal.raw().contains(TOKEN), "it is not shown");
    terminal.press("\u{3}");
    assert_eq!(terminal.ended().await, 0, "as Ctrl-C ends it");
}

#[tokio::test]
async fn a_guard_is_answered_from_the_terminal_through_a_worker_that_stands_by() {
    let (client, uri) = bare_ground("top-guard").await;
    let simulator = SimulatorProcess::start(&[]).await.unwrap();
    let guarded = || service(&uri, &simulator).set("safety.max_pairs", 2);
    let holder = guarded().start().unwrap();
    holder.ready(SOON).await.unwrap();
    let standby = guarded().start().unwrap();
    standby.ready(SOON).await.unwrap();
    client.publish(JOBS, (1..=4).map(|n| job(&format!("job-{n}")).pair(n, 7).to_message().unwrap())).await.unwrap();

    let settings = |worker: &Worker| {
        [
            ("admin.listen", worker.admin().strip_prefix("http://").unwrap().to_owned()),
            ("admin.token", TOKEN.to_owned()),
        ]
    };
    let start = |settings: [(&str, String); 2]| {
        let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
        Terminal::start(&["top"], &settings, (100, 40))
    };
    let mut terminal = start(settings(&holder));
    terminal.shows(&["holds the lease as", "STANDS STILL: by its guard", "2 of 2 pairs in", "WAITS"]).await;
    terminal.press("a");
    terminal.shows(&["Approve portal 4711? y/n"]).await;
    terminal.press("n");
    terminal.press("r");
    terminal.shows(&["Reject portal 4711? y/n"]).await;
    terminal.press("y");
    terminal.shows(&["portal 4711 is rejected", "portal 4711  REJECTED"]).await;

    let mut beside = start(settings(&standby));
    let stands_by = ["ready, stands by", "stands by: another worker holds the lease", "portal 4711  another worker"];
    beside.shows(&stands_by).await;
    // It knows nothing of the guard; what is ordered here is the holder's to do.
    beside.shows(&["nobody has been subscribed to the results queue"]).await;
    beside.press("p");
    beside.shows(&["Pause portal 4711? y/n"]).await;
    beside.press("y");
    beside.shows(&["portal 4711: the order to pause goes on to the worker that holds the lease"]).await;
    beside.press("q");
    assert_eq!(beside.ended().await, 0);
    terminal.shows(&["portal 4711 STANDS STILL: by hand"]).await;

    terminal.press("a");
    terminal.shows(&["Approve portal 4711? y/n"]).await;
    terminal.press("y");
    terminal.shows(&["portal 4711 is approved", "approved for another"]).await;
    terminal.press("q");
    assert_eq!(terminal.ended().await, 0);
}

#[tokio::test]
async fn it_waits_for_a_service_and_gives_the_terminal_back_at_a_signal() {
    let (_, uri) = bare_ground("top-waits").await;
    let simulator = SimulatorProcess::start(&[]).await.unwrap();
    let port = free_port().unwrap();
    let url = format!("http://127.0.0.1:{port}");
    let mut early = Terminal::start(&["top", "--url", &url], &[], (80, 24));
    early.shows(&["NO ANSWER for", "refused", "--url http://HOST:PORT"]).await;
    let worker = service(&uri, &simulator).admin_port(port).start().unwrap();
    worker.ready(SOON).await.unwrap();
    early.shows(&["association-archiver  ready", "portal 4711"]).await;
    early.signal(Signal::TERM);
    assert_eq!(early.ended().await, 0);

    let mut late = Terminal::start(&["top", "--url", &url], &[], (80, 24));
    late.shows(&["4711"]).await;
    worker.kill9().await.unwrap();
    late.shows(&["NO ANSWER for", "below is what it said last", "portal 4711"]).await;
    late.signal(Signal::HUP);
    assert_eq!(late.ended().await, 0);
}

#[tokio::test]
async fn in_a_pipe_it_is_one_frame_of_plain_text() {
    let (client, uri) = bare_ground("top-once").await;
    let simulator = SimulatorProcess::start(&["--bad-id", "13"]).await.unwrap();
    let worker = service(&uri, &simulator).start().unwrap();
    worker.ready(SOON).await.unwrap();
    let messages = [(1, "good"), (13, "bad")].map(|(from, id)| job(id).pair(from, 7).to_message().unwrap());
    client.publish(JOBS, messages).await.unwrap();
    let url = worker.admin().to_owned();
    let told = eventually(SOON, "a frame that tells of both jobs", async || {
        let ran = run(&["top", "--url", &url], &[]).await;
        let told = ran.fine().to_owned();
        Ok((told.contains("archived 1 ") && told.contains("jobs: bad")).then_some(told))
    });
    let told = told.await.unwrap();
    for part in [
        "ready",
        "X failed 1",
        "portal 4711",
        "sent in the last 10 s; 100 allowed",
        "1 pair archived",
        "VALIDATION_ERROR",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(!told.contains('\u{1b}') && told.lines().all(|line| line.chars().count() <= 100), "{told}");

    let nobody = run(&["top", "--once", "--url", "http://127.0.0.1:1"], &[]).await;
    assert!(nobody.error(1).contains("127.0.0.1:1"), "{nobody:?}");
    let stranger = run(&["top", "--once", "--url", simulator.uri()], &[]).await;
    assert!(stranger.error(1).contains("is not the service"), "{stranger:?}");
}
