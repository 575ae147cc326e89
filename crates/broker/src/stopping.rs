//! How a broker ends in good order: others lead what it led, then it closes its logs.
//!
//! ```text
//!  |◄──────────────────── limit ────────────────────►|
//!  hand over, for as long as it gets on   | close      |
//! ```
//!
//! Whoever stops it kills it after a while, and closing in order is worth more than the last hand-overs: who was not
//! handed a shard takes it over when this broker is gone.

use std::{pin::pin, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout_at},
};

use crate::run::{Broker, Stopped};

/// How long a stop may take in all, unless its caller says otherwise.
const STOP_TIMEOUT: Duration = Duration::from_secs(50);
/// How long a stopping broker waits for the next shard to be led elsewhere.
const LEAVE_PATIENCE: Duration = Duration::from_secs(10);
/// How long closing may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(11);
/// How long a member that still leads something waits for the others to hold its leases; a part of that.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

impl Broker {
    /// Stops in good order: others lead what it led, then as [`Broker::close`].
    pub async fn stop(self) -> Stopped {
        self.stop_within(STOP_TIMEOUT).await
    }

    /// As [`Broker::stop`], and returns after `limit` at the latest. A part of it is kept for closing the logs.
    pub async fn stop_within(self, limit: Duration) -> Stopped {
        let end = Instant::now() + limit;
        let closing = CLOSE_TIMEOUT.min(limit / 2);
        if self.failed.borrow().is_none()
            && !handed_over(self.handle.leave(), self.handle.led(), end - closing).await
        {
            tracing::warn!("some shards are still led here; they go on elsewhere once this broker has ended");
        }
        self.close_within(closing).await
    }

    /// Ends the sessions, logs every lease, closes the logs. Hands nothing over: for a broker whose fellows end with
    /// it.
    pub async fn close(self) -> Stopped {
        self.close_within(CLOSE_TIMEOUT).await
    }

    async fn close_within(self, limit: Duration) -> Stopped {
        let end = Instant::now() + limit;
        let (servers, handle) = (self.servers, self.handle);
        self.cancel.cancel();
        handle.part(FLUSH_TIMEOUT.min(limit / 2)).await;
        let ended = timeout_at(end, async {
            for server in servers {
                if let Err(error) = server.await {
                    tracing::warn!(%error, "a server did not end well");
                }
            }
            handle.end_writers().await;
        });
        let ended = ended.await.is_ok();
        if !ended {
            tracing::warn!("some sessions or shards did not end in time; they end with the process");
        }
        handle.close(!ended);
        match self.failed.borrow().clone() {
            None => Stopped::InOrder,
            Some(reason) => Stopped::Failed(reason),
        }
    }
}

/// Waits until others lead what is led here; whether they do. Ends at the deadline, or when nothing got on for a while.
async fn handed_over(
    leaving: impl Future<Output = ()>,
    mut led: watch::Receiver<usize>,
    deadline: Instant,
) -> bool {
    let mut leaving = pin!(leaving);
    let mut fewest = *led.borrow_and_update();
    let mut patience = Instant::now() + LEAVE_PATIENCE;
    let mut is_told = true;
    loop {
        tokio::select! {
            () = &mut leaving => return true,
            changed = led.changed(), if is_told => {
                is_told = changed.is_ok();
                let count = *led.borrow_and_update();
                if count < fewest {
                    fewest = count;
                    patience = Instant::now() + LEAVE_PATIENCE;
                }
            }
            () = sleep_until(patience.min(deadline)) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second, and how many shards are led from then on.
    type Change = (u64, usize);

    #[tokio::test(start_paused = true)]
    async fn a_hand_over_goes_on_while_it_gets_on_and_never_beyond_the_deadline() {
        let nothing: &[Change] = &[];
        // Changes, the second in which it is done, and what follows in which second.
        let cases = [
            ("nothing is led", nothing, Some(0), true, 0),
            ("done before patience ends", &[(1, 2)], Some(9), true, 9),
            ("nobody takes anything", nothing, None, false, 10),
            ("it gets on", &[(9, 2), (18, 1), (27, 0)], Some(30), true, 30),
            ("it gets on too slowly", &[(9, 4), (18, 3), (27, 2), (36, 1)], None, false, 39),
            ("more than before is no progress", &[(5, 6), (9, 5)], None, false, 10),
        ];
        for (why, changes, done, expected, after) in cases {
            let (tell, led) = watch::channel(5);
            let began = Instant::now();
            let telling = async {
                for (at, count) in changes {
                    sleep_until(began + Duration::from_secs(*at)).await;
                    tell.send_replace(*count);
                }
                std::future::pending::<()>().await;
            };
            let leaving = async {
                match done {
                    Some(at) => sleep_until(began + Duration::from_secs(at)).await,
                    None => std::future::pending().await,
                }
            };
            let deadline = began + Duration::from_secs(39);
            let ended = tokio::select! {
                ended = handed_over(leaving, led, deadline) => ended,
                () = telling => unreachable!(),
            };
            assert_eq!(ended, expected, "{why}");
            let took = began.elapsed();
            assert!(
                (0..100).contains(&(took.as_millis() as u64).saturating_sub(after * 1_000)),
                "{why}: {took:?}"
            );
            assert!(took >= Duration::from_secs(after), "{why}: {took:?}");
        }
    }
}
