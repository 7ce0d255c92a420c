//! A child's output, end and cost are seen as they are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::Command;
use std::time::Duration;

use harness::deadline::eventually;
use harness::keeper::Keeper;
use harness::process::Process;

const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn exit_codes_are_those_of_the_shell() {
    assert_eq!(shell("exit 3").wait(SOON).await.unwrap(), 3);
    let trapping = shell("trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done");
    printed(&trapping, "ready").await;
    assert_eq!(trapping.ended().unwrap(), None);
    trapping.term().unwrap();
    assert_eq!(trapping.wait(SOON).await.unwrap(), 0);
    assert!(trapping.term().unwrap_err().to_string().contains("ended already with code 0"));
    let killed = shell("sleep 60");
    killed.kill9().await.unwrap();
    assert_eq!(killed.ended().unwrap(), Some(128 + 9));
}

#[tokio::test]
async fn output_is_kept_and_shown_when_waiting_fails() {
    let process = shell("echo out; echo err >&2; pwd; sleep 60");
    printed(&process, "out").await;
    eventually(SOON, "stderr", async || Ok((process.stderr() == "err").then_some(()))).await.unwrap();
    printed(&process, process.directory().to_str().unwrap()).await;
    let error = format!("{:#}", process.wait(Duration::from_millis(50)).await.unwrap_err());
    assert!(error.contains("out") && error.contains("in vain for child to end"), "{error}");
}

#[tokio::test]
async fn a_flood_of_output_is_bounded_and_its_end_kept() {
    let process = shell("yes 0123456789 | head -c 20000000; echo the end");
    assert_eq!(process.wait(SOON).await.unwrap(), 0);
    eventually(SOON, "the last line", async || Ok(process.stdout().ends_with("the end").then_some(()))).await.unwrap();
    assert!(process.stdout().len() <= 5_000_000);
}

#[tokio::test]
async fn cost_is_read_from_the_kernel() {
    let busy = shell("while :; do :; done");
    eventually(SOON, "CPU time to pass", async || Ok((busy.cpu_micros()? >= 50_000).then_some(()))).await.unwrap();
    assert!(busy.peak_rss_bytes().unwrap() >= busy.rss_bytes().unwrap());
    assert!(busy.rss_bytes().unwrap() > 100_000);
    assert!(busy.open_files().unwrap() >= 3);
    busy.kill9().await.unwrap();
    assert!(busy.peak_rss_bytes().is_err());
}

fn shell(script: &str) -> Process {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    Process::start("child", command, Keeper::start("process-test").unwrap()).unwrap()
}

async fn printed(process: &Process, line: &str) {
    let what = format!("the line {line:?}");
    eventually(SOON, &what, async || Ok(process.stdout().lines().any(|l| l == line).then_some(()))).await.unwrap();
}
