//! The one error of the client.

use pondage_model::{Code, Outcome, Refusal};
use pondage_protocol::{Failure, from_status};

/// Why something was not done, whether it may have been done after all, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ClientError(Failure);

impl ClientError {
    /// The stable word, such as `LEASE_LOST`.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// Whether it carries this word.
    #[must_use]
    pub fn is(&self, code: Code) -> bool {
        self.0.is(code)
    }

    /// Whether the request may have taken effect.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    /// Whether the same request may succeed when it is sent again.
    #[must_use]
    pub const fn retriable(&self) -> bool {
        self.0.retriable
    }

    /// What happened, for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What the sender can do, for people; may be empty.
    #[must_use]
    pub fn action(&self) -> &str {
        &self.0.action
    }

    /// The connection is gone, or was never there.
    pub(crate) fn unavailable(message: String, outcome: Outcome) -> Self {
        Self(Failure {
            code: "UNAVAILABLE".to_owned(),
            outcome,
            retriable: true,
            message,
            action: "check the address, and whether a broker listens there".to_owned(),
        })
    }

    /// The publisher or consumer was closed by its owner, or ended with an error that was told before.
    pub(crate) fn closed(what: &str, outcome: Outcome) -> Self {
        Self(Failure {
            code: "CLOSED".to_owned(),
            outcome,
            retriable: false,
            message: format!("the {what} is closed"),
            action: "open a new one".to_owned(),
        })
    }

    /// The same facts, with an outcome that is known better.
    pub(crate) fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.0.outcome = outcome;
        self
    }
}

impl From<Failure> for ClientError {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

impl From<Refusal> for ClientError {
    fn from(refusal: Refusal) -> Self {
        Self(refusal.into())
    }
}

impl From<tonic::Status> for ClientError {
    fn from(status: tonic::Status) -> Self {
        Self(from_status(&status))
    }
}
