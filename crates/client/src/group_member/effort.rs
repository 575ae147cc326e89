//! What a member does, as it tells its group: how much it settled, and how busy its hands were with that.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pondage_model::membership::MemberProgress;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::stream::JoinStream;

/// How often a member tells what it did, if that changed.
const TELL_INTERVAL: Duration = Duration::from_secs(2);

/// The work of one member.
#[derive(Debug)]
pub(super) struct Effort(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Messages that it could handle at once; 0 where it consumes in its own way, and nobody knows.
    hands: u32,
    running: u32,
    settled: u64,
    /// Up to `since`.
    busy: Duration,
    since: Instant,
}

/// Tells the group of it.
pub(super) struct Teller {
    effort: Arc<Effort>,
    /// What the broker knows.
    told: Option<MemberProgress>,
    interval: Interval,
}

impl Teller {
    pub(super) fn new(effort: Arc<Effort>) -> Self {
        let mut interval = interval(TELL_INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { effort, told: None, interval }
    }

    /// Waits until it is time to tell.
    pub(super) async fn due(&mut self) {
        self.interval.tick().await;
    }

    /// Tells what changed.
    pub(super) fn tell(&mut self, stream: &JoinStream) {
        let now = self.effort.progress();
        if let Some(progress) = now.filter(|_| now != self.told)
            && stream.progress(progress)
        {
            self.told = now;
        }
    }

    /// The broker knows nothing: the stream is a new one.
    pub(super) fn begin_anew(&mut self) {
        self.told = None;
    }
}

/// A message that is being handled, as long as this lives.
pub(super) struct Working(Arc<Effort>);

impl Effort {
    pub(super) fn new() -> Arc<Self> {
        let since = Instant::now();
        let state = State { hands: 0, running: 0, settled: 0, busy: Duration::ZERO, since };
        Arc::new(Self(Mutex::new(state)))
    }

    /// Says how many messages it could handle at once.
    pub(super) fn set_hands(&self, hands: usize) {
        self.state().hands = u32::try_from(hands).unwrap_or(u32::MAX);
    }

    /// A message begins to be handled.
    pub(super) fn begin(self: &Arc<Self>) -> Working {
        self.state().running += 1;
        Working(Arc::clone(self))
    }

    /// What it did so far; `None` where nobody knows.
    pub(super) fn progress(&self) -> Option<MemberProgress> {
        let state = self.state();
        (state.hands > 0).then(|| MemberProgress {
            settled: state.settled,
            busy_millis: u64::try_from(state.busy.as_millis()).unwrap_or(u64::MAX),
            in_flight: state.running,
        })
    }

    /// The state, with all that was done up to now.
    fn state(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can panic half way, so a poisoned one is as good.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let passed = now.saturating_duration_since(state.since);
        state.since = now;
        if let Some(part) = state.busy_part() {
            state.busy += passed.mul_f64(part);
        }
        state
    }
}

impl State {
    /// The part of its hands that are busy.
    fn busy_part(&self) -> Option<f64> {
        (self.hands > 0).then(|| f64::from(self.running.min(self.hands)) / f64::from(self.hands))
    }
}

impl Working {
    /// The message is done with.
    pub(super) fn settled(self) {
        self.0.state().settled += 1;
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.state().running -= 1;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn hands_are_busy_in_part() {
        let effort = Effort::new();
        assert_eq!(effort.progress(), None, "nobody knows how many hands it has");
        effort.set_hands(4);
        advance(Duration::from_secs(9)).await;
        let [first, second] = [effort.begin(), effort.begin()];
        advance(Duration::from_secs(2)).await;
        first.settled();
        let progress = |settled, busy_millis, in_flight| MemberProgress { settled, busy_millis, in_flight };
        assert_eq!(effort.progress(), Some(progress(1, 1_000, 1)));
        advance(Duration::from_secs(4)).await;
        // It failed: that is work, too.
        drop(second);
        assert_eq!(effort.progress(), Some(progress(1, 2_000, 0)));
        advance(Duration::from_secs(4)).await;
        assert_eq!(effort.progress(), Some(progress(1, 2_000, 0)));
        // One hand is left of four, which are all busy then.
        let more = [effort.begin(), effort.begin()];
        effort.set_hands(1);
        advance(Duration::from_secs(1)).await;
        assert_eq!(effort.progress(), Some(progress(1, 3_000, 2)));
        drop(more);
    }
}
