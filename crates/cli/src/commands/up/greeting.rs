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
    /// Of each broker: where clients connect, and where metrics are.
    places: Vec<(String, String)>,
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
        places: &[(String, String)],
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
            places: places.to_vec(),
            data: data.to_owned(),
            is_new,
            applied: apply::lines(applied, ""),
            topic,
            queue,
        })
    }

    /// The text.
    pub(super) fn text(&self) -> String {
        let Self { places, data, is_new, .. } = self;
        let state = if *is_new { "new" } else { "from before" };
        let mut text = format!("Pondage {} is up.\n\n", env!("CARGO_PKG_VERSION"));
        if places.len() > 1 {
            text += &format!("  brokers  {}, any of which answers\n", places.len());
        }
        let servers: Vec<&str> = places.iter().map(|(server, _)| server.as_str()).collect();
        let server = servers.join(",");
        text += &format!("  clients  {server}\n");
        for (index, (_, http)) in places.iter().enumerate() {
            let beside = if index == 0 { "  (also /livez, /readyz)" } else { "" };
            text += &format!("  metrics  {http}/metrics{beside}\n");
        }
        text += &format!("  data     {data} ({state})\n");
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
        if self.places.len() > 1 {
            commands.push("pondage cluster status".to_owned());
        }
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
            places: vec![(SERVER.to_owned(), "http://127.0.0.1:7421".to_owned())],
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
        let place =
            |port: u16| (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{}", port + 1));
        let elsewhere = Greeting { places: vec![place(9)], queue: None, ..base() }.text();
        assert!(elsewhere.contains("  export PONDAGE_SERVER=http://127.0.0.1:9\n"), "{elsewhere}");
        assert!(elsewhere.contains("| pondage publish flights\n"), "{elsewhere}");
        let several = Greeting { places: vec![place(9), place(11)], ..base() }.text();
        for part in [
            "brokers  2, any of which answers\n",
            "metrics  http://127.0.0.1:12/metrics\n",
            "  export PONDAGE_SERVER=http://127.0.0.1:9,http://127.0.0.1:11\n",
            "  pondage cluster status\n",
        ] {
            assert!(several.contains(part), "{part} in {several}");
        }
        let empty = Greeting { queue: None, topic: None, ..base() }.text();
        assert!(empty.contains("pondage apply -f FILE"), "{empty}");
    }
}
