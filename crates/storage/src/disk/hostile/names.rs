//! The names on the hostile disk, and the changes of them that are not durable yet.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use super::image::Image;

/// What a name stands for.
#[derive(Clone)]
pub(super) enum Node {
    Folder,
    File(Arc<Mutex<Image>>),
}

/// One change in one folder.
#[derive(Clone)]
pub(super) enum NameChange {
    Add(String, Node),
    Remove(String),
    Rename(String, String, Node),
}

impl NameChange {
    /// The folder whose sync makes it durable.
    pub(super) fn folder(&self) -> &str {
        match self {
            Self::Add(path, _) | Self::Remove(path) | Self::Rename(path, _, _) => parent(path),
        }
    }

    pub(super) fn apply(&self, names: &mut BTreeMap<String, Node>) {
        match self {
            Self::Add(path, node) => {
                names.insert(path.clone(), node.clone());
            }
            Self::Remove(path) => {
                names.remove(path);
            }
            Self::Rename(from, to, node) => {
                names.remove(from);
                names.insert(to.clone(), node.clone());
            }
        }
    }
}

/// The folder of a path.
pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}
