//! The order in which resources are applied, so that each finds what it names: topics, queues with dead-letter queues
//! before those that name them, groups. Deleting goes the other way.

use std::collections::{BTreeMap, BTreeSet};

use pondage_client::Settings;
use pondage_model::Name;

/// Sorts resources for applying. Queues that dead-letter in a circle come in the order of the files: no order
/// would do for them.
pub(crate) fn for_applying(resources: Vec<(Name, Settings)>) -> Vec<(Name, Settings)> {
    let (mut topics, mut queues, mut groups) = (Vec::new(), Vec::new(), Vec::new());
    for (name, settings) in resources {
        match settings {
            Settings::Topic(_) => topics.push((name, settings)),
            Settings::Queue(_) => queues.push((name, settings)),
            Settings::Group(_) => groups.push((name, settings)),
        }
    }
    let queues = targets_first(queues);
    topics.into_iter().chain(queues).chain(groups).collect()
}

fn targets_first(queues: Vec<(Name, Settings)>) -> Vec<(Name, Settings)> {
    let target = |settings: &Settings| match settings {
        Settings::Queue(queue) => queue.dead_letter.clone(),
        _ => None,
    };
    let targets: BTreeMap<Name, Option<Name>> =
        queues.iter().map(|(name, settings)| (name.clone(), target(settings))).collect();
    let mut order: Vec<Name> = Vec::new();
    let mut placed: BTreeSet<Name> = BTreeSet::new();
    for (name, _) in &queues {
        // From the queue along its targets until one stands already, is in no file, or closes a circle.
        let mut chain = Vec::new();
        let mut next = Some(name);
        while let Some(name) = next.filter(|name| placed.insert((*name).clone())) {
            chain.push(name.clone());
            next = targets.get(name).and_then(Option::as_ref).filter(|name| targets.contains_key(*name));
        }
        order.extend(chain.into_iter().rev());
    }
    let mut by_name: BTreeMap<Name, (Name, Settings)> =
        queues.into_iter().map(|queue| (queue.0.clone(), queue)).collect();
    order.iter().filter_map(|name| by_name.remove(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pondage_model::settings::{GroupSettings, GroupSource, QueueSettings, TopicSettings};

    fn resource(text: &str) -> (Name, Settings) {
        let name = |text: &str| Name::new(text).expect("valid");
        let (kind, rest) = text.split_once(' ').expect("kind and name");
        let (own, other) = match rest.split_once('>') {
            None => (rest, None),
            Some((own, other)) => (own, Some(name(other))),
        };
        let settings = match kind {
            "t" => Settings::Topic(TopicSettings::default()),
            "q" => Settings::Queue(QueueSettings { dead_letter: other, ..QueueSettings::default() }),
            _ => Settings::Group(GroupSettings::of(GroupSource::Topics(vec![name("a")]))),
        };
        (name(own), settings)
    }

    #[test]
    fn everything_finds_what_it_names() {
        for (given, ordered) in [
            (vec!["g z", "q b", "t a"], "a b z"),
            (vec!["q a>b", "q b>c", "q c"], "c b a"),
            (vec!["q c", "q b>c", "q a>b"], "c b a"),
            (vec!["q a>dead", "q b>dead", "q dead"], "dead a b"),
            (vec!["q a>elsewhere", "q b"], "a b"),
            (vec!["q a>b", "q b>a", "q c"], "b a c"),
            (vec!["q a>a", "t t"], "t a"),
            (vec![], ""),
        ] {
            let resources = given.iter().map(|text| resource(text)).collect();
            let names: Vec<String> =
                for_applying(resources).into_iter().map(|(name, _)| name.to_string()).collect();
            assert_eq!(names.join(" "), ordered, "{given:?}");
        }
    }
}
