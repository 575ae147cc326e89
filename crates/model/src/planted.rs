//! Known faults that a simulation plants on purpose, to see whether its checkers find them.
//!
//! Each [`Fault`] is a mistake that another system made and published, transferred to the place in Pondage where a
//! plausible programmer would repeat it. The list was written before the checkers, from the literature, and no checker
//! is tuned to a fault. A place asks [`is`] for its fault; without the feature `planted` the answer is a constant
//! `false` and the place compiles to what it would be without the question. No shipped program enables the feature.

mod list;

#[cfg(feature = "planted")]
use std::cell::Cell;

pub use list::Fault;

/// The part of the code that a fault is planted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Area {
    /// The leader and follower protocol of a shard.
    Replication,
    /// The log on a disk.
    Storage,
    /// Queues, cursors, producers, dead letters.
    Delivery,
    /// Elections, ISR membership, identity, names.
    Catalog,
}

#[cfg(feature = "planted")]
thread_local! {
    static CURRENT: Cell<Option<Fault>> = const { Cell::new(None) };
}

/// Plants a fault in everything that this thread runs from now on, or none. At most one is planted at a time.
#[cfg(feature = "planted")]
pub fn plant(fault: Option<Fault>) {
    CURRENT.set(fault);
}

/// Whether this fault is planted in what this thread runs.
#[cfg(feature = "planted")]
#[must_use]
#[inline]
pub fn is(fault: Fault) -> bool {
    CURRENT.get() == Some(fault)
}

/// Whether this fault is planted: never, without the feature `planted`.
#[cfg(not(feature = "planted"))]
#[must_use]
#[inline(always)]
pub const fn is(_fault: Fault) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_fault_has_its_own_name_a_meaning_and_a_source() {
        let names: BTreeSet<_> = Fault::ALL.iter().map(|fault| fault.name()).collect();
        assert_eq!(names.len(), Fault::ALL.len());
        assert!(Fault::ALL.len() >= 46, "the test plan asks for at least 40 that are found");
        for fault in Fault::ALL {
            assert_eq!(Fault::from_name(fault.name()), Some(*fault));
            assert!(fault.name().chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'));
            assert!(fault.meaning().ends_with('.') && !fault.meaning().contains('|'), "{fault:?}");
            assert!(!fault.source().is_empty() && !fault.source().contains('|'), "{fault:?}");
        }
        assert_eq!(Fault::from_name("no-such-fault"), None);
        let areas: Vec<_> = Fault::ALL.iter().map(|fault| fault.area()).collect();
        assert!(areas.is_sorted(), "the list goes by area");
    }

    #[cfg(feature = "planted")]
    #[test]
    #[expect(clippy::disallowed_methods, reason = "another thread is what this is about")]
    fn a_fault_is_planted_in_one_thread_until_another_takes_its_place() {
        plant(Some(Fault::SkipFolderSync));
        assert!(is(Fault::SkipFolderSync) && !is(Fault::ForgetProducers));
        let elsewhere = std::thread::spawn(|| is(Fault::SkipFolderSync)).join();
        assert!(!elsewhere.expect("it only asks"));
        plant(None);
        assert!(!is(Fault::SkipFolderSync));
    }

    #[cfg(not(feature = "planted"))]
    #[test]
    fn nothing_is_planted_without_the_feature() {
        const NEVER: bool = is(Fault::SkipFolderSync);
        assert!(!NEVER && Fault::ALL.iter().all(|fault| !is(*fault)));
    }
}
