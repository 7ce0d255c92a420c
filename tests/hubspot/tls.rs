//! Which certificates are trusted, and what is said about those that are not.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use association_archiver::config::{NamedFile, SettingKey};
use association_archiver::engine::reply::{Reply, Silence};
use association_archiver::hubspot::client::HubspotClient;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::far_end::{FarEnd, answer, answered, archive, read_request, settings, silence};

#[tokio::test]
async fn a_certificate_of_the_private_authority_is_trusted() {
    let authority = Authority::new();
    let url = serve(authority.certificate("localhost", Valid::Now)).await;
    assert_eq!(answered(authority.archive(&url).await).status, 204);
}

#[tokio::test]
async fn a_certificate_of_nobody_is_not_trusted_and_the_mend_is_named() {
    let url = serve(Authority::new().certificate("localhost", Valid::Now)).await;
    let client = HubspotClient::new(&settings(&url, Duration::from_secs(10))).unwrap();
    let reason = distrust(archive(&client).await);
    assert!(reason.contains("UnknownIssuer") && reason.contains("hubspot.ca_file"), "{reason}");
}

#[tokio::test]
async fn an_expired_certificate_is_not_trusted() {
    let authority = Authority::new();
    let url = serve(authority.certificate("localhost", Valid::LastYear)).await;
    let reason = distrust(authority.archive(&url).await);
    assert!(reason.to_lowercase().contains("expired"), "{reason}");
    assert!(!reason.contains("ca_file"), "{reason}");
}

#[tokio::test]
async fn a_certificate_of_another_host_is_not_trusted() {
    let authority = Authority::new();
    let url = serve(authority.certificate("hubspot.example", Valid::Now)).await;
    let reason = distrust(authority.archive(&url).await);
    assert!(reason.contains("hubspot.example"), "{reason}");
}

#[tokio::test]
async fn plain_http_behind_https_is_not_trusted() {
    let far_end = FarEnd::start(|mut peer| async move {
        // The greeting of TLS is no request, so it is answered unread.
        peer.stream.write_all(answer(400, "connection: close\r\n", "").as_bytes()).await?;
        peer.stream.read_buf(&mut Vec::with_capacity(4_096)).await.map(drop)
    })
    .await;
    let url = far_end.url.replace("http://127.0.0.1", "https://localhost");
    distrust(Authority::new().archive(&url).await);
}

#[tokio::test]
async fn a_handshake_that_stalls_is_a_refusal() {
    let far_end = FarEnd::start(|peer| async move {
        let _open = peer;
        std::future::pending().await
    })
    .await;
    let url = far_end.url.replace("http://127.0.0.1", "https://localhost");
    let client = HubspotClient::new(&settings(&url, Duration::from_secs(2))).unwrap();
    let Silence::Refused(why) = silence(archive(&client).await) else { panic!("nothing was sent") };
    assert_eq!(why, "localhost: it does not answer in time");
}

#[tokio::test]
async fn http_2_is_spoken_where_it_is_offered() {
    let authority = Authority::new();
    let mut config = authority.certificate("localhost", Valid::Now);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let (preface, mut seen) = mpsc::channel(1);
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        let mut bytes = [0; 24];
        stream.read_exact(&mut bytes).await.unwrap();
        preface.send(bytes).await.unwrap();
    });
    silence(authority.archive(&url).await);
    assert_eq!(&seen.recv().await.unwrap(), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    server.await.unwrap();
}

#[tokio::test]
async fn an_authority_file_that_is_none_is_named() {
    let folder = TempDir::new().unwrap();
    for (text, problem) in [
        ("", "no PEM"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "holds no certificate"),
        ("-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n", "cannot be read"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "hubspot.ca_file"),
    ] {
        let ca_file = folder.path().join("ca.pem");
        fs::write(&ca_file, text).unwrap();
        let mut settings = settings("https://localhost", Duration::from_secs(1));
        settings.ca_file = Some(NamedFile::new(SettingKey::new("hubspot.ca_file"), ca_file));
        let error = HubspotClient::new(&settings).unwrap_err().to_string();
        assert!(error.contains("hubspot.ca_file") && error.contains(problem), "{error}");
    }
}

enum Valid {
    Now,
    LastYear,
}

/// A private authority, with its certificate in a file.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    fn certificate(&self, host: &str, valid: Valid) -> ServerConfig {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        match valid {
            Valid::Now => {}
            Valid::LastYear => {
                params.not_before = date_time_ymd(2025, 1, 1);
                params.not_after = date_time_ymd(2025, 12, 31);
            }
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap()
    }

    /// The reply to one batch sent by a client that trusts this authority.
    async fn archive(&self, url: &str) -> Reply {
        let mut settings = settings(url, Duration::from_secs(10));
        let ca_file = self.folder.path().join("ca.pem");
        settings.ca_file = Some(NamedFile::new(SettingKey::new("hubspot.ca_file"), ca_file));
        archive(&HubspotClient::new(&settings).unwrap()).await
    }
}

/// Answers every request over TLS with 204.
async fn serve(config: ServerConfig) -> String {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that distrusts us ends the handshake; that is its right.
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                while read_request(&mut stream).await.is_ok() {
                    stream.write_all(answer(204, "", "").as_bytes()).await.unwrap();
                }
            });
        }
    });
    format!("https://localhost:{port}")
}

fn distrust(reply: Reply) -> String {
    match silence(reply) {
        Silence::Tls(reason) => reason,
        other => panic!("{other:?}"),
    }
}
