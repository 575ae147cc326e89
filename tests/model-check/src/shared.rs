//! Values that many states share: cloned by reference, hashed once.

use std::{
    collections::hash_map::DefaultHasher,
    fmt,
    hash::{Hash, Hasher},
    ops::Deref,
    sync::Arc,
};

/// A part of a state. Most steps change one part; the others keep their memory and their hash.
#[derive(Clone)]
pub struct Shared<T> {
    hash: u64,
    value: Arc<T>,
}

impl<T: Hash> Shared<T> {
    /// Takes a value and hashes it. The hash has no seed: a state has the same number in every run.
    pub fn new(value: T) -> Self {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        Self { hash: hasher.finish(), value: Arc::new(value) }
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl<T: PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && (Arc::ptr_eq(&self.value, &other.value) || self.value == other.value)
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

/// A set whose order says nothing: two histories that put the same things in give the same set.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Bag<T> {
    items: Vec<Shared<T>>,
}

impl<T> Default for Bag<T> {
    fn default() -> Self {
        Self { items: Vec::new() }
    }
}

impl<T: Hash> Bag<T> {
    /// Puts a thing in, once.
    pub fn insert(&mut self, item: T) {
        let item = Shared::new(item);
        if let Err(at) = self.items.binary_search_by_key(&item.hash, |known| known.hash) {
            self.items.insert(at, item);
        }
    }

    /// Takes a thing out.
    pub fn remove(&mut self, index: usize) -> Shared<T> {
        self.items.remove(index)
    }

    /// A thing.
    pub fn get(&self, index: usize) -> &Shared<T> {
        &self.items[index]
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Shared<T>> {
        self.items.iter()
    }

    /// Keeps some.
    pub fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.items.retain(|item| keep(item));
    }
}
