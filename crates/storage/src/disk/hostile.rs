//! A disk in memory that keeps no promise it need not keep, from a seed.
//!
//! What was not synced survives a crash in any subset of its 512-byte sectors, and a sector may be torn; names need a
//! sync of their folder; a failing sync forgets what it should have written, while reads may go on showing it. The
//! same seed and the same calls give the same disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use super::{Disk, Space};

mod chance;
mod copy;
mod image;
mod names;

pub use chance::SplitMix;
pub use image::HostileFile;
use image::Image;
use names::{NameChange, Node, parent};

/// Which faults a [`HostileDisk`] shows, and how often. The default shows none until a crash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Writes that fail, of a million; a part of their sectors may be written.
    pub write_errors_per_million: u32,
    /// Syncs of files and folders that fail, of a million.
    pub sync_errors_per_million: u32,
    /// Reads that give fewer bytes than asked, of a million.
    pub short_reads_per_million: u32,
    /// Reads that give one flipped bit, of a million; the disk itself stays as it is.
    pub flipped_reads_per_million: u32,
    /// Reads that show one sector of the file where another belongs, of a million; the disk itself stays as it is.
    pub misdirected_reads_per_million: u32,
    /// Bytes that files may take together.
    pub capacity_bytes: Option<u64>,
}

/// What a [`HostileDisk`] has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostileCounters {
    /// Syncs of files that succeeded.
    pub fsyncs: u64,
    /// Syncs of folders that succeeded.
    pub folder_syncs: u64,
    /// Writes that succeeded.
    pub writes: u64,
    /// Bytes of those.
    pub bytes_written: u64,
    /// Faults shown: errors, short and flipped reads.
    pub faults: u64,
    /// Crashes.
    pub crashes: u64,
    /// Changes and syncs, of files and of names, that were asked for.
    pub operations: u64,
}

/// A disk in memory with seeded faults. Clones share it.
#[derive(Clone)]
pub struct HostileDisk {
    state: Arc<Mutex<State>>,
}

struct State {
    chance: SplitMix,
    faults: Faults,
    counters: HostileCounters,
    /// Grows with each crash: handles of an earlier one are dead.
    generation: u64,
    /// Names as the running system sees them.
    names: BTreeMap<String, Node>,
    /// Names that survive a crash.
    durable_names: BTreeMap<String, Node>,
    /// Changes of names that no sync of their folder covered yet, in order.
    unsynced_names: Vec<NameChange>,
    locks: BTreeSet<String>,
    /// Changes that are still carried out, if the power is about to go.
    operations_left: Option<u64>,
    /// Syncs of files hang.
    syncs_hang: bool,
    /// Told when that is over.
    syncs_go: Arc<Condvar>,
}

impl HostileDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                chance: SplitMix::new(seed),
                faults,
                counters: HostileCounters::default(),
                generation: 0,
                names: BTreeMap::new(),
                durable_names: BTreeMap::new(),
                unsynced_names: Vec::new(),
                locks: BTreeSet::new(),
                operations_left: None,
                syncs_hang: false,
                syncs_go: Arc::default(),
            })),
        }
    }

    /// The power goes and comes back: what was not synced survives by chance; open files and locks are dead.
    pub fn crash(&self) {
        let mut state = self.state();
        let State { chance, names, durable_names, unsynced_names, .. } = &mut *state;
        // How lucky this crash is, so that all and nothing surviving both happen often.
        let survive = chance.survival();
        for change in unsynced_names.drain(..) {
            if chance.below(1_000_000) < survive {
                change.apply(durable_names);
            }
        }
        // A name in a folder that did not survive is gone with it.
        let folders: BTreeSet<String> = durable_names
            .iter()
            .filter(|(_, node)| matches!(node, Node::Folder))
            .map(|(path, _)| path.clone())
            .collect();
        durable_names.retain(|path, _| {
            let mut folder = parent(path);
            while !folder.is_empty() && folders.contains(folder) {
                folder = parent(folder);
            }
            folder.is_empty()
        });
        *names = durable_names.clone();
        let mut crashed: Vec<*const Mutex<Image>> = Vec::new();
        for node in names.values() {
            if let Node::File(image) = node
                && !crashed.contains(&Arc::as_ptr(image))
            {
                crashed.push(Arc::as_ptr(image));
                locked(image).crash(chance);
            }
        }
        state.end_handles();
        state.counters.crashes += 1;
    }

    /// The process dies and the machine goes on: open files and locks are dead, everything written is still seen.
    pub fn kill(&self) {
        self.state().end_handles();
    }

    /// Carries out `operations` more changes and syncs, of files and of names, and refuses all later ones, until
    /// [`Self::crash`] or [`Self::kill`]: so a test can stop a process at each step of what it does.
    pub fn stop_after(&self, operations: u64) {
        self.state().operations_left = Some(operations);
    }

    /// No sync of a file ends from now on, until [`Self::crash`] or [`Self::kill`], which it does not outlive.
    pub fn hang_syncs(&self) {
        self.state().syncs_hang = true;
    }

    /// Draws chance from this seed from now on: copies of one disk may have different luck.
    pub fn reseed(&self, seed: u64) {
        self.state().chance = SplitMix::new(seed);
    }

    /// What the disk has done.
    #[must_use]
    pub fn counters(&self) -> HostileCounters {
        self.state().counters
    }

    /// Shows other faults from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}

impl fmt::Debug for HostileDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("HostileDisk")
            .field("faults", &state.faults)
            .field("counters", &state.counters)
            .field("names", &state.names.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl State {
    /// Whether a fault of this frequency strikes now.
    fn strikes(&mut self, per_million: u32) -> bool {
        let struck = per_million > 0 && self.chance.below(1_000_000) < u64::from(per_million);
        self.counters.faults += u64::from(struck);
        struck
    }

    /// Open files and locks die with their process, and what stopped it is over.
    fn end_handles(&mut self) {
        self.generation += 1;
        self.locks.clear();
        self.operations_left = None;
        self.syncs_hang = false;
        self.syncs_go.notify_all();
    }

    /// Takes note of a change or sync, and refuses it if the power is gone.
    fn operate(&mut self) -> io::Result<()> {
        self.counters.operations += 1;
        match &mut self.operations_left {
            None => Ok(()),
            Some(0) => Err(io::Error::other("injected: the power is gone")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.unsynced_names.push(change);
    }

    fn used_bytes(&self) -> u64 {
        let size = |node: &Node| match node {
            Node::Folder => 0,
            Node::File(image) => locked(image).space(),
        };
        self.names.values().map(size).sum()
    }

    fn space(&self) -> Space {
        let size_bytes = self.faults.capacity_bytes.unwrap_or(u64::MAX);
        Space { free_bytes: size_bytes.saturating_sub(self.used_bytes()), size_bytes }
    }

    fn require_folder(&self, folder: &str) -> io::Result<()> {
        match self.names.get(folder) {
            _ if folder.is_empty() => Ok(()),
            Some(Node::Folder) => Ok(()),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Disk for HostileDisk {
    type File = HostileFile;
    type Lock = HostileLock;

    fn name(&self) -> String {
        "hostile-disk".to_owned()
    }

    fn create(&self, path: &str) -> io::Result<HostileFile> {
        let mut state = self.state();
        state.operate()?;
        state.require_folder(parent(path))?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let image = Arc::new(Mutex::new(Image::default()));
        state.change(NameChange::Add(path.to_owned(), Node::File(image.clone())));
        Ok(HostileFile::new(self.state.clone(), image, state.generation))
    }

    fn open(&self, path: &str) -> io::Result<HostileFile> {
        let state = self.state();
        match state.names.get(path) {
            Some(Node::File(image)) => {
                Ok(HostileFile::new(self.state.clone(), image.clone(), state.generation))
            }
            Some(Node::Folder) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        Ok(path.is_empty() || self.state().names.contains_key(path))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let state = self.state();
        state.require_folder(folder)?;
        let inside = state.names.keys().filter(|path| parent(path) == folder && !path.is_empty());
        Ok(inside.map(|path| path.rsplit('/').next().unwrap_or(path).to_owned()).collect())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        match state.names.get(path) {
            Some(Node::File(_)) => {
                state.change(NameChange::Remove(path.to_owned()));
                Ok(())
            }
            Some(Node::Folder) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        assert_eq!(parent(from), parent(to), "files are renamed within their folder");
        let mut state = self.state();
        state.operate()?;
        let node = state.names.get(from).cloned().ok_or(io::ErrorKind::NotFound)?;
        state.change(NameChange::Rename(from.to_owned(), to.to_owned(), node));
        Ok(())
    }

    fn create_dir_all(&self, folder: &str) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        let ends = folder.match_indices('/').map(|(end, _)| end).chain([folder.len()]);
        for end in ends.filter(|end| *end > 0) {
            match state.names.get(&folder[..end]) {
                Some(Node::Folder) => {}
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => state.change(NameChange::Add(folder[..end].to_owned(), Node::Folder)),
            }
        }
        Ok(())
    }

    fn sync_dir(&self, folder: &str) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        state.require_folder(folder)?;
        let per_million = state.faults.sync_errors_per_million;
        if state.strikes(per_million) {
            return Err(io::Error::other("injected: the sync of a folder failed"));
        }
        let State { durable_names, unsynced_names, counters, .. } = &mut *state;
        unsynced_names.retain(|change| {
            let covered = change.folder() == folder;
            if covered {
                change.apply(durable_names);
            }
            !covered
        });
        counters.folder_syncs += 1;
        Ok(())
    }

    fn lock_exclusive(&self, path: &str) -> io::Result<HostileLock> {
        let mut state = self.state();
        if !state.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let generation = state.generation;
        Ok(HostileLock { state: self.state.clone(), path: path.to_owned(), generation })
    }

    fn space(&self) -> io::Result<Space> {
        Ok(self.state().space())
    }
}

/// A lock of a [`HostileDisk`].
pub struct HostileLock {
    state: Arc<Mutex<State>>,
    path: String,
    generation: u64,
}

impl fmt::Debug for HostileLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostileLock").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Drop for HostileLock {
    fn drop(&mut self) {
        let mut state = locked(&self.state);
        if state.generation == self.generation {
            state.locks.remove(&self.path);
        }
    }
}

/// A panic of another holder is a test's failure already; the disk's own state is whole between calls.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
