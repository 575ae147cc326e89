//! What the tasks of a broker share.

use std::sync::Arc;

use pondage_node::disk::Disk;
use tokio::sync::mpsc;

use crate::{
    clocks::Clocks, coordinator_task::AdminMessage, disk_threads::DiskThreads, handle::Handle,
    member::MemberParts, promise_book::PromiseBook,
};

/// What a task of a shard needs around it.
#[derive(Debug)]
pub(crate) struct Surroundings<D: Disk> {
    /// Where shards, sessions and peers run; the coordinator has a thread of its own.
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) disk: DiskThreads,
    pub(crate) clocks: Clocks,
    pub(crate) broker: Handle<D>,
    /// To the coordinator: what the shards of this broker say to it.
    pub(crate) coordinator: mpsc::UnboundedSender<AdminMessage<D>>,
    pub(crate) promises: PromiseBook<D>,
    /// To other brokers; a lone broker has none.
    pub(crate) member: Option<Arc<MemberParts>>,
}

impl<D: Disk> Clone for Surroundings<D> {
    fn clone(&self) -> Self {
        Self {
            runtime: self.runtime.clone(),
            disk: self.disk.clone(),
            clocks: self.clocks,
            broker: self.broker.clone(),
            coordinator: self.coordinator.clone(),
            promises: self.promises.clone(),
            member: self.member.clone(),
        }
    }
}
