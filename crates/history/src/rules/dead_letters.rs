//! **Q5** (delivery contract, "Queues"): a failed message moves to the dead-letter queue with its reason and history; it
//! is stored in at least one of the two and can be granted from at most one.

use crate::{
    books::{At, Books},
    event::{MessageId, Verdict},
    report::Rule,
    rules::sameness::Found,
};

impl Books {
    /// A dead letter was found that says where it came from.
    pub(crate) fn dead_letter(&mut self, at: At, id: MessageId, source: At, failures: u32) {
        self.findings.totals.dead_letters += 1;
        if !self.messages.contains_key(&id) {
            return self.findings.broken(Rule::Q5, || format!("{at:?} holds {id:?}, which nobody published"));
        }
        if self.seen_as_copy(id, at) == Found::Other || self.seen(id, source) == Found::Other {
            return self.findings.broken(Rule::Q5, || format!("{at:?} is not what {source:?} held"));
        }
        let to = self.stream(source.0).queue().and_then(|queue| queue.dead).map(|dead| dead.stream);
        if to != Some(at.0) {
            self.findings.broken(Rule::Q5, || format!("{source:?} went to {at:?} instead of {to:?}"));
        }
        self.expect_again(source, None);
        let Some(queued) = self.queued(source) else { return };
        let moved = *queued.moved.get_or_insert(at);
        let is_accepted = queued.ended.is_some_and(|(_, verdict)| verdict == accept());
        let failures_min = queued.failures;
        let is_first_report = moved == at;
        if !is_first_report {
            self.findings
                .broken(Rule::Q5, || format!("{source:?} is a dead letter twice, at {moved:?} and {at:?}"));
        }
        if is_accepted {
            self.findings
                .broken(Rule::Q5, || format!("{source:?} was accepted and is a dead letter at {at:?}"));
        }
        if failures < failures_min {
            self.findings.broken(Rule::Q5, || {
                format!("{at:?} tells of {failures} failed attempts, {failures_min} were confirmed")
            });
        }
        self.stream(source.0).unsettled.remove(&source.1);
        self.stream(at.0).owed.remove(&source);
        self.keep(at);
    }

    /// A reject, or an accept, was confirmed for the first time.
    pub(crate) fn judge_ending_and_move(&mut self, at: At, verdict: Verdict) {
        let event = self.findings.event;
        let moved = self.queued(at).and_then(|queued| queued.moved);
        let to = self.stream(at.0).queue().and_then(|queue| queue.dead);
        match (verdict, moved, to) {
            (Verdict::Accept, Some(moved), _) => self
                .findings
                .broken(Rule::Q5, || format!("{at:?} is accepted, and a dead letter at {moved:?}")),
            (Verdict::Reject, None, Some(to)) => {
                self.streams.entry(to.stream).or_default().owed.insert(at, event);
            }
            _ => {}
        }
    }

    /// A lease was decided at a message's place.
    pub(crate) fn judge_moved(&mut self, at: At) {
        if let Some(moved) = self.queued(at).and_then(|queued| queued.moved) {
            self.findings.broken(Rule::Q5, || format!("{at:?} is granted, and a dead letter at {moved:?}"));
        }
    }
}

fn accept() -> std::mem::Discriminant<Verdict> {
    std::mem::discriminant(&Verdict::Accept)
}
