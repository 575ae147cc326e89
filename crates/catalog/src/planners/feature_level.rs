//! The highest feature level that the cluster could be raised to.

use crate::state::Catalog;

/// The level that every broker supports, if it is above the cluster's. For an administrator, or the operator at the end
/// of an upgrade, to propose: it never falls again.
#[must_use]
pub fn plan(catalog: &Catalog) -> Option<u32> {
    let current = catalog.cluster()?.feature_level;
    let there = || catalog.brokers().filter(|broker| !broker.lost).map(|broker| broker.feature_levels);
    let highest = there().map(|levels| levels.highest).min()?;
    let is_supported = there().all(|levels| levels.contains(highest));
    (highest > current && is_supported).then_some(highest)
}
