//! The way to a group: its home is found, and found again when it moves.

use tokio::time::{Instant, sleep_until};

use super::stream::{Heard, Identity, JoinStream};
use crate::{Client, ClientError, brokers::Broker, retry::Waits};

/// Hints that are followed before a pause: brokers that know different leaders must not be asked in turns without end.
const HINTS_MAX: u32 = 3;

/// Where the group's home is looked for.
pub(super) struct Finder {
    client: Client,
    hinted: Option<Broker>,
    hints: u32,
    waits: Waits,
    not_before: Instant,
}

impl Finder {
    pub(super) fn new(client: Client) -> Self {
        let waits = Waits::new(client.options());
        Self { client, hinted: None, hints: 0, waits, not_before: Instant::now() }
    }

    /// Who is asked next: the one that led when it was heard of last, else any.
    fn next(&self) -> Broker {
        self.hinted.clone().unwrap_or_else(|| self.client.brokers().current())
    }

    async fn join(&mut self, identity: &Identity) -> Result<(JoinStream, Heard), ClientError> {
        sleep_until(self.not_before).await;
        let broker = self.next();
        let joined = JoinStream::open(&self.client, &broker, identity).await;
        match &joined {
            Ok(_) => {
                (self.hints, self.hinted) = (0, Some(broker));
                self.waits.reset();
            }
            Err(error) => self.failed(&broker, error),
        }
        joined
    }

    /// A stream broke, or could not be opened, which is known already. Where to go on is known, or not; the member has
    /// its session timeout.
    pub(super) fn lost(&mut self, stream: &mut Option<JoinStream>, error: &ClientError) {
        if stream.take().is_some() {
            self.failed(&self.next(), error);
        }
    }

    fn failed(&mut self, broker: &Broker, error: &ClientError) {
        let hint = error.leader().filter(|hint| !hint.address.is_empty());
        self.hinted = hint.and_then(|hint| self.client.brokers().at(&hint.address).ok());
        self.hints += 1;
        if self.hinted.is_some() && self.hints <= HINTS_MAX {
            return;
        }
        self.hints = 0;
        if error.is_of_broker() {
            self.client.brokers().pass_over(broker);
        }
        self.not_before = Instant::now() + self.waits.next();
    }
}

/// What the group says next; on a new stream if there is none.
pub(super) async fn hear(
    stream: &mut Option<JoinStream>,
    finder: &mut Finder,
    identity: &Identity,
) -> Result<(Option<JoinStream>, Heard), ClientError> {
    match stream {
        Some(stream) => stream.next().await.map(|heard| (None, heard)),
        None => finder.join(identity).await.map(|(stream, heard)| (Some(stream), heard)),
    }
}
