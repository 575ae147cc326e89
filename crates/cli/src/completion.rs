//! Completion in the shell, of names that exist too: the shell calls `COMPLETE=bash pondage -- WORDS…`, and the
//! answer is made here.

use std::{ffi::OsStr, path::PathBuf, time::Duration};

use clap::CommandFactory;
use clap_complete::{
    CompleteEnv,
    engine::{ArgValueCandidates, ArgValueCompleter, CompletionCandidate},
};
use pondage_client::{ClusterStatus, ResourceKind};

use crate::{
    args::Cli,
    connect::{Connection, SERVER},
    kinds::{KINDS, KindArg, KindWord},
};

/// How long a shell waits for names. Without an answer it gets none.
const PATIENCE: Duration = Duration::from_millis(800);

/// The variable that says that a shell asks, and which one.
pub(crate) const VARIABLE: &str = "COMPLETE";

/// Answers a shell that asks for completions, and ends the process then. Otherwise nothing happens.
pub(crate) fn answer_shell() {
    CompleteEnv::with_factory(Cli::command).var(VARIABLE).bin("pondage").complete();
}

/// Kinds of resources.
pub(crate) fn kinds() -> ArgValueCandidates {
    ArgValueCandidates::new(|| KindWord::OFFERED.map(CompletionCandidate::new).into())
}

/// Names of resources of the kind that stands before them on the command line.
pub(crate) fn names_of_kind() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let words = words();
        names(&kind_in(&words).map(KindWord::kinds).unwrap_or_default(), current)
    })
}

/// Names of topics and queues.
pub(crate) fn targets() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| names(&[ResourceKind::Topic, ResourceKind::Queue], current))
}

/// Names of one kind.
pub(crate) fn names_of(kind: ResourceKind) -> ArgValueCompleter {
    ArgValueCompleter::new(move |current: &OsStr| names(&[kind], current))
}

/// Numbers of brokers.
pub(crate) fn brokers() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        numbers(current, |status| {
            let brokers = status.brokers.into_iter();
            brokers.map(|broker| (broker.id.to_string(), broker.address)).collect()
        })
    })
}

/// Numbers of shards.
pub(crate) fn shards() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        numbers(current, |status| {
            let shards = status.shards.into_iter();
            shards.map(|shard| (shard.id.to_string(), shard.kind.as_str().to_owned())).collect()
        })
    })
}

/// The words of the command line that is being completed, without the program's.
fn words() -> Vec<String> {
    let mut args = std::env::args_os();
    args.by_ref().find(|arg| arg == "--");
    args.skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect()
}

/// The first word that is a kind, behind the command's own.
fn kind_in(words: &[String]) -> Option<KindWord> {
    let plain = words.iter().filter(|word| !word.starts_with('-'));
    plain.skip(1).find_map(|word| word.parse::<KindArg>().ok()).map(|arg| arg.kind)
}

/// How the command line, else the environment, says to connect.
fn connection_in(words: &[String], environment: impl Fn(&str) -> Option<String>) -> Connection {
    let behind = |index: usize| words.get(index + 1).cloned();
    let value = |option: &str, variable: &str| {
        let named = words.iter().enumerate().find_map(|(index, word)| match word.strip_prefix(option) {
            Some("") => behind(index),
            Some(rest) => rest.strip_prefix('=').map(str::to_owned),
            None => None,
        });
        named.or_else(|| environment(variable))
    };
    let file = |option: &str, variable: &str| value(option, variable).map(PathBuf::from);
    Connection {
        server: value("--server", "PONDAGE_SERVER").unwrap_or_else(|| SERVER.to_owned()),
        certificate_authority: file("--certificate-authority", "PONDAGE_CERTIFICATE_AUTHORITY"),
        client_certificate: file("--client-certificate", "PONDAGE_CLIENT_CERTIFICATE"),
        client_key: file("--client-key", "PONDAGE_CLIENT_KEY"),
        timeout: Some(PATIENCE),
    }
}

/// How the command line that is being completed says to connect.
fn connection() -> Connection {
    connection_in(&words(), |variable| std::env::var(variable).ok())
}

fn names(kinds: &[ResourceKind], current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else { return Vec::new() };
    let names = in_time(ask(&connection(), kinds));
    names.into_iter().filter(|name| name.starts_with(current)).map(CompletionCandidate::new).collect()
}

/// Numbers that a cluster's status holds, each with a word about it. Behind a comma the next one is completed.
fn numbers(current: &OsStr, choose: fn(ClusterStatus) -> Vec<(String, String)>) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else { return Vec::new() };
    let (before, current) = match current.rfind(',') {
        Some(comma) => current.split_at(comma + 1),
        None => ("", current),
    };
    let connection = connection();
    let found = in_time(async { ask_cluster(&connection).await.map(choose).unwrap_or_default() });
    let fits = found.into_iter().filter(|(number, _)| number.starts_with(current));
    fits.map(|(number, about)| CompletionCandidate::new(format!("{before}{number}")).help(Some(about.into())))
        .collect()
}

/// What a broker answers in time, else nothing.
fn in_time<T: Default>(asking: impl Future<Output = T>) -> T {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return T::default();
    };
    runtime.block_on(async { tokio::time::timeout(PATIENCE, asking).await }).unwrap_or_default()
}

async fn ask_cluster(connection: &Connection) -> Option<ClusterStatus> {
    connection.client().await.ok()?.cluster_status().await.ok()
}

/// The names that a broker knows; none if it can't be asked. A shell is no place for errors.
async fn ask(connection: &Connection, kinds: &[ResourceKind]) -> Vec<String> {
    let Ok(client) = connection.client().await else { return Vec::new() };
    let mut names = Vec::new();
    for kind in KINDS.into_iter().filter(|kind| kinds.contains(kind)) {
        let resources = client.list(kind, false).await.unwrap_or_default();
        names.extend(resources.into_iter().map(|resource| resource.name.to_string()));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_kind_stands_behind_the_command() {
        for (line, kind) in [
            ("get queue or", Some(KindWord::Kind(ResourceKind::Queue))),
            ("describe topics", Some(KindWord::Kind(ResourceKind::Topic))),
            ("--timeout 5s delete pcg x", Some(KindWord::Kind(ResourceKind::Group))),
            ("get -o json all", Some(KindWord::All)),
            ("get", None),
            ("queue", None),
            ("", None),
        ] {
            assert_eq!(kind_in(&split(line)), kind, "{line}");
        }
    }

    #[test]
    fn the_command_lines_server_wins() {
        let environment = Some("http://env:1");
        for (line, environment, server) in [
            ("get queue", None, SERVER),
            ("get queue", environment, "http://env:1"),
            ("get --server http://flag:2 queue", environment, "http://flag:2"),
            ("--server=http://flag:3 get", None, "http://flag:3"),
            ("get --server", None, SERVER),
        ] {
            let known =
                |variable: &str| environment.filter(|_| variable == "PONDAGE_SERVER").map(str::to_owned);
            assert_eq!(connection_in(&split(line), known).server, server, "{line}");
        }
        let secured = connection_in(&split("get --certificate-authority=ca.crt queue"), |_| None);
        assert_eq!(secured.certificate_authority, Some(PathBuf::from("ca.crt")));
        assert_eq!(secured.client_key, None);
    }

    #[test]
    fn nobody_at_the_address_gives_no_names() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        // Port 9 (discard) of this machine: refused at once.
        let nobody = connection_in(&split("--server http://127.0.0.1:9"), |_| None);
        let names = runtime.block_on(ask(&nobody, &KINDS));
        assert!(names.is_empty());
    }
}
