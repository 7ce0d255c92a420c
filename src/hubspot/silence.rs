//! Requests without an answer: what their errors say about whether anything was sent.

use std::error::Error;
use std::io;

use crate::contract::text::{MESSAGE_MAX_BYTES, cut};
use crate::engine::reply::Silence;

/// Why no status line arrived.
///
/// Only an error of the connecting itself proves that nothing was sent; where that is in doubt, it is [`Silence::Reset`].
pub(super) fn silence(error: &reqwest::Error) -> Silence {
    if error.is_connect() {
        return distrust(error).map_or_else(|| Silence::Refused(unreached(error)), Silence::Tls);
    }
    if error.is_builder() {
        return Silence::Refused(unreached(error));
    }
    if error.is_timeout() { Silence::TimedOut } else { Silence::Reset }
}

/// `api.hubapi.com: Connection refused (os error 111)`: whether it is name lookup, a closed port or a time-out tells an
/// operator where to look.
fn unreached(error: &reqwest::Error) -> String {
    let mut deepest: &dyn Error = error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    let cause = if error.is_timeout() { "it does not answer in time".to_owned() } else { deepest.to_string() };
    let host = error.url().and_then(|url| url.host_str()).unwrap_or("the address");
    cut(&format!("{host}: {cause}"), MESSAGE_MAX_BYTES).to_owned()
}

/// Whether a proxy refused the way through it because it wants other credentials (407).
pub(super) fn is_refused_by_proxy(error: &reqwest::Error) -> bool {
    // The error of the tunnel has no public type, so its words are all that tells it from others.
    error.is_connect() && causes(error).any(|cause| cause.to_string().contains("proxy authorization required"))
}

fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// What TLS found wrong while connecting; `None` where it was something else.
fn distrust(error: &(dyn Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        // The TLS layer reports every fault of its own as invalid data; plain connecting knows no data.
        if let Some(io) = io.filter(|io| io.kind() == io::ErrorKind::InvalidData) {
            return Some(with_mend(&io.to_string()));
        }
        // An io::Error's source is the source of what it wraps: what it wraps itself would be passed over.
        cause = match io.and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}

fn with_mend(fault: &str) -> String {
    let text = if fault.contains("UnknownIssuer") {
        format!("{fault}: if the authority is a private one, name its certificate in hubspot.ca_file")
    } else {
        fault.to_owned()
    };
    cut(&text, MESSAGE_MAX_BYTES).to_owned()
}
