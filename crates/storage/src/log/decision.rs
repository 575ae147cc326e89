//! The recovery table of `docs/formats/segment.md`, as a function of facts.

use pondage_model::planted::{self, Fault};

/// What was found about one segment whose header is good: a bad or newer one ends the opening when it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// Whether no segment follows.
    pub(super) newest: bool,
    /// Whether index block and footer check out.
    pub(super) index_good: bool,
    /// Whether the next segment's header continues where this one ends, by its index if that is good, else by the
    /// scan.
    pub(super) joins: bool,
    /// How the scan of the frames ended; not looked at when the index is good.
    pub(super) scan: ScanFact,
    /// Whether the scan found a frame.
    pub(super) frames: bool,
    /// Whether the segment before this one was dropped.
    pub(super) previous_dropped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScanFact {
    Clean,
    Torn,
    BeforeLaterBatch,
    Newer,
}

/// What to do with the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Trust the index; of the newest segment, write it again.
    UseIndex,
    /// Trust the scan and write the index anew.
    RebuildIndex,
    /// Write the last batch again; nothing is behind it.
    ServeTail,
    /// Write the last batch again and zeros behind it.
    CutTail,
    /// Nothing acknowledged was ever in it.
    RemoveFile,
    /// A newer program wrote it.
    Newer,
    /// A frame is damaged.
    CorruptFrame,
    /// The next segment does not continue here.
    Disjoint,
    /// The only segment lost its frames, though older ones were dropped because it had some.
    Emptied,
}

pub(super) fn decide(facts: Facts) -> Decision {
    if facts.index_good {
        return if facts.newest || facts.joins { Decision::UseIndex } else { Decision::Disjoint };
    }
    match (facts.scan, facts.newest) {
        (ScanFact::Newer, _) => Decision::Newer,
        (_, false) if facts.joins => Decision::RebuildIndex,
        (ScanFact::BeforeLaterBatch, true) if planted::is(Fault::CutAtCorruption) => Decision::CutTail,
        (ScanFact::Clean, false) => Decision::Disjoint,
        (ScanFact::Torn | ScanFact::BeforeLaterBatch, false) | (ScanFact::BeforeLaterBatch, true) => {
            Decision::CorruptFrame
        }
        (ScanFact::Clean | ScanFact::Torn, true) if !facts.frames => {
            if facts.previous_dropped {
                Decision::Emptied
            } else {
                Decision::RemoveFile
            }
        }
        (ScanFact::Clean, true) => Decision::ServeTail,
        (ScanFact::Torn, true) => Decision::CutTail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Facts> {
        let mut all = Vec::new();
        for scan in [ScanFact::Clean, ScanFact::Torn, ScanFact::BeforeLaterBatch, ScanFact::Newer] {
            for bits in 0..32u8 {
                let [newest, index_good, joins, frames, previous_dropped] =
                    std::array::from_fn(|bit| bits >> bit & 1 == 1);
                all.push(Facts { newest, index_good, joins, scan, frames, previous_dropped });
            }
        }
        all
    }

    /// One row: which facts it is about, and what they lead to.
    type Row = (fn(&Facts) -> bool, Decision);

    /// The table of the document, row by row.
    const TABLE: [Row; 12] = [
        (|f| !f.newest && f.index_good && f.joins, Decision::UseIndex),
        (|f| !f.newest && f.index_good && !f.joins, Decision::Disjoint),
        (|f| !f.index_good && f.scan == ScanFact::Newer, Decision::Newer),
        (|f| scanned(f) && !f.newest && f.joins, Decision::RebuildIndex),
        (|f| scanned(f) && !f.newest && !f.joins && f.scan == ScanFact::Clean, Decision::Disjoint),
        (|f| scanned(f) && !f.newest && !f.joins && f.scan != ScanFact::Clean, Decision::CorruptFrame),
        (|f| f.newest && f.index_good, Decision::UseIndex),
        (|f| scanned(f) && f.newest && f.frames && f.scan == ScanFact::Clean, Decision::ServeTail),
        (|f| scanned(f) && f.newest && f.frames && f.scan == ScanFact::Torn, Decision::CutTail),
        (|f| scanned(f) && f.newest && f.scan == ScanFact::BeforeLaterBatch, Decision::CorruptFrame),
        (|f| unframed(f) && !f.previous_dropped, Decision::RemoveFile),
        (|f| unframed(f) && f.previous_dropped, Decision::Emptied),
    ];

    fn scanned(facts: &Facts) -> bool {
        !facts.index_good && facts.scan != ScanFact::Newer
    }

    fn unframed(facts: &Facts) -> bool {
        scanned(facts)
            && facts.newest
            && !facts.frames
            && matches!(facts.scan, ScanFact::Clean | ScanFact::Torn)
    }

    #[test]
    fn every_combination_is_in_exactly_one_row_and_decided_by_it() {
        for facts in all() {
            let rows: Vec<Decision> =
                TABLE.iter().filter(|(about, _)| about(&facts)).map(|(_, decision)| *decision).collect();
            assert_eq!(rows, [decide(facts)], "{facts:?}");
        }
    }
}
