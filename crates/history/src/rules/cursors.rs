//! **L2** (delivery contract, "Logs"): a group's cursor moves back only by a seek. Terms of ownership put the changes of
//! a cursor in order, whatever the order of the answers: each claim and each seek begins a term, commits of a term
//! move forward inside it, and a term that is overtaken commits nothing any more.

use pondage_model::{GroupEpoch, Offset, StreamId};

use crate::{
    books::{Books, CursorTerm, Group},
    event::GroupId,
    report::Rule,
};

/// What is known when a request about a cursor is sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CursorKnown {
    /// The newest term.
    epoch: GroupEpoch,
    /// Where the cursor had been in it for certain.
    reached: Offset,
}

impl Books {
    /// A request about a cursor is sent; a seek names its target.
    pub(crate) fn cursor_asked(&mut self, at: (StreamId, GroupId), seek: Option<Offset>) -> CursorKnown {
        let group = self.groups.entry(at).or_default();
        if let Some(to) = seek {
            let (least, most) = group.seeks.unwrap_or((to, to));
            group.seeks = Some((least.min(to), most.max(to)));
        }
        let newest = group.terms.last_key_value();
        newest.map(|(epoch, term)| CursorKnown { epoch: *epoch, reached: term.reached }).unwrap_or_default()
    }

    /// A commit is sent.
    pub(crate) fn commit_asked(
        &mut self,
        at: (StreamId, GroupId),
        epoch: GroupEpoch,
        offset: Offset,
    ) -> CursorKnown {
        let known = self.cursor_asked(at, None);
        let group = self.groups.entry(at).or_default();
        let term = group.terms.entry(epoch).or_insert(CursorTerm::UNTOLD);
        term.asked = term.asked.max(offset);
        known
    }

    /// A commit was confirmed.
    pub(crate) fn committed(
        &mut self,
        at: (StreamId, GroupId),
        epoch: GroupEpoch,
        offset: Offset,
        known: CursorKnown,
    ) {
        let group = self.groups.entry(at).or_default();
        let term = group.terms.entry(epoch).or_insert(CursorTerm::UNTOLD);
        term.reached = term.reached.max(offset);
        if known.epoch > epoch {
            let by = known.epoch;
            self.findings
                .broken(Rule::L2, || format!("{at:?}: a commit under {epoch:?} after {by:?} had begun"));
        }
        self.judge_term_after(at, epoch);
    }

    /// A claim or a seek began a term.
    pub(crate) fn cursor_given(
        &mut self,
        at: (StreamId, GroupId),
        epoch: GroupEpoch,
        offset: Offset,
        seek: Option<Offset>,
        known: CursorKnown,
    ) {
        if let Some(to) = seek.filter(|to| *to != offset) {
            self.findings.broken(Rule::L2, || format!("{at:?}: a seek to {to:?} went to {offset:?}"));
        }
        let group = self.groups.entry(at).or_default();
        let untold = group.terms.get(&epoch).filter(|term| !term.is_told).copied();
        if epoch <= known.epoch || (untold.is_none() && group.terms.contains_key(&epoch)) {
            return self
                .findings
                .broken(Rule::L2, || format!("{at:?}: {epoch:?} was given out twice, or after a later one"));
        }
        let told = CursorTerm {
            begun: offset,
            is_told: true,
            is_seek: seek.is_some(),
            reached: offset,
            asked: offset,
        };
        let term = untold.map_or(told, |untold| CursorTerm {
            reached: untold.reached.max(offset),
            asked: untold.asked,
            ..told
        });
        group.terms.insert(epoch, term);
        let before = group.terms.range(..epoch).next_back().map(|(before, _)| *before);
        if let Some(before) = before {
            self.judge_term_after(at, before);
        }
        self.judge_term_after(at, epoch);
    }

    /// The term that follows one begins where that ended, unless a seek began it.
    fn judge_term_after(&mut self, at: (StreamId, GroupId), epoch: GroupEpoch) {
        let start = self.stream(at.0).start;
        let Some(Group { terms, seeks }) = self.groups.get(&at) else { return };
        let mut following = terms.range(epoch..);
        let (Some((_, term)), Some((next, after))) = (following.next(), following.next()) else { return };
        if after.is_seek || !after.is_told {
            return;
        }
        let (mut least, mut most) = (term.reached, term.asked.max(start));
        // A term between them was begun by somebody who was not told: maybe by a seek.
        if next.get() - epoch.get() > 1
            && let Some((seek_least, seek_most)) = seeks
        {
            (least, most) = (least.min(*seek_least), most.max(*seek_most));
        }
        let begun = after.begun;
        if begun < least || begun > most {
            self.findings.broken(Rule::L2, || {
                format!("{at:?}: {next:?} began at {begun:?}, {epoch:?} ended within {least:?}..={most:?}")
            });
        }
    }

    /// A group's cursor was read.
    pub(crate) fn cursor_fetched(
        &mut self,
        at: (StreamId, GroupId),
        epoch: GroupEpoch,
        offset: Offset,
        known: CursorKnown,
    ) {
        let start = self.stream(at.0).start;
        if epoch < known.epoch {
            let newest = known.epoch;
            return self.findings.broken(Rule::L2, || {
                format!("{at:?}: the cursor of {epoch:?} was read after {newest:?} had begun")
            });
        }
        let group = self.groups.entry(at).or_default();
        let term = group.terms.entry(epoch).or_insert(CursorTerm::UNTOLD);
        let least = if epoch == known.epoch { known.reached } else { term.begun };
        let most = term.asked.max(start);
        term.reached = term.reached.max(offset);
        if offset < least || offset > most {
            self.findings.broken(Rule::L2, || {
                format!("{at:?}: the cursor was read at {offset:?}, it was within {least:?}..={most:?}")
            });
        }
        self.judge_term_after(at, epoch);
    }
}
