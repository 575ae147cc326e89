//! `pondage describe`.

use clap::{Args, ValueEnum};
use pondage_client::{ResourceKind, Settings};
use pondage_model::Name;

use super::{print, views};
use crate::{
    completion,
    connect::Connection,
    exit::{Exit, Failure, Result},
    kinds::{KindArg, KindWord},
    render::{
        document::{self, View},
        rows,
        text::age,
    },
};

/// Show everything about one topic, queue or group
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pondage describe queue orders
  pondage describe topic/flights -o yaml     # can be applied again")]
pub(crate) struct Describe {
    /// The kind; KIND/NAME does as well
    #[arg(value_name = "KIND", add = completion::kinds())]
    kind: KindArg,

    /// Its name
    #[arg(value_name = "NAME", add = completion::names_of_kind())]
    name: Option<Name>,

    /// The form of the result
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    output: DescribeForm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
enum DescribeForm {
    /// Settings and figures for people
    #[default]
    Text,
    /// JSON
    Json,
    /// YAML that can be applied again
    Yaml,
}

impl Describe {
    pub(crate) fn is_json(&self) -> bool {
        self.output == DescribeForm::Json
    }

    pub(crate) async fn run(&self, connection: &Connection) -> Result<Exit> {
        let kind = match self.kind.kind {
            KindWord::Kind(kind) => kind,
            KindWord::Cluster => {
                return self.cluster(connection).await;
            }
            KindWord::All => {
                return Err(Failure::usage(
                    "describe shows one resource; allowed: topic, queue, group, cluster",
                ));
            }
        };
        let name = match (&self.name, &self.kind.name) {
            (Some(name), None) | (None, Some(name)) => name,
            (None, None) => {
                let word = kind.as_str();
                return Err(
                    Failure::usage(format!("which {word}?")).help(format!("pondage describe {word} NAME"))
                );
            }
            (Some(_), Some(_)) => return Err(Failure::usage("one name is enough: KIND NAME or KIND/NAME")),
        };
        let view = views::get(&connection.client().await?, kind, name.as_str()).await?;
        let text = match self.output {
            DescribeForm::Json => document::json(&view)?,
            DescribeForm::Yaml => document::yaml(std::slice::from_ref(&view))?,
            DescribeForm::Text => described(kind, &view)?,
        };
        print(&text)?;
        Ok(Exit::Ok)
    }

    async fn cluster(&self, connection: &Connection) -> Result<Exit> {
        if self.name.is_some() || self.kind.name.is_some() {
            return Err(Failure::usage("there is one cluster; leave NAME out"));
        }
        let cluster = connection.client().await?.describe_cluster().await?;
        let text = match self.output {
            DescribeForm::Json => document::cluster_json(&cluster)?,
            DescribeForm::Yaml => document::cluster_yaml(&cluster)?,
            DescribeForm::Text => rows::cluster(&cluster),
        };
        print(&text)?;
        Ok(Exit::Ok)
    }
}

/// A resource with everything that is known of it, for people.
pub(crate) fn described(kind: ResourceKind, view: &View) -> Result<String> {
    let resource = &view.resource;
    let settings: String = document::spec_yaml(resource)?.lines().map(|line| format!("  {line}\n")).collect();
    let mut text = format!(
        "Name:      {}\nKind:      {}\nUID:       {}\nRevision:  {}\n\nSettings:\n{settings}",
        resource.name,
        kind.as_str(),
        resource.uid,
        resource.revision
    );
    let mut section = |title: &str, body: String| {
        let body: String = body.lines().map(|line| format!("  {line}\n")).collect();
        text += &format!("\n{title}:\n{body}");
    };
    match kind {
        ResourceKind::Topic => section("Partitions", rows::streams(kind, view.streams())),
        ResourceKind::Queue => section("Messages", rows::streams(kind, view.streams())),
        ResourceKind::Group => {
            let lag = view.lag();
            let delay = if lag == 0 { "0s".to_owned() } else { age(view.delay_millis()) };
            section("Behind", format!("{lag} messages, the oldest for {delay}"));
            if let Some(queue) = &view.queue {
                section("Queue", rows::streams(ResourceKind::Queue, &[*queue]));
            }
            if !view.members().is_empty() {
                section("Members", rows::members(view.members()));
            }
            if !view.places.is_empty() {
                let is_shared =
                    matches!(&resource.settings, Settings::Group(group) if group.sharing.is_some());
                section(
                    if is_shared { "Partitions" } else { "Cursors" },
                    rows::places(&view.places, view.members()),
                );
            }
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pondage_client::{Resource, StreamStatus};
    use pondage_model::{Revision, Uuid, settings::QueueSettings};

    #[test]
    fn settings_and_figures_stand_under_their_headings() {
        let view = View::of(Resource {
            name: Name::new("orders").expect("valid"),
            uid: Uuid([0; 16]),
            revision: Revision(4),
            settings: Settings::Queue(QueueSettings::default()),
            streams: Some(vec![StreamStatus { ready: 7, ..StreamStatus::default() }]),
        });
        let text = described(ResourceKind::Queue, &view).expect("printable");
        for part in
            ["Name:      orders\n", "Revision:  4\n", "Settings:\n", "  ackTimeout: 30s\n", "Messages:\n"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
