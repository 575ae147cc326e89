//! Which epoch wrote which part of a log: what truncation goes by.

use pondage_model::{Epoch, Position};

/// Every epoch that ever wrote to a log, with its first position, ascending. Never reclaimed: a replica that was away
/// for years finds the last point that it shares with the leader.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct EpochTable {
    starts: Vec<(Epoch, Position)>,
}

impl EpochTable {
    /// The table that a log was recovered with.
    ///
    /// # Panics
    /// If epochs or positions do not rise: storage checked them.
    #[must_use]
    pub fn new(starts: Vec<(Epoch, Position)>) -> Self {
        assert!(
            starts.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1),
            "an epoch table must rise: {starts:?}"
        );
        Self { starts }
    }

    /// The epochs and where they began.
    #[must_use]
    pub fn starts(&self) -> &[(Epoch, Position)] {
        &self.starts
    }

    /// The newest epoch; [`Epoch::ZERO`] in a log that never had one.
    #[must_use]
    pub fn last(&self) -> Epoch {
        self.starts.last().map_or(Epoch::ZERO, |(epoch, _)| *epoch)
    }

    /// The epoch of whatever lies, or lay, at the position; [`Epoch::ZERO`] before the first.
    #[must_use]
    pub fn at(&self, position: Position) -> Epoch {
        let after = self.starts.partition_point(|(_, start)| *start <= position);
        after.checked_sub(1).map_or(Epoch::ZERO, |index| self.starts[index].0)
    }

    /// The epoch of what lies below a position; [`Epoch::ZERO`] if nothing does.
    #[must_use]
    pub fn before(&self, position: Position) -> Epoch {
        position.0.checked_sub(1).map_or(Epoch::ZERO, |below| self.at(Position(below)))
    }

    /// The newest epoch that is not above `epoch`, and the position behind its last entry in a log that ends at
    /// `log_end`. Both zero if there is none.
    #[must_use]
    pub fn floor(&self, epoch: Epoch, log_end: Position) -> (Epoch, Position) {
        let after = self.starts.partition_point(|(known, _)| *known <= epoch);
        match after.checked_sub(1) {
            Some(index) => {
                let end = self.starts.get(after).map_or(log_end, |(_, next)| *next);
                (self.starts[index].0, end)
            }
            None => (Epoch::ZERO, Position::ZERO),
        }
    }

    /// The epochs that began in a range of positions.
    #[must_use]
    pub fn within(&self, from: Position, to: Position) -> Vec<(Epoch, Position)> {
        let inside = |(_, start): &&(Epoch, Position)| from <= *start && *start < to;
        self.starts.iter().filter(inside).copied().collect()
    }

    /// Notes that an entry of this epoch lies at the position, if it is the epoch's first.
    pub(crate) fn note(&mut self, epoch: Epoch, position: Position) {
        if epoch > self.last() {
            self.starts.push((epoch, position));
        }
    }

    /// Forgets the epochs that began at or behind the log's new end.
    pub(crate) fn truncate(&mut self, to: Position) {
        self.starts.retain(|(_, start)| *start < to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> EpochTable {
        EpochTable::new(vec![(Epoch(1), Position(0)), (Epoch(3), Position(4)), (Epoch(4), Position(9))])
    }

    #[test]
    fn a_position_has_the_epoch_that_wrote_it() {
        let rows = [(0, 1), (3, 1), (4, 3), (8, 3), (9, 4), (100, 4)];
        for (position, epoch) in rows {
            assert_eq!(table().at(Position(position)), Epoch(epoch), "at {position}");
            assert_eq!(table().before(Position(position + 1)), Epoch(epoch), "before {position} + 1");
        }
        assert_eq!(table().before(Position(0)), Epoch(0));
        assert_eq!(EpochTable::default().at(Position(7)), Epoch(0));
    }

    #[test]
    fn the_newest_epoch_not_above_another_ends_where_the_next_begins() {
        let rows = [(0, (0, 0)), (1, (1, 4)), (2, (1, 4)), (3, (3, 9)), (4, (4, 12)), (9, (4, 12))];
        for (asked, (epoch, end)) in rows {
            assert_eq!(table().floor(Epoch(asked), Position(12)), (Epoch(epoch), Position(end)), "{asked}");
        }
    }

    #[test]
    fn truncation_forgets_what_began_behind_the_new_end() {
        for (to, last) in [(12, 4), (10, 4), (9, 3), (5, 3), (4, 1), (0, 0)] {
            let mut table = table();
            table.truncate(Position(to));
            assert_eq!(table.last(), Epoch(last), "cut at {to}");
        }
    }

    #[test]
    fn only_the_first_entry_of_an_epoch_is_noted() {
        let mut table = table();
        table.note(Epoch(4), Position(10));
        table.note(Epoch(6), Position(12));
        assert_eq!(
            table.within(Position(9), Position(13)),
            [(Epoch(4), Position(9)), (Epoch(6), Position(12))]
        );
        assert_eq!(table.within(Position(10), Position(12)), []);
    }
}
