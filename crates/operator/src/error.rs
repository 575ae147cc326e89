//! Why a look at a resource did not get to its end.

use pondage_client::ClientError;
use pondage_resources::FieldError;

use crate::cluster::certificates::CertificateError;

/// What failed; all of it is tried again, later and later.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReconcileError {
    /// The API server refused, or did not answer.
    #[error("the API server: {0}")]
    Kubernetes(#[from] kube::Error),
    /// The brokers refused, or did not answer.
    #[error("the brokers: {0}")]
    Brokers(#[from] ClientError),
    /// There are no certificates.
    #[error(transparent)]
    Certificates(#[from] CertificateError),
    /// The cluster's brokers can't be asked yet.
    #[error("the brokers are not connected yet")]
    NotConnected,
    /// The operating system failed.
    #[error("the system: {0}")]
    System(String),
}

impl ReconcileError {
    /// Somebody else wrote the object meanwhile: the next look sees it.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Kubernetes(kube::Error::Api(status)) if status.code == 409)
    }

    /// There is no such object.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Kubernetes(kube::Error::Api(status)) if status.code == 404)
    }
}

/// Everything that is wrong with a resource, in one message.
pub(crate) fn all(errors: &[FieldError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
