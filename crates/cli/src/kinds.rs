//! The words that people use for kinds of resources.

use std::{fmt, str::FromStr};

use pondage_client::ResourceKind;
use pondage_model::Name;

/// What a command is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KindWord {
    /// One kind of resources.
    Kind(ResourceKind),
    /// Topics, queues and groups.
    All,
    /// The cluster itself.
    Cluster,
}

/// The kinds in the order in which they are shown and applied.
pub(crate) const KINDS: [ResourceKind; 3] = [ResourceKind::Topic, ResourceKind::Queue, ResourceKind::Group];

/// Every word with its meaning; the first one of each meaning is offered by completion.
const WORDS: [(&str, KindWord); 19] = [
    ("topics", KindWord::Kind(ResourceKind::Topic)),
    ("topic", KindWord::Kind(ResourceKind::Topic)),
    ("ptop", KindWord::Kind(ResourceKind::Topic)),
    ("queues", KindWord::Kind(ResourceKind::Queue)),
    ("queue", KindWord::Kind(ResourceKind::Queue)),
    ("pq", KindWord::Kind(ResourceKind::Queue)),
    ("groups", KindWord::Kind(ResourceKind::Group)),
    ("group", KindWord::Kind(ResourceKind::Group)),
    ("consumergroups", KindWord::Kind(ResourceKind::Group)),
    ("consumergroup", KindWord::Kind(ResourceKind::Group)),
    ("pcg", KindWord::Kind(ResourceKind::Group)),
    ("all", KindWord::All),
    ("cluster", KindWord::Cluster),
    ("clusters", KindWord::Cluster),
    ("brokercluster", KindWord::Cluster),
    ("brokerclusters", KindWord::Cluster),
    ("pcl", KindWord::Cluster),
    ("brokers", KindWord::Cluster),
    ("broker", KindWord::Cluster),
];

impl KindWord {
    /// The words that completion offers.
    pub(crate) const OFFERED: [&str; 5] = ["topics", "queues", "groups", "all", "cluster"];

    /// The kinds that it stands for.
    pub(crate) fn kinds(self) -> Vec<ResourceKind> {
        match self {
            Self::Kind(kind) => vec![kind],
            Self::All => KINDS.to_vec(),
            Self::Cluster => Vec::new(),
        }
    }
}

impl FromStr for KindWord {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let lower = word.to_ascii_lowercase();
        WORDS.iter().find(|(known, _)| *known == lower).map(|(_, kind)| *kind).ok_or_else(|| {
            let allowed = Self::OFFERED.join(", ");
            format!("no kind; allowed: {allowed} (also in the singular, and ptop, pq, pcg)")
        })
    }
}

/// `KIND`, or `KIND/NAME` as the commands print it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KindArg {
    /// The kind.
    pub(crate) kind: KindWord,
    /// The name, where it stands behind a slash.
    pub(crate) name: Option<Name>,
}

impl FromStr for KindArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, name) = match text.split_once('/') {
            None => (text, None),
            Some((kind, name)) => (kind, Some(Name::new(name).map_err(|refusal| refusal.to_string())?)),
        };
        Ok(Self { kind: kind.parse()?, name })
    }
}

/// A resource as commands print it: `queue/orders`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Label(pub(crate) ResourceKind, pub(crate) Name);

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.0.as_str(), self.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_every_number_and_case() {
        for (word, kind) in [
            ("topic", Some(KindWord::Kind(ResourceKind::Topic))),
            ("Topics", Some(KindWord::Kind(ResourceKind::Topic))),
            ("ptop", Some(KindWord::Kind(ResourceKind::Topic))),
            ("queues", Some(KindWord::Kind(ResourceKind::Queue))),
            ("pq", Some(KindWord::Kind(ResourceKind::Queue))),
            ("ConsumerGroup", Some(KindWord::Kind(ResourceKind::Group))),
            ("pcg", Some(KindWord::Kind(ResourceKind::Group))),
            ("all", Some(KindWord::All)),
            ("cluster", Some(KindWord::Cluster)),
            ("", None),
            ("tipic", None),
        ] {
            assert_eq!(word.parse().ok(), kind, "{word:?}");
        }
        for offered in KindWord::OFFERED {
            assert!(offered.parse::<KindWord>().is_ok(), "{offered}");
        }
    }

    #[test]
    fn a_name_may_stand_behind_a_slash() {
        let arg: KindArg = "queue/orders".parse().expect("valid");
        assert_eq!(arg.name.as_ref().map(Name::as_str), Some("orders"));
        assert_eq!(arg.kind, KindWord::Kind(ResourceKind::Queue));
        assert!("queue/a b".parse::<KindArg>().is_err());
        let label = Label(ResourceKind::Queue, Name::new("orders").expect("valid"));
        assert_eq!(format!("{label:<14}|"), "queue/orders  |");
    }
}
