//! The handshakes, on both sides.

use std::io;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::{
    Tls,
    presented::{Presented, has_name},
};

impl Tls {
    /// The listener's side. The caller bounds the time.
    ///
    /// # Errors
    /// Whoever connects speaks no TLS, or presents a certificate that does not hold.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<(server::TlsStream<TcpStream>, Presented)> {
        let loaded = self.loaded();
        let stream = TlsAcceptor::from(loaded.server.clone()).accept(stream).await?;
        let presented = Presented::from_chain(stream.get_ref().1.peer_certificates(), &loaded.peer_name);
        Ok((stream, presented))
    }

    /// The side of a broker that dials another: `host` must be among the names of a broker's certificate. The caller
    /// bounds the time.
    ///
    /// # Errors
    /// Whoever answers proves no such name.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<client::TlsStream<TcpStream>> {
        let loaded = self.loaded();
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let stream = TlsConnector::from(loaded.client.clone()).connect(name, stream).await?;
        let chain = stream.get_ref().1.peer_certificates();
        if chain.and_then(<[_]>::first).is_some_and(|certificate| has_name(certificate, &loaded.peer_name)) {
            return Ok(stream);
        }
        let what = format!("the certificate is no broker's: it has not the name {:?}", loaded.peer_name);
        Err(io::Error::new(io::ErrorKind::PermissionDenied, what))
    }
}
