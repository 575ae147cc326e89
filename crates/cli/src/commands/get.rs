//! `pondage get`.

use clap::{Args, ValueEnum};
use pondage_client::{Client, ResourceKind};
use pondage_model::Name;

use super::{
    print, remark, views,
    watch::{self, Watching},
};
use crate::{
    completion,
    connect::Connection,
    exit::{Exit, Failure, Result},
    kinds::{KindArg, KindWord, Label},
    render::{
        document::{self, View},
        rows,
    },
};

/// Show topics, queues and groups: are they well, and how far behind?
#[derive(Args, Debug)]
#[command(after_help = "\
Kinds: topics, queues, groups, all, cluster; the singular and ptop, pq, pcg, pcl do as well.

Examples:
  pondage get queues                   # READY, UNACKED, SCHEDULED, DEAD, OLDEST
  pondage get queue orders -o yaml     # can be applied again
  pondage get groups -o json | jq '.items[].status.lag'
  pondage get all --watch")]
pub(crate) struct Get {
    /// The kind; KIND/NAME does as well
    #[arg(value_name = "KIND", add = completion::kinds())]
    kind: KindArg,

    /// Only these
    #[arg(value_name = "NAME", add = completion::names_of_kind())]
    names: Vec<Name>,

    /// The form of the result
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    output: GetForm,

    /// Go on with changes as they come, until Ctrl-C
    #[arg(short, long)]
    watch: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
enum GetForm {
    /// A table
    #[default]
    Table,
    /// A table with more columns
    Wide,
    /// JSON: a List, or with one NAME the resource itself
    Json,
    /// YAML that can be applied again
    Yaml,
    /// Only names: `queue/orders`
    Name,
}

impl Get {
    pub(crate) fn is_json(&self) -> bool {
        self.output == GetForm::Json
    }

    pub(crate) async fn run(&self, connection: &Connection) -> Result<Exit> {
        let mut names = self.names.clone();
        names.extend(self.kind.name.clone());
        if self.watch {
            return self.watch(connection, names).await;
        }
        match self.kind.kind {
            KindWord::Cluster if names.is_empty() => self.cluster(&connection.client().await?).await,
            KindWord::Cluster => Err(Failure::usage("there is one cluster; leave NAME out")),
            KindWord::All if !names.is_empty() => {
                Err(Failure::usage("a name needs its kind").help("such as `pondage get queue orders`"))
            }
            KindWord::Kind(kind) if !names.is_empty() => {
                self.named(&connection.client().await?, kind, &names).await
            }
            word => self.all(&connection.client().await?, word).await,
        }
    }

    async fn watch(&self, connection: &Connection, names: Vec<Name>) -> Result<Exit> {
        let kinds = self.kind.kind.kinds();
        if kinds.is_empty() {
            return Err(Failure::usage("--watch is for topics, queues, groups and all"));
        }
        if matches!(self.output, GetForm::Yaml | GetForm::Wide) {
            return Err(Failure::usage("--watch tells changes line by line; allowed: -o table, json, name"));
        }
        let watching = Watching { kinds, names, is_json: self.is_json() };
        watch::watch(&connection.client().await?, &watching).await
    }

    async fn cluster(&self, client: &Client) -> Result<Exit> {
        let cluster = client.describe_cluster().await?;
        let text = match self.output {
            GetForm::Table | GetForm::Wide => rows::cluster(&cluster),
            GetForm::Json => document::cluster_json(&cluster)?,
            GetForm::Yaml => document::cluster_yaml(&cluster)?,
            GetForm::Name => format!("cluster/{}\n", cluster.uuid),
        };
        print(&text)?;
        Ok(Exit::Ok)
    }

    /// Those with the names. One that is missing does not keep the others from being shown.
    async fn named(&self, client: &Client, kind: ResourceKind, names: &[Name]) -> Result<Exit> {
        let (mut found, mut missing) = (Vec::new(), None);
        for name in names {
            match views::get(client, kind, name.as_str()).await {
                Ok(view) => found.push(view),
                Err(failure) if failure.exit == Exit::NotFound => missing = missing.or(Some(failure)),
                Err(failure) => return Err(failure),
            }
        }
        if let (GetForm::Json, [name], [view]) = (self.output, names, found.as_slice()) {
            debug_assert_eq!(*name, view.resource.name, "the broker answers what was asked");
            print(&document::json(view)?)?;
        } else if !found.is_empty() {
            print(&self.render(&[(kind, found)], false)?)?;
        }
        missing.map_or(Ok(Exit::Ok), Err)
    }

    async fn all(&self, client: &Client, word: KindWord) -> Result<Exit> {
        let mut tables = Vec::new();
        for kind in word.kinds() {
            tables.push((kind, views::list(client, kind).await?));
        }
        let is_table = matches!(self.output, GetForm::Table | GetForm::Wide);
        if is_table && tables.iter().all(|(_, views)| views.is_empty()) {
            remark("nothing there yet; `pondage apply -f FILE` creates topics, queues and groups");
            return Ok(Exit::Ok);
        }
        print(&self.render(&tables, word == KindWord::All)?)?;
        Ok(Exit::Ok)
    }

    fn render(&self, tables: &[(ResourceKind, Vec<View>)], has_titles: bool) -> Result<String> {
        let together = || tables.iter().flat_map(|(_, views)| views.iter().cloned()).collect::<Vec<_>>();
        Ok(match self.output {
            GetForm::Json => document::json_list(&together())?,
            GetForm::Yaml => document::yaml(&together())?,
            GetForm::Name => {
                let label = |view: &View| Label(view.resource.settings.kind(), view.resource.name.clone());
                together().iter().map(|view| format!("{}\n", label(view))).collect()
            }
            GetForm::Table | GetForm::Wide => {
                let shown: Vec<String> = tables
                    .iter()
                    .filter(|(_, views)| !views.is_empty())
                    .map(|(kind, views)| {
                        let title = if has_titles { format!("{}\n", title(*kind)) } else { String::new() };
                        title + &rows::resources(*kind, views, self.output == GetForm::Wide)
                    })
                    .collect();
                shown.join("\n")
            }
        })
    }
}

const fn title(kind: ResourceKind) -> &'static str {
    match kind {
        ResourceKind::Topic => "Topics",
        ResourceKind::Queue => "Queues",
        ResourceKind::Group => "Groups",
    }
}
