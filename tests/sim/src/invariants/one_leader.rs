//! At most one replica leads in an epoch, in at most one of its lives.
//!
//! Source: election safety; `AtMostOneLeaderPerEpoch` in spirit of the public TLA+ model of KIP-966. "Every start of
//! a leader, alone too, is a new epoch" is our own addition.

use super::{Standing, Truth};

pub(super) fn check(truth: &mut Truth, standing: Standing) -> Result<(), String> {
    let leads = (standing.volume, standing.start);
    let leader = *truth.leaders.entry(standing.epoch).or_insert(leads);
    if leader == leads {
        return Ok(());
    }
    Err(format!(
        "one leader per epoch: {:?} in {:?} is led by {leader:?} and by {leads:?}",
        standing.shard, standing.epoch
    ))
}
