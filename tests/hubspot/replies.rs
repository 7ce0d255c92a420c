//! What one archive request is told, whatever the far end does.

use std::io::Write;
use std::time::{Duration, Instant};

use association_archiver::engine::reply::{RetryAfter, Silence};
use association_archiver::hubspot::client::HubspotClient;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::far_end::{FarEnd, TOKEN, answer, answered, archive, client, cut_off, silence, too_large, whole};

/// Longer than a request takes on however busy a machine, shorter than a test may last.
const SHORT: Duration = Duration::from_secs(2);

#[tokio::test]
async fn the_request_is_hubspots() {
    let far_end = FarEnd::answering(answer(204, "X-HubSpot-Correlation-Id: corr\r\n", "")).await;
    let answer = answered(far_end.archive().await);
    assert_eq!((answer.status, whole(&answer)), (204, ""));
    assert_eq!(answer.headers.correlation_id.as_deref(), Some("corr"));

    let [seen] = far_end.seen().try_into().unwrap();
    let head = seen.head.to_ascii_lowercase();
    assert!(head.starts_with("post /crm/v4/associations/contacts/companies/batch/archive http/1.1\r\n"), "{head}");
    for line in [
        format!("authorization: bearer {TOKEN}\r\n"),
        "content-type: application/json\r\n".to_owned(),
        "accept-encoding: gzip\r\n".to_owned(),
        format!("user-agent: association-archiver/{}\r\n", env!("CARGO_PKG_VERSION")),
    ] {
        assert!(head.contains(&line), "{line} is not in {head}");
    }
    assert_eq!(seen.body, r#"{"inputs":[{"from":{"id":"1"},"to":[{"id":"2"},{"id":"3"}]}]}"#);
}

#[tokio::test]
async fn a_prefix_of_the_base_url_is_kept() {
    let far_end = FarEnd::answering(answer(204, "", "")).await;
    archive(&client(&format!("{}/proxy/hubspot/", far_end.url), SHORT)).await;
    assert!(far_end.seen()[0].head.starts_with("POST /proxy/hubspot/crm/v4/"), "{:?}", far_end.seen());
}

#[tokio::test]
async fn a_closed_port_is_a_refusal() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let Silence::Refused(why) = silence(archive(&client(&url, SHORT)).await) else { panic!("no refusal") };
    assert!(why.starts_with("127.0.0.1: ") && why.to_lowercase().contains("refused"), "{why}");
}

#[tokio::test]
async fn an_unknown_host_is_a_refusal() {
    let reply = archive(&client("http://no-such-host.invalid", Duration::from_secs(10))).await;
    let Silence::Refused(why) = silence(reply) else { panic!("no refusal") };
    assert!(why.starts_with("no-such-host.invalid: ") && why.contains("lookup"), "{why}");
}

#[tokio::test]
async fn a_reset_leaves_doubt_whether_or_not_the_request_was_read() {
    let unread = FarEnd::start(|peer| async move { peer.reset() }).await;
    assert_eq!(silence(unread.archive().await), Silence::Reset);

    let read = FarEnd::start(|mut peer| async move {
        peer.request().await?;
        peer.reset()
    })
    .await;
    assert_eq!(silence(read.archive().await), Silence::Reset);
    assert_eq!(read.seen().len(), 1, "sent once");
}

#[tokio::test]
async fn a_reset_of_a_kept_connection_does_not_send_again() {
    let far_end = FarEnd::start(|mut peer| async move {
        peer.request().await?;
        peer.stream.write_all(answer(204, "", "").as_bytes()).await?;
        peer.request().await?;
        peer.reset()
    })
    .await;
    let client = far_end.client();
    assert_eq!(answered(archive(&client).await).status, 204);
    assert_eq!(silence(archive(&client).await), Silence::Reset);
    assert_eq!((far_end.seen().len(), far_end.connections()), (2, 1));
}

#[tokio::test]
async fn a_connection_that_ends_before_the_answer_is_a_reset() {
    for start in ["", "HTTP/1.1 2", "HTTP/1.1 200 OK\r\ncontent-le"] {
        let far_end = FarEnd::start(move |mut peer| async move {
            peer.request().await?;
            peer.stream.write_all(start.as_bytes()).await
        })
        .await;
        assert_eq!(silence(far_end.archive().await), Silence::Reset, "{start:?}");
    }
}

#[tokio::test]
async fn what_is_not_http_is_a_reset() {
    let garbage = FarEnd::answering("SSH-2.0-OpenSSH_9.2\r\n\r\n").await;
    assert_eq!(silence(garbage.archive().await), Silence::Reset);

    let binary = FarEnd::answering(vec![0_u8; 4_096]).await;
    assert_eq!(silence(binary.archive().await), Silence::Reset);
}

#[tokio::test]
async fn silence_ends_with_the_time_out() {
    let far_end = FarEnd::start(|mut peer| async move {
        peer.request().await?;
        std::future::pending().await
    })
    .await;
    let began = Instant::now();
    assert_eq!(silence(archive(&client(&far_end.url, SHORT)).await), Silence::TimedOut);
    assert!(began.elapsed() >= SHORT, "{:?}", began.elapsed());
}

#[tokio::test]
async fn headers_that_trickle_end_with_the_time_out() {
    let far_end = FarEnd::start(|mut peer| async move {
        peer.request().await?;
        peer.stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
        for i in 0.. {
            peer.stream.write_all(format!("x-{i}: a\r\n").as_bytes()).await?;
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    })
    .await;
    assert_eq!(silence(archive(&client(&far_end.url, SHORT)).await), Silence::TimedOut);
}

#[tokio::test]
async fn a_body_that_stalls_is_cut_off_and_its_headers_hold() {
    let far_end = FarEnd::start(|mut peer| async move {
        peer.request().await?;
        peer.stream
            .write_all(b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\ncontent-length: 100\r\n\r\n{\"status\"")
            .await?;
        std::future::pending().await
    })
    .await;
    let answer = answered(archive(&client(&far_end.url, SHORT)).await);
    assert_eq!((answer.status, cut_off(&answer)), (429, 9));
    assert_eq!(answer.headers.retry_after, Some(RetryAfter::Seconds(7)));
}

#[tokio::test]
async fn a_body_that_trickles_is_cut_off_by_the_time_out() {
    let far_end = FarEnd::start(|mut peer| async move {
        peer.request().await?;
        peer.stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").await?;
        loop {
            peer.stream.write_all(b" ").await?;
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let answer = answered(archive(&client(&far_end.url, SHORT)).await);
    assert!(cut_off(&answer) < 1_000);
}

#[tokio::test]
async fn a_body_that_ends_early_is_cut_off() {
    for start in [
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"status\"",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\n{\"status\"\r\n",
    ] {
        let far_end = FarEnd::start(move |mut peer| async move {
            peer.request().await?;
            peer.stream.write_all(start.as_bytes()).await
        })
        .await;
        let answer = answered(far_end.archive().await);
        assert_eq!((answer.status, cut_off(&answer)), (200, 9), "{start}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_too_large() {
    let most = "x".repeat(HubspotClient::MAX_BODY_BYTES);
    let far_end = FarEnd::answering(answer(200, "", &most)).await;
    assert_eq!(whole(&answered(far_end.archive().await)).len(), HubspotClient::MAX_BODY_BYTES);

    let far_end = FarEnd::answering(answer(200, "", &format!("{most}x"))).await;
    assert_eq!(too_large(&answered(far_end.archive().await)), HubspotClient::MAX_BODY_BYTES);

    let endless = FarEnd::start(|mut peer| async move {
        peer.request().await?;
        peer.stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        loop {
            peer.stream.write_all(chunk.as_bytes()).await?;
        }
    })
    .await;
    assert_eq!(too_large(&answered(endless.archive().await)), HubspotClient::MAX_BODY_BYTES);
}

#[tokio::test]
async fn compressed_bodies_are_read() {
    let text = r#"{"status":"COMPLETE","results":[]}"#;
    let far_end = FarEnd::answering(gzipped(200, text.as_bytes())).await;
    assert_eq!(whole(&answered(far_end.archive().await)), text);

    // Edges announce a coding for bodies that are not there.
    for nothing in [
        "HTTP/1.1 204 No Content\r\ncontent-encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let far_end = FarEnd::answering(nothing).await;
        assert_eq!(whole(&answered(far_end.archive().await)), "", "{nothing}");
    }
}

#[tokio::test]
async fn a_decompression_bomb_is_too_large() {
    let bomb = gzipped(200, &vec![b' '; 64 * 1024 * 1024]);
    assert!(bomb.len() < 100_000, "{} bytes", bomb.len());
    let far_end = FarEnd::answering(bomb).await;
    assert_eq!(too_large(&answered(far_end.archive().await)), HubspotClient::MAX_BODY_BYTES);
}

#[tokio::test]
async fn a_body_that_does_not_inflate_is_cut_off() {
    let mut broken = gzipped(200, "words that are compressed".repeat(100).as_bytes());
    let half = broken.len() - 20;
    broken[half..].fill(0);
    let far_end = FarEnd::answering(broken).await;
    cut_off(&answered(far_end.archive().await));

    let plain = FarEnd::answering(answer(200, "content-encoding: gzip\r\n", "{}")).await;
    cut_off(&answered(plain.archive().await));
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_the_token_does_not_follow() {
    let other = FarEnd::answering(answer(204, "", "")).await;
    for status in [301, 302, 303, 307, 308] {
        let far_end = FarEnd::answering(answer(status, &format!("location: {}/\r\n", other.url), "")).await;
        assert_eq!(answered(far_end.archive().await).status, status);
        assert_eq!(far_end.seen().len(), 1);
    }
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
async fn http_1_0_is_understood() {
    let far_end = FarEnd::start(|mut peer| async move {
        peer.request().await?;
        peer.stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n{\"status\":\"COMPLETE\"}").await
    })
    .await;
    let answer = answered(far_end.archive().await);
    assert_eq!((answer.status, whole(&answer)), (200, r#"{"status":"COMPLETE"}"#));
}

#[tokio::test]
async fn interim_answers_are_passed_over() {
    let far_end = FarEnd::answering(format!("HTTP/1.1 103 Early Hints\r\n\r\n{}", answer(204, "", ""))).await;
    assert_eq!(answered(far_end.archive().await).status, 204);
}

#[tokio::test]
async fn statuses_that_http_does_not_know_are_answers() {
    for status in [477, 521, 599, 799] {
        let far_end = FarEnd::answering(answer(status, "", "")).await;
        assert_eq!(answered(far_end.archive().await).status, status);
    }
}

#[tokio::test]
async fn a_token_that_is_repeated_does_not_come_back() {
    let body = format!(r#"{{"message":"{TOKEN} is no token","again":"{TOKEN}"}}"#);
    for status in [200, 401] {
        let far_end = FarEnd::answering(answer(status, "", &body)).await;
        let answer = answered(far_end.archive().await);
        let stars = "*".repeat(TOKEN.len());
        assert_eq!(whole(&answer), body.replace(TOKEN, &stars));
    }
}

#[tokio::test]
async fn connections_are_kept() {
    let far_end = FarEnd::answering(answer(204, "", "")).await;
    let client = far_end.client();
    for _ in 0..5 {
        assert_eq!(answered(archive(&client).await).status, 204);
    }
    assert_eq!((far_end.seen().len(), far_end.connections()), (5, 1));
}

fn gzipped(status: u16, body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).unwrap();
    let body = encoder.finish().unwrap();
    let head = format!("HTTP/1.1 {status} OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.into_bytes(), body].concat()
}
