//! Refusals on the wire: as an [`v1::Error`] inside streams, as a status with an `ErrorInfo` for whole calls.

use pondage_model::{Code, Epoch, Outcome, Refusal};
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt};

use crate::v1;

/// The domain of the `ErrorInfo` that our statuses carry.
pub const ERROR_DOMAIN: &str = "pondage.io";

/// A refusal as its receiver knows it: the broker may be newer and say words that this version does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Failure {
    /// The stable word, such as `LEASE_LOST`; compare with [`Failure::is`].
    pub code: String,
    /// Whether the request may have taken effect.
    pub outcome: Outcome,
    /// Whether the same request may succeed when it is sent again.
    pub retriable: bool,
    /// What happened, for people.
    pub message: String,
    /// What the sender can do, for people; may be empty.
    pub action: String,
    /// `NOT_LEADER`: who leads the shard, if the broker that refused knew.
    pub leader: Option<LeaderHint>,
}

/// Who leads a shard, as a broker knows it that does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderHint {
    /// Where it is reached, as host:port.
    pub address: String,
    /// In which epoch it leads: a higher one is newer.
    pub epoch: Epoch,
}

impl Failure {
    /// Whether it carries this word.
    #[must_use]
    pub fn is(&self, code: Code) -> bool {
        self.code == code.as_str()
    }
}

impl From<&Refusal> for Failure {
    fn from(refusal: &Refusal) -> Self {
        Self {
            code: refusal.code().as_str().to_owned(),
            outcome: refusal.outcome(),
            retriable: refusal.retriable(),
            message: refusal.to_string(),
            action: refusal.action().to_owned(),
            leader: hint_of(refusal),
        }
    }
}

fn hint_of(refusal: &Refusal) -> Option<LeaderHint> {
    match refusal {
        Refusal::LedElsewhere { epoch, address } => {
            Some(LeaderHint { address: address.clone(), epoch: *epoch })
        }
        _ => None,
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::from(&refusal)
    }
}

impl From<Failure> for v1::Error {
    fn from(failure: Failure) -> Self {
        let outcome = match failure.outcome {
            Outcome::Definite => v1::Outcome::Definite,
            Outcome::Unknown => v1::Outcome::Unknown,
        };
        let (leader, epoch) = match failure.leader {
            Some(LeaderHint { address, epoch }) => (Some(address), Some(epoch.0)),
            None => (None, None),
        };
        Self {
            code: failure.code,
            outcome: outcome.into(),
            retriable: failure.retriable,
            message: failure.message,
            action: failure.action,
            leader,
            epoch,
        }
    }
}

impl From<&Refusal> for v1::Error {
    fn from(refusal: &Refusal) -> Self {
        Failure::from(refusal).into()
    }
}

impl From<Refusal> for v1::Error {
    fn from(refusal: Refusal) -> Self {
        Failure::from(&refusal).into()
    }
}

impl From<v1::Error> for Failure {
    fn from(error: v1::Error) -> Self {
        let outcome = match v1::Outcome::try_from(error.outcome) {
            Ok(v1::Outcome::Definite) => Outcome::Definite,
            // What was not said, or in a word of a later version, can't be relied upon.
            Ok(v1::Outcome::Unknown | v1::Outcome::Unspecified) | Err(_) => Outcome::Unknown,
        };
        let leader =
            error.leader.zip(error.epoch).map(|(address, epoch)| LeaderHint { address, epoch: Epoch(epoch) });
        Self {
            code: error.code,
            outcome,
            retriable: error.retriable,
            message: error.message,
            action: error.action,
            leader,
        }
    }
}

/// The status of a call that was refused, with all facts of the refusal.
#[must_use]
pub fn to_status(refusal: &Refusal) -> Status {
    let outcome = match refusal.outcome() {
        Outcome::Definite => "DEFINITE",
        Outcome::Unknown => "UNKNOWN",
    };
    let [outcome, retriable, action] = [
        ("outcome".to_owned(), outcome.to_owned()),
        ("retriable".to_owned(), refusal.retriable().to_string()),
        ("action".to_owned(), refusal.action().to_owned()),
    ];
    let code = refusal.code().as_str();
    let details = match hint_of(refusal) {
        None => ErrorDetails::with_error_info(code, ERROR_DOMAIN, [outcome, retriable, action]),
        Some(LeaderHint { address, epoch }) => {
            let leader = ("leader".to_owned(), address);
            let epoch = ("epoch".to_owned(), epoch.0.to_string());
            ErrorDetails::with_error_info(code, ERROR_DOMAIN, [outcome, retriable, action, leader, epoch])
        }
    };
    Status::with_error_details(status_code(refusal.code()), refusal.to_string(), details)
}

/// The facts of a status. One that no Pondage broker made, such as of a lost connection, is UNKNOWN unless its code
/// says that the call was never served.
#[must_use]
pub fn from_status(status: &Status) -> Failure {
    if let Some(info) = status.get_details_error_info().filter(|info| info.domain == ERROR_DOMAIN) {
        let fact = |name: &str| info.metadata.get(name).map_or("", String::as_str);
        let leader = info.metadata.get("leader").zip(fact("epoch").parse().ok());
        let leader =
            leader.map(|(address, epoch)| LeaderHint { address: address.clone(), epoch: Epoch(epoch) });
        return Failure {
            leader,
            outcome: if fact("outcome") == "DEFINITE" { Outcome::Definite } else { Outcome::Unknown },
            retriable: fact("retriable") == "true",
            message: status.message().to_owned(),
            action: fact("action").to_owned(),
            code: info.reason,
        };
    }
    let (code, outcome, retriable, action) = match status.code() {
        tonic::Code::Unimplemented => {
            ("UNSUPPORTED", Outcome::Definite, false, "use a broker whose version serves the call")
        }
        tonic::Code::Unauthenticated | tonic::Code::PermissionDenied => {
            ("NOT_AUTHORIZED", Outcome::Definite, false, "correct the credentials")
        }
        tonic::Code::InvalidArgument | tonic::Code::OutOfRange | tonic::Code::DataLoss => {
            ("MALFORMED", Outcome::Unknown, false, "use a client and a broker of versions that fit")
        }
        tonic::Code::DeadlineExceeded => {
            ("TIMEOUT", Outcome::Unknown, true, "send it again; an idempotent session stores it once")
        }
        _ => ("UNAVAILABLE", Outcome::Unknown, true, "check the address, and whether a broker listens there"),
    };
    Failure {
        code: code.to_owned(),
        outcome,
        retriable,
        message: status.message().to_owned(),
        action: action.to_owned(),
        leader: None,
    }
}

/// The gRPC code that comes nearest, for proxies and tools that know no other.
const fn status_code(code: Code) -> tonic::Code {
    match code {
        Code::AlreadyExists => tonic::Code::AlreadyExists,
        Code::Busy | Code::StorageFull | Code::TooLarge => tonic::Code::ResourceExhausted,
        Code::Conflict | Code::Fenced | Code::LeaseLost | Code::OutOfOrder => tonic::Code::Aborted,
        Code::CorruptBatch | Code::InvalidArgument | Code::InvalidName | Code::Malformed => {
            tonic::Code::InvalidArgument
        }
        Code::NotEmpty | Code::ProtocolState | Code::UnknownProducer => tonic::Code::FailedPrecondition,
        Code::NotFound => tonic::Code::NotFound,
        Code::NotServed | Code::Unsupported => tonic::Code::Unimplemented,
        Code::OutOfRange => tonic::Code::OutOfRange,
        Code::NotEnoughReplicas | Code::NotLeader | Code::ShuttingDown | Code::VolumeFenced => {
            tonic::Code::Unavailable
        }
        Code::Timeout => tonic::Code::DeadlineExceeded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pondage_model::{LogTime, Offset};

    #[test]
    fn refusals_keep_their_facts_on_both_ways() {
        for refusal in [
            Refusal::StorageFull,
            Refusal::Timeout,
            Refusal::Interrupted,
            Refusal::VolumeFenced { since: LogTime(5) },
            Refusal::LeaseLost { offset: Offset(7) },
            Refusal::NotLeader { epoch: Epoch(3) },
            Refusal::LedElsewhere { epoch: Epoch(u64::MAX), address: "broker-2.pondage:7400".to_owned() },
            Refusal::NotFound { kind: "queue", name: "orders".to_owned() },
            Refusal::InvalidArgument { what: "naïve \u{1b}[31m".to_owned() },
        ] {
            let failure = Failure::from(&refusal);
            assert_eq!(from_status(&to_status(&refusal)), failure);
            assert_eq!(Failure::from(v1::Error::from(&refusal)), failure);
            assert!(failure.is(refusal.code()));
        }
    }

    #[test]
    fn a_status_of_someone_else_is_unknown_unless_nothing_was_served() {
        for (code, outcome, retriable) in [
            (tonic::Code::Unavailable, Outcome::Unknown, true),
            (tonic::Code::Cancelled, Outcome::Unknown, true),
            (tonic::Code::Unknown, Outcome::Unknown, true),
            (tonic::Code::DeadlineExceeded, Outcome::Unknown, true),
            (tonic::Code::OutOfRange, Outcome::Unknown, false),
            (tonic::Code::Unimplemented, Outcome::Definite, false),
            (tonic::Code::Unauthenticated, Outcome::Definite, false),
        ] {
            let failure = from_status(&Status::new(code, "x"));
            assert_eq!((failure.outcome, failure.retriable), (outcome, retriable), "{code:?}");
        }
    }

    #[test]
    fn an_outcome_in_a_word_of_a_later_version_is_unknown() {
        let error = v1::Error { outcome: 99, ..v1::Error::default() };
        assert_eq!(Failure::from(error).outcome, Outcome::Unknown);
    }
}
