//! The fold of a topic's partition: where it starts and how far each group has come.

use std::collections::BTreeMap;

use bytes::Bytes;
use pondage_model::{
    GroupEpoch, Name, Offset,
    entry::Cursor,
    wire::{Malformed, Wire},
    wire_struct,
};

/// A consumer group in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// The owner that may move the cursor.
    pub epoch: GroupEpoch,
    /// The next message to read.
    pub offset: Offset,
    /// Messages that its owners committed, ever.
    pub committed: u64,
}
wire_struct!(Group { epoch, offset, committed });

/// One partition of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topic {
    start: Offset,
    groups: BTreeMap<Name, Group>,
}

impl Topic {
    /// The first message that retention kept.
    #[must_use]
    pub fn start(&self) -> Offset {
        self.start
    }

    /// The group, if it ever claimed this partition.
    #[must_use]
    pub fn group(&self, name: &Name) -> Option<Group> {
        self.groups.get(name).copied()
    }

    /// Every group by name.
    pub fn groups(&self) -> impl Iterator<Item = (&Name, Group)> {
        self.groups.iter().map(|(name, group)| (name, *group))
    }

    pub(crate) fn group_count(&self) -> usize {
        self.groups.len()
    }

    pub(crate) fn trim(&mut self, start: Offset, end: Offset) -> Result<(), &'static str> {
        if start < self.start || start > end {
            return Err("a trim goes forward and not beyond the end");
        }
        self.start = start;
        Ok(())
    }

    pub(crate) fn claim(&mut self, cursor: &Cursor, end: Offset) -> Result<(), &'static str> {
        let before = self.groups.get(&cursor.group);
        if before.is_some_and(|group| group.epoch >= cursor.epoch) || cursor.offset > end {
            return Err("a claim has a new epoch and an offset inside the stream");
        }
        let committed = before.map_or(0, |group| group.committed);
        let Cursor { epoch, offset, .. } = *cursor;
        self.groups.insert(cursor.group.clone(), Group { epoch, offset, committed });
        Ok(())
    }

    pub(crate) fn commit(&mut self, cursor: &Cursor, end: Offset) -> Result<(), &'static str> {
        let group = self.groups.get_mut(&cursor.group).ok_or("a commit of a group that never claimed")?;
        if group.epoch != cursor.epoch || cursor.offset < group.offset || cursor.offset > end {
            return Err("a commit is its owner's, goes forward and not beyond the end");
        }
        // What retention took was read by nobody.
        group.committed += cursor.offset.0.saturating_sub(group.offset.max(self.start).0);
        group.offset = cursor.offset;
        Ok(())
    }

    pub(crate) fn drop_group(&mut self, name: &Name) {
        self.groups.remove(name);
    }
}

impl Wire for Topic {
    fn put(&self, out: &mut Vec<u8>) {
        self.start.put(out);
        self.groups.put(out);
    }

    fn take(input: &mut Bytes) -> Result<Self, Malformed> {
        Ok(Self { start: Wire::take(input)?, groups: Wire::take(input)? })
    }
}
