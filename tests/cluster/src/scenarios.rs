//! The faults, as data.

use std::time::Duration;

/// What is done to brokers and networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// SIGKILL of the broker that leads most.
    KillLeader,
    /// SIGKILL of the broker that leads least.
    KillFollower,
    /// SIGKILL of the broker that leads the catalog.
    KillCatalog,
    /// SIGSTOP of a leader, and SIGCONT later.
    Stop,
    /// SIGTERM of a leader, and a new start.
    Planned,
    /// Packets from one broker to another are dropped, not those back.
    OneWay,
    /// Two brokers do not reach each other; the third reaches both.
    Partial,
    /// Clients and a leader do not reach each other.
    ClientCut,
    /// Packets are lost at random.
    Loss,
    /// Packets are late, overtake each other and come twice.
    Reorder,
    /// A broker is killed and its data deleted.
    Wipe,
    /// A broker is killed and its data replaced by an old copy.
    Restore,
    /// A leader's wall clock jumps by ten years, forwards or back.
    Clock,
    /// The power of all brokers is cut at once.
    PowerCut,
    /// The volume of a leader is full.
    DiskFull,
    /// Nothing: nobody may take it for a fault.
    Calm,
}

/// A kind of fault in a run.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// What is done.
    pub kind: Kind,
    /// Its name in tables and arguments.
    pub name: &'static str,
    /// How often in tests.
    pub in_tests: u32,
    /// How often in a soak.
    pub in_soak: u32,
    /// How long it lasts.
    pub lasts: Duration,
    /// Brokers that it needs.
    pub brokers_min: u8,
    /// Whether brokers need volumes of their own.
    pub needs_volumes: bool,
    /// Whether a broker may end by itself because of it; it is started again then.
    pub may_end: bool,
    /// Whether it counts only with a publish and a settle unanswered when it begins.
    pub must_hit: bool,
    /// The longest gap between answers, 99 of 100 times.
    pub gap_max: Option<Duration>,
}

const fn scenario(kind: Kind, name: &'static str, in_tests: u32, lasts_millis: u64) -> Scenario {
    Scenario {
        kind,
        name,
        in_tests,
        in_soak: 100,
        lasts: Duration::from_millis(lasts_millis),
        brokers_min: 1,
        needs_volumes: false,
        may_end: false,
        must_hit: false,
        gap_max: None,
    }
}

impl Scenario {
    const fn of_three(self) -> Self {
        Self { brokers_min: 3, ..self }
    }

    const fn on_volumes(self) -> Self {
        Self { needs_volumes: true, ..self }
    }

    const fn may_end(self) -> Self {
        Self { may_end: true, ..self }
    }

    const fn hits(self) -> Self {
        Self { must_hit: true, ..self }
    }

    const fn gap_millis(self, millis: u64) -> Self {
        Self { gap_max: Some(Duration::from_millis(millis)), ..self }
    }

    /// The scenario of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        SCENARIOS.iter().find(|scenario| scenario.name == name).copied()
    }
}

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    scenario(Kind::KillLeader, "kill-leader", 4, 1_500).hits().gap_millis(1_500),
    scenario(Kind::KillFollower, "kill-follower", 3, 1_500).of_three().hits().gap_millis(1_500),
    scenario(Kind::KillCatalog, "kill-catalog", 3, 1_500).of_three().hits().gap_millis(1_500),
    scenario(Kind::Stop, "stop", 10, 6_000).hits().gap_millis(4_000),
    scenario(Kind::Planned, "planned", 10, 500).gap_millis(250),
    scenario(Kind::OneWay, "one-way", 5, 5_000).of_three().gap_millis(4_000),
    scenario(Kind::Partial, "partial", 5, 5_000).of_three().gap_millis(4_000),
    scenario(Kind::ClientCut, "client-cut", 1, 3_000),
    scenario(Kind::Loss, "loss", 1, 4_000),
    scenario(Kind::Reorder, "reorder", 1, 4_000),
    scenario(Kind::Wipe, "wipe", 1, 1_000).of_three().hits().may_end(),
    scenario(Kind::Restore, "restore", 1, 1_500).of_three().hits().may_end(),
    scenario(Kind::Clock, "clock", 2, 2_000),
    scenario(Kind::PowerCut, "power-cut", 3, 0).on_volumes().hits().may_end(),
    scenario(Kind::DiskFull, "disk-full", 1, 4_000).on_volumes().may_end(),
    scenario(Kind::Calm, "calm", 1, 6_000).gap_millis(1_000),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_has_its_own_name_and_place() {
        for (index, scenario) in SCENARIOS.iter().enumerate() {
            assert!(scenario.in_tests > 0 && scenario.in_soak >= scenario.in_tests, "{scenario:?}");
            for other in &SCENARIOS[index + 1..] {
                assert!(other.name != scenario.name && other.kind != scenario.kind, "{other:?}");
            }
            assert_eq!(Scenario::named(scenario.name).map(|found| found.kind), Some(scenario.kind));
        }
        assert!(Scenario::named("earthquake").is_none());
    }

    #[test]
    fn each_kind_of_the_bars_is_made_ten_times() {
        let made = |names: &[&str]| {
            names.iter().filter_map(|name| Scenario::named(name)).map(|s| s.in_tests).sum::<u32>()
        };
        for names in [
            &["kill-leader", "kill-follower", "kill-catalog"][..],
            &["stop"],
            &["planned"],
            &["one-way", "partial"],
        ] {
            assert!(made(names) >= 10, "{names:?}");
        }
    }
}
