//! TLS to a real RabbitMQ: whom the worker trusts, to whom it shows itself, and what it says when that fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::cast_possible_truncation)]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use harness::port::free_port;
use harness::worker::WorkerBuilder;
use harness::{Broker, Client, Options, SimulatorProcess, Tally, Until, Worker, job};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use tempfile::TempDir;

const JOBS: &str = "association-archiver.jobs";
const RESULTS: &str = "association-archiver.results";
const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_must_prove_who_it_is() -> Result<()> {
    let authority = Authority::new()?;
    authority.certify("broker", "localhost", Valid::Now)?;
    let broker = TlsBroker::start(&authority, Asks::Nothing).await?;

    broker.carries_jobs(broker.settings().set("amqp.ca_file", authority.path("ca.pem"))).await?;
    let stranger = broker.refused(broker.settings()).await?;
    assert!(stranger.contains("UnknownIssuer") && stranger.contains("amqp.ca_file"), "{stranger}");
    let by_address = broker.settings().set("amqp.uri", broker.uri().replace("localhost", "127.0.0.1"));
    let by_address = broker.refused(by_address.set("amqp.ca_file", authority.path("ca.pem"))).await?;
    assert!(by_address.contains("the host name in amqp.uri"), "{by_address}");

    for (host, valid, cause) in
        [("localhost", Valid::LastYear, "xpired"), ("elsewhere.example", Valid::Now, "elsewhere")]
    {
        authority.certify("broker", host, valid)?;
        broker.read_certificates_again().await?;
        let reason = broker.refused(broker.settings().set("amqp.ca_file", authority.path("ca.pem"))).await?;
        assert!(reason.contains("no trusted TLS connection") && reason.contains(cause), "{reason}");
    }
    authority.certify("broker", "localhost", Valid::Now)?;
    broker.read_certificates_again().await?;
    broker.carries_jobs(broker.settings().set("amqp.ca_file", authority.path("ca.pem"))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_asks_for_a_certificate_gets_the_workers() -> Result<()> {
    let authority = Authority::new()?;
    authority.certify("broker", "localhost", Valid::Now)?;
    authority.certify("worker", "association-archiver", Valid::Now)?;
    let broker = TlsBroker::start(&authority, Asks::ForACertificate).await?;
    let trusting = broker.settings().set("amqp.ca_file", authority.path("ca.pem"));
    let shown = |authority: &Authority| {
        let shown = trusting.clone().set("amqp.client_cert_file", authority.path("worker.pem"));
        shown.set("amqp.client_key_file", authority.path("worker.key"))
    };

    broker.carries_jobs(shown(&authority)).await?;
    let nobody = broker.refused(trusting.clone()).await?;
    assert!(nobody.contains("amqp.client_cert_file"), "{nobody}");
    let other = Authority::new()?;
    other.certify("worker", "association-archiver", Valid::Now)?;
    let stranger = broker.refused(shown(&other)).await?;
    assert!(stranger.contains("amqp.client_cert_file"), "{stranger}");
    authority.certify("worker", "association-archiver", Valid::LastYear)?;
    let late = broker.refused(shown(&authority)).await?;
    assert!(late.contains("amqp.client_cert_file"), "{late}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_to_a_plain_port_is_told_apart_from_a_broker_that_is_away() -> Result<()> {
    let broker = Broker::shared().await?;
    let plain = broker.uri().replace("amqp://", "amqps://").replace("127.0.0.1", "localhost");
    let reason = ended(Worker::builder().set("amqp.uri", plain)).await?;
    assert!(reason.contains("TLS"), "{reason}");
    Ok(())
}

enum Asks {
    Nothing,
    ForACertificate,
}

/// A node with a TLS listener beside its plain one.
struct TlsBroker {
    broker: Broker,
    port: u16,
}

impl TlsBroker {
    /// Its certificate is the authority's `broker`.
    async fn start(authority: &Authority, asks: Asks) -> Result<Self> {
        let port = free_port()?;
        let (verify, fail) = match asks {
            Asks::Nothing => ("verify_none", "false"),
            Asks::ForACertificate => ("verify_peer", "true"),
        };
        let file = |name: &str| authority.path(name);
        let options = Options::default()
            .conf(&format!("listeners.ssl.1 = 127.0.0.1:{port}"))
            .conf(&format!("ssl_options.cacertfile = {}", file("ca.pem")))
            .conf(&format!("ssl_options.certfile = {}", file("broker.pem")))
            .conf(&format!("ssl_options.keyfile = {}", file("broker.key")))
            .conf(&format!("ssl_options.verify = {verify}"))
            .conf(&format!("ssl_options.fail_if_no_peer_cert = {fail}"));
        Ok(Self { broker: Broker::start(options).await?, port })
    }

    fn uri(&self) -> String {
        format!("amqps://guest:guest@localhost:{}/%2f", self.port)
    }

    fn settings(&self) -> WorkerBuilder {
        Worker::builder().set("amqp.uri", self.uri())
    }

    /// Erlang keeps what it has read of them for minutes.
    async fn read_certificates_again(&self) -> Result<()> {
        self.broker.ctl(&["eval", "ssl:clear_pem_cache()."]).await.map(drop)
    }

    /// Jobs go in and outcomes come out over TLS.
    async fn carries_jobs(&self, settings: WorkerBuilder) -> Result<()> {
        const NUMBER: u64 = 200;
        let simulator = SimulatorProcess::start(&["--limit", "off"]).await?;
        let worker =
            settings.set("hubspot.base_url", simulator.uri()).set("hubspot.access_token", "secret-token").start()?;
        worker.ready(SOON).await?;
        let client = Client::new(&self.broker.uri());
        let ids = (0..NUMBER).map(|number| format!("job-{number}"));
        let jobs = ids.clone().zip(1..).map(|(id, from)| job(&id).pair(from, 1).to_message());
        client.publish(JOBS, jobs.collect::<Result<Vec<_>>>()?).await?;
        let outcomes = client.collect(RESULTS, Until::Count(NUMBER as usize), SOON).await?;
        Tally::of_published(ids).outcomes(&outcomes)?.report().exactly_once()?;
        let connections = self.broker.ctl(&["list_connections", "name", "ssl"]).await?;
        assert_eq!(connections.lines().filter(|line| line.ends_with("true")).count(), 2, "{connections}");
        worker.term()?;
        assert_eq!(worker.wait(SOON).await?, 0, "{}", worker.last_words());
        Ok(())
    }

    async fn refused(&self, settings: WorkerBuilder) -> Result<String> {
        ended(settings).await
    }
}

/// What the worker says when it cannot start.
async fn ended(settings: WorkerBuilder) -> Result<String> {
    let settings = settings.set("amqp.connect_timeout", "2s").set("hubspot.access_token", "secret-token");
    let worker = settings.start()?;
    assert_eq!(worker.wait(SOON).await?, 1, "{}", worker.last_words());
    let said = worker.stderr();
    assert!(!said.contains("secret-token") && !said.contains("guest:guest"), "{said}");
    Ok(said.lines().last().unwrap_or_default().to_owned())
}

enum Valid {
    Now,
    LastYear,
}

/// A private authority and what it has certified, in files.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let folder = TempDir::new()?;
        fs::write(folder.path().join("ca.pem"), issuer.pem())?;
        Ok(Self { issuer, folder })
    }

    fn path(&self, name: &str) -> String {
        let path: PathBuf = self.folder.path().join(name);
        path.display().to_string()
    }

    /// Writes `<name>.pem` and `<name>.key`.
    fn certify(&self, name: &str, host: &str, valid: Valid) -> Result<()> {
        let mut params = CertificateParams::new([host.to_owned()])?;
        // Named like its issuer it would pass for self-signed.
        params.distinguished_name.push(DnType::CommonName, name);
        match valid {
            Valid::Now => {}
            Valid::LastYear => {
                params.not_before = date_time_ymd(2025, 1, 1);
                params.not_after = date_time_ymd(2025, 12, 31);
            }
        }
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        fs::write(self.path(&format!("{name}.pem")), certificate.pem())?;
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem())?;
        Ok(())
    }
}
