//! The one error of the client.

use pondage_model::{Code, Outcome, Refusal};
use pondage_protocol::{Failure, LeaderHint, from_status};

/// The word for a broker that can't be reached, which no broker says.
const UNAVAILABLE: &str = "UNAVAILABLE";

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

    /// Who leads the partition instead, if the broker that refused knew.
    pub(crate) const fn leader(&self) -> Option<&LeaderHint> {
        self.0.leader.as_ref()
    }

    /// The same facts, without a word on who leads.
    pub(crate) fn without_leader(mut self) -> Self {
        self.0.leader = None;
        self
    }

    /// Whether it is about the broker and not about the request: another broker may do better, or the same one later.
    pub(crate) fn is_of_broker(&self) -> bool {
        let codes = [Code::NotLeader, Code::ShuttingDown, Code::Timeout, Code::VolumeFenced];
        codes.into_iter().any(|code| self.is(code)) || self.code() == UNAVAILABLE
    }

    /// The connection is gone, or was never there.
    pub(crate) fn unavailable(message: String, outcome: Outcome) -> Self {
        Self(Failure {
            code: UNAVAILABLE.to_owned(),
            outcome,
            retriable: true,
            message,
            action: "check the address, and whether a broker listens there".to_owned(),
            leader: None,
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
            leader: None,
        })
    }

    /// Its facts.
    pub(crate) fn into_failure(self) -> Failure {
        self.0
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
        // Whoever was never connected to has not been told anything.
        match connect_error(&status) {
            Some(reason) => Self::unavailable(format!("no connection: {reason}"), Outcome::Definite),
            None => Self(from_status(&status)),
        }
    }
}

/// Why the connection was not made, if that is what happened.
fn connect_error(status: &tonic::Status) -> Option<String> {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return Some(deepest_reason(error));
        }
        cause = error.source();
    }
    None
}

/// The innermost cause: "connection refused" says more than "transport error".
pub(crate) fn deepest_reason(error: &dyn std::error::Error) -> String {
    let mut reason = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    reason.to_string()
}
