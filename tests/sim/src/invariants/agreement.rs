//! Committed entries are equal at equal positions on all replicas, and whoever serves holds them all.
//!
//! Source: log matching and leader completeness, as in Ongaro and Ousterhout, "In Search of an Understandable
//! Consensus Algorithm" (2014), §5.3 and §5.4; `ConsistentState` and `LeaderCompleteness` of the public TLA+ model
//! of KIP-966.

use super::{Standing, Truth, shadow::Shadow};

use pondage_model::Position;

/// What became known to be committed on this replica is what is committed elsewhere.
pub(super) fn check(
    truth: &mut Truth,
    shadow: &Shadow,
    before: Position,
    standing: Standing,
) -> Result<(), String> {
    let end = truth.ends.entry(standing.epoch).or_default();
    *end = standing.high_watermark.max(*end);
    for (position, digest) in shadow.entries.range(before..standing.high_watermark) {
        let (committed, _) = truth.committed.entry(*position).or_insert((*digest, standing.epoch));
        if committed != digest {
            return Err(format!(
                "committed entries agree: host {} has another entry of {:?} at {position:?} than was committed",
                standing.volume.host, standing.shard
            ));
        }
    }
    Ok(())
}

/// A replica that begins to serve holds whatever was committed in earlier epochs, except what some replica dropped
/// on purpose: who catches up gets what is left. What was committed in later ones it need not have: it may have been
/// elected long ago, and hear only now that all had answered it, and not yet that it was deposed.
pub(super) fn check_complete(truth: &Truth, shadow: &Shadow, standing: Standing) -> Result<(), String> {
    let end = truth.end_before(standing.epoch);
    if standing.high_watermark < end {
        return Err(format!(
            "leader completeness: host {} serves {:?} in {:?} below {:?}, up to {end:?} was committed before",
            standing.volume.host, standing.shard, standing.epoch, standing.high_watermark
        ));
    }
    let committed =
        truth.committed.range(truth.reclaimed..).filter(|(_, (_, epoch))| *epoch < standing.epoch);
    for (position, (digest, _)) in committed {
        if shadow.entries.get(position) != Some(digest) {
            return Err(format!(
                "leader completeness: host {} serves {:?} in {:?} without the committed entry at {position:?}",
                standing.volume.host, standing.shard, standing.epoch
            ));
        }
    }
    Ok(())
}
