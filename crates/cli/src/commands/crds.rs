//! `pondage crds …`: the definitions that tell Kubernetes of our kinds.

mod apply;

use clap::{Args, Subcommand, ValueEnum};
use pondage_resources::{CRDS, Kind, crd, crd_yaml};
use serde_json::json;

use super::{ResultForm, print};
use crate::{
    connect::Connection,
    exit::{Exit, Failure, Result},
};

/// The custom resource definitions, for Kubernetes
#[derive(Args, Debug)]
pub(crate) struct Crds {
    #[command(subcommand)]
    command: CrdsCommand,
}

#[derive(Debug, Subcommand)]
enum CrdsCommand {
    Print(Print),
    Apply(apply::Apply),
}

/// Print the definitions of BrokerCluster, Topic, Queue and ConsumerGroup
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pondage crds print | kubectl apply --server-side -f -
  pondage crds print queues                     # only those of queues")]
struct Print {
    /// Only these, as `kubectl` names them
    #[arg(value_name = "KIND", value_parser = kind, value_hint = clap::ValueHint::Other)]
    kinds: Vec<Kind>,

    /// The form of the result
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    output: CrdForm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
enum CrdForm {
    /// YAML, a document for each
    #[default]
    Yaml,
    /// JSON: a List
    Json,
}

/// The kind of a word as people give it to `kubectl`.
fn kind(word: &str) -> std::result::Result<Kind, String> {
    let lower = word.to_lowercase();
    let is_meant = |kind: &Kind| {
        let names = crd(*kind).spec.names;
        let mut all = vec![names.plural.clone(), names.kind.to_lowercase()];
        all.extend(names.short_names.unwrap_or_default());
        all.push(format!("{}.pondage.io", names.plural));
        all.contains(&lower)
    };
    let plurals = || CRDS.map(|kind| crd(kind).spec.names.plural).join(", ");
    CRDS.into_iter().find(is_meant).ok_or_else(|| format!("the kinds are {}", plurals()))
}

impl Crds {
    pub(crate) fn is_json(&self) -> bool {
        match &self.command {
            CrdsCommand::Print(command) => command.output == CrdForm::Json,
            CrdsCommand::Apply(command) => command.output == ResultForm::Json,
        }
    }

    pub(crate) fn changes_something(&self) -> bool {
        matches!(self.command, CrdsCommand::Apply(_))
    }

    pub(crate) async fn run(&self, connection: &Connection) -> Result<Exit> {
        match &self.command {
            CrdsCommand::Print(command) => command.run(),
            CrdsCommand::Apply(command) => command.run(connection.timeout).await,
        }
    }
}

impl Print {
    fn run(&self) -> Result<Exit> {
        let wanted = |kind: &Kind| self.kinds.is_empty() || self.kinds.contains(kind);
        let kinds: Vec<Kind> = CRDS.into_iter().filter(wanted).collect();
        let text = match self.output {
            CrdForm::Yaml => kinds.into_iter().map(crd_yaml).collect::<Vec<_>>().join("---\n"),
            CrdForm::Json => {
                let items: Vec<_> = kinds.into_iter().map(crd).collect();
                let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
                serde_json::to_string_pretty(&list).map_err(|error| Failure::failed(error.to_string()))?
                    + "\n"
            }
        };
        print(&text)?;
        Ok(Exit::Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_the_names_that_kubectl_knows() {
        for word in ["queues", "Queue", "queue", "pq", "queues.pondage.io"] {
            assert_eq!(kind(word), Ok(Kind::Queue), "{word}");
        }
        let problem = kind("users").expect_err("not served");
        assert_eq!(problem, "the kinds are brokerclusters, topics, queues, consumergroups");
    }
}
