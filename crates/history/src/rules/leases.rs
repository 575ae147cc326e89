//! **Q2** (delivery contract, "Queues"): at most one lease of a message is current, tokens only grow, a settle with an
//! overtaken token fails, and repeating the winning settle within five minutes is confirmed.

use std::{collections::BTreeSet, mem::discriminant};

use pondage_model::{Lease, LogTime, Offset, StreamId};

use crate::{
    books::{At, Books, Live, Queued, Winner},
    event::{Client, Grant, Verdict},
    report::Rule,
    rules::{at_least, at_most},
};

/// For so long, in microseconds of log time, the winning settle may be repeated.
const REPEAT_MICROS: u64 = 300_000_000;

/// A settle that was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settle {
    pub(crate) at: At,
    pub(crate) lease: Lease,
    pub(crate) verdict: Verdict,
    pub(crate) asked_micros: u64,
    /// Leaps of log time before it was asked.
    pub(crate) leaps: u64,
    /// It counts among those that may have ended the message.
    is_counted: bool,
    /// When it was asked, a greater lease was known, or the message had ended.
    is_overtaken: bool,
    /// When it was asked, this had been confirmed, which is the same.
    repeats: Option<Winner>,
    /// When it was asked, the lease was over at this moment at the latest.
    lease_over_micros: Option<u64>,
}

impl Settle {
    const fn ends_message(&self) -> bool {
        matches!(self.verdict, Verdict::Accept | Verdict::Reject)
    }
}

impl Settle {
    /// When the lease is over, now that this renewal is answered: it held until then before, or holds until `least`.
    /// With other renewals beside it nobody can say more than what is known.
    fn over_without(&self, known: Option<u64>, lasts_micros: u64, least: u64) -> Option<u64> {
        let before = self.lease_over_micros?;
        let alone = before.saturating_add(at_most(lasts_micros));
        known.map(|known| if known == alone { before.max(least) } else { known })
    }
}

impl Queued {
    fn was_given(&self, lease: Lease) -> bool {
        // What came before the end of a message is not kept.
        self.last.is_some_and(|(last, _)| last == lease || (last > lease && self.ended.is_some()))
            || self.earlier.contains(&lease)
    }
}

impl Books {
    /// A message was given to a consumer.
    pub(crate) fn granted(&mut self, client: Client, grant: &Grant) {
        let at = (grant.stream, grant.offset);
        self.findings.totals.granted += 1;
        self.seen(grant.message, at);
        if !self.judge_lease(at, grant) {
            return;
        }
        self.judge_ended(grant);
        self.judge_due(at, grant.lease);
        if grant.term.is_some() {
            self.judge_moved(at);
        }
        let now = self.findings.at_micros;
        self.end_lease(at);
        let leaders_lost = self.stream(grant.stream).leaders_lost;
        let Some(queued) = self.queued(at) else { return };
        queued.earlier.extend(queued.last.filter(|_| queued.ended.is_none()).map(|(last, _)| last));
        queued.last = Some((grant.lease, now));
        queued.not_before = None;
        let until = grant.term.map_or(LogTime(i64::MIN), |term| term.deadline);
        queued.live = Some(Live { client, until, leaders_lost });
        queued.lease_over_micros = grant.lasts_micros.map(|lasts| now.saturating_add(at_most(lasts)));
        let over = queued.lease_over_micros;
        self.stream(grant.stream).held.entry(client).or_default().insert(grant.offset);
        self.expect_again(at, over);
    }

    /// Whether the lease is a new one, and not an earlier one that arrives late.
    fn judge_lease(&mut self, at: At, grant: &Grant) -> bool {
        let leaders_lost = self.stream(at.0).leaders_lost;
        let lease = grant.lease;
        let Some(queued) = self.queued(at) else { return false };
        let live = queued.live.filter(|live| live.leaders_lost == leaders_lost);
        let ended = queued.ended.map(|(ended, _)| ended);
        let Some((last, _)) = queued.last else { return true };
        if last == lease || queued.earlier.contains(&lease) {
            self.findings.broken(Rule::Q2, || format!("{at:?} is granted twice under {lease:?}"));
            return false;
        }
        if last > lease {
            if grant.term.is_some() && ended.is_none() {
                self.findings
                    .broken(Rule::Q2, || format!("{at:?} is granted under {lease:?} after {last:?}"));
            }
            queued_late(self, at, lease);
            return false;
        }
        if let (Some(term), Some(live)) = (grant.term, live)
            && term.decided < live.until
        {
            self.findings.broken(Rule::Q2, || {
                format!(
                    "{at:?} is granted under {lease:?} at {:?}, {last:?} holds until {:?}",
                    term.decided, live.until
                )
            });
        }
        true
    }

    /// The lease may be over from now on: its holder, or its successor, says so.
    fn end_lease(&mut self, at: At) {
        let Some(live) = self.queued(at).and_then(|queued| queued.live.take()) else { return };
        if let Some(held) = self.stream(at.0).held.get_mut(&live.client) {
            held.remove(&at.1);
        }
    }

    /// A settle is asked for.
    pub(crate) fn settle_asked(&mut self, at: At, lease: Lease, verdict: Verdict) -> Settle {
        let (asked_micros, leaps) = (self.findings.at_micros, self.leaps);
        let mut settle = Settle {
            at,
            lease,
            verdict,
            asked_micros,
            leaps,
            is_counted: false,
            is_overtaken: false,
            repeats: None,
            lease_over_micros: None,
        };
        let Some(queued) = self.queued(at) else { return settle };
        let is_last = queued.last.is_some_and(|(last, _)| last == lease);
        settle.is_overtaken = queued.last.is_some_and(|(last, _)| last > lease) || queued.ended.is_some();
        let same =
            |winner: &Winner| winner.lease == lease && winner.verdict == verdict && winner.leaps == leaps;
        settle.repeats = queued.winner.filter(same);
        let over = queued.lease_over_micros;
        settle.lease_over_micros = over;
        if settle.ends_message() {
            settle.is_counted = true;
            queued.endings_possible += 1;
            self.stream(at.0).unsettled.remove(&at.1);
            self.expect_again(at, None);
        }
        if !is_last {
            return settle;
        }
        match verdict {
            // It takes effect before the lease is over, or never.
            Verdict::Renew { lasts_micros } => {
                let over = over.map(|over| over.saturating_add(at_most(lasts_micros)));
                if let Some(queued) = self.queued(at) {
                    queued.lease_over_micros = over;
                }
                self.expect_again(at, over);
            }
            Verdict::Release { delay_micros } => {
                self.end_lease(at);
                self.expect_again(at, over.map(|over| over.saturating_add(at_most(delay_micros))));
            }
            Verdict::Accept | Verdict::Reject | Verdict::Return => self.end_lease(at),
        }
        settle
    }

    /// A settle was refused for good; `is_lost` if because its lease was over.
    pub(crate) fn settle_refused(&mut self, settle: &Settle, is_lost: bool) {
        let Settle { at, lease, verdict, .. } = *settle;
        let now = self.findings.at_micros;
        if is_lost && self.must_be_confirmed_again(settle) {
            self.findings.broken(Rule::Q2, || {
                format!("{at:?}: {verdict:?} under {lease:?} was confirmed, its repetition refused")
            });
        }
        let Some(queued) = self.queued(at) else { return };
        if settle.is_counted {
            queued.endings_possible = queued.endings_possible.saturating_sub(1);
        }
        let is_last = queued.last.is_some_and(|(last, _)| last == lease);
        if let Verdict::Renew { lasts_micros } = verdict
            && is_last
        {
            queued.lease_over_micros = settle.over_without(queued.lease_over_micros, lasts_micros, 0);
        }
        let over = queued.lease_over_micros.map(|over| over.max(now));
        self.miss(at);
        if is_last {
            self.expect_again(at, over);
        }
    }

    /// Whether the settle repeats the one that won, in time, and nothing else can have ended the message since.
    fn must_be_confirmed_again(&self, settle: &Settle) -> bool {
        let Some(winner) = settle.repeats.filter(|winner| winner.leaps == self.leaps) else { return false };
        let (Some(place), Some(stream)) = (self.places.get(&settle.at), self.streams.get(&settle.at.0))
        else {
            return false;
        };
        let is_last = place
            .queued
            .as_ref()
            .is_some_and(|queued| queued.last.is_some_and(|(last, _)| last == settle.lease));
        let expires = stream.queue().is_none_or(|queue| queue.expires)
            || self.messages.get(&place.message).is_none_or(|message| message.expires);
        let in_time = self.findings.at_micros <= winner.asked_micros.saturating_add(at_least(REPEAT_MICROS));
        is_last && in_time && !stream.may_have_dropped(winner.event) && (settle.ends_message() || !expires)
    }

    /// A settle was confirmed.
    pub(crate) fn settle_confirmed(&mut self, settle: &Settle, already: bool, until: Option<LogTime>) {
        let Settle { at, lease, verdict, asked_micros, is_overtaken, .. } = *settle;
        let (now, event, leaps) = (self.findings.at_micros, self.findings.event, self.leaps);
        let Some(queued) = self.queued(at).filter(|queued| queued.was_given(lease)) else {
            return self
                .findings
                .broken(Rule::Q2, || format!("{at:?}: a settle under {lease:?}, which nobody was given"));
        };
        if let Verdict::Renew { lasts_micros } = verdict {
            return self.renewed(settle, lasts_micros, until);
        }
        let other = queued.winner.filter(|winner| {
            winner.lease == lease && discriminant(&winner.verdict) != discriminant(&verdict)
        });
        let ended = queued.ended;
        let last = queued.last.map_or(lease, |(last, _)| last);
        let is_last = last == lease;
        if queued.winner.is_none_or(|winner| winner.lease <= lease) {
            let won = Winner { lease, verdict, asked_micros, event, leaps };
            queued.winner = Some(queued.winner.filter(|winner| winner.lease == lease).unwrap_or(won));
        }
        if other.is_some() {
            self.findings.broken(Rule::Q2, || format!("{at:?}: two verdicts were confirmed under {lease:?}"));
        } else if settle.ends_message() && ended.is_some_and(|(by, _)| by != lease) {
            self.findings
                .broken(Rule::Q2, || format!("{at:?}: ended under {lease:?}, it had ended under {ended:?}"));
        } else if is_overtaken && !is_last && !already {
            self.findings.broken(Rule::Q2, || {
                format!("{at:?}: {verdict:?} under {lease:?} was confirmed after {last:?}")
            });
        } else if settle.ends_message() && !is_last && ended.is_none() {
            self.findings.broken(Rule::Q1, || {
                format!(
                    "{at:?}: {verdict:?} under {lease:?} was confirmed, and it was granted under {last:?}"
                )
            });
        }
        if settle.ends_message() {
            return self.ended(settle);
        }
        if let Verdict::Release { delay_micros } = verdict
            && !already
            && !is_overtaken
        {
            self.delay_confirmed(settle, delay_micros);
            if let Some(queued) = self.queued(at) {
                queued.failures += 1;
            }
        }
        if is_last {
            let delay =
                if let Verdict::Release { delay_micros } = verdict { at_most(delay_micros) } else { 0 };
            self.expect_again(at, Some(now.saturating_add(delay)));
        }
    }

    fn ended(&mut self, settle: &Settle) {
        let Settle { at, lease, verdict, .. } = *settle;
        let Some(queued) = self.queued(at) else { return };
        queued.endings_possible = queued.endings_possible.saturating_sub(u32::from(settle.is_counted));
        if queued.ended.is_some() {
            return;
        }
        queued.ended = Some((lease, discriminant(&verdict)));
        queued.earlier = Vec::new();
        self.findings.totals.settled += 1;
        self.stream(at.0).unsettled.remove(&at.1);
        self.expect_again(at, None);
        self.judge_ending_and_move(at, verdict);
    }

    fn renewed(&mut self, settle: &Settle, lasts_micros: u64, until: Option<LogTime>) {
        let Settle { at, lease, is_overtaken, .. } = *settle;
        if is_overtaken {
            return self
                .findings
                .broken(Rule::Q2, || format!("{at:?}: {lease:?} was renewed when it was overtaken"));
        }
        let least = self.findings.at_micros.saturating_add(at_most(lasts_micros));
        let Some(queued) =
            self.queued(at).filter(|queued| queued.last.is_some_and(|(last, _)| last == lease))
        else {
            return;
        };
        if let (Some(live), Some(until)) = (&mut queued.live, until) {
            live.until = live.until.max(until);
        }
        let over = settle.over_without(queued.lease_over_micros, lasts_micros, least);
        queued.lease_over_micros = over;
        self.expect_again(at, over);
    }

    /// A consumer leaves: what it holds may go to others. Gives what that is.
    pub(crate) fn leave_asked(&mut self, client: Client, id: StreamId) -> BTreeSet<Offset> {
        let held = self.stream(id).held.remove(&client).unwrap_or_default();
        for offset in &held {
            if let Some(queued) = self.queued((id, *offset)) {
                queued.live = None;
            }
        }
        held
    }

    /// A consumer has left.
    pub(crate) fn left(&mut self, client: Client, id: StreamId, held: BTreeSet<Offset>) {
        let now = self.findings.at_micros;
        for offset in held {
            // Only what nobody was given since.
            let queued = self.queued((id, offset));
            if queued.is_some_and(|queued| queued.live.is_none() && queued.returned_micros.is_some()) {
                self.expect_again((id, offset), Some(now));
            }
        }
        self.stream(id).held.remove(&client);
    }
}

/// An earlier lease arrived: it is known from now on, unless the message has ended.
fn queued_late(books: &mut Books, at: At, lease: Lease) {
    books.findings.totals.granted_late += 1;
    if let Some(queued) = books.queued(at).filter(|queued| queued.ended.is_none()) {
        queued.earlier.push(lease);
    }
}
