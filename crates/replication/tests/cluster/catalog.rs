//! The catalog's row of one shard, with the rules by which it changes.

use std::collections::BTreeMap;

use pondage_model::{BrokerId, Incarnation, Member, Position};
use pondage_replication::{Assignment, IsrRequest, Status};

/// One row, and who runs.
#[derive(Clone, Debug)]
pub(crate) struct Catalog {
    pub(crate) row: Assignment,
    /// The newest start of each broker.
    pub(crate) incarnations: BTreeMap<BrokerId, Incarnation>,
}

impl Catalog {
    pub(crate) fn is_current(&self, member: Member) -> bool {
        self.incarnations.get(&member.broker) == Some(&member.incarnation)
    }

    /// Compare-and-set of the in-sync set.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn alter(&mut self, sender: BrokerId, request: &IsrRequest) -> Result<(), &'static str> {
        let row = &self.row;
        if row.leader != Some(sender) {
            return Err("the sender does not lead");
        }
        if (request.epoch, request.version) != (row.epoch, row.version) {
            return Err("another version");
        }
        if !request.isr.iter().all(|member| row.replicas.contains(&member.broker)) {
            return Err("no replica");
        }
        if !request.isr.iter().all(|member| self.is_current(*member)) {
            return Err("a start that is over");
        }
        if !request.isr.iter().any(|member| member.broker == sender) {
            return Err("without its leader");
        }
        if request.isr.len() < row.isr.len().min(row.min_in_sync_replicas as usize) {
            return Err("below the minimum");
        }
        self.row.isr.clone_from(&request.isr);
        self.row.version += 1;
        Ok(())
    }

    /// Fails over by what replicas answered.
    ///
    /// # Errors
    /// Why nobody is elected yet.
    pub(crate) fn elect(
        &mut self,
        answers: &BTreeMap<BrokerId, (Member, Status)>,
    ) -> Result<(), &'static str> {
        let row = &self.row;
        let known = answers.values().map(|(_, status)| status.high_watermark).max().unwrap_or(Position::ZERO);
        let answered: Vec<_> = row
            .isr
            .iter()
            .filter_map(|listed| {
                answers.get(&listed.broker).map(|(member, status)| (*listed, *member, *status))
            })
            .filter(|(_, member, _)| self.is_current(*member))
            .collect();
        let behind = |status: &Status| status.durable < known;
        let candidates: Vec<_> = answered.iter().filter(|(_, _, status)| !behind(status)).collect();
        let is_enough = candidates.iter().any(|(listed, member, _)| listed == member)
            || answered.len() == row.isr.len()
            || candidates.len() >= (row.min_in_sync_replicas as usize).min(row.isr.len());
        let place_of = |broker: BrokerId| row.replicas.iter().position(|replica| *replica == broker);
        let best = candidates.iter().max_by_key(|(_, member, status)| {
            (status.last_epoch, status.durable, std::cmp::Reverse(place_of(member.broker)))
        });
        let Some((_, leader, _)) = best.filter(|_| is_enough) else { return Err("too few answers") };
        // Nobody is dropped by answers that were given at different times: the leader finds out who lost something.
        let isr = row
            .isr
            .iter()
            .map(|listed| if listed.broker == leader.broker { *leader } else { *listed })
            .collect();
        let leader = leader.broker;
        self.made(leader, isr);
        Ok(())
    }

    /// Hands the leadership to an in-sync replica.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn hand_over(&mut self, version: u64, to: BrokerId) -> Result<(), &'static str> {
        let Some(member) = self.row.in_sync(to) else { return Err("not in sync") };
        if version != self.row.version {
            return Err("another version");
        }
        if !self.is_current(member) {
            return Err("a start that is over");
        }
        self.made(to, self.row.isr.clone());
        Ok(())
    }

    fn made(&mut self, leader: BrokerId, isr: Vec<Member>) {
        self.row.epoch = self.row.epoch.next();
        self.row.version += 1;
        self.row.leader = Some(leader);
        self.row.isr = isr;
    }

    /// A volume is gone for good; an empty one takes its place.
    pub(crate) fn replace(&mut self, lost: BrokerId, by: BrokerId) {
        let row = &mut self.row;
        row.isr.retain(|member| member.broker != lost);
        for replica in &mut row.replicas {
            if *replica == lost {
                *replica = by;
            }
        }
        if row.leader == Some(lost) {
            row.leader = None;
        }
        row.version += 1;
    }
}
