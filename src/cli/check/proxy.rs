//! The proxy on the way to HubSpot: it comes from the environment, where nobody looks for it.

use url::Url;

use super::finding::Finding;
use crate::hubspot::proxy::Proxy;

const SUBJECT: &str = "proxy";

/// `None` where nothing names a proxy.
pub fn finding(base_url: &Url) -> Option<Finding> {
    match Proxy::of(base_url, |name| std::env::var(name).ok()) {
        Proxy::Straight => None,
        Proxy::Excepted { variable } => {
            Some(Finding::right(SUBJECT, format!("NO_PROXY excepts HubSpot from the proxy in {variable}")))
        }
        Proxy::Through { variable, address } => {
            Some(Finding::right(SUBJECT, format!("requests to HubSpot go through {address}, from {variable}")))
        }
        Proxy::Socks { variable, scheme } => Some(Finding::wrong(
            SUBJECT,
            format!("{variable} names a {scheme} proxy, which cannot be used: HubSpot is not reached"),
            format!("set {variable} to a proxy that speaks http, or name HubSpot's host in NO_PROXY"),
        )),
        Proxy::Unusable { variable } => Some(Finding::wrong(
            SUBJECT,
            format!("{variable} is not the address of a proxy that can be used: it is passed over without a word"),
            format!("set {variable} to an address such as http://proxy.example:3128, or unset it"),
        )),
    }
}
