//! What a connection proved of who is at its other end, and the guards that ask for it.

use rustls::{
    client::verify_server_name,
    pki_types::{CertificateDer, ServerName},
    server::ParsedCertificate,
};
use tonic::{Request, Status};

/// What the other end of a connection presented. In the extensions of every request of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presented {
    /// There is no TLS: the listener takes connections of this machine only, and trusts it.
    Plaintext,
    /// TLS without a certificate.
    Nothing,
    /// A certificate that the authority signed.
    Certificate {
        /// It has the peer name.
        of_broker: bool,
    },
}

impl Presented {
    /// From the verified chain of a handshake.
    pub(super) fn from_chain(chain: Option<&[CertificateDer<'_>]>, peer_name: &ServerName<'_>) -> Self {
        match chain.and_then(<[_]>::first) {
            None => Self::Nothing,
            Some(certificate) => Self::Certificate { of_broker: has_name(certificate, peer_name) },
        }
    }
}

/// Whether a name is among a certificate's.
pub(super) fn has_name(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> bool {
    ParsedCertificate::try_from(certificate)
        .and_then(|certificate| verify_server_name(&certificate, name))
        .is_ok()
}

/// Lets through who presented a certificate of the authority, and everybody where there is no TLS.
///
/// # Errors
/// `UNAUTHENTICATED`, also for a request that came over no connection of ours.
pub fn require_certificate<T>(request: &Request<T>) -> Result<(), Status> {
    match request.extensions().get() {
        Some(Presented::Plaintext | Presented::Certificate { .. }) => Ok(()),
        Some(Presented::Nothing) | None => Err(refused()),
    }
}

/// Lets through who presented a broker's certificate, and everybody where there is no TLS.
///
/// # Errors
/// As [`require_certificate`], in the same words whatever was missing.
pub fn require_peer_certificate<T>(request: &Request<T>) -> Result<(), Status> {
    match request.extensions().get() {
        Some(Presented::Plaintext | Presented::Certificate { of_broker: true }) => Ok(()),
        Some(Presented::Certificate { of_broker: false } | Presented::Nothing) | None => Err(refused()),
    }
}

fn refused() -> Status {
    Status::unauthenticated("this call takes a certificate that was not presented")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_ask_for_what_they_say() {
        let cases = [
            (None, false, false),
            (Some(Presented::Nothing), false, false),
            (Some(Presented::Certificate { of_broker: false }), true, false),
            (Some(Presented::Certificate { of_broker: true }), true, true),
            (Some(Presented::Plaintext), true, true),
        ];
        for (presented, any, of_broker) in cases {
            let mut request = Request::new(());
            if let Some(presented) = presented {
                request.extensions_mut().insert(presented);
            }
            assert_eq!(require_certificate(&request).is_ok(), any, "{presented:?}");
            assert_eq!(require_peer_certificate(&request).is_ok(), of_broker, "{presented:?}");
        }
    }
}
