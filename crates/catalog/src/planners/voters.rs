//! Who votes on the catalog: one broker of up to two, three of up to four, else five.

use pondage_model::{BrokerId, ShardId};

use crate::{placement::Loads, state::Catalog};

/// The voters that the catalog should have, if they are not those of shard 0's row: present ones stay while they can,
/// new ones are taken over as many racks as there are. For the consensus to change to, then to be recorded by
/// [`Command::SetVoters`](crate::Command::SetVoters).
#[must_use]
pub fn plan(catalog: &Catalog) -> Option<Vec<BrokerId>> {
    let row = catalog.shard(ShardId::CATALOG)?;
    let loads = Loads::of(catalog);
    let count = match loads.brokers.len() {
        0 => return None,
        1 | 2 => 1,
        3 | 4 => 3,
        _ => 5,
    };
    let present = row.replicas.iter().copied().filter(|voter| loads.brokers.contains_key(voter));
    let mut voters: Vec<BrokerId> = present.take(count).collect();
    while voters.len() < count {
        voters.push(loads.next_broker(&voters, |_| true, |_, load| load.shuns_leadership)?);
    }
    (voters != row.replicas).then_some(voters)
}
