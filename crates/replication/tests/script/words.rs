//! A command's words.

use pondage_model::BrokerId;

/// A verb, words without a name, and `name=value` pairs.
#[derive(Debug)]
pub(crate) struct Words<'a> {
    verb: &'a str,
    plain: Vec<&'a str>,
    named: Vec<(&'a str, &'a str)>,
}

impl<'a> Words<'a> {
    pub(crate) fn of(command: &'a str) -> Self {
        let mut words = command.split_whitespace();
        let verb = words.next().unwrap_or_default();
        let (mut plain, mut named) = (Vec::new(), Vec::new());
        for word in words {
            match word.split_once('=') {
                Some(pair) => named.push(pair),
                None => plain.push(word),
            }
        }
        Self { verb, plain, named }
    }

    pub(crate) fn verb(&self) -> &str {
        self.verb
    }

    pub(crate) fn get(&self, index: usize) -> Option<&str> {
        self.plain.get(index).copied()
    }

    pub(crate) fn word(&self, index: usize) -> &str {
        self.get(index).unwrap_or_else(|| panic!("too few words: {self:?}"))
    }

    pub(crate) fn rest(&self, from: usize) -> &[&'a str] {
        &self.plain[from..]
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.named.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.value(name).map(|value| value.parse().unwrap_or_else(|_| panic!("{name} in {self:?}")))
    }

    pub(crate) fn broker(&self, index: usize) -> BrokerId {
        BrokerId(self.word(index).parse().unwrap_or_else(|_| panic!("a broker in {self:?}")))
    }

    pub(crate) fn brokers(&self, index: usize) -> Vec<BrokerId> {
        self.word(index).split(',').map(|broker| BrokerId(broker.parse().unwrap())).collect()
    }

    /// The brokers named by a word, all of them if there is none or it is `*`.
    pub(crate) fn brokers_or(&self, index: usize, all: &[BrokerId]) -> Vec<BrokerId> {
        match self.get(index) {
            None | Some("*") => all.to_vec(),
            Some(_) => self.brokers(index),
        }
    }

    pub(crate) fn link(&self, index: usize) -> (BrokerId, BrokerId) {
        let (from, to) = self.word(index).split_once("->").unwrap_or_else(|| panic!("a link in {self:?}"));
        (BrokerId(from.parse().unwrap()), BrokerId(to.parse().unwrap()))
    }

    /// Milliseconds after a `+`.
    pub(crate) fn delay(&self) -> u64 {
        let word = self.plain.iter().find_map(|word| word.strip_prefix('+'));
        word.map_or(0, |millis| millis.parse().unwrap_or_else(|_| panic!("a delay in {self:?}")))
    }
}
