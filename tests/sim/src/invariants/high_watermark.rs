//! A replica's high watermark never falls while it stays in an epoch, and lies in its log; a follower's never lies
//! above all that leaders committed.
//!
//! Source: "the high watermark is monotonic" of PacificA (Lin and others, 2008) and of KIP-966's model; consumers see
//! what lies below it, so that whatever falls was seen too early.

use super::{Mark, Standing, Truth};

pub(super) fn check(truth: &Truth, before: Mark, standing: Standing) -> Result<(), String> {
    let Standing { volume, shard, epoch, high_watermark, end, .. } = standing;
    if before.epoch == epoch && high_watermark < before.high_watermark {
        return Err(format!(
            "the high watermark of {shard:?} on host {} fell from {:?} to {high_watermark:?} in {epoch:?}",
            volume.host, before.high_watermark
        ));
    }
    if high_watermark > end {
        return Err(format!(
            "the high watermark of {shard:?} on host {} is {high_watermark:?}, behind the log's end {end:?}",
            volume.host
        ));
    }
    if !standing.leads && high_watermark > truth.end() {
        return Err(format!(
            "the high watermark of {shard:?} on host {} is {high_watermark:?}, leaders committed up to {:?}",
            volume.host,
            truth.end()
        ));
    }
    Ok(())
}
