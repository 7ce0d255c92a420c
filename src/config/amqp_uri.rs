//! The broker's address, whose password no text shows.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

/// A checked `amqp://` or `amqps://` URI. `Display` and `Debug` show it without the password.
#[derive(Clone)]
pub struct AmqpUri {
    whole: SecretString,
    shown: String,
    host: String,
    tls: bool,
    escaped: bool,
}

impl AmqpUri {
    /// Reads a URI as RabbitMQ specifies it, with the query parameters that the client knows: `heartbeat` (seconds),
    /// `frame_max` (bytes), `channel_max`, `connection_timeout` (milliseconds), `auth_mechanism`.
    ///
    /// A path of `/` alone means the virtual host `/`: hardly anyone who writes it means the one without a name.
    /// The error is the rule that was broken, and shows nothing of the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        const SHAPE: &str = "must look like amqp://user:password@host:5672/vhost (percent-encode what is special in user, password and vhost)";
        let mut url: Url = text.parse().map_err(|_| SHAPE.to_owned())?;
        let tls = match url.scheme() {
            "amqp" => false,
            "amqps" => true,
            _ => return Err("must begin with amqp:// or amqps://".to_owned()),
        };
        // A password with a bare `/`, `?` or `#` leaves its end, and the `@`, in a later part.
        let torn = [Some(url.path()), url.query(), url.fragment()].into_iter().flatten().any(|part| part.contains('@'));
        if torn || url.fragment().is_some() {
            return Err(SHAPE.to_owned());
        }
        let host = match url.host() {
            Some(Host::Domain(name)) if !name.is_empty() => name.to_owned(),
            Some(Host::Ipv6(address)) => address.to_string(),
            Some(Host::Domain(_) | Host::Ipv4(_)) | None => return Err(SHAPE.to_owned()),
        };
        for (name, value) in url.query_pairs() {
            check_parameter(&name, &value)?;
        }
        if matches!(url.path(), "" | "/") {
            url.set_path("/%2f");
        }
        // As it was written: the URL's own text has escapes of its making.
        let escaped = text.rsplit_once('@').is_some_and(|(user_and_password, _)| user_and_password.contains('%'));
        Ok(Self { whole: url.as_str().into(), shown: without_password(&url), host, tls, escaped })
    }

    /// The URI with its password, for the client alone.
    pub fn expose(&self) -> &str {
        self.whole.expose_secret()
    }

    /// A name or an address, without the brackets of IPv6.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// True where `%` stands in user or password: whoever meant it literally should have written `%25`.
    pub fn is_escaped(&self) -> bool {
        self.escaped
    }

    pub fn is_tls(&self) -> bool {
        self.tls
    }
}

impl fmt::Display for AmqpUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for AmqpUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AmqpUri({})", self.shown)
    }
}

/// RabbitMQ 4.1 refuses smaller frames.
const LEAST_FRAME: u32 = 8192;

const MECHANISMS: [&str; 5] = ["plain", "amqplain", "external", "anonymous", "rabbit-cr-demo"];

fn check_parameter(name: &str, value: &str) -> Result<(), String> {
    let fits = match name {
        "heartbeat" | "channel_max" => value.parse::<u16>().is_ok(),
        "frame_max" => value.parse().is_ok_and(|bytes: u32| bytes == 0 || bytes >= LEAST_FRAME),
        "connection_timeout" => value.parse::<u64>().is_ok(),
        "auth_mechanism" => MECHANISMS.contains(&value.to_ascii_lowercase().as_str()),
        _ => {
            return Err(
                "has a query parameter other than heartbeat, frame_max, channel_max, connection_timeout and auth_mechanism; for TLS there are amqp.ca_file, amqp.client_cert_file and amqp.client_key_file"
                    .to_owned(),
            );
        }
    };
    if fits { Ok(()) } else { Err(format!("has a query parameter {name} whose value is out of range")) }
}

fn without_password(url: &Url) -> String {
    let mut shown = url.clone();
    if url.password().is_some() && shown.set_password(Some("***")).is_err() {
        return format!("{}://***", url.scheme());
    }
    shown.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn shows_everything_but_the_password() {
        let uri = AmqpUri::parse("amqps://worker:hunter2@broker.example:5671/crm?heartbeat=15").unwrap();
        assert_eq!(uri.to_string(), "amqps://worker:***@broker.example:5671/crm?heartbeat=15");
        assert_eq!(format!("{uri:?}"), "AmqpUri(amqps://worker:***@broker.example:5671/crm?heartbeat=15)");
        assert_eq!(uri.expose(), "amqps://worker:hunter2@broker.example:5671/crm?heartbeat=15");
        assert!(uri.is_tls());
    }

    #[test]
    fn the_client_reads_what_was_meant() {
        for (text, host, port, vhost) in [
            ("amqp://guest:guest@127.0.0.1:5672/%2f", "127.0.0.1", 5672, "/"),
            ("amqp://broker", "broker", 5672, "/"),
            ("amqp://broker/", "broker", 5672, "/"),
            ("amqps://u:p%40ss@broker/a%2Fb", "broker", 5671, "a/b"),
            ("amqp://u:p@[::1]:5673/x", "::1", 5673, "x"),
            ("amqps://[2001:DB8::7]", "2001:db8::7", 5671, "/"),
        ] {
            let uri = AmqpUri::parse(text).unwrap();
            let read: lapin::uri::AMQPUri = uri.expose().parse().unwrap();
            let found = (uri.host(), read.authority.port, read.vhost.as_str());
            assert_eq!(found, (host, port, vhost), "{text}");
        }
    }

    #[test]
    fn an_escape_is_one_that_was_written() {
        for (text, escaped) in
            [("amqp://u:a%41b@broker/%2f", true), ("amqp://u:a^b@broker/%2f", false), ("amqp://broker/%2f", false)]
        {
            assert_eq!(AmqpUri::parse(text).unwrap().is_escaped(), escaped, "{text}");
        }
    }

    #[test]
    fn a_wrong_uri_is_refused_without_being_shown() {
        for wrong in [
            "hunter2",
            "http://u:hunter2@broker",
            "amqp:u:hunter2@broker",
            "amqp://",
            "amqp:///hunter2",
            "amqp://u:hunter2/x@broker",
            "amqp://u:12/hunter2@broker",
            "amqp://u:12?hunter2@broker",
            "amqp://u:12#hunter2@broker",
            "amqp://u:hunter2@broker#x",
            "amqp://u:hunter2@[::1/%2f",
            "amqp://u:hunter2@[hunter2]/%2f",
            "amqp://u:hunter2@broker:99999",
            "amqp://u:hunter2@broker?verify=hunter2",
            "amqp://u:hunter2@broker?heartbeat=hunter2",
            "amqp://u:hunter2@broker?frame_max=4096",
            "amqp://u:hunter2@broker?auth_mechanism=hunter2",
        ] {
            let error = AmqpUri::parse(wrong).unwrap_err();
            assert!(!error.contains("hunter2"), "{wrong}: {error}");
        }
    }
}
