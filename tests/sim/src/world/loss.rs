//! Disks that are lost: emptied, or gone back to how they once were. One at a time, and only while every shard has
//! in-sync replicas on other disks: more than that no cluster survives (guarantee D1).

use pondage_catalog::Catalog;
use pondage_model::{Member, ShardId};
use pondage_storage::HostileDisk;

use super::{World, host::HostId};
use crate::invariants;

impl World {
    /// Keeps the disk as it is now, to go back to some day.
    pub(super) fn take_image(&mut self, host: HostId) {
        let image = self.hosts[host].disk.clone_image();
        self.hosts[host].image = Some(image);
        self.trace.say(self.micros, format_args!("host {host}: its disk is copied"));
    }

    /// Before a start: now and then the disk is not what it was.
    pub(super) fn lose_disk(&mut self, host: HostId) {
        if !self.faults.losses || self.is_healing() || !self.chance.once_in(4) || !self.can_lose(host) {
            return;
        }
        self.hosts[host].lost = self.member_of(host);
        let old = self.hosts[host].image.take().filter(|_| self.chance.once_in(2));
        self.trace.say(
            self.micros,
            format_args!("host {host}: its disk {}", if old.is_some() { "goes back" } else { "is emptied" }),
        );
        self.hosts[host].went_back = old.is_some();
        let seed = self.chance.any();
        let disk = old.unwrap_or_else(|| HostileDisk::new(seed, self.faults.disk));
        disk.crash();
        disk.set_faults(self.faults.disk);
        self.hosts[host].disk = disk;
        self.forget_disk(host);
        self.losses += 1;
    }

    /// What the disk was is gone: whatever comes is another volume.
    pub(super) fn forget_disk(&mut self, host: HostId) {
        let found = &mut self.hosts[host];
        found.generation += 1;
        found.replaces = found.broker.take().or(found.replaces);
    }

    /// The newest catalog that any broker has.
    pub(super) fn newest_catalog(&self) -> Option<&Catalog> {
        let catalogs =
            self.hosts.iter().filter_map(|host| host.running.as_ref().map(|up| up.brain.catalog()));
        catalogs.max_by_key(|catalog| catalog.revision())
    }

    /// The newest start of a host's broker that the catalog knows.
    fn member_of(&self, host: HostId) -> Option<Member> {
        self.newest_catalog()?.member(self.hosts[host].broker?)
    }

    /// The host whose disk still is what it was when this start was found to be in sync. A disk that went back may
    /// come again as the same broker, if no start was registered since the image was taken: then what it had is lost
    /// all the same, until a leader finds its new start in sync.
    fn holder_of(&self, member: Member) -> Option<HostId> {
        let is_lost = |lost: Member| lost.broker == member.broker && member.incarnation <= lost.incarnation;
        self.host_of(member.broker).filter(|host| !self.hosts[*host].lost.is_some_and(is_lost))
    }

    /// Whether every shard survives that this disk is lost, whatever else was lost before.
    fn can_lose(&self, host: HostId) -> bool {
        let Some(broker) = self.hosts[host].broker else { return false };
        let Some(catalog) = self.newest_catalog() else { return false };
        // A command that nobody applied yet may say otherwise.
        let known = catalog.revision().get() as usize == self.consensus.len();
        let on_disk = |member: &Member| self.holder_of(*member).is_some();
        known
            && catalog.shards().filter(|row| row.id != ShardId::CATALOG).all(|row| {
                row.isr.iter().all(on_disk) && row.isr.iter().any(|member| member.broker != broker)
            })
    }

    /// A shard's row in the newest catalog, for the invariants.
    pub(super) fn row(&self, shard: ShardId) -> Option<invariants::Row> {
        let row = self.newest_catalog()?.shard(shard)?;
        let volume = |member| self.holder_of(member).map(|host| self.hosts[host].volume(host));
        let in_sync = row.isr.iter().map(|member| (*member, volume(*member))).collect();
        Some(invariants::Row { epoch: row.epoch, in_sync })
    }
}
