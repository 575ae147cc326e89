//! The journal of promised epochs: one per volume, one sync per batch. `docs/formats/promises.md` draws it.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, IoSlice},
};

use pondage_model::{Epoch, ShardId};

use crate::{
    disk::{Disk, DiskFile},
    log::{
        Corruption, Fault, OpenError, Operation,
        error::{Failed, step},
        full_path,
    },
};

mod format;

use format::{Found, Header, Record};

const JOURNAL: &str = "promises";
const UNFINISHED: &str = "promises.new";

/// Records above which the file is replaced by one with a record per shard.
const RECORDS_MAX: u64 = 65_536;

/// Opens the journal of a volume, or begins one. What it gives is durable.
///
/// # Errors
/// [`OpenError::Corrupt`] if promises that were durable are damaged, [`OpenError::Newer`] for a newer program's file,
/// [`OpenError::Io`]. A journal that can't be read is never taken for an empty one.
pub fn open<D: Disk>(disk: D) -> Result<Promises<D>, OpenError> {
    let failed = |failed: Failed| failed.into_open_error(&disk);
    let (mut generation, mut epochs) = (0, BTreeMap::new());
    if step(Operation::Read, JOURNAL, 0, disk.exists(JOURNAL)).map_err(failed)? {
        let file = step(Operation::Open, JOURNAL, 0, disk.open(JOURNAL)).map_err(failed)?;
        match step(Operation::Read, JOURNAL, 0, format::read(&file)).map_err(failed)? {
            Found::Good(header, promises) => (generation, epochs) = (header.generation, promises),
            Found::Newer(version) => {
                return Err(OpenError::Newer { file: full_path(&disk, JOURNAL), version });
            }
            Found::Bad(offset, what) => {
                return Err(OpenError::Corrupt(Corruption { file: full_path(&disk, JOURNAL), offset, what }));
            }
        }
    }
    let journal = Journal::make(&disk, generation + 1, &epochs).map_err(failed)?;
    Ok(Promises { disk, journal, epochs, fault: None })
}

/// Removes the journal of a volume that is being emptied. It is gone for good when this returns.
///
/// # Errors
/// The disk's; it may be gone or not.
pub fn remove<D: Disk>(disk: &D) -> io::Result<()> {
    for name in [UNFINISHED, JOURNAL] {
        if disk.exists(name)? {
            disk.remove(name)?;
        }
    }
    disk.sync_dir("")
}

/// Which epoch each replica of a volume has promised: it follows no leader of an older one.
pub struct Promises<D: Disk> {
    disk: D,
    journal: Journal<D::File>,
    epochs: BTreeMap<ShardId, Epoch>,
    fault: Option<Fault>,
}

/// Proof that promises are durable. Only [`Promises::promise`] makes it.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "replies wait for this"]
pub struct Promised {
    promises: Vec<(ShardId, Epoch)>,
}

impl Promised {
    /// The promises, as they were asked for.
    #[must_use]
    pub fn promises(&self) -> &[(ShardId, Epoch)] {
        &self.promises
    }
}

impl<D: Disk> Promises<D> {
    /// Makes the promises durable, all with one sync; those that were made before cost nothing.
    ///
    /// # Errors
    /// [`Fault`], and from then on always that; which of the promises are there after a restart is unknown.
    ///
    /// # Panics
    /// If an epoch is below one that its shard promised before: a mistake of ours.
    pub fn promise(&mut self, promises: &[(ShardId, Epoch)]) -> Result<Promised, Fault> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let rising = self.rising(promises);
        if !rising.is_empty() {
            if let Err(failed) = self.write(&rising) {
                let fault = failed.into_fault(&self.disk);
                self.fault = Some(fault.clone());
                return Err(fault);
            }
            self.epochs.extend(rising);
        }
        Ok(Promised { promises: promises.to_vec() })
    }

    /// The greatest epoch that the shard's replica here durably promised; [`Epoch::ZERO`] if there was none.
    #[must_use]
    pub fn get(&self, shard: ShardId) -> Epoch {
        self.epochs.get(&shard).copied().unwrap_or(Epoch::ZERO)
    }

    /// Every shard with a promise, ascending, and its greatest epoch.
    pub fn iter(&self) -> impl Iterator<Item = (ShardId, Epoch)> + '_ {
        self.epochs.iter().map(|(shard, epoch)| (*shard, *epoch))
    }

    /// The fault that fenced the journal, if one did.
    #[must_use]
    pub const fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    /// The promises that are not durable yet, the last of each shard.
    fn rising(&self, promises: &[(ShardId, Epoch)]) -> BTreeMap<ShardId, Epoch> {
        let mut rising: BTreeMap<ShardId, Epoch> = BTreeMap::new();
        for (shard, epoch) in promises {
            let before = rising.get(shard).copied().unwrap_or_else(|| self.get(*shard));
            assert!(*epoch >= before, "{shard:?} promised {before:?} and may not go back to {epoch:?}");
            if *epoch > before {
                rising.insert(*shard, *epoch);
            }
        }
        rising
    }

    fn write(&mut self, rising: &BTreeMap<ShardId, Epoch>) -> Result<(), Failed> {
        if self.journal.records + rising.len() as u64 <= RECORDS_MAX {
            return self.journal.append(rising);
        }
        let mut epochs = self.epochs.clone();
        epochs.extend(rising);
        self.journal = Journal::make(&self.disk, self.journal.generation + 1, &epochs)?;
        Ok(())
    }
}

impl<D: Disk> fmt::Debug for Promises<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promises")
            .field("shards", &self.epochs.len())
            .field("records", &self.journal.records)
            .field("fault", &self.fault)
            .finish_non_exhaustive()
    }
}

/// The file, and how it ends.
struct Journal<F> {
    file: F,
    generation: u64,
    salt: u32,
    records: u64,
    batch: u64,
    /// The CRC of the last record.
    last_crc: u32,
}

impl<F: DiskFile> Journal<F> {
    /// Makes a file with these promises and puts it in the place of the one before. It is durable when this returns.
    fn make<D: Disk<File = F>>(
        disk: &D,
        generation: u64,
        epochs: &BTreeMap<ShardId, Epoch>,
    ) -> Result<Self, Failed> {
        let records = u32::try_from(epochs.len()).expect("a shard's number has 32 bits");
        let (mut bytes, salt) = Header { generation, records }.encode();
        let last_crc = put_batch(epochs, Link { salt, previous: salt, number: 0, batch: 0 }, &mut bytes);
        if step(Operation::Read, UNFINISHED, 0, disk.exists(UNFINISHED))? {
            step(Operation::Remove, UNFINISHED, 0, disk.remove(UNFINISHED))?;
        }
        let file = step(Operation::Create, UNFINISHED, 0, disk.create(UNFINISHED))?;
        step(Operation::Write, UNFINISHED, 0, file.write_at(0, &[IoSlice::new(&bytes)]))?;
        step(Operation::Sync, UNFINISHED, 0, file.sync_data())?;
        step(Operation::Rename, UNFINISHED, 0, disk.rename(UNFINISHED, JOURNAL))?;
        step(Operation::SyncFolder, "", 0, disk.sync_dir(""))?;
        Ok(Self { file, generation, salt, records: records.into(), batch: 0, last_crc })
    }

    /// Appends a batch. It is durable when this returns.
    fn append(&mut self, promises: &BTreeMap<ShardId, Epoch>) -> Result<(), Failed> {
        let mut bytes = Vec::with_capacity(promises.len() * format::RECORD_BYTES);
        let link =
            Link { salt: self.salt, previous: self.last_crc, number: self.records, batch: self.batch + 1 };
        let last_crc = put_batch(promises, link, &mut bytes);
        let place = format::place(self.records);
        step(Operation::Write, JOURNAL, place, self.file.write_at(place, &[IoSlice::new(&bytes)]))?;
        step(Operation::Sync, JOURNAL, place, self.file.sync_data())?;
        self.records += promises.len() as u64;
        self.batch += 1;
        self.last_crc = last_crc;
        Ok(())
    }
}

/// What ties a batch to its file and the record before it.
#[derive(Clone, Copy)]
struct Link {
    salt: u32,
    /// The CRC of the record before; the salt in the first.
    previous: u32,
    /// Of its first record, from the file's beginning.
    number: u64,
    batch: u64,
}

/// Appends the records of a batch to `bytes` and gives the CRC of the last.
fn put_batch(promises: &BTreeMap<ShardId, Epoch>, link: Link, bytes: &mut Vec<u8>) -> u32 {
    let mut previous = link.previous;
    for (index, (shard, epoch)) in (0..).zip(promises) {
        let record = Record { previous, shard: *shard, index, epoch: *epoch, batch: link.batch };
        previous = record.put(link.salt, link.number + u64::from(index), bytes);
    }
    previous
}
