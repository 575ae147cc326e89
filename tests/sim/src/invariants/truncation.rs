//! An in-sync replica never cuts off what is committed.
//!
//! Source: KIP-101 and KIP-279 (truncation by leader epoch, not by the high watermark); guarantee D1.

use pondage_model::{Position, ShardId};

use super::{Row, Truth, Volume, shadow::Shadow};

pub(super) fn check(
    truth: &Truth,
    shadow: &Shadow,
    (volume, shard): (Volume, ShardId),
    to: Position,
    row: Option<&Row>,
) -> Result<(), String> {
    let in_sync = row.is_some_and(|row| row.in_sync.iter().any(|(_, member)| *member == Some(volume)));
    if !in_sync {
        return Ok(());
    }
    let cut = shadow.entries.range(to..).find(|(position, digest)| {
        truth.committed.get(position).is_some_and(|(committed, _)| committed == *digest)
    });
    cut.map_or(Ok(()), |(position, _)| {
        Err(format!(
            "nothing committed is cut off: host {} is in sync and cuts {shard:?} at {to:?}, the entry at {position:?} \
             is committed",
            volume.host
        ))
    })
}
