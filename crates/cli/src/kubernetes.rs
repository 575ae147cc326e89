//! Speaking to the API server of a Kubernetes cluster, with errors in our own words.

use kube::{Client, Config};
use pondage_model::Outcome;
use tokio::time::{Instant, timeout_at};

use crate::exit::{Exit, Failure, Result};

/// A client for the cluster that kubectl would ask.
pub(crate) async fn connect() -> Result<Client> {
    let config = Config::infer().await.map_err(|error| {
        Failure::usage(format!("no Kubernetes cluster to ask: {error}")).help(
            "let KUBECONFIG name a file that kubectl can use, or run this in a pod with a service account",
        )
    })?;
    Client::try_from(config).map_err(|error| {
        Failure::usage(format!("the Kubernetes configuration can't be used: {error}"))
            .help("see whether kubectl can use it: kubectl get --raw /version")
    })
}

/// What a request does, which decides what is known when no answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    /// Nothing changes.
    Reading {
        /// What whoever may not do it can do.
        if_forbidden: &'static str,
    },
    /// Something may change.
    Writing {
        /// What whoever may not do it can do.
        if_forbidden: &'static str,
    },
}

/// What a request comes to until the deadline; `name` is what it is about.
pub(crate) async fn in_time<T>(
    deadline: Instant,
    name: &str,
    doing: Doing,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T> {
    match timeout_at(deadline, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(problem(name, doing, &error)),
        Err(_) => Err(no_answer(doing, format!("{name}: the API server did not answer in time"))),
    }
}

fn problem(name: &str, doing: Doing, error: &kube::Error) -> Failure {
    match error {
        kube::Error::Api(status) => {
            let help = match status.code {
                401 => "the API server does not know you: see whether kubectl can use the configuration",
                403 => match doing {
                    Doing::Reading { if_forbidden } | Doing::Writing { if_forbidden } => if_forbidden,
                },
                _ => "",
            };
            let word = if status.reason.is_empty() { "FAILED".to_owned() } else { screaming(&status.reason) };
            let exit = if status.code == 404 { Exit::NotFound } else { Exit::Failed };
            let message = format!("{name}: {}", status.message.trim_end());
            Failure { word, exit, ..Failure::failed(message).help(help) }
        }
        other => no_answer(doing, format!("{name}: {}", chain(other))),
    }
}

/// No answer came: of a write it can't be said whether it was done.
fn no_answer(doing: Doing, message: String) -> Failure {
    let (exit, outcome) = match doing {
        Doing::Reading { .. } => (Exit::NoConnection, None),
        Doing::Writing { .. } => (Exit::Unknown, Some(Outcome::Unknown)),
    };
    Failure { exit, word: "UNAVAILABLE".to_owned(), outcome, ..Failure::failed(message) }.help(
        "see whether kubectl reaches the cluster: kubectl get --raw /readyz; this command can be repeated",
    )
}

/// `AlreadyExists` as programs find our own words written: `ALREADY_EXISTS`.
fn screaming(reason: &str) -> String {
    let mut word = String::new();
    for letter in reason.chars() {
        if letter.is_ascii_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.push(letter.to_ascii_uppercase());
    }
    word
}

/// An error with what caused it: the outermost says too little.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text += &format!(": {said}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_words_for_programs() {
        assert_eq!(screaming("AlreadyExists"), "ALREADY_EXISTS");
        assert_eq!(screaming("Forbidden"), "FORBIDDEN");
    }

    #[test]
    fn what_is_unknown_is_said_to_be() {
        assert_eq!(no_answer(Doing::Writing { if_forbidden: "" }, String::new()).exit, Exit::Unknown);
        assert_eq!(no_answer(Doing::Reading { if_forbidden: "" }, String::new()).exit, Exit::NoConnection);
    }
}
