//! `[amqp]`: the broker, how much is held, and the names of what is declared there.

use std::num::NonZeroU16;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::section::Section;
use super::{AmqpUri, Exchange, NamedFile, QueueName, SecretSource, SettingKey, SettingsError, secret};
use crate::contract::ids::PortalId;
use crate::shards::{Layout, MAX_SHARDS, Sharding};

#[derive(Clone, Debug)]
pub struct AmqpSettings {
    /// The broker's address with its password; [`Self::broker`] reads it.
    pub uri: SecretSource,
    pub ca_file: Option<NamedFile>,
    /// Set together with `client_key_file` or not at all.
    pub client_cert_file: Option<NamedFile>,
    pub client_key_file: Option<NamedFile>,
    /// Unacknowledged jobs held at most.
    pub prefetch: NonZeroU16,
    /// Bytes of job bodies held at most, before the consumer is cancelled.
    pub max_held_bytes: u64,
    /// Longest time a job is held unacknowledged; must stay below the broker's acknowledgement timeout.
    pub max_hold: Duration,
    /// How long an unreachable broker is tried at start.
    pub connect_timeout: Duration,
    /// `false`: only check that the topology exists.
    pub declare_topology: bool,
    pub jobs_queue: QueueName,
    pub exchange: Exchange,
    pub results_queue: QueueName,
    pub dead_letter_queue: QueueName,
    pub background_queue: BackgroundQueue,
    /// One worker at a time works on the jobs queue; the others stand by.
    pub lease: bool,
    /// How long a lease lasts beyond its last renewal.
    pub lease_time: Duration,
    /// The jobs queues, and which of them each account belongs to.
    pub shards: Layout,
}

/// The setting `amqp.background_queue`; [`AmqpSettings::background`] says what follows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BackgroundQueue {
    /// `<jobs_queue>.background`, and none with shards.
    Derived,
    None,
    Named(QueueName),
}

/// What a connection needs. Its `Debug` shows no password and no key.
#[derive(Clone, Debug)]
pub struct Broker {
    pub uri: AmqpUri,
    /// A private certificate authority, in PEM.
    pub ca_pem: Option<String>,
    pub client: Option<ClientIdentity>,
}

/// The certificate with which the worker shows the broker who it is.
#[derive(Clone, Debug)]
pub struct ClientIdentity {
    pub cert_pem: String,
    pub key_pem: SecretString,
}

impl Default for AmqpSettings {
    fn default() -> Self {
        Self {
            uri: SecretSource::inline(SettingKey::new("amqp.uri"), DEFAULT_URI.into()),
            ca_file: None,
            client_cert_file: None,
            client_key_file: None,
            prefetch: DEFAULT_PREFETCH,
            max_held_bytes: 256 * MIB,
            max_hold: Duration::from_secs(10 * 60),
            connect_timeout: Duration::from_secs(60),
            declare_topology: true,
            jobs_queue: queue("association-archiver.jobs"),
            exchange: exchange("association-archiver"),
            results_queue: queue("association-archiver.results"),
            dead_letter_queue: queue("association-archiver.dead-letters"),
            background_queue: BackgroundQueue::Derived,
            lease: true,
            lease_time: Duration::from_secs(10),
            shards: Layout::default(),
        }
    }
}

const DEFAULT_URI: &str = "amqp://guest:guest@127.0.0.1:5672/%2f";
const DEFAULT_PREFETCH: NonZeroU16 = NonZeroU16::new(10_000).unwrap();
const MIB: u64 = 1024 * 1024;
const LEAST_HELD_BYTES: u64 = 1024;
const MOST_HELD_BYTES: u64 = 1024 * 1024 * MIB;
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_HOLD: Duration = Duration::from_secs(24 * 60 * 60);
/// A lease is renewed three times in its time, for which the broker must have time.
const SHORTEST_LEASE: Duration = Duration::from_secs(1);
const LONGEST_LEASE: Duration = Duration::from_secs(10 * 60);
/// Longest name of a queue, in bytes.
const LONGEST_NAME: usize = 255;
const LONGEST_CONNECT: Duration = Duration::from_secs(24 * 60 * 60);

#[expect(clippy::expect_used, reason = "constants, read by every test")]
fn queue(name: &str) -> QueueName {
    QueueName::new(name).expect("the default is a queue name")
}

#[expect(clippy::expect_used, reason = "constants, read by every test")]
fn exchange(name: &str) -> Exchange {
    Exchange::new(name).expect("the default is an exchange name")
}

impl AmqpSettings {
    /// Reads address, password and certificates anew, so that a changed file counts at the next connection.
    pub fn broker(&self) -> Result<Broker, SettingsError> {
        let uri = self.uri.read()?;
        let uri = AmqpUri::parse(uri.expose_secret()).map_err(|rule| self.uri.key().refused(rule))?;
        let tls_files = [&self.ca_file, &self.client_cert_file, &self.client_key_file];
        if !uri.is_tls()
            && let Some(file) = tls_files.into_iter().flatten().next()
        {
            let useless = file.key().refused("has no effect on an amqp:// address: use amqps://, or drop it");
            return Err(useless.beside_written(self.uri.key().clone()));
        }
        let ca_pem = self.ca_file.as_ref().map(secret::read_certificates).transpose()?;
        let cert_pem = self.client_cert_file.as_ref().map(secret::read_certificates).transpose()?;
        let key_pem = self.client_key_file.as_ref().map(secret::read_private_key).transpose()?;
        let client = cert_pem.zip(key_pem).map(|(cert_pem, key_pem)| ClientIdentity { cert_pem, key_pem });
        Ok(Broker { uri, ca_pem, client })
    }

    pub(super) fn read(mut section: Section) -> Result<Self, SettingsError> {
        let default = Self::default();
        let holds = SHORTEST_WAIT..=LONGEST_HOLD;
        let connects = SHORTEST_WAIT..=LONGEST_CONNECT;
        let settings = Self {
            uri: section.secret("uri")?.unwrap_or(default.uri),
            ca_file: section.file("ca_file")?,
            client_cert_file: section.file("client_cert_file")?,
            client_key_file: section.file("client_key_file")?,
            prefetch: section.integer("prefetch", NonZeroU16::MIN..=NonZeroU16::MAX)?.unwrap_or(default.prefetch),
            max_held_bytes: section
                .bytes("max_held_bytes", LEAST_HELD_BYTES..=MOST_HELD_BYTES)?
                .unwrap_or(default.max_held_bytes),
            max_hold: section.duration("max_hold", holds)?.unwrap_or(default.max_hold),
            connect_timeout: section.duration("connect_timeout", connects)?.unwrap_or(default.connect_timeout),
            declare_topology: section.flag("declare_topology")?.unwrap_or(default.declare_topology),
            jobs_queue: section.converted("jobs_queue", NAME_RULE, QueueName::new)?.unwrap_or(default.jobs_queue),
            exchange: section.converted("exchange", EXCHANGE_RULE, Exchange::new)?.unwrap_or(default.exchange),
            results_queue: section
                .converted("results_queue", NAME_RULE, QueueName::new)?
                .unwrap_or(default.results_queue),
            dead_letter_queue: section
                .converted("dead_letter_queue", NAME_RULE, QueueName::new)?
                .unwrap_or(default.dead_letter_queue),
            background_queue: section
                .converted("background_queue", NAME_RULE, background)?
                .unwrap_or(default.background_queue),
            lease: section.flag("lease")?.unwrap_or(default.lease),
            lease_time: section.duration("lease_time", SHORTEST_LEASE..=LONGEST_LEASE)?.unwrap_or(default.lease_time),
            shards: section.scalar("shards", &sharding_rule(), sharding)?.unwrap_or(default.shards),
        };
        section.finish()?;
        settings.names_apart()?;
        settings.identity_whole()?;
        Ok(settings)
    }

    /// The queue for jobs of the background; else why there is none, as half a sentence.
    pub fn background(&self) -> Result<QueueName, &'static str> {
        match (&self.background_queue, self.shards.is_sharded()) {
            (BackgroundQueue::None, _) => Err("amqp.background_queue is \"none\""),
            (BackgroundQueue::Derived | BackgroundQueue::Named(_), true) => Err("amqp.shards is set"),
            (BackgroundQueue::Named(name), false) => Ok(name.clone()),
            (BackgroundQueue::Derived, false) => derived_background(&self.jobs_queue).ok_or(TOO_LONG_FOR_BACKGROUND),
        }
    }

    /// Where there is no queue for jobs of the background: the name that it has elsewhere. If a queue of this name is there
    /// all the same, nobody takes from it.
    pub fn deserted_background(&self) -> Option<QueueName> {
        self.background().is_err().then(|| derived_background(&self.jobs_queue)).flatten()
    }

    /// Spreads the accounts over the shards, now that they are known.
    pub(super) fn spread(&mut self, portals: Vec<Option<PortalId>>) -> Result<(), SettingsError> {
        let key = SettingKey::new("amqp.shards");
        self.shards = self.shards.with_accounts(portals).map_err(|fault| key.refused(fault.to_string()))?;
        if !self.shards.is_sharded() {
            return Ok(());
        }
        if !self.lease {
            return Err(key.refused(
                "needs amqp.lease = true: a shard is worked on by one worker at a time; set it, or drop amqp.shards",
            ).beside("amqp.lease"));
        }
        if let BackgroundQueue::Named(name) = &self.background_queue {
            return Err(SettingKey::new("amqp.background_queue").refused(format!(
                "is \"{name}\", but with amqp.shards no worker would take jobs from it, since each shard would need one of its own: drop one of the two"
            )).beside("amqp.shards"));
        }
        if self.jobs_queue.as_str() == "jobs" {
            return Err(SettingKey::new("amqp.jobs_queue").refused(
                "is \"jobs\", with which the names of shards would be routing keys of accounts: choose another name",
            ).beside("amqp.shards"));
        }
        for queue in self.shards.queues() {
            let name = self.shards.name(queue, self.jobs_queue.as_str());
            let lease = lease_queue(&name);
            if lease.len() > LONGEST_NAME {
                return Err(SettingKey::new("amqp.jobs_queue")
                    .refused(format!(
                        "is too long for amqp.shards: the queue \"{lease}\" would have more than {LONGEST_NAME} bytes"
                    ))
                    .beside("amqp.shards"));
            }
            for (key, other) in
                [("amqp.results_queue", &self.results_queue), ("amqp.dead_letter_queue", &self.dead_letter_queue)]
            {
                let other = other.as_str();
                if other == name || other == lease || other == workers_queue(self.jobs_queue.as_str()) {
                    return Err(SettingKey::new(key)
                        .refused(format!("is \"{other}\", which amqp.shards makes a queue of: choose another name"))
                        .beside("amqp.shards"));
                }
            }
        }
        Ok(())
    }

    /// Refuses names under which messages would come into a queue where they do not belong. Outcomes that came back as
    /// jobs, for example, would go round for ever.
    fn names_apart(&self) -> Result<(), SettingsError> {
        let jobs = self.jobs_queue.as_str();
        if RESERVED_KEYS.contains(&jobs) {
            return Err(SettingKey::new("amqp.jobs_queue").refused(format!(
                "is \"{jobs}\", which is also a routing key of the worker's exchange: choose another name"
            )));
        }
        let background = match &self.background_queue {
            BackgroundQueue::Named(name) => Some(name.clone()),
            BackgroundQueue::Derived => derived_background(&self.jobs_queue),
            BackgroundQueue::None => None,
        };
        self.apart_from_delays(background.as_ref())?;
        let lease = lease_queue(jobs);
        for (key, name) in
            [("amqp.results_queue", &self.results_queue), ("amqp.dead_letter_queue", &self.dead_letter_queue)]
        {
            if self.lease && name.as_str() == lease {
                return Err(SettingKey::new(key)
                    .refused(format!("is \"{lease}\", in which the worker keeps its lease: choose another name"))
                    .beside("amqp.jobs_queue"));
            }
        }
        if let Some(background) = &background {
            self.background_apart(background, &lease)?;
        }
        for (key, name, other_key, other) in [
            ("amqp.results_queue", &self.results_queue, "amqp.jobs_queue", &self.jobs_queue),
            ("amqp.dead_letter_queue", &self.dead_letter_queue, "amqp.jobs_queue", &self.jobs_queue),
            ("amqp.dead_letter_queue", &self.dead_letter_queue, "amqp.results_queue", &self.results_queue),
        ] {
            if name == other {
                return Err(SettingKey::new(key)
                    .refused(format!("names the same queue as {other_key}: choose another name"))
                    .beside(other_key));
            }
        }
        Ok(())
    }

    /// No queue may have the name of a delay queue: what is put into one of these comes back to the jobs queue by itself.
    fn apart_from_delays(&self, background: Option<&QueueName>) -> Result<(), SettingsError> {
        let delays = format!("{}.delay.", self.jobs_queue);
        let named = [
            ("amqp.results_queue", Some(&self.results_queue)),
            ("amqp.dead_letter_queue", Some(&self.dead_letter_queue)),
            ("amqp.background_queue", background),
        ];
        for (key, name) in named.into_iter().filter_map(|(key, name)| Some((key, name?))) {
            let of_background = background.map(|name| format!("{name}.delay."));
            if let Some(delays) = of_background.filter(|delays| name.as_str().starts_with(delays.as_str())) {
                return Err(SettingKey::new(key).refused(format!(
                    "begins with \"{delays}\", as the delay queues of the background do: choose another name"
                )));
            }
            if name.as_str().starts_with(&delays) {
                return Err(SettingKey::new(key)
                    .refused(format!("begins with \"{delays}\", as the worker's delay queues do: choose another name"))
                    .beside("amqp.jobs_queue"));
            }
        }
        Ok(())
    }

    /// The background queue may not be any other queue, nor have the name of a key that leads to another.
    fn background_apart(&self, background: &QueueName, lease: &str) -> Result<(), SettingsError> {
        let others = [
            ("amqp.jobs_queue", self.jobs_queue.as_str()),
            ("amqp.results_queue", self.results_queue.as_str()),
            ("amqp.dead_letter_queue", self.dead_letter_queue.as_str()),
            ("amqp.lease", lease),
        ];
        if let Some((key, _)) = others.iter().find(|(_, name)| *name == background.as_str()) {
            return Err(SettingKey::new("amqp.background_queue")
                .refused(format!(
                    "is \"{background}\", which is the queue of {key}: name another one in amqp.background_queue"
                ))
                .beside(key));
        }
        if KEYS_OF_OTHERS.contains(&background.as_str()) {
            return Err(SettingKey::new("amqp.background_queue").refused(format!(
                "is \"{background}\", which is also a routing key of the worker's exchange: choose another name"
            )));
        }
        Ok(())
    }

    fn identity_whole(&self) -> Result<(), SettingsError> {
        match (&self.client_cert_file, &self.client_key_file) {
            (Some(file), None) => Err(file.key().refused("needs amqp.client_key_file beside it")),
            (None, Some(file)) => Err(file.key().refused("needs amqp.client_cert_file beside it")),
            (Some(_), Some(_)) | (None, None) => Ok(()),
        }
    }
}

/// Name of the lease queue of a jobs queue; it is its routing key too.
pub fn lease_queue(jobs_queue: &str) -> String {
    format!("{jobs_queue}.lease")
}

/// Name of the queue that shows how many workers share the shards: each of them subscribes to it, and nobody publishes.
pub fn workers_queue(jobs_queue: &str) -> String {
    format!("{jobs_queue}.workers")
}

fn background(text: &str) -> Option<BackgroundQueue> {
    if text == "none" { Some(BackgroundQueue::None) } else { QueueName::new(text).map(BackgroundQueue::Named) }
}

fn derived_background(jobs_queue: &QueueName) -> Option<QueueName> {
    QueueName::new(&format!("{jobs_queue}.background"))
}

const TOO_LONG_FOR_BACKGROUND: &str =
    "the name in amqp.jobs_queue is too long to have \".background\" behind it: name a queue in amqp.background_queue";

fn sharding(text: &str) -> Option<Layout> {
    let sharding = match text {
        "none" => Sharding::None,
        "per-account" => Sharding::PerAccount,
        number => Sharding::Number(number.parse().ok().filter(|number: &NonZeroU16| number.get() <= MAX_SHARDS)?),
    };
    Layout::new(sharding, Vec::new()).ok()
}

fn sharding_rule() -> String {
    format!("must be \"none\", \"per-account\" or a whole number from 1 to {MAX_SHARDS}")
}

/// The jobs queue is bound to its own name, so these as a name would bring outcomes back as jobs.
const RESERVED_KEYS: [&str; 3] = ["results", "dead-letters", "jobs.background"];

/// The background queue is bound to its own name as well, so with one of these it would get what others are to have.
const KEYS_OF_OTHERS: [&str; 3] = ["jobs", "results", "dead-letters"];

const EXCHANGE_RULE: &str = "must be \"\" or \"amq.default\", which both mean the default exchange, or 1 to 255 bytes without control characters, and must not begin with \"amq.\", which is the broker's own";

const NAME_RULE: &str =
    "must be 1 to 245 bytes without control characters, and must not begin with \"amq.\", which is the broker's own";
