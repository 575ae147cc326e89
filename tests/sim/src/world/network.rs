//! The network between hosts, and between hosts and clients: delay, loss, repetition, reordering, cuts of one or both
//! directions, black holes.

use std::collections::BTreeMap;

use super::host::HostId;
use crate::chance::Chance;

/// An end of a link: a host, or all the clients together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    Clients,
    Host(HostId),
}

/// How bad the network is while faults are on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Weather {
    /// Messages between hosts that are lost, of a thousand.
    pub(super) lost: u64,
    /// Messages between hosts that come twice, of a thousand.
    pub(super) repeated: u64,
    /// Messages that are late, of a thousand: others overtake them.
    pub(super) late: u64,
    /// How late at most.
    pub(super) late_micros: u64,
}

/// Which links carry nothing.
#[derive(Debug, Default)]
pub(super) struct Network {
    pub(super) weather: Weather,
    /// How many cuts lie on a directed link.
    blocked: BTreeMap<(End, End), u32>,
    cuts: BTreeMap<u64, Vec<(End, End)>>,
    cuts_made: u64,
}

/// The shortest and the usual longest way.
const DELAY_MICROS: (u64, u64) = (30, 600);

impl Network {
    pub(super) fn new(weather: Weather) -> Self {
        Self { weather, ..Self::default() }
    }

    /// Whether anything passes from one end to the other.
    pub(super) fn passes(&self, from: End, to: End) -> bool {
        !self.blocked.contains_key(&(from, to))
    }

    /// Whether hosts hear each other.
    pub(super) fn both_ways(&self, one: HostId, other: HostId) -> bool {
        let (one, other) = (End::Host(one), End::Host(other));
        one == other || (self.passes(one, other) && self.passes(other, one))
    }

    /// How long something is on its way.
    pub(super) fn delay(&self, chance: &mut Chance) -> u64 {
        let usual = chance.between(DELAY_MICROS.0, DELAY_MICROS.1);
        if self.weather.late > 0 && chance.below(1_000) < self.weather.late {
            usual + chance.below(self.weather.late_micros + 1)
        } else {
            usual
        }
    }

    /// When the copies of a message between hosts arrive, from now: none if it is lost.
    pub(super) fn arrivals(&self, from: HostId, to: HostId, chance: &mut Chance) -> [Option<u64>; 2] {
        if !self.passes(End::Host(from), End::Host(to)) {
            return [None; 2];
        }
        let lost = self.weather.lost > 0 && chance.below(1_000) < self.weather.lost;
        let repeated = self.weather.repeated > 0 && chance.below(1_000) < self.weather.repeated;
        [(!lost).then(|| self.delay(chance)), repeated.then(|| self.delay(chance))]
    }

    /// Cuts these links; gives the cut's number.
    pub(super) fn cut(&mut self, links: Vec<(End, End)>) -> u64 {
        for link in &links {
            *self.blocked.entry(*link).or_default() += 1;
        }
        self.cuts_made += 1;
        self.cuts.insert(self.cuts_made, links);
        self.cuts_made
    }

    /// Ends a cut.
    pub(super) fn mend(&mut self, cut: u64) {
        for link in self.cuts.remove(&cut).unwrap_or_default() {
            if let Some(count) = self.blocked.get_mut(&link) {
                *count -= 1;
                if *count == 0 {
                    self.blocked.remove(&link);
                }
            }
        }
    }

    /// Everything passes again, and nothing is lost.
    pub(super) fn heal(&mut self) {
        self.weather = Weather::default();
        self.blocked.clear();
        self.cuts.clear();
    }

    /// A cut drawn for `hosts` hosts: one host from all, one from another, two groups, or hosts from the clients; in
    /// both directions or one.
    pub(super) fn draw_cut(hosts: usize, chance: &mut Chance) -> Vec<(End, End)> {
        let host = |chance: &mut Chance| End::Host(chance.below(hosts as u64) as usize);
        let every = || (0..hosts).map(End::Host);
        let one = host(chance);
        let mut links = Vec::new();
        match chance.below(8) {
            // The host alone, its clients with it or not.
            0..=2 => links.extend(every().filter(|other| *other != one).map(|other| (one, other))),
            3 => {
                links.extend(
                    every().chain([End::Clients]).filter(|other| *other != one).map(|other| (one, other)),
                );
            }
            4 | 5 => {
                let other = host(chance);
                if one != other {
                    links.push((one, other));
                }
            }
            6 => {
                let parts = chance.any();
                let part = |end: End| matches!(end, End::Host(host) if (parts >> host) & 1 == 0);
                for from in every().filter(|end| part(*end)) {
                    links.extend(every().filter(|end| !part(*end)).map(|to| (from, to)));
                }
            }
            _ => links.push((one, End::Clients)),
        }
        match chance.below(4) {
            0 => {}
            1 => links.iter_mut().for_each(|(from, to)| std::mem::swap(from, to)),
            _ => {
                let back: Vec<_> = links.iter().map(|(from, to)| (*to, *from)).collect();
                links.extend(back);
            }
        }
        links
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_cuts_end_one_by_one_and_healing_ends_all() {
        let mut network = Network::default();
        let link = (End::Host(0), End::Host(1));
        let (first, second) =
            (network.cut(vec![link]), network.cut(vec![link, (End::Host(1), End::Clients)]));
        assert!(!network.passes(link.0, link.1));
        assert!(network.passes(link.1, link.0), "a cut of one direction");
        network.mend(first);
        assert!(!network.passes(link.0, link.1));
        network.mend(first);
        assert!(!network.passes(link.0, link.1), "a cut ends once");
        network.mend(second);
        assert!(network.both_ways(0, 1) && network.passes(End::Host(1), End::Clients));
        network.cut(vec![link]);
        network.heal();
        assert!(network.both_ways(0, 1));
    }

    #[test]
    fn weather_loses_repeats_and_delays() {
        let weather = Weather { lost: 500, repeated: 500, late: 500, late_micros: 1_000_000 };
        let network = Network::new(weather);
        let mut chance = Chance::new(3);
        let arrivals: Vec<_> = (0..1_000).map(|_| network.arrivals(0, 1, &mut chance)).collect();
        let count = |expected: usize| {
            arrivals.iter().filter(|found| found.iter().flatten().count() == expected).count()
        };
        assert!(
            (150..350).contains(&count(0)) && (150..350).contains(&count(2)),
            "{} {}",
            count(0),
            count(2)
        );
        assert!(arrivals.iter().flatten().flatten().any(|delay| *delay > 500_000));
    }

    #[test]
    fn every_kind_of_cut_is_drawn_and_no_host_is_cut_from_itself() {
        let mut chance = Chance::new(1);
        let drawn: Vec<_> = (0..200).map(|_| Network::draw_cut(3, &mut chance)).collect();
        assert!(drawn.iter().flatten().all(|(from, to)| from != to));
        let one_way = |links: &Vec<(End, End)>| {
            !links.is_empty() && !links.iter().any(|(from, to)| links.contains(&(*to, *from)))
        };
        assert!(drawn.iter().any(one_way) && drawn.iter().any(|links| !one_way(links) && !links.is_empty()));
        assert!(drawn.iter().flatten().any(|(_, to)| *to == End::Clients));
    }
}
