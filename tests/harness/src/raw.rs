//! AMQP written by hand: a producer that writes what no library would write, but the broker takes and passes on; and a
//! broker that throws whoever connects out again.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;

/// Publishes one message to a queue and waits until the broker has it. `properties` are their flags and values as AMQP
/// has them in a content header.
pub async fn publish(address: SocketAddr, vhost: &str, queue: &str, properties: &[u8], body: &[u8]) -> Result<()> {
    let mut line = TcpStream::connect(address).await?;
    line.write_all(b"AMQP\x00\x00\x09\x01").await?;
    expect(&mut line, [0, 10, 0, 10]).await?;
    let credentials = [long(b"")?, short(b"PLAIN")?, long(b"\0guest\0guest")?, short(b"en_US")?].concat();
    send(&mut line, METHOD, 0, &[&[0, 10, 0, 11], &credentials[..]]).await?;
    let tune = expect(&mut line, [0, 10, 0, 30]).await?;
    let (limits, _heartbeat) = tune.split_at_checked(6).unwrap_or((&tune, &[]));
    send(&mut line, METHOD, 0, &[&[0, 10, 0, 31], limits, &[0, 0]]).await?;
    send(&mut line, METHOD, 0, &[&[0, 10, 0, 40], &short(vhost.as_bytes())?, &[0, 0]]).await?;
    expect(&mut line, [0, 10, 0, 41]).await?;
    send(&mut line, METHOD, 1, &[&[0, 20, 0, 10, 0]]).await?;
    expect(&mut line, [0, 20, 0, 11]).await?;
    send(&mut line, METHOD, 1, &[&[0, 85, 0, 10, 0]]).await?;
    expect(&mut line, [0, 85, 0, 11]).await?;
    send(&mut line, METHOD, 1, &[&[0, 60, 0, 40, 0, 0, 0], &short(queue.as_bytes())?, &[0]]).await?;
    let length = u64::try_from(body.len())?.to_be_bytes();
    send(&mut line, HEADER, 1, &[&[0, 60, 0, 0], &length, properties]).await?;
    send(&mut line, BODY, 1, &[body]).await?;
    expect(&mut line, [0, 60, 0, 80]).await?;
    Ok(())
}

/// Greets whoever has connected and then closes the connection with this code and text, as a broker does that starts or
/// stops.
pub async fn turn_away(mut line: TcpStream, code: u16, text: &str) -> Result<()> {
    let mut header = [0; 8];
    line.read_exact(&mut header).await?;
    let greeting = [long(b"")?, long(b"PLAIN")?, long(b"en_US")?].concat();
    send(&mut line, METHOD, 0, &[&[0, 10, 0, 10, 0, 9], &greeting]).await?;
    expect(&mut line, [0, 10, 0, 11]).await?;
    let why = [&code.to_be_bytes(), &short(text.as_bytes())?[..], &[0; 4]].concat();
    send(&mut line, METHOD, 0, &[&[0, 10, 0, 50], &why]).await?;
    // A client may also hang up.
    let _ = line.read_to_end(&mut Vec::new()).await;
    Ok(())
}

/// A short string, which need not be text.
pub fn short(bytes: &[u8]) -> Result<Vec<u8>> {
    Ok([&[u8::try_from(bytes.len())?], bytes].concat())
}

/// Bytes with their length before them, as tables and long strings are written.
pub fn long(bytes: &[u8]) -> Result<Vec<u8>> {
    Ok([&u32::try_from(bytes.len())?.to_be_bytes(), bytes].concat())
}

async fn send(line: &mut TcpStream, kind: u8, channel: u8, parts: &[&[u8]]) -> Result<()> {
    let frame = [&[kind, 0, channel], &long(&parts.concat())?[..], &[0xce]].concat();
    Ok(line.write_all(&frame).await?)
}

/// Reads the method that must come next, and gives its arguments.
async fn expect(line: &mut TcpStream, method: [u8; 4]) -> Result<Vec<u8>> {
    let mut head = [0; 7];
    line.read_exact(&mut head).await?;
    let [_, _, _, length @ ..] = head;
    let mut payload = vec![0; usize::try_from(u32::from_be_bytes(length))? + 1];
    line.read_exact(&mut payload).await?;
    ensure!(payload.starts_with(&method), "the broker answers {payload:?} where {method:?} was expected");
    payload.pop();
    Ok(payload.split_off(method.len()))
}
