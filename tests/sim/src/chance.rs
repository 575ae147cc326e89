//! Chance for a world: the disk's generator with the shapes that clients need.

use pondage_storage::disk::hostile::SplitMix;

/// A stream of numbers that its seed determines.
#[derive(Clone, Debug)]
pub(crate) struct Chance(SplitMix);

impl Chance {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(SplitMix::new(seed))
    }

    /// Any number.
    pub(crate) const fn any(&mut self) -> u64 {
        self.0.any()
    }

    /// A number below `bound`.
    pub(crate) const fn below(&mut self, bound: u64) -> u64 {
        self.any() % bound
    }

    /// A number in the range, both ends included.
    pub(crate) const fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    /// True once in `times`.
    pub(crate) const fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// Sixteen bytes.
    pub(crate) fn uuid(&mut self) -> pondage_model::Uuid {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.any().to_le_bytes());
        bytes[8..].copy_from_slice(&self.any().to_le_bytes());
        pondage_model::Uuid(bytes)
    }
}
