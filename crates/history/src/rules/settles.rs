//! **Q1** (delivery contract, "Queues"): once an accept returned OK, no new grant of the message is made. The same holds
//! for a reject, a purge and a deletion that were confirmed. A grant of an earlier lease that arrives late is none:
//! its token is dead, and leases of a message are ordered.

use pondage_model::{Attempt, StreamId};

use crate::{books::Books, event::Grant, report::Rule};

impl Books {
    /// A lease was given that is greater than all before.
    pub(crate) fn judge_ended(&mut self, grant: &Grant) {
        let at = (grant.stream, grant.offset);
        let (is_deleted, purge_event) = {
            let stream = self.stream(grant.stream);
            (stream.is_deleted, stream.purge_event)
        };
        let Some(place) = self.places.get(&at) else { return };
        let (ended, is_first) = match &place.queued {
            Some(queued) => (queued.ended, queued.last.is_none()),
            None => (None, true),
        };
        // Whether a grant was made before a purge or after it only its maker can say. A purge leaves alone what is
        // leased, and an attempt that is not the first follows a lease of which nobody heard.
        let is_new = grant.term.is_some();
        let is_purged =
            is_first && (1..purge_event).contains(&place.acked_event) && grant.lease.attempt == Attempt(1);
        let lease = grant.lease;
        if let Some((by, _)) = ended {
            self.findings.broken(Rule::Q1, || {
                format!("{at:?} is granted under {lease:?}, its settle under {by:?} was confirmed")
            });
        } else if is_new && is_deleted {
            self.findings
                .broken(Rule::Q1, || format!("{at:?} is granted, its queue's deletion was confirmed"));
        } else if is_new && is_purged {
            self.findings.broken(Rule::Q1, || format!("{at:?} is granted, its purge was confirmed"));
        }
    }

    /// A purge or a deletion is asked for.
    pub(crate) fn removal_asked(&mut self, id: StreamId) {
        let stream = self.stream(id);
        stream.removals_possible += 1;
        stream.returned.clear();
    }

    /// A purge or a deletion was refused for good.
    pub(crate) fn removal_refused(&mut self, id: StreamId) {
        let stream = self.stream(id);
        stream.removals_possible = stream.removals_possible.saturating_sub(1);
    }

    /// A purge or a deletion that was asked for by an event was confirmed.
    pub(crate) fn removed(&mut self, id: StreamId, asked_event: u64, is_deletion: bool) {
        let event = self.findings.event;
        self.removal_refused(id);
        let stream = self.stream(id);
        stream.purge_event = stream.purge_event.max(asked_event);
        stream.gone_before_event = if is_deletion { u64::MAX } else { stream.gone_before_event.max(event) };
        stream.is_deleted |= is_deletion;
    }
}
