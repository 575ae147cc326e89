//! The first words of a broker: where it is, what was applied, what to type next.

use pondage_client::{Client, ResourceKind};
use pondage_model::Name;

use crate::{
    commands::apply::{self, Applied},
    connect::SERVER,
    exit::Result,
};

/// What there is to say.
#[derive(Debug, Default)]
pub(super) struct Greeting {
    server: String,
    http: String,
    data: String,
    is_new: bool,
    applied: String,
    topic: Option<Name>,
    queue: Option<Name>,
}

impl Greeting {
    /// Looks for a topic and a queue to show the next commands with: of the files, else of the data.
    pub(super) async fn new(
        client: &Client,
        server: &str,
        http: &str,
        data: &str,
        is_new: bool,
        applied: &[Applied],
    ) -> Result<Self> {
        let mut examples = [None, None];
        for (example, kind) in examples.iter_mut().zip([ResourceKind::Topic, ResourceKind::Queue]) {
            let of_files =
                applied.iter().find(|one| one.label.0 == kind && !is_for_dead_letters(&one.label.1));
            *example = match of_files {
                Some(one) => Some(one.label.1.clone()),
                None => client.list(kind, false).await?.into_iter().map(|resource| resource.name).next(),
            };
        }
        let [topic, queue] = examples;
        Ok(Self {
            server: server.to_owned(),
            http: http.to_owned(),
            data: data.to_owned(),
            is_new,
            applied: apply::lines(applied, ""),
            topic,
            queue,
        })
    }

    /// The text.
    pub(super) fn text(&self) -> String {
        let Self { server, http, data, is_new, .. } = self;
        let state = if *is_new { "new" } else { "from before" };
        let mut text = format!(
            "Pondage {} is up.\n\n  clients  {server}\n  metrics  {http}/metrics  (also /livez, /readyz)\n  \
             data     {data} ({state})\n",
            env!("CARGO_PKG_VERSION")
        );
        if !self.applied.is_empty() {
            text += "\n";
            text.extend(self.applied.lines().map(|line| format!("  {line}\n")));
        }
        text += "\nNext, in another terminal:\n\n";
        if server != SERVER {
            text += &format!("  export PONDAGE_SERVER={server}\n");
        }
        for command in self.next_commands() {
            text += &format!("  {command}\n");
        }
        text + "\nCtrl-C stops it; the data stays.\n"
    }

    fn next_commands(&self) -> Vec<String> {
        let mut commands = Vec::new();
        match (&self.queue, &self.topic) {
            (Some(queue), _) => {
                commands.push(format!("echo '{{\"order\": 17}}' | pondage publish {queue}"));
                commands.push(format!("pondage consume {queue} --limit 1"));
            }
            (None, Some(topic)) => {
                commands.push(format!("echo hello | pondage publish {topic}"));
                commands.push(format!("pondage consume {topic} --limit 1"));
            }
            (None, None) => commands.push("pondage apply -f FILE".to_owned()),
        }
        commands.push("pondage get all".to_owned());
        commands
    }
}

/// By its name: a queue for what went wrong makes a bad first example.
fn is_for_dead_letters(name: &Name) -> bool {
    name.as_str().contains("dead")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_commands_can_be_typed_as_they_stand() {
        let name = |text| Some(Name::new(text).expect("valid"));
        let base = || Greeting {
            server: SERVER.to_owned(),
            http: "http://127.0.0.1:7421".to_owned(),
            data: "./pondage-data".to_owned(),
            is_new: true,
            applied: "topic/flights  created\n".to_owned(),
            topic: name("flights"),
            queue: name("orders"),
        };
        let text = base().text();
        for part in [
            "clients  http://127.0.0.1:7420\n",
            "metrics  http://127.0.0.1:7421/metrics",
            "./pondage-data (new)",
            "  topic/flights  created\n",
            "  echo '{\"order\": 17}' | pondage publish orders\n",
            "  pondage consume orders --limit 1\n",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("PONDAGE_SERVER"), "{text}");
        let elsewhere = Greeting { server: "http://127.0.0.1:9".to_owned(), queue: None, ..base() }.text();
        assert!(elsewhere.contains("  export PONDAGE_SERVER=http://127.0.0.1:9\n"), "{elsewhere}");
        assert!(elsewhere.contains("| pondage publish flights\n"), "{elsewhere}");
        let empty = Greeting { queue: None, topic: None, ..base() }.text();
        assert!(empty.contains("pondage apply -f FILE"), "{empty}");
    }
}
