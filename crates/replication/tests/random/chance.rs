//! What a history draws and what it met.

/// What a history met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) committed: u64,
    pub(crate) elections: u64,
    pub(crate) truncations: u64,
    pub(crate) restarts: u64,
    pub(crate) old_images: u64,
    pub(crate) replaced: u64,
    pub(crate) reads: u64,
    pub(crate) granted: u64,
    pub(crate) spoken: u64,
    /// How often two replicas believed to serve at once.
    pub(crate) rivals: u64,
    pub(crate) findings: u64,
    pub(crate) steps: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.committed += other.committed;
        self.elections += other.elections;
        self.truncations += other.truncations;
        self.restarts += other.restarts;
        self.old_images += other.old_images;
        self.replaced += other.replaced;
        self.reads += other.reads;
        self.granted += other.granted;
        self.spoken += other.spoken;
        self.rivals += other.rivals;
        self.findings += other.findings;
        self.steps += other.steps;
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        let index = self.below(of.len() as u64) as usize;
        of.get(index).copied()
    }
}
