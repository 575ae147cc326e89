//! What a voter does by itself: tells its owner of changes, asks for snapshots, joins, and stands for election when
//! its leader is gone.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use openraft::error::Fatal;
use pondage_model::limits;
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    messages::{ReplyBody, RequestBody},
    node::Inner,
    ports::Ended,
    types::VolumeId,
};

/// How often a voter looks at itself.
const LOOK: Duration = Duration::from_millis(50);

/// After so long without a word of a leader a member asks to be taken in, or again.
const SILENCE: Duration = Duration::from_millis(2 * limits::CONSENSUS_ELECTION_MILLIS_MAX);

/// How often it asks.
const JOIN_INTERVAL: Duration = Duration::from_millis(500);

/// How often a leader looks for members that are to leave.
const TIDY_INTERVAL: Duration = Duration::from_secs(1);

/// How far apart voters stand for election that know that their leader is gone.
const SPREAD_MILLIS: u64 = 100;

/// What the owner should hear of.
type Seen = (Option<VolumeId>, u64, BTreeSet<VolumeId>, bool);

impl Inner {
    /// Starts what the voter does by itself. It ends with the voter.
    pub(crate) fn drive(self: &Arc<Self>) {
        let inner = Arc::clone(self);
        self.runtime.spawn(async move {
            tokio::select! {
                () = inner.look() => {}
                () = inner.shared.ending() => {}
            }
            // It ended by itself, or its owner stops it: either way it must not vote any more.
            let _it_panicked = inner.raft.shutdown().await;
        });
        let inner = Arc::clone(self);
        self.runtime.spawn(async move {
            tokio::select! {
                () = inner.join() => {}
                () = inner.shared.ending() => {}
            }
        });
    }

    async fn look(self: &Arc<Self>) {
        let mut metrics = self.raft.metrics();
        let mut seen: Option<Seen> = None;
        let mut tidied = Instant::now();
        loop {
            let now = {
                let metrics = metrics.borrow_and_update();
                if let Err(fatal) = &metrics.running_state {
                    self.shared.end(match fatal {
                        Fatal::StorageError(error) => Ended::VolumeFailed(error.to_string()),
                        other => Ended::Stopped(other.to_string()),
                    });
                    return;
                }
                let is_firm =
                    metrics.last_applied.is_some_and(|id| id.leader_id.term == metrics.current_term);
                let voters: BTreeSet<VolumeId> = metrics.membership_config.voter_ids().collect();
                (metrics.current_leader, metrics.current_term, voters, is_firm)
            };
            let leads = now.0 == Some(self.id);
            // The library lets a leader lead on that does not vote any more. Without its word the voters elect another.
            self.raft.runtime_config().heartbeat(!leads || now.2.contains(&self.id));
            if seen.as_ref() != Some(&now) {
                seen = Some(now);
                self.shared.changed();
            }
            if self.shared.is_snapshot_due() {
                let _it_ended = self.raft.trigger().snapshot().await;
            }
            if leads && tidied.elapsed() >= TIDY_INTERVAL {
                tidied = Instant::now();
                self.tidy();
            }
            tokio::select! {
                changed = metrics.changed() => if changed.is_err() {
                    return self.shared.end(Ended::Stopped("its task is gone".to_owned()));
                },
                () = sleep(LOOK) => {}
            }
        }
    }

    /// Whether a leader spoke to this member lately, or it leads itself.
    fn is_in_touch(&self) -> bool {
        self.leader() == Some(self.id) || self.heard().is_some_and(|heard| heard.elapsed() < SILENCE)
    }

    /// Asks seeds and members to let this member listen, whenever no leader speaks to it.
    async fn join(&self) {
        loop {
            sleep(JOIN_INTERVAL).await;
            if self.is_in_touch() {
                continue;
            }
            let mut places: BTreeSet<String> = self.seeds.iter().cloned().collect();
            {
                let metrics = self.raft.metrics();
                let metrics = metrics.borrow();
                places.extend(metrics.membership_config.nodes().map(|(_, node)| node.address.clone()));
            }
            places.remove(&self.address);
            for place in places {
                let body =
                    RequestBody::Join { volume: self.id.0, address: self.address.clone(), forwarded: false };
                if let Ok(ReplyBody::Joined) = self.caller.call(None, &place, body, JOIN_INTERVAL * 4).await {
                    break;
                }
                if self.is_in_touch() {
                    break;
                }
            }
        }
    }

    /// Stands for election in the place of a leader whose process is gone: not before its lease is over, when others
    /// vote again, and not at the same moment as they.
    pub(crate) async fn elect_soon(&self, gone: VolumeId) {
        let lease = Duration::from_millis(limits::CONSENSUS_ELECTION_MILLIS_MAX + 1);
        let over = self.heard().map_or_else(Instant::now, |heard| heard + lease);
        let spread = u64::from(self.id.0.0[15]) * SPREAD_MILLIS / 256;
        sleep_until(over + Duration::from_millis(spread)).await;
        let is_voter = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow();
            metrics.membership_config.voter_ids().any(|id| id == self.id)
        };
        let still_gone =
            self.leader() == Some(gone) && self.heard().is_none_or(|heard| heard.elapsed() >= lease);
        if is_voter && still_gone && !self.shared.has_ended() {
            let _it_ended = self.raft.trigger().elect().await;
        }
    }
}
