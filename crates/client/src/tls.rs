//! What a client believes, and what it shows, where brokers speak TLS.

use std::{fmt, sync::Arc};

use pondage_model::Refusal;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::ClientError;

/// Certificates for connections to brokers, as PEM. Cloning is cheap.
#[derive(Clone)]
pub struct Tls(Arc<Parts>);

struct Parts {
    authorities: Vec<u8>,
    /// A certificate with its chain, and its key.
    identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Tls {
    /// Believes brokers whose certificates these authorities signed for the host of the broker's address; shows none of
    /// its own.
    #[must_use]
    pub fn new(authorities: impl Into<Vec<u8>>) -> Self {
        Self(Arc::new(Parts { authorities: authorities.into(), identity: None }))
    }

    /// Shows a certificate too, followed by those between it and its authority: administrators need one.
    #[must_use]
    pub fn with_certificate(&self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        let identity = Some((certificate.into(), key.into()));
        Self(Arc::new(Parts { authorities: self.0.authorities.clone(), identity }))
    }

    /// The endpoint, spoken to in TLS.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` if something is no PEM.
    pub(crate) fn secure(&self, endpoint: Endpoint) -> Result<Endpoint, ClientError> {
        let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.0.authorities));
        if let Some((certificate, key)) = &self.0.identity {
            config = config.identity(Identity::from_pem(certificate, key));
        }
        endpoint.tls_config(config).map_err(|_| {
            let what = "tls: expected certificates and a key as PEM".to_owned();
            Refusal::InvalidArgument { what }.into()
        })
    }
}

/// Never the key.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("shows_certificate", &self.0.identity.is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_no_pem_is_refused() {
        let endpoint = || Endpoint::from_static("https://localhost:1");
        let tls = Tls::new("nonsense").with_certificate("nonsense", "secret");
        assert!(tls.secure(endpoint()).is_err());
        assert!(!format!("{tls:?}").contains("secret"));
    }
}
