//! Shards come and go beside the coordinator's task: opening a log reads it.

use pondage_model::ShardId;
use pondage_node::{
    boot::{OpenedShard, open_shard, remove_shard_folder},
    catalog::Consensus,
    coordinator::CoordinatorEvent,
    disk::Disk,
    replication::Timing,
};

use super::{AdminMessage, CoordinatorTask};
use crate::shard_task::{ShardHandle, ShardTask};

/// How patient leaders are. Connections here are TCP's: one that broke will not bring an answer, and one that comes back
/// does so within a round trip.
const TIMING: Timing = Timing {
    lag_millis_max: 1_000,
    down_millis_max: 100,
    resend_millis: 250,
    slow_wait_millis: 100,
    slow_window_millis: 60_000,
};

impl<D: Disk, C: Consensus> CoordinatorTask<D, C> {
    /// Opens the shard's log beside this task, unless it is open, and then does `then`, after all that was to be
    /// done before.
    pub(super) fn when_open(&mut self, shard: ShardId, then: impl FnOnce(&ShardHandle<D>) + Send + 'static) {
        let Some(me) = self.coordinator.registered() else { return };
        self.opening.retain(|at, opening| *at == shard || !opening.is_finished());
        let before = self.opening.remove(&shard).filter(|opening| !opening.is_finished());
        if before.is_none()
            && let Ok(handle) = self.around.broker.shard(shard)
        {
            return then(&handle);
        }
        let (store, options, around) = (self.store.clone(), self.log_options, self.around.clone());
        let broker = self.around.broker.clone();
        let opening = self.around.runtime.spawn(async move {
            if let Some(before) = before {
                drop(before.await);
            }
            if broker.shard(shard).is_err() {
                let (promises, now) = (around.promises.clone(), around.clocks.now());
                let opened = tokio::task::spawn_blocking(move || {
                    open_shard(&store, &options, shard, me, promises.get(shard), TIMING, now)
                })
                .await;
                match opened {
                    Ok(Ok(opened)) => {
                        let OpenedShard { shard: machine, writer, reader } = opened;
                        let handle = ShardTask::spawn(machine, writer, reader, around);
                        broker.add_shard(shard, handle.clone());
                        broker.tell_links(&handle, true);
                    }
                    Ok(Err(error)) => return broker.fail(error.to_string()),
                    Err(error) => return broker.fail(error.to_string()),
                }
            }
            if let Ok(handle) = broker.shard(shard) {
                then(&handle);
            }
        });
        self.opening.insert(shard, opening);
    }

    /// Ends the shard's task, says so, then removes its folder.
    pub(super) fn remove_shard(&mut self, shard: ShardId) {
        let before = self.opening.remove(&shard);
        let removed = self.around.broker.remove_shard(shard);
        let (store, broker) = (self.store.clone(), self.around.broker.clone());
        let events = self.around.coordinator.clone();
        let removing = self.around.runtime.spawn(async move {
            if let Some(before) = before {
                // It may not have come to be yet.
                drop(before.await);
            }
            if let Some(handle) = removed.or_else(|| broker.remove_shard(shard)) {
                handle.stop().await;
            }
            drop(events.send(AdminMessage::Event(CoordinatorEvent::Removed(shard))));
            let removed = tokio::task::spawn_blocking(move || remove_shard_folder(&store, shard)).await;
            if let Ok(Err(error)) = removed {
                broker.fail(format!("removing {shard:?}: {error}"));
            }
        });
        // Whoever opens the shard again waits for it.
        self.opening.insert(shard, removing);
    }
}
