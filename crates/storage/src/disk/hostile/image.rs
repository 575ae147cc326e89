//! One file of the hostile disk: what is durable, what is seen, and the writes between the two.

use std::{
    fmt,
    io::{self, IoSlice},
    sync::{Arc, Mutex, MutexGuard},
};

use super::{super::DiskFile, SplitMix, State, locked};

/// Bytes that the disk writes in one piece, unless it tears.
const SECTOR_BYTES: usize = 512;

/// A file's contents.
#[derive(Clone, Default)]
pub(super) struct Image {
    durable: Vec<u8>,
    seen: Vec<u8>,
    /// Not covered by a successful sync, in order.
    unsynced: Vec<Change>,
    reserved_bytes: u64,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, data) => {
                let end = offset + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset..end].copy_from_slice(data);
            }
            Self::Length(len) => bytes.resize(*len, 0),
        }
    }

    /// Applies the part of a write that survives: any subset of its sectors, some of them torn.
    fn apply_by_chance(&self, bytes: &mut Vec<u8>, survive: u64, chance: &mut SplitMix) {
        let Self::Write(offset, data) = self else {
            if chance.below(1_000_000) < survive {
                self.apply(bytes);
            }
            return;
        };
        let mut at = 0;
        while at < data.len() {
            let to_boundary = SECTOR_BYTES - (offset + at) % SECTOR_BYTES;
            let end = data.len().min(at + to_boundary);
            if chance.below(1_000_000) < survive {
                let torn = chance.below(8) == 0;
                let kept = if torn { chance.below((end - at) as u64 + 1) as usize } else { end - at };
                let from_front = !torn || chance.below(2) == 0;
                let (from, to) = if from_front { (at, at + kept) } else { (end - kept, end) };
                Self::Write(offset + from, data[from..to].to_vec()).apply(bytes);
            }
            at = end;
        }
    }
}

impl Image {
    /// Bytes of the disk that the file takes.
    pub(super) fn space(&self) -> u64 {
        self.reserved_bytes.max(self.seen.len() as u64)
    }

    /// The power goes: chance decides what of the un-synced changes is there afterwards.
    pub(super) fn crash(&mut self, chance: &mut SplitMix) {
        let survive = chance.survival();
        for change in std::mem::take(&mut self.unsynced) {
            change.apply_by_chance(&mut self.durable, survive, chance);
        }
        self.seen.clone_from(&self.durable);
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.seen);
        self.unsynced.push(change);
    }

    fn sync(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            change.apply(&mut self.durable);
        }
    }

    /// A sync failed: the changes are no longer going to be written, and reads show them or do not.
    fn forget_unsynced(&mut self, chance: &mut SplitMix) {
        let survive = chance.survival();
        for change in std::mem::take(&mut self.unsynced) {
            change.apply_by_chance(&mut self.durable, survive, chance);
        }
        if chance.below(2) == 0 {
            self.seen.clone_from(&self.durable);
        }
    }
}

/// An open file of a [`super::HostileDisk`].
pub struct HostileFile {
    disk: Arc<Mutex<State>>,
    image: Arc<Mutex<Image>>,
    generation: u64,
}

impl fmt::Debug for HostileFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostileFile").field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl HostileFile {
    pub(super) fn new(disk: Arc<Mutex<State>>, image: Arc<Mutex<Image>>, generation: u64) -> Self {
        Self { disk, image, generation }
    }

    /// The disk's state, unless the handle died in a crash.
    fn alive(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = locked(&self.disk);
        if state.generation == self.generation {
            Ok(state)
        } else {
            Err(io::Error::other("the machine crashed: this handle is dead"))
        }
    }

    /// Refuses to grow the file to `len` bytes beyond the disk's capacity.
    fn reserve(&self, state: &State, len: u64) -> io::Result<()> {
        let more = len.saturating_sub(locked(&self.image).space());
        if more > 0 && more > state.space().free_bytes {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }
}

impl DiskFile for HostileFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.alive()?;
        let image = locked(&self.image);
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(image.seen.len());
        let mut count = buffer.len().min(image.seen.len() - start);
        let faults = state.faults;
        if count > 1 && state.strikes(faults.short_reads_per_million) {
            count = 1 + state.chance.below(count as u64 - 1) as usize;
        }
        buffer[..count].copy_from_slice(&image.seen[start..start + count]);
        if count > 0 && state.strikes(faults.misdirected_reads_per_million) {
            let at = start + state.chance.below(count as u64) as usize;
            let sector = at / SECTOR_BYTES * SECTOR_BYTES;
            let sectors = image.seen.len().div_ceil(SECTOR_BYTES) as u64;
            let other = state.chance.below(sectors) as usize * SECTOR_BYTES;
            let wanted = sector.max(start)..(sector + SECTOR_BYTES).min(start + count);
            for at in wanted {
                // The last sector of a file is filled up with zeros.
                buffer[at - start] = image.seen.get(other + at - sector).copied().unwrap_or(0);
            }
        }
        if count > 0 && state.strikes(faults.flipped_reads_per_million) {
            let at = state.chance.below(count as u64) as usize;
            buffer[at] ^= 1 << state.chance.below(8);
        }
        Ok(count)
    }

    fn write_at(&self, offset: u64, slices: &[IoSlice<'_>]) -> io::Result<()> {
        let mut state = self.alive()?;
        state.operate()?;
        let data: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        self.reserve(&state, offset + data.len() as u64)?;
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let per_million = state.faults.write_errors_per_million;
        if state.strikes(per_million) {
            let written = state.chance.below(data.len() as u64 + 1) as usize;
            locked(&self.image).change(Change::Write(offset, data[..written].to_vec()));
            return Err(io::Error::other("injected: a write failed"));
        }
        state.counters.writes += 1;
        state.counters.bytes_written += data.len() as u64;
        locked(&self.image).change(Change::Write(offset, data));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.alive()?;
        state.operate()?;
        let go = Arc::clone(&state.syncs_go);
        drop(go.wait_while(state, |state| state.syncs_hang && state.generation == self.generation));
        let mut state = self.alive()?;
        let per_million = state.faults.sync_errors_per_million;
        if state.strikes(per_million) {
            locked(&self.image).forget_unsynced(&mut state.chance);
            return Err(io::Error::other("injected: a sync failed"));
        }
        locked(&self.image).sync();
        state.counters.fsyncs += 1;
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let _state = self.alive()?;
        Ok(locked(&self.image).seen.len() as u64)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut state = self.alive()?;
        state.operate()?;
        self.reserve(&state, len)?;
        let mut image = locked(&self.image);
        image.reserved_bytes = image.reserved_bytes.max(len);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.alive()?;
        state.operate()?;
        self.reserve(&state, len)?;
        let length = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut image = locked(&self.image);
        image.reserved_bytes = image.reserved_bytes.min(len);
        image.change(Change::Length(length));
        Ok(())
    }
}
