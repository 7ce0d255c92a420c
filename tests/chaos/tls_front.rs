//! HubSpot behind TLS, with a certificate that changes while it is in use.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

#[derive(Clone, Copy, Debug)]
pub enum Certificate {
    Good,
    Expired,
    OfAnotherHost,
}

/// Takes TLS connections on `localhost` and passes them on in plain; gone when dropped.
pub struct TlsFront {
    pub uri: String,
    authority: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
    shown: watch::Sender<Arc<ServerConfig>>,
    serving: AbortHandle,
}

impl TlsFront {
    pub async fn start(upstream: SocketAddr) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let folder = TempDir::new()?;
        std::fs::write(folder.path().join("ca.pem"), authority.pem())?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let uri = format!("https://localhost:{}", listener.local_addr()?.port());
        let (shown, seen) = watch::channel(server(&authority, Certificate::Good)?);
        let serving = tokio::spawn(serve(listener, upstream, seen)).abort_handle();
        Ok(Self { uri, authority, folder, shown, serving })
    }

    /// Whom a client has to trust.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Ends every connection; new ones see this certificate.
    pub fn show(&self, certificate: Certificate) -> Result<()> {
        self.shown.send_replace(server(&self.authority, certificate)?);
        Ok(())
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A new one each time, so that no client can resume what an earlier certificate began.
fn server(authority: &CertifiedIssuer<'static, KeyPair>, certificate: Certificate) -> Result<Arc<ServerConfig>> {
    let host = match certificate {
        Certificate::Good | Certificate::Expired => "localhost",
        Certificate::OfAnotherHost => "elsewhere.example",
    };
    let mut params = CertificateParams::new([host.to_owned()])?;
    if let Certificate::Expired = certificate {
        params.not_before = date_time_ymd(2025, 1, 1);
        params.not_after = date_time_ymd(2025, 12, 31);
    }
    let key = KeyPair::generate()?;
    let signed = params.signed_by(&key, authority)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![signed.der().clone()], key)?;
    Ok(Arc::new(config))
}

async fn serve(listener: TcpListener, upstream: SocketAddr, shown: watch::Receiver<Arc<ServerConfig>>) {
    while let Ok((client, _)) = listener.accept().await {
        let mut shown = shown.clone();
        tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(Arc::clone(&shown.borrow_and_update()));
            tokio::select! {
                _ = pass(acceptor, client, upstream) => {}
                _ = shown.changed() => {}
            }
        });
    }
}

/// A client that does not trust us ends the handshake, which is its right.
async fn pass(acceptor: TlsAcceptor, client: TcpStream, upstream: SocketAddr) -> std::io::Result<()> {
    let mut client = acceptor.accept(client).await?;
    let mut server = TcpStream::connect(upstream).await?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}
