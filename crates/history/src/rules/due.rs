//! **Q7** (delivery contract, "Queues"): a delayed message is never granted before its time, neither the first time nor
//! after a release with a delay.

use pondage_model::Lease;

use crate::{
    books::{At, Books, NotBefore, Queued},
    event::Publish,
    report::Rule,
    rules::{Settle, at_least},
};

impl Books {
    /// A message is about to be sent: the least delay of all times that it was sent counts, from the first one on.
    pub(crate) fn delay_asked(&mut self, publish: &Publish, is_first: bool) {
        let micros = self.findings.at_micros.saturating_add(at_least(publish.delay_micros));
        let leaps = self.leaps;
        let Some(message) = self.messages.get_mut(&publish.message) else { return };
        match &mut message.not_before {
            // The first one may be the one that is stored: what it waited for, a leap since then has ended.
            Some(known) => known.micros = known.micros.min(micros),
            None if is_first => message.not_before = Some(NotBefore { micros, leaps }),
            None => {}
        }
    }

    /// A release with a delay was confirmed.
    pub(crate) fn delay_confirmed(&mut self, settle: &Settle, delay_micros: u64) {
        let Settle { at, lease, asked_micros, leaps, .. } = *settle;
        let not_before = NotBefore { micros: asked_micros.saturating_add(at_least(delay_micros)), leaps };
        let has_leapt = leaps != self.leaps;
        let Some(queued) = self.queued(at).filter(|_| !has_leapt) else { return };
        match queued.last {
            // It came back before the answer to the release.
            Some((last, granted_micros)) if last > lease => {
                if granted_micros < not_before.micros {
                    self.findings.broken(Rule::Q7, || {
                        format!("{at:?} was released for {delay_micros} µs, and granted again too early")
                    });
                }
            }
            _ => queued.not_before = Some(not_before),
        }
    }

    /// A new lease is given.
    pub(crate) fn judge_due(&mut self, at: At, lease: Lease) {
        let Some(place) = self.places.get(&at) else { return };
        // A dead letter does not wait for what its source waited for: it may have outlived its time before.
        let message = self.messages.get(&place.message).filter(|message| message.places.contains(&at));
        let of_message = message.and_then(|message| message.not_before);
        let of_place = place.queued.as_deref().and_then(|Queued { not_before, .. }| *not_before);
        let now = self.findings.at_micros;
        let is_early = |wait: &NotBefore| wait.leaps == self.leaps && now < wait.micros;
        if let Some(wait) = of_message.filter(is_early).or(of_place.filter(is_early)) {
            self.findings.broken(Rule::Q7, || {
                format!("{at:?} was granted under {lease:?}, {} µs before its time", wait.micros - now)
            });
        }
    }
}
