//! TCP ports for throwaway listeners.

use std::collections::HashSet;
use std::fs;
use std::net::TcpListener;
use std::ops::Range;
use std::sync::{LazyLock, Mutex, PoisonError};

use anyhow::{Result, bail};

const LOWEST: u16 = 10_000;
/// Linux's default start of the ephemeral range, for where it cannot be read.
const USUAL_EPHEMERAL_START: u16 = 32_768;
const TRIES: usize = 200;

/// Those that were chosen before. Whoever asked for one may not have bound it yet.
static CHOSEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// A port on 127.0.0.1 that nothing listens on now, and that this process was not given before.
///
/// It lies below the range from which the kernel takes ports for outgoing connections. A client that keeps reconnecting
/// to a dead port of that range can be given the very same port as its own, meet itself, and keep the restarted server
/// from binding it.
pub fn free_port() -> Result<u16> {
    for _ in 0..TRIES {
        let port = fastrand::u16(candidates());
        let is_new = CHOSEN.lock().unwrap_or_else(PoisonError::into_inner).insert(port);
        if is_new && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port found on 127.0.0.1 in {TRIES} tries: too many listeners on this machine")
}

fn candidates() -> Range<u16> {
    let start = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or(USUAL_EPHEMERAL_START);
    // A machine set to hand out nearly every port leaves no room below: any port must do there.
    if start > LOWEST + 1_000 { LOWEST..start } else { LOWEST..u16::MAX }
}
