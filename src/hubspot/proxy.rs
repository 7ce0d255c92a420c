//! The proxy between this process and HubSpot, as the environment names it.
//!
//! The HTTP client reads the same variables by itself and says nothing of it: a proxy that it cannot use is passed over.

use hyper::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use url::Url;

use super::client::is_loopback;

/// How requests get to HubSpot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Proxy {
    /// No variable names a proxy for HubSpot's address.
    Straight,
    /// `NO_PROXY` excepts HubSpot's address from the proxy of this variable.
    Excepted { variable: &'static str },
    /// Through the proxy at this address, which has neither user name nor password in it.
    Through { variable: &'static str, address: String },
    /// SOCKS, which the client does not speak.
    Socks { variable: &'static str, scheme: String },
    /// The variable's value is no address of a proxy that the client knows: it is passed over.
    Unusable { variable: &'static str },
}

/// The variables for one scheme and those for all, in the order in which they are looked at; of each two spellings the
/// first that is set counts.
const FOR_HTTPS: [[&str; 2]; 2] = [["HTTPS_PROXY", "https_proxy"], ["ALL_PROXY", "all_proxy"]];
const FOR_HTTP: [[&str; 2]; 2] = [["HTTP_PROXY", "http_proxy"], ["ALL_PROXY", "all_proxy"]];
const EXCEPTIONS: [&str; 2] = ["NO_PROXY", "no_proxy"];

impl Proxy {
    /// `variable` gives the value of an environment variable, where it is set.
    pub fn of(base_url: &Url, variable: impl Fn(&str) -> Option<String>) -> Self {
        let Ok(target) = base_url.as_str().parse::<Uri>() else { return Self::Straight };
        if is_loopback(base_url) {
            return Self::Straight;
        }
        let first_set = |[upper, lower]: [&'static str; 2]| {
            let value = |name| variable(name).map(|value| (name, value));
            value(upper).or_else(|| value(lower)).filter(|(_, value)| !value.is_empty())
        };
        let exceptions = first_set(EXCEPTIONS).map(|(_, value)| value).unwrap_or_default();
        let names = if base_url.scheme() == "http" { FOR_HTTP } else { FOR_HTTPS };
        let Some((name, value)) = names.into_iter().find_map(first_set) else { return Self::Straight };
        let Some(intercept) = Matcher::builder().all(value.clone()).build().intercept(&target) else {
            return Self::Unusable { variable: name };
        };
        if Matcher::builder().all(value).no(exceptions).build().intercept(&target).is_none() {
            return Self::Excepted { variable: name };
        }
        let scheme = intercept.uri().scheme_str().unwrap_or_default();
        if scheme.starts_with("socks") {
            return Self::Socks { variable: name, scheme: scheme.to_owned() };
        }
        let address = intercept.uri().authority().map(ToString::to_string).unwrap_or_default();
        Self::Through { variable: name, address: format!("{scheme}://{address}") }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use super::*;

    fn proxy(base_url: &str, set: &[(&str, &str)]) -> Proxy {
        let variable = |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Proxy::of(&base_url.parse().unwrap(), variable)
    }

    fn through(variable: &'static str, address: &str) -> Proxy {
        Proxy::Through { variable, address: address.to_owned() }
    }

    const HUBSPOT: &str = "https://api.hubapi.com";

    #[test]
    fn the_variable_of_the_scheme_goes_before_that_for_all() {
        let both = [("ALL_PROXY", "http://all:1"), ("HTTPS_PROXY", "http://user:secret@secure:2")];
        assert_eq!(proxy(HUBSPOT, &both), through("HTTPS_PROXY", "http://secure:2"));
        assert_eq!(proxy("http://hubspot.example", &both), through("ALL_PROXY", "http://all:1"));
        assert_eq!(proxy(HUBSPOT, &[("https_proxy", "secure:2")]), through("https_proxy", "http://secure:2"));
        assert_eq!(proxy(HUBSPOT, &[("HTTP_PROXY", "http://plain:3")]), Proxy::Straight);
        assert_eq!(proxy(HUBSPOT, &[]), Proxy::Straight);
        assert_eq!(proxy("http://127.0.0.1:8080", &both), Proxy::Straight);
    }

    #[test]
    fn what_the_client_cannot_use_is_told() {
        let socks = Proxy::Socks { variable: "ALL_PROXY", scheme: "socks5h".to_owned() };
        assert_eq!(proxy(HUBSPOT, &[("ALL_PROXY", "socks5h://user:secret@host:1080")]), socks);
        for value in ["ftp://host:21", "quic://host:443", "http://", "://", "http://a b"] {
            let unusable = Proxy::Unusable { variable: "HTTPS_PROXY" };
            assert_eq!(proxy(HUBSPOT, &[("HTTPS_PROXY", value)]), unusable, "{value}");
        }
    }

    #[test]
    fn exceptions_are_those_of_the_client() {
        let set = [("HTTPS_PROXY", "http://secure:2"), ("NO_PROXY", "localhost, .hubapi.com")];
        assert_eq!(proxy(HUBSPOT, &set), Proxy::Excepted { variable: "HTTPS_PROXY" });
        assert_eq!(proxy("https://hubspot.example", &set), through("HTTPS_PROXY", "http://secure:2"));
    }
}
