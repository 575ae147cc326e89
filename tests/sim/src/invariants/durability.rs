//! What was synced is found again, and what is committed is durable on every in-sync replica.
//!
//! Source: guarantee D1; "the ISR holds every committed entry" of PacificA (commit and reconfiguration invariants,
//! Lin and others, 2008).

use std::collections::BTreeMap;

use pondage_model::{Position, RawEntry, ShardId};

use super::{
    Row, Standing, Volume,
    shadow::{Shadow, digest},
};

/// A log that was found after a start has every entry that was synced, to the byte.
pub(super) fn check_found(
    shadow: &Shadow,
    (volume, shard): (Volume, ShardId),
    entries: &[RawEntry],
    end: Position,
) -> Result<(), String> {
    if end < shadow.durable {
        return Err(format!(
            "D1: {shard:?} on host {} ends at {end:?} after a start, everything below {:?} was synced",
            volume.host, shadow.durable
        ));
    }
    let found: BTreeMap<_, _> = entries.iter().map(|entry| (entry.position, digest(entry))).collect();
    let missing = shadow
        .entries
        .range(shadow.kept_from..shadow.durable.max(shadow.kept_from))
        .find(|(position, digest)| found.get(position) != Some(digest));
    missing.map_or(Ok(()), |(position, _)| {
        Err(format!(
            "D1: the entry of {shard:?} at {position:?} on host {} is gone or changed after a start",
            volume.host
        ))
    })
}

/// A leader that commits has every member of the set durable so far. Members whose volume is lost hold nothing; a
/// row of another epoch says nothing of this leader.
pub(super) fn check_committed(
    shadows: &BTreeMap<(Volume, ShardId), Shadow>,
    standing: Standing,
    row: Option<&Row>,
) -> Result<(), String> {
    let Some(row) = row.filter(|row| row.epoch == standing.epoch) else { return Ok(()) };
    for (member, volume) in &row.in_sync {
        let Some(volume) = volume else { continue };
        let durable = shadows.get(&(*volume, standing.shard)).map_or(Position::ZERO, |shadow| shadow.durable);
        if durable < standing.high_watermark {
            return Err(format!(
                "in-sync replicas are durable: {:?} is committed up to {:?} in {:?} and {member:?} has synced up to \
                 {durable:?}",
                standing.shard, standing.high_watermark, standing.epoch
            ));
        }
    }
    Ok(())
}
