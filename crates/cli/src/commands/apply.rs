//! `pondage apply`: resource files to a cluster. `up` applies its files by the same way.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use pondage_client::{Apply as Request, Change, Client, Cluster, Settings};
use pondage_model::Name;
use pondage_resources::{LoadError, Loaded, Settings as LoadedSettings};
use serde_json::json;

use super::{print, remark};
use crate::{
    connect::Connection,
    exit::{Exit, Failure, Result},
    files,
    kinds::Label,
    order,
    render::error,
};

/// Create topics, queues and groups, or bring them to what the files say
#[derive(Args, Debug)]
#[command(after_help = "\
All files are checked before anything is applied. Topics come first, then queues, then groups.

Examples:
  pondage apply -f deploy/quickstart.yaml
  pondage apply -f resources/ --dry-run        # all .yaml, .yml and .json files of a folder
  pondage get queues -o yaml | pondage --server http://other:7420 apply -f -")]
pub(crate) struct Apply {
    /// Resource files, folders, or - for stdin
    #[arg(short = 'f', long = "file", value_name = "FILE", required = true, num_args = 1..,
          value_hint = clap::ValueHint::AnyPath)]
    files: Vec<PathBuf>,

    /// Only say what would change, or why it would be refused
    #[arg(long)]
    dry_run: bool,

    /// The form of the result
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    output: ApplyForm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
enum ApplyForm {
    /// A line for each resource: `queue/orders created`
    #[default]
    Text,
    /// A JSON array
    Json,
    /// Only the names: `queue/orders`
    Name,
}

/// How applying one resource ended.
#[derive(Debug)]
pub(crate) struct Applied {
    /// Which.
    pub(crate) label: Label,
    /// What changed, or why not.
    pub(crate) result: Result<Change>,
}

impl Apply {
    pub(crate) fn is_json(&self) -> bool {
        self.output == ApplyForm::Json
    }

    pub(crate) async fn run(&self, connection: &Connection) -> Result<Exit> {
        let loaded = files::load(&self.files)?;
        let client = connection.client().await?;
        if has_cluster(&loaded) {
            check_cluster(&loaded, &client.describe_cluster().await?)
                .map_err(|errors| files::invalid(&errors))?;
        }
        let applied = apply_all(&client, loaded, self.dry_run).await;
        print(&render(&applied, self.output, self.dry_run))?;
        report(&applied, self.is_json());
        Ok(exit_of(&applied))
    }
}

/// Applies resources in an order in which each finds what it names. One that is refused does not stop the others;
/// without a connection the rest is not tried.
pub(crate) async fn apply_all(client: &Client, loaded: Vec<Loaded>, dry_run: bool) -> Vec<Applied> {
    let resources = loaded.into_iter().filter_map(|loaded| to_client(loaded.settings)).collect();
    let mut applied: Vec<Applied> = Vec::new();
    let mut is_lost = false;
    for (name, settings) in order::for_applying(resources) {
        let label = Label(settings.kind(), name.clone());
        let result = if is_lost {
            Err(not_tried())
        } else {
            let request = Request { name, settings, if_revision: None, dry_run };
            client.apply_with(request).await.map(|applied| applied.change).map_err(Failure::from)
        };
        is_lost |= result.as_ref().is_err_and(|failure| failure.word == "UNAVAILABLE");
        applied.push(Applied { label, result });
    }
    if dry_run { forgive_dry_references(applied) } else { applied }
}

/// What resource files declare, in the order in which it is applied.
pub(crate) fn labels_in_order(loaded: Vec<Loaded>) -> Vec<Label> {
    let resources = loaded.into_iter().filter_map(|loaded| to_client(loaded.settings)).collect();
    order::for_applying(resources).into_iter().map(|(name, settings)| Label(settings.kind(), name)).collect()
}

fn not_tried() -> Failure {
    Failure { word: "NOT_TRIED".to_owned(), ..Failure::failed("not tried: the connection was lost before") }
        .help("apply the files again: what is there already stays as it is")
}

/// In a dry run nothing is created, so a resource that names one that would be is refused for that alone.
fn forgive_dry_references(mut applied: Vec<Applied>) -> Vec<Applied> {
    let created: Vec<String> = applied
        .iter()
        .filter(|one| matches!(one.result, Ok(Change::Created)))
        .map(|one| format!("no {} {:?}", one.label.0.as_str(), one.label.1.as_str()))
        .collect();
    for one in &mut applied {
        let names_new = matches!(&one.result, Err(failure) if failure.exit == Exit::NotFound
            && created.contains(&failure.message));
        if names_new {
            one.result = Ok(Change::Created);
        }
    }
    applied
}

fn to_client(settings: LoadedSettings) -> Option<(Name, Settings)> {
    match settings {
        LoadedSettings::BrokerCluster(_) => None,
        LoadedSettings::Topic(name, settings) => Some((name, Settings::Topic(settings))),
        LoadedSettings::Queue(name, settings) => Some((name, Settings::Queue(settings))),
        LoadedSettings::ConsumerGroup(name, settings) => Some((name, Settings::Group(settings))),
    }
}

fn has_cluster(loaded: &[Loaded]) -> bool {
    loaded.iter().any(|one| matches!(one.settings, LoadedSettings::BrokerCluster(_)))
}

/// A running cluster can't be changed by a BrokerCluster: it must be so already, or it is an error.
fn check_cluster(loaded: &[Loaded], cluster: &Cluster) -> Result<(), Vec<LoadError>> {
    let brokers = cluster.brokers.len();
    let mut errors = Vec::new();
    for one in loaded {
        let LoadedSettings::BrokerCluster(wanted) = &one.settings else { continue };
        if let Some(replicas) = wanted.replicas.filter(|replicas| *replicas as usize != brokers) {
            errors.push(one.error(
                "spec.replicas",
                format!(
                    "{replicas}, but the running cluster has {brokers}; allowed here: {brokers}, or left out"
                ),
            ));
        }
        let is_served =
            |port: u16| cluster.brokers.iter().any(|broker| broker.address.ends_with(&format!(":{port}")));
        for (index, listener) in wanted.listeners.iter().enumerate() {
            if !is_served(listener.port) {
                let problem = format!(
                    "no broker of the running cluster listens on {}; it takes effect when `pondage up` starts with it",
                    listener.port
                );
                errors.push(one.error(&format!("spec.listeners[{index}].port"), problem));
            }
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// The results on stdout.
fn render(applied: &[Applied], form: ApplyForm, dry_run: bool) -> String {
    match form {
        ApplyForm::Json => {
            let objects: Vec<_> = applied
                .iter()
                .map(|Applied { label, result }| {
                    let (kind, name) = (label.0.as_str(), label.1.as_str());
                    match result {
                        Ok(change) => {
                            json!({ "kind": kind, "name": name, "change": change.as_str(), "dryRun": dry_run })
                        }
                        Err(failure) => json!({ "kind": kind, "name": name, "error": error::object(failure) }),
                    }
                })
                .collect();
            format!("{:#}\n", serde_json::Value::Array(objects))
        }
        ApplyForm::Name => done(applied).map(|(label, _)| format!("{label}\n")).collect(),
        ApplyForm::Text => lines(applied, if dry_run { " (dry run)" } else { "" }),
    }
}

/// A line for each resource that was applied.
pub(crate) fn lines(applied: &[Applied], suffix: &str) -> String {
    let width = done(applied).map(|(label, _)| label.to_string().len()).max().unwrap_or(0);
    done(applied).map(|(label, change)| format!("{label:<width$}  {}{suffix}\n", change.as_str())).collect()
}

fn done(applied: &[Applied]) -> impl Iterator<Item = (&Label, Change)> {
    applied.iter().filter_map(|one| one.result.as_ref().ok().map(|change| (&one.label, *change)))
}

/// The refusals on stderr, each with what to do; in JSON they stand in the result.
pub(crate) fn report(applied: &[Applied], is_json: bool) {
    if is_json {
        return;
    }
    for Applied { label, result } in applied {
        if let Err(failure) = result {
            remark(&error::of_resource(label, failure));
        }
    }
}

/// The worst end of all.
pub(crate) fn exit_of(applied: &[Applied]) -> Exit {
    let exits =
        applied.iter().map(|one| one.result.as_ref().map_or_else(|failure| failure.exit, |_| Exit::Ok));
    exits.fold(Exit::Ok, Exit::worse)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pondage_client::{Broker, ResourceKind};
    use pondage_model::{BrokerId, Incarnation, Refusal, Revision, Uuid};

    fn applied(kind: ResourceKind, name: &str, result: Result<Change>) -> Applied {
        Applied { label: Label(kind, Name::new(name).expect("valid")), result }
    }

    fn some() -> Vec<Applied> {
        let conflict = Refusal::Conflict { what: "partitions: only grows".to_owned() };
        vec![
            applied(ResourceKind::Topic, "flights", Ok(Change::Created)),
            applied(ResourceKind::Queue, "q", Err(conflict.into())),
            applied(ResourceKind::Group, "board", Ok(Change::Unchanged)),
        ]
    }

    #[test]
    fn every_resource_has_its_line_and_the_worst_end_counts() {
        let some = some();
        assert_eq!(
            render(&some, ApplyForm::Text, false),
            "topic/flights  created\ngroup/board    unchanged\n"
        );
        assert_eq!(render(&some, ApplyForm::Name, false), "topic/flights\ngroup/board\n");
        let dry = render(&some[..1], ApplyForm::Text, true);
        assert_eq!(dry, "topic/flights  created (dry run)\n");
        let json: serde_json::Value =
            serde_json::from_str(&render(&some, ApplyForm::Json, false)).expect("JSON");
        assert_eq!(json[0]["change"], "created");
        assert_eq!(json[1]["error"]["code"], "CONFLICT");
        assert_eq!(exit_of(&some), Exit::Failed);
        assert_eq!(exit_of(&some[..1]), Exit::Ok);
    }

    #[test]
    fn a_dry_run_knows_what_it_would_have_created() {
        let missing = |name: &str| Failure::from(Refusal::NotFound { kind: "queue", name: name.to_owned() });
        let forgiven = forgive_dry_references(vec![
            applied(ResourceKind::Queue, "dead", Ok(Change::Created)),
            applied(ResourceKind::Queue, "orders", Err(missing("dead"))),
            applied(ResourceKind::Queue, "other", Err(missing("nowhere"))),
        ]);
        let exits: Vec<bool> = forgiven.iter().map(|one| one.result.is_ok()).collect();
        assert_eq!(exits, [true, true, false]);
    }

    #[test]
    fn a_broker_cluster_must_be_as_the_running_one() {
        let broker = Broker {
            id: BrokerId(1),
            address: "127.0.0.1:7420".to_owned(),
            incarnation: Incarnation(1),
            version: "0.1.0".to_owned(),
        };
        let cluster = Cluster {
            uuid: Uuid([1; 16]),
            brokers: vec![broker],
            shards: 5,
            streams: 0,
            version: "0.1.0".to_owned(),
            revision: Revision(1),
        };
        for (spec, wrong) in [
            ("", None),
            ("  replicas: 1\n", None),
            ("  replicas: 3\n", Some("spec.replicas")),
            ("  listeners: [{name: native, port: 7420}]\n", None),
            ("  listeners: [{name: native, port: 9}]\n", Some("spec.listeners[0].port")),
        ] {
            let spec = if spec.is_empty() { String::new() } else { format!("spec:\n{spec}") };
            let text = format!(
                "apiVersion: pondage.io/v1alpha1\nkind: BrokerCluster\nmetadata:\n  name: local\n{spec}"
            );
            let loaded = pondage_resources::load("f", &text).expect("valid");
            assert!(has_cluster(&loaded));
            let fields = check_cluster(&loaded, &cluster).err().map(|errors| errors[0].field.clone());
            assert_eq!(fields.as_deref(), wrong, "{spec}");
        }
    }
}
