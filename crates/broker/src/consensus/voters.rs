//! Who votes and who listens: members are taken in, made voters, and let go.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use openraft::ChangeMembers;
use pondage_model::{BrokerId, Refusal, Uuid, limits};
use tokio::time::{Instant, sleep, timeout};

use super::{
    messages::{ReplyBody, RequestBody},
    node::Inner,
    types::{Node, VolumeId},
};

/// How often a member that shall vote is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// A member that shall vote has caught up when it lacks no more entries than this.
const LAG_MAX: u64 = 16;

/// How long one change of the membership may take.
const CHANGE_LIMIT: Duration = Duration::from_millis(limits::CONSENSUS_ANSWER_MILLIS);

impl Inner {
    /// Begins to make these brokers the voters, if they are not and no change is under way.
    pub(crate) fn change_voters(self: &Arc<Self>, voters: &[BrokerId]) -> Result<(), Refusal> {
        let mut wanted = BTreeMap::new();
        for broker in voters {
            let invalid = |what: String| Err(Refusal::InvalidArgument { what });
            let Some(row) = self.caller.brokers().broker(*broker).filter(|row| !row.lost) else {
                return invalid(format!("voters: there is no broker {broker}, or it is lost"));
            };
            let node = Node { address: row.address };
            if wanted.insert(VolumeId(row.start.volume), node).is_some() {
                return invalid(format!("voters: broker {broker} is named twice"));
            }
        }
        if wanted.is_empty() {
            return Err(Refusal::InvalidArgument {
                what: "voters: the catalog needs at least one".to_owned(),
            });
        }
        let (configs, leads) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow();
            let configs = metrics.membership_config.membership().get_joint_config().clone();
            (configs, metrics.current_leader == Some(self.id))
        };
        let are_voters = configs.len() == 1 && configs[0].iter().eq(wanted.keys());
        if are_voters || !leads || self.changing.swap(true, Ordering::AcqRel) {
            // Asked again and again until it is so, on whichever broker leads.
            return Ok(());
        }
        let inner = Arc::clone(self);
        self.runtime.spawn(async move {
            inner.make_voters(wanted).await;
            inner.changing.store(false, Ordering::Release);
            inner.shared.changed();
        });
        Ok(())
    }

    /// Lets the new ones catch up as listeners, then lets all of them vote. Whoever does not vote any more listens.
    async fn make_voters(&self, wanted: BTreeMap<VolumeId, Node>) {
        let deadline = Instant::now() + Duration::from_millis(limits::CONSENSUS_CATCH_UP_MILLIS);
        let missing: BTreeMap<VolumeId, Node> = wanted
            .iter()
            .filter(|(id, _)| self.address_of(**id).is_none())
            .map(|(i, n)| (*i, n.clone()))
            .collect();
        if !missing.is_empty() && !self.change(ChangeMembers::AddNodes(missing), true).await {
            return;
        }
        while !wanted.keys().all(|id| self.has_caught_up(*id)) {
            if Instant::now() >= deadline || self.shared.has_ended() || self.leader() != Some(self.id) {
                return;
            }
            sleep(LOOK).await;
        }
        let voters = wanted.into_keys().collect();
        self.change(ChangeMembers::ReplaceAllVoters(voters), true).await;
    }

    fn has_caught_up(&self, id: VolumeId) -> bool {
        if id == self.id {
            return true;
        }
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let matched = metrics.replication.as_ref().and_then(|all| all.get(&id).copied().flatten());
        let last = metrics.last_log_index.unwrap_or_default();
        matched.is_some_and(|matched| matched.index + LAG_MAX >= last)
    }

    /// Makes one change of the membership; whether it is made. One whose answer takes too long may be made yet.
    async fn change(&self, change: ChangeMembers<VolumeId, Node>, retain: bool) -> bool {
        matches!(timeout(CHANGE_LIMIT, self.raft.change_membership(change, retain)).await, Ok(Ok(_)))
    }

    /// Lets a member listen, or takes note of its new address.
    pub(crate) async fn take_in(&self, volume: Uuid, address: String, forwarded: bool) -> ReplyBody {
        let Some(leader) = self.leader() else { return ReplyBody::NotLeader(None) };
        if leader != self.id {
            let Some(at) = self.address_of(leader).filter(|_| !forwarded) else { return self.not_leader() };
            let body = RequestBody::Join { volume, address, forwarded: true };
            return match self.caller.call(Some(leader.0), &at, body, CHANGE_LIMIT).await {
                Ok(answer @ (ReplyBody::Joined | ReplyBody::Busy | ReplyBody::NotLeader(_))) => answer,
                _ => ReplyBody::Busy,
            };
        }
        if self.caller.brokers().on_volume(volume).is_some_and(|row| row.lost) {
            return ReplyBody::Superseded;
        }
        let id = VolumeId(volume);
        let change = match self.address_of(id) {
            Some(known) if known == address => return ReplyBody::Joined,
            // The name is the volume, which can be in one place only: its old address leads nowhere any more.
            Some(_) => ChangeMembers::SetNodes(BTreeMap::from([(id, Node { address })])),
            None => ChangeMembers::AddNodes(BTreeMap::from([(id, Node { address })])),
        };
        if self.change(change, true).await { ReplyBody::Joined } else { ReplyBody::Busy }
    }

    /// Lets listeners go whose volume is lost. One that the catalog does not know may be on its way in; one whose
    /// broker was removed ends by itself and is let go when it is gone from the catalog after it was known.
    pub(crate) fn tidy(self: &Arc<Self>) {
        let leaving: BTreeSet<VolumeId> = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow();
            let membership = metrics.membership_config.membership();
            membership.learner_ids().filter(|id| self.is_to_leave(*id)).collect()
        };
        if leaving.is_empty() || self.changing.swap(true, Ordering::AcqRel) {
            return;
        }
        let inner = Arc::clone(self);
        self.runtime.spawn(async move {
            inner.change(ChangeMembers::RemoveNodes(leaving), true).await;
            inner.changing.store(false, Ordering::Release);
        });
    }

    fn is_to_leave(&self, id: VolumeId) -> bool {
        let row = self.caller.brokers().on_volume(id.0);
        let was_known = self.remember_known(id, row.is_some());
        row.map_or(was_known, |row| row.lost)
    }
}
