//! Copies of a hostile disk, and a disk put back to one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use super::{
    HostileDisk, State,
    image::Image,
    locked,
    names::{NameChange, Node},
};

impl HostileDisk {
    /// A copy of the disk as it is now, un-synced state and the state of chance included. Handles stay with the
    /// original.
    #[must_use]
    pub fn clone_image(&self) -> Self {
        let state = self.state();
        let mut copies: Vec<(*const Mutex<Image>, Arc<Mutex<Image>>)> = Vec::new();
        let mut copy = |node: &Node| match node {
            Node::Folder => Node::Folder,
            Node::File(image) => {
                let known = copies.iter().find(|(original, _)| *original == Arc::as_ptr(image));
                if let Some((_, fresh)) = known {
                    return Node::File(fresh.clone());
                }
                let fresh = Arc::new(Mutex::new(locked(image).clone()));
                copies.push((Arc::as_ptr(image), fresh.clone()));
                Node::File(fresh)
            }
        };
        let mut copy_names = |names: &BTreeMap<String, Node>| -> BTreeMap<String, Node> {
            names.iter().map(|(path, node)| (path.clone(), copy(node))).collect()
        };
        let names = copy_names(&state.names);
        let durable_names = copy_names(&state.durable_names);
        let unsynced_names = state
            .unsynced_names
            .iter()
            .map(|change| match change {
                NameChange::Add(path, node) => NameChange::Add(path.clone(), copy(node)),
                NameChange::Remove(path) => NameChange::Remove(path.clone()),
                NameChange::Rename(from, to, node) => {
                    NameChange::Rename(from.clone(), to.clone(), copy(node))
                }
            })
            .collect();
        Self {
            state: Arc::new(Mutex::new(State {
                chance: state.chance.clone(),
                faults: state.faults,
                counters: state.counters,
                generation: 0,
                names,
                durable_names,
                unsynced_names,
                locks: BTreeSet::new(),
                operations_left: None,
                syncs_hang: false,
                syncs_go: Arc::default(),
            })),
        }
    }

    /// Puts the disk back to what `image` holds, as a restored backup or a copied volume does. Open files and locks
    /// are dead; faults, chance and counters go on as they were. The image stays as it is.
    pub fn restore(&self, image: &Self) {
        let copy = image.clone_image();
        let mut from = copy.state();
        let mut state = self.state();
        state.names = std::mem::take(&mut from.names);
        state.durable_names = std::mem::take(&mut from.durable_names);
        state.unsynced_names = std::mem::take(&mut from.unsynced_names);
        state.end_handles();
    }

    /// Empties the disk: the volume was lost and replaced. Open files and locks are dead.
    pub fn wipe(&self) {
        let mut state = self.state();
        state.names.clear();
        state.durable_names.clear();
        state.unsynced_names.clear();
        state.end_handles();
    }
}
