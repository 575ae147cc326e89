//! What happens to packets on their way through the hub, as a wish: the network makes it so in one step.

use std::{collections::BTreeSet, fmt::Write};

use super::{Host, Shape, shaper};

/// The rules that lead packets through the shaper have this priority, and no others do.
pub(super) const PRIORITY: &str = "100";

/// How packets between the hosts go.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Traffic {
    /// Ways on which everything is dropped without a word, from a host to another.
    pub cuts: BTreeSet<(Host, Host)>,
    /// Of a thousand packets, so many are lost at random, each way.
    pub loss_permille: u32,
    /// How long packets take, if not as short as possible.
    pub shape: Option<Shape>,
}

impl Traffic {
    /// Everything from `from` to `to` is dropped; the other way stays as it is.
    #[must_use]
    pub fn cut_one_way(mut self, from: Host, to: Host) -> Self {
        self.cuts.insert((from, to));
        self
    }

    /// Nothing goes between the two.
    #[must_use]
    pub fn cut(self, one: Host, other: Host) -> Self {
        self.cut_one_way(one, other).cut_one_way(other, one)
    }

    /// The hub's filter as nft reads it; replaces the one before in one step.
    pub(super) fn rules(&self) -> String {
        let mut rules = String::from("add table ip faults\nflush table ip faults\n");
        rules.push_str("add chain ip faults way { type filter hook forward priority 0; policy accept; }\n");
        // What comes out of the shaper was judged when it came in.
        let before = format!("add rule ip faults way iifname != \"{}\"", shaper::DEVICE);
        for (from, to) in &self.cuts {
            let _ = writeln!(rules, "{before} ip saddr {} ip daddr {} drop", from.address(), to.address());
        }
        if self.loss_permille > 0 {
            let _ = writeln!(rules, "{before} numgen random mod 1000 < {} drop", self.loss_permille);
        }
        rules
    }

    /// The routing rules that lead packets through the shaper, as `ip -batch` reads them.
    pub(super) fn routes(&self, hosts: impl Iterator<Item = Host>) -> String {
        if self.shape.is_none() {
            return String::new();
        }
        let rule =
            |host: Host| format!("rule add iif h{} priority {PRIORITY} lookup {}\n", host.0, shaper::TABLE);
        hosts.map(rule).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_becomes_rules() {
        let whole = Traffic::default();
        assert_eq!(whole.rules().lines().count(), 3, "{}", whole.rules());
        assert_eq!(whole.routes([Host(1)].into_iter()), "");
        let cut = Traffic { loss_permille: 50, ..Traffic::default() }.cut(Host(1), Host(2));
        let rules = cut.rules();
        for line in [
            "ip saddr 198.18.1.2 ip daddr 198.18.2.2 drop",
            "ip saddr 198.18.2.2 ip daddr 198.18.1.2 drop",
            "numgen random mod 1000 < 50 drop",
        ] {
            assert!(rules.contains(line), "{rules}");
        }
        let one_way = Traffic::default().cut_one_way(Host(1), Host(2)).rules();
        assert!(one_way.contains("saddr 198.18.1.2") && !one_way.contains("saddr 198.18.2.2"), "{one_way}");
        let shaped = Traffic { shape: Some(Shape::default()), ..Traffic::default() };
        assert_eq!(shaped.routes([Host(1), Host(2)].into_iter()).lines().count(), 2);
    }
}
