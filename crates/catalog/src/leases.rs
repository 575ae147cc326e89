//! Which brokers are there, as the catalog's leader sees it: soft state, never part of the catalog.
//!
//! A broker renews its lease every [`limits::BROKER_LEASE_RENEWAL_MILLIS`]; after [`limits::BROKER_LEASE_MILLIS`]
//! without, or at once when its connection was reset and a new one refused, the catalog may give what it leads to
//! others. No safety rule hangs on a lease: a broker whose lease ended and who still leads is stopped by the epochs.
//! Times are milliseconds of the catalog leader's monotonic clock.

use std::collections::{BTreeMap, BTreeSet};

use pondage_model::{
    BrokerId, Incarnation, Member, limits,
    planted::{self, Fault},
};

/// The leases that one catalog leader keeps during its term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leases {
    brokers: BTreeMap<BrokerId, Lease>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lease {
    incarnation: Incarnation,
    /// When it ends; none once it did.
    until_millis: Option<u64>,
}

/// What a renewal tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The broker was there and is.
    Held,
    /// It was not there before: it is new, came back, or started again.
    Returned,
    /// It comes from a start that a later one overtook, and counts for nothing.
    Overtaken,
}

impl Leases {
    /// The leases at the beginning of a term: the new leader has not heard from anybody yet, so that everybody gets a
    /// full lease, except those that are known to be `gone`.
    #[must_use]
    pub fn new(
        members: impl IntoIterator<Item = Member>,
        gone: &BTreeSet<BrokerId>,
        now_millis: u64,
    ) -> Self {
        let patience = if planted::is(Fault::ExpireLeasesAtOnce) { 0 } else { limits::BROKER_LEASE_MILLIS };
        let until = now_millis.saturating_add(patience);
        let lease = |member: Member| {
            let until_millis = Some(if gone.contains(&member.broker) { now_millis } else { until });
            (member.broker, Lease { incarnation: member.incarnation, until_millis })
        };
        Self { brokers: members.into_iter().map(lease).collect() }
    }

    /// A broker renewed its lease, or registered.
    pub fn renewed(&mut self, member: Member, now_millis: u64) -> Renewal {
        let until_millis = Some(now_millis.saturating_add(limits::BROKER_LEASE_MILLIS));
        let lease = Lease { incarnation: member.incarnation, until_millis };
        match self.brokers.get_mut(&member.broker) {
            Some(held) if held.incarnation > member.incarnation => Renewal::Overtaken,
            Some(held) => {
                let is_held = held.incarnation == member.incarnation && held.until_millis.is_some();
                *held = Lease { until_millis: held.until_millis.max(until_millis), ..lease };
                if is_held { Renewal::Held } else { Renewal::Returned }
            }
            None => {
                self.brokers.insert(member.broker, lease);
                Renewal::Returned
            }
        }
    }

    /// The connection to this start of a broker was reset and a new one was refused: its lease ends now. What is said
    /// of an earlier start than the last known one counts for nothing.
    pub fn gone(&mut self, member: Member, now_millis: u64) {
        if let Some(held) = self.brokers.get_mut(&member.broker)
            && held.incarnation <= member.incarnation
        {
            held.until_millis = held.until_millis.map(|until| until.min(now_millis));
        }
    }

    /// The broker left the cluster, or its volume is lost: nothing is expected of it any more.
    pub fn forget(&mut self, broker: BrokerId) {
        self.brokers.remove(&broker);
    }

    /// The brokers whose leases ended since the last call, ascending: what they lead needs other leaders.
    pub fn expired(&mut self, now_millis: u64) -> Vec<BrokerId> {
        let mut expired = Vec::new();
        for (&broker, lease) in &mut self.brokers {
            if lease.until_millis.is_some_and(|until| until <= now_millis) {
                lease.until_millis = None;
                expired.push(broker);
            }
        }
        expired
    }

    /// The brokers that hold a lease.
    #[must_use]
    pub fn live(&self, now_millis: u64) -> BTreeSet<BrokerId> {
        let holds = |lease: &Lease| lease.until_millis.is_some_and(|until| until > now_millis);
        self.brokers.iter().filter(|(_, lease)| holds(lease)).map(|(&broker, _)| broker).collect()
    }

    /// When the next lease ends, unless it is renewed before.
    #[must_use]
    pub fn next_millis(&self) -> Option<u64> {
        self.brokers.values().filter_map(|lease| lease.until_millis).min()
    }
}

#[cfg(test)]
#[path = "leases_tests.rs"]
mod tests;
