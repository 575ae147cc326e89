//! From PEM files to what the TLS library works with.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::Resumption,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};

use super::validity::not_after_seconds;

/// Bytes of one file: a chain and a bundle of authorities are far smaller.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The protocol spoken inside.
const ALPN_HTTP2: &[u8] = b"h2";

/// Where keys and certificates are, as PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The broker's certificate, and those between it and the authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities that sign brokers and clients.
    pub ca: PathBuf,
    /// The DNS name by which a certificate is a broker's.
    pub peer_name: String,
}

impl TlsFiles {
    /// The peer name unless another is configured. One label, so that no wildcard certificate covers it.
    pub const PEER_NAME: &'static str = "pondage-broker";
}

/// Why TLS can't begin.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("{path}: {error}", path = .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path}: {what}", path = .path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The peer name is no DNS name.
    #[error("the peer name {0:?} is no DNS name")]
    PeerName(String),
}

/// What one reading of the files gave.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) server: Arc<ServerConfig>,
    pub(super) client: Arc<ClientConfig>,
    pub(super) peer_name: ServerName<'static>,
    pub(super) not_after_seconds: i64,
    /// Certificate, key and authorities, as read.
    contents: [Vec<u8>; 3],
}

impl Loaded {
    /// Reads and checks all of it: the key must be the certificate's.
    pub(super) fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let TlsFiles { certificate, key, ca, peer_name } = files;
        let contents = [read(certificate)?, read(key)?, read(ca)?];
        let content = |path: &Path, what: &dyn std::fmt::Display| TlsError::Content {
            path: path.to_owned(),
            what: what.to_string(),
        };

        let chain = certificates(&contents[0]).map_err(|error| content(certificate, &error))?;
        let first = chain.first().ok_or_else(|| content(certificate, &"no certificate in it"))?;
        let not_after_seconds =
            not_after_seconds(first).ok_or_else(|| content(certificate, &"no X.509 certificate"))?;
        let private = PrivateKeyDer::from_pem_slice(&contents[1]).map_err(|error| content(key, &error))?;
        let mut roots = RootCertStore::empty();
        for authority in certificates(&contents[2]).map_err(|error| content(ca, &error))? {
            roots.add(authority).map_err(|error| content(ca, &error))?;
        }
        if roots.is_empty() {
            return Err(content(ca, &"no certificate in it"));
        }
        let roots = Arc::new(roots);
        let peer_name = ServerName::try_from(peer_name.clone())
            .ok()
            .filter(|name| matches!(name, ServerName::DnsName(_)))
            .ok_or_else(|| TlsError::PeerName(peer_name.clone()))?;

        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .map_err(|error| content(ca, &error))?;
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder
                    .with_client_cert_verifier(verifier)
                    .with_single_cert(chain.clone(), private.clone_key())
            })
            .map_err(|error| content(key, &error))?;
        server.alpn_protocols = vec![ALPN_HTTP2.to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_root_certificates(roots).with_client_auth_cert(chain, private))
            .map_err(|error| content(key, &error))?;
        client.alpn_protocols = vec![ALPN_HTTP2.to_vec()];
        client.resumption = Resumption::disabled();
        Ok(Self {
            server: Arc::new(server),
            client: Arc::new(client),
            peer_name,
            not_after_seconds,
            contents,
        })
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.contents == other.contents
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |error| TlsError::Read { path: path.to_owned(), error };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let what = format!("more than {FILE_BYTES_MAX} bytes");
        return Err(TlsError::Content { path: path.to_owned(), what });
    }
    Ok(bytes)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    CertificateDer::pem_slice_iter(pem).collect()
}
