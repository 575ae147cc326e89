//! How a command ends: its exit code, and what it says when it ends badly.

use std::{fmt, io};

use pondage_client::ClientError;
use pondage_model::{Code, Outcome, Refusal};

/// The exit codes; `docs/cli.md` and `--help` list them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// Everything was done.
    Ok = 0,
    /// Something was not done, definitely.
    Failed = 1,
    /// The command line or a file is wrong; nothing was tried.
    Usage = 2,
    /// The resource does not exist.
    NotFound = 3,
    /// Something may have been done, or may yet be.
    Unknown = 4,
    /// Nobody answers at the address.
    NoConnection = 5,
    /// Ended by Ctrl-C.
    Interrupted = 130,
    /// Ended by SIGTERM.
    Terminated = 143,
}

/// The lines about exit codes in `--help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed: it was not done, and the error says why
  2    wrong usage or an invalid file: nothing was tried
  3    the resource does not exist
  4    the outcome is unknown: it may have been done
  5    no connection to the broker
  130  interrupted by Ctrl-C (143: ended by SIGTERM)";

impl Exit {
    pub(crate) const fn code(self) -> u8 {
        self as u8
    }

    /// The code of a command of which one part ended so and another so: an unknown outcome is the worst to overlook.
    pub(crate) fn worse(self, other: Self) -> Self {
        let weight = |exit: Self| match exit {
            Self::Ok => 0,
            Self::NotFound => 1,
            Self::Failed => 2,
            Self::Usage => 3,
            Self::NoConnection => 4,
            Self::Unknown => 5,
            Self::Interrupted | Self::Terminated => 6,
        };
        if weight(other) > weight(self) { other } else { self }
    }
}

/// Why a command ended badly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: Exit,
    /// The stable word for programs, such as `NOT_FOUND`.
    pub(crate) word: String,
    /// What happened.
    pub(crate) message: String,
    /// Whether it may have been done; `None` where nothing was asked of a broker.
    pub(crate) outcome: Option<Outcome>,
    /// What to do about it; may be empty.
    pub(crate) help: String,
}

/// What commands give back.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// A command line or file that is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::local(Exit::Usage, "USAGE", message)
    }

    /// Something on this side that did not work.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::local(Exit::Failed, "FAILED", message)
    }

    fn local(exit: Exit, word: &str, message: impl Into<String>) -> Self {
        Self { exit, word: word.to_owned(), message: message.into(), outcome: None, help: String::new() }
    }

    /// With what to do about it.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    /// With what it is about in front of the message.
    pub(crate) fn about(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// Of a command that changes nothing: whatever happened, there is no effect to be unsure of.
    pub(crate) fn without_effect(mut self) -> Self {
        if self.exit == Exit::Unknown {
            self.exit = if self.word == "UNAVAILABLE" { Exit::NoConnection } else { Exit::Failed };
        }
        self.outcome = None;
        self
    }

    /// Whether it only says that nobody reads the output any more.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        self.word == BROKEN_PIPE
    }
}

const BROKEN_PIPE: &str = "BROKEN_PIPE";

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let no_connection = error.code() == "UNAVAILABLE" && error.outcome() == Outcome::Definite;
        let exit = match error.outcome() {
            _ if no_connection => Exit::NoConnection,
            Outcome::Unknown => Exit::Unknown,
            Outcome::Definite if error.is(Code::NotFound) => Exit::NotFound,
            Outcome::Definite => Exit::Failed,
        };
        let help = if no_connection {
            "start a broker with `pondage up`, or name another one with --server".to_owned()
        } else {
            error.action().to_owned()
        };
        Self {
            exit,
            word: error.code().to_owned(),
            message: error.message().to_owned(),
            outcome: Some(error.outcome()),
            help,
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        ClientError::from(refusal).into()
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::local(Exit::Ok, BROKEN_PIPE, "nobody reads the output any more");
        }
        Self::failed(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_client_become_exit_codes() {
        let not_found = Refusal::NotFound { kind: "queue", name: "orders".to_owned() };
        for (refusal, exit, read_only) in [
            (not_found, Exit::NotFound, Exit::NotFound),
            (Refusal::StorageFull, Exit::Failed, Exit::Failed),
            (Refusal::Conflict { what: "x".to_owned() }, Exit::Failed, Exit::Failed),
            (Refusal::Timeout, Exit::Unknown, Exit::Failed),
            (Refusal::Interrupted, Exit::Unknown, Exit::Failed),
        ] {
            let failure = Failure::from(refusal.clone());
            assert_eq!(failure.exit, exit, "{refusal:?}");
            assert_eq!(failure.message, refusal.to_string());
            assert_eq!(failure.outcome, Some(refusal.outcome()));
            assert!(!failure.help.is_empty());
            let reading = failure.without_effect();
            assert_eq!((reading.exit, reading.outcome), (read_only, None), "{refusal:?}");
        }
    }

    #[test]
    fn the_help_lists_every_code() {
        for exit in [
            Exit::Ok,
            Exit::Failed,
            Exit::Usage,
            Exit::NotFound,
            Exit::Unknown,
            Exit::NoConnection,
            Exit::Interrupted,
        ] {
            let listed = EXIT_CODES.lines().any(|line| line.trim().starts_with(&format!("{} ", exit.code())));
            assert!(listed, "{exit:?}");
        }
        assert!(EXIT_CODES.contains("(143"), "SIGTERM's code stands beside that of Ctrl-C");
    }

    #[test]
    fn the_worst_of_several_ends_counts() {
        for (one, other, worst) in [
            (Exit::Ok, Exit::NotFound, Exit::NotFound),
            (Exit::NotFound, Exit::Failed, Exit::Failed),
            (Exit::Unknown, Exit::Failed, Exit::Unknown),
            (Exit::NoConnection, Exit::Ok, Exit::NoConnection),
        ] {
            assert_eq!(one.worse(other), worst);
            assert_eq!(other.worse(one), worst);
        }
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(failure.is_broken_pipe());
        assert_eq!(failure.exit, Exit::Ok);
        assert_eq!(Failure::from(io::Error::from(io::ErrorKind::Other)).exit, Exit::Failed);
    }
}
