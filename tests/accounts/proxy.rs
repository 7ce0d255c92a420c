//! A proxy between the worker and HubSpot: what it says is its own word, not HubSpot's.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use harness::{Status, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use crate::stage::{JOBS, RESULTS, Stage, archived_once, ids, single_pairs, stop};

const LIMIT: Duration = Duration::from_secs(60);

/// Only the proxy knows where that is.
const HUBSPOT: &str = "http://hubspot.example";

const REFUSAL: &[u8] = b"HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic realm=\"x\"\r\n\
    content-length: 0\r\nconnection: close\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_wants_a_password_fails_no_job() -> Result<()> {
    const COUNT: u64 = 50;
    let stage = Stage::set("proxy", &[]).await?;
    stage.declare().await?;
    let open = Arc::new(AtomicBool::new(false));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let proxy = format!("http://{}", listener.local_addr()?);
    let simulator = Url::parse(stage.simulator.uri())?.socket_addrs(|| None)?[0];
    let serving = {
        let open = Arc::clone(&open);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let open = open.load(Ordering::Relaxed);
                tokio::spawn(async move { serve(stream, open, simulator).await });
            }
        })
    };
    stage.client.publish(JOBS, single_pairs("job", 1..=COUNT)?).await?;
    let builder = stage.worker().set("hubspot.base_url", HUBSPOT).set("hubspot.allow_http", true);
    let worker = stage.start(&builder.variable("HTTP_PROXY", &proxy)).await?;
    eventually(LIMIT, "the pause to be told", async || {
        let told = worker.readiness().await?.1.to_string();
        Ok((told.contains("unauthorized") && told.contains("HTTPS_PROXY")).then_some(()))
    })
    .await?;
    assert_eq!(stage.client.count(RESULTS).await?, 0);
    open.store(true, Ordering::Relaxed);
    let report = stage.tally(&ids("job", COUNT), LIMIT).await?;
    report.exactly_once()?;
    assert_eq!(report.by_status, BTreeMap::from([(Status::Archived, COUNT as usize)]));
    archived_once(&stage.simulator.state().await?, COUNT);
    stop(&worker).await?;
    serving.abort();
    Ok(())
}

/// One request of a connection.
async fn serve(mut stream: TcpStream, open: bool, simulator: std::net::SocketAddr) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    if !open {
        return stream.write_all(REFUSAL).await;
    }
    let head = String::from_utf8_lossy(&head).replacen(HUBSPOT, "", 1).replacen("\r\n", "\r\nconnection: close\r\n", 1);
    let mut far = TcpStream::connect(simulator).await?;
    far.write_all(head.as_bytes()).await?;
    copy_bidirectional(&mut stream, &mut far).await.map(|_| ())
}
