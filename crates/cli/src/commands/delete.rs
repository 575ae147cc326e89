//! `pondage delete`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use pondage_client::{Client, Delete as Request};
use pondage_model::{Code, Name, settings::DeletionPolicy};
use serde_json::json;

use super::{ResultForm, apply, print, remark};
use crate::{
    completion,
    connect::Connection,
    exit::{Exit, Failure, Result},
    files,
    kinds::{KindArg, KindWord, Label},
    render::error,
};

/// Delete topics, queues and groups
#[derive(Args, Debug)]
#[command(after_help = "\
A resource goes as its deletionPolicy says: Retain, the default, keeps topics and queues; DeleteIfEmpty refuses while
there are messages.

Examples:
  pondage delete queue orders --policy delete
  pondage delete topic/flights --policy delete-if-empty
  pondage delete -f deploy/quickstart.yaml --ignore-not-found")]
pub(crate) struct Delete {
    /// The kind; KIND/NAME does as well
    #[arg(value_name = "KIND", required_unless_present = "files", conflicts_with = "files",
          add = completion::kinds())]
    kind: Option<KindArg>,

    /// Their names
    #[arg(value_name = "NAME", conflicts_with = "files", add = completion::names_of_kind())]
    names: Vec<Name>,

    /// Delete what these files declare; folders and - as with apply
    #[arg(short = 'f', long = "file", value_name = "FILE", num_args = 1.., value_hint = clap::ValueHint::AnyPath)]
    files: Vec<PathBuf>,

    /// Instead of the resource's own deletionPolicy
    #[arg(long, value_enum, value_name = "POLICY")]
    policy: Option<PolicyWord>,

    /// What is not there counts as deleted
    #[arg(long)]
    ignore_not_found: bool,

    /// The form of the result
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    output: ResultForm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PolicyWord {
    /// Leave it and its messages in the cluster
    Retain,
    /// Only if it holds no message
    DeleteIfEmpty,
    /// With its messages
    Delete,
}

impl From<PolicyWord> for DeletionPolicy {
    fn from(word: PolicyWord) -> Self {
        match word {
            PolicyWord::Retain => Self::Retain,
            PolicyWord::DeleteIfEmpty => Self::DeleteIfEmpty,
            PolicyWord::Delete => Self::Delete,
        }
    }
}

/// How deleting one resource ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Gone,
    /// It was not there, which is fine.
    Absent,
    /// Its policy keeps it.
    Retained,
}

impl Ended {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "deleted",
            Self::Absent => "not there",
            Self::Retained => "retained",
        }
    }
}

impl Delete {
    pub(crate) fn is_json(&self) -> bool {
        self.output == ResultForm::Json
    }

    pub(crate) async fn run(&self, connection: &Connection) -> Result<Exit> {
        let labels = self.labels()?;
        let client = connection.client().await?;
        let mut exit = Exit::Ok;
        let mut objects = Vec::new();
        for label in labels {
            let result = self.delete(&client, &label).await;
            if self.is_json() {
                let (kind, name) = (label.0.as_str(), label.1.as_str());
                objects.push(match &result {
                    Ok(deleted) => json!({ "kind": kind, "name": name, "result": deleted.as_str() }),
                    Err(failure) => json!({ "kind": kind, "name": name, "error": error::object(failure) }),
                });
            } else if let Ok(deleted) = &result {
                print(&format!("{label}  {}\n", deleted.as_str()))?;
            }
            match result {
                Ok(Ended::Retained) => {
                    if !self.is_json() {
                        remark(&format!(
                            "{label} lives on with its messages, as its deletionPolicy says\n  \
                             help: --policy delete deletes it all the same"
                        ));
                    }
                    exit = exit.worse(Exit::Failed);
                }
                Ok(_) => {}
                Err(failure) => {
                    if !self.is_json() {
                        remark(&error::of_resource(&label, &failure));
                    }
                    exit = exit.worse(failure.exit);
                }
            }
        }
        if self.is_json() {
            print(&format!("{:#}\n", serde_json::Value::Array(objects)))?;
        }
        Ok(exit)
    }

    /// What to delete, in an order in which nothing is deleted that another still names.
    fn labels(&self) -> Result<Vec<Label>> {
        let Some(arg) = &self.kind else {
            return files_backwards(&self.files);
        };
        let KindWord::Kind(kind) = arg.kind else {
            return Err(Failure::usage("delete takes topics, queues and groups by name"));
        };
        let labels: Vec<Label> =
            arg.name.iter().chain(&self.names).map(|name| Label(kind, name.clone())).collect();
        if labels.is_empty() {
            let word = kind.as_str();
            return Err(Failure::usage(format!("which {word}?")).help(format!("pondage delete {word} NAME…")));
        }
        Ok(labels)
    }

    async fn delete(&self, client: &Client, label: &Label) -> Result<Ended> {
        let ended = self.delete_known(client, label).await;
        match ended {
            Err(failure) if failure.exit == Exit::NotFound && self.ignore_not_found => Ok(Ended::Absent),
            ended => ended,
        }
    }

    /// Deletes the very resource that has the name now: one that is made anew meanwhile stays.
    async fn delete_known(&self, client: &Client, label: &Label) -> Result<Ended> {
        let known = client.get(label.0, label.1.as_str()).await?;
        let request = Request {
            kind: label.0,
            name: label.1.clone(),
            if_uid: Some(known.uid),
            if_revision: None,
            policy: self.policy.map(DeletionPolicy::from),
        };
        match client.delete(request).await {
            Ok(true) => Ok(Ended::Gone),
            Ok(false) => Ok(Ended::Retained),
            Err(error) => {
                let is_full = error.is(Code::NotEmpty);
                let failure = Failure::from(error);
                Err(if is_full {
                    failure.help("consume or purge its messages first, or use --policy delete")
                } else {
                    failure
                })
            }
        }
    }
}

fn files_backwards(paths: &[PathBuf]) -> Result<Vec<Label>> {
    let loaded = files::load(paths)?;
    Ok(apply::labels_in_order(loaded).into_iter().rev().collect())
}
