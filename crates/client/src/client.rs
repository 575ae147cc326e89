//! A connection to a cluster: whom to ask what, and what to do about a broker that does not answer.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use pondage_model::{Epoch, Outcome, Refusal, ShardId, limits};
use pondage_protocol::v1::{
    self, admin_client::AdminClient, cluster_client::ClusterClient, groups_client::GroupsClient,
    messages_client::MessagesClient,
};
use tokio::time::{Instant, sleep, timeout};
use tonic::{Response, Status, transport::Channel};

use crate::{
    ClientError, Options,
    brokers::{Broker, Brokers},
    places::{Places, Route, Target},
    retry::Waits,
};

/// A client of one cluster. Cloning is cheap; clones share the connections, which come back by themselves after a
/// loss. What is about a partition goes to the broker that leads it, also when that changes; everything else goes to
/// one broker, and to another one if that does not serve.
#[derive(Clone, Debug)]
pub struct Client(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: Options,
    brokers: Brokers,
    places: Places,
    /// Whose turn it is among the partitions, for publishes that name none.
    turn: AtomicU32,
}

/// How long one broker may take to say where something is: any other one can say it, too.
const LOCATE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a leader may take to accept a stream before others are asked again who leads: one that was stopped takes
/// connections and says nothing, and whoever named it may know of its successor by now. Its connection is made meanwhile.
pub(crate) const OPEN_TIMEOUT: Duration = Duration::from_millis(1_500);

/// Whether a request whose outcome is unknown may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Twice is as good as once.
    Safe,
    /// Only if it is known not to have taken effect.
    IfDefinite,
}

/// The tries of one request.
pub(crate) struct Tries {
    repeat: Repeat,
    deadline: Instant,
    waits: Waits,
    /// A try that may have taken effect makes the whole request so, whatever later ones say.
    unknown: bool,
}

impl Tries {
    /// When the time is over.
    pub(crate) const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// A try failed. How long to wait before the next one, or the error that ends the request: no try is worth it, or
    /// there is no time left.
    pub(crate) fn failed(&mut self, error: ClientError, at_once: bool) -> Result<Duration, ClientError> {
        let is_unknown = error.outcome() == Outcome::Unknown;
        self.unknown |= is_unknown;
        let worth_it = error.retriable() && (self.repeat == Repeat::Safe || !is_unknown);
        let wait = if at_once { Duration::ZERO } else { self.waits.next() };
        if !worth_it || Instant::now() + wait >= self.deadline {
            let worse = self.unknown && self.repeat == Repeat::IfDefinite;
            return Err(if worse { error.with_outcome(Outcome::Unknown) } else { error });
        }
        Ok(wait)
    }
}

impl Client {
    /// Connects to a cluster by the address of any of its brokers, such as `http://localhost:7400` or
    /// `localhost:7400`, or by several with commas between them, of which one has to answer.
    ///
    /// # Errors
    /// `UNAVAILABLE`, definite, if nobody answers there within the connect timeout; `INVALID_ARGUMENT` for an
    /// address that is none.
    pub async fn connect(addresses: &str, options: Options) -> Result<Self, ClientError> {
        let client = Self::connect_lazy(addresses, options)?;
        client.brokers().connect().await?;
        Ok(client)
    }

    /// As [`Client::connect`], with the addresses in a list.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect_any<A: AsRef<str>>(addresses: &[A], options: Options) -> Result<Self, ClientError> {
        let addresses: Vec<&str> = addresses.iter().map(AsRef::as_ref).collect();
        Self::connect(&addresses.join(","), options).await
    }

    /// As [`Client::connect`], but connects with the first request.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for an address that is none.
    pub fn connect_lazy(addresses: &str, options: Options) -> Result<Self, ClientError> {
        let brokers = Brokers::new(addresses, &options)?;
        Ok(Self(Arc::new(Shared { options, brokers, places: Places::default(), turn: AtomicU32::new(0) })))
    }

    pub(crate) fn options(&self) -> &Options {
        &self.0.options
    }

    pub(crate) fn brokers(&self) -> &Brokers {
        &self.0.brokers
    }

    pub(crate) fn places(&self) -> &Places {
        &self.0.places
    }

    /// Tries of a request that begins now; `more` is what it may take besides.
    pub(crate) fn tries(&self, repeat: Repeat, more: Duration) -> Tries {
        let deadline = Instant::now() + self.options().deadline + more;
        Tries { repeat, deadline, waits: Waits::new(self.options()), unknown: false }
    }

    /// Asks any broker, until one answers or refuses in a way that trying again does not help, or the time is over.
    pub(crate) async fn call<T, F>(
        &self,
        repeat: Repeat,
        try_once: impl FnMut(Channel) -> F,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut tries = self.tries(repeat, Duration::ZERO);
        let limit = self.options().request_timeout;
        self.call_any(&mut tries, limit, try_once).await.map(|(response, _)| response)
    }

    /// As [`Client::call`]; says who answered.
    pub(crate) async fn call_any<T, F>(
        &self,
        tries: &mut Tries,
        limit: Duration,
        mut try_once: impl FnMut(Channel) -> F,
    ) -> Result<(T, Broker), ClientError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut passed_over = 0;
        loop {
            let broker = self.brokers().current();
            let error = match try_until(tries.deadline, limit, try_once(broker.channel.clone())).await {
                Ok(response) => return Ok((response, broker)),
                Err(error) => error,
            };
            let mut at_once = false;
            if error.is_of_broker() {
                self.brokers().pass_over(&broker);
                passed_over += 1;
                // Everybody is asked before anybody is waited for.
                at_once = passed_over % self.brokers().count() != 0;
            }
            sleep(tries.failed(error, at_once)?).await;
        }
    }

    /// Asks the leader of a partition, and whoever leads it next. `limit` is for one try, `more` what the whole may
    /// take besides the deadline.
    pub(crate) async fn call_leader<T, F>(
        &self,
        (target, partition): (&str, u32),
        (limit, more): (Duration, Duration),
        repeat: Repeat,
        mut try_once: impl FnMut(Channel) -> F,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut tries = self.tries(repeat, more);
        loop {
            let (error, at_once) = match self.route_until(target, partition, tries.deadline).await {
                Ok(route) => {
                    let trying = try_once(route.broker.channel.clone());
                    match try_until(tries.deadline, limit, trying).await {
                        Ok(response) => return Ok(response),
                        Err(error) => {
                            let at_once = self.refused(&route, &error);
                            (error, at_once)
                        }
                    }
                }
                Err(error) => (error, false),
            };
            sleep(tries.failed(error, at_once)?).await;
        }
    }

    /// The leader of a partition, as it is known, or as any broker knows it.
    ///
    /// # Errors
    /// `NOT_LEADER`, definite, while nobody leads it.
    pub(crate) async fn route(&self, target: &str, partition: u32) -> Result<Route, ClientError> {
        self.route_until(target, partition, Instant::now() + self.options().deadline).await
    }

    async fn route_until(
        &self,
        target: &str,
        partition: u32,
        deadline: Instant,
    ) -> Result<Route, ClientError> {
        if let Some(route) = self.known_route(target, partition) {
            return Ok(route);
        }
        let found = self.locate_until(target, deadline).await?;
        let Some(shard) = found.shards.get(partition as usize) else {
            let name = format!("{target}/{partition}");
            return Err(Refusal::NotFound { kind: "partition", name }.into());
        };
        self.places().leader(*shard).ok_or_else(|| Refusal::NotLeader { epoch: Epoch::ZERO }.into())
    }

    /// The leader of a partition, if it is known.
    pub(crate) fn known_route(&self, target: &str, partition: u32) -> Option<Route> {
        let shard = *self.places().target(target)?.shards.get(partition as usize)?;
        self.places().leader(shard)
    }

    /// A topic or queue as it is known, or as any broker knows it.
    pub(crate) async fn target(&self, name: &str) -> Result<Arc<Target>, ClientError> {
        match self.places().target(name) {
            Some(target) => Ok(target),
            None => self.locate_now(name).await,
        }
    }

    /// A number that is another one each time.
    pub(crate) fn next_turn(&self) -> u32 {
        self.0.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// Asks any broker where a topic or queue is.
    pub(crate) async fn locate_now(&self, target: &str) -> Result<Arc<Target>, ClientError> {
        self.locate_until(target, Instant::now() + self.options().deadline).await
    }

    async fn locate_until(&self, target: &str, deadline: Instant) -> Result<Arc<Target>, ClientError> {
        let request = v1::LocateRequest { target: target.to_owned() };
        let mut tries = Tries { deadline, ..self.tries(Repeat::Safe, Duration::ZERO) };
        let (response, by) = self
            .call_any(&mut tries, self.options().request_timeout.min(LOCATE_TIMEOUT), |channel| {
                let request = request.clone();
                async move { messages(channel).locate(request).await }
            })
            .await?;
        self.places().located(target, response, &by, self.brokers())
    }

    /// A leader refused. True if another one is known by now.
    pub(crate) fn refused(&self, route: &Route, error: &ClientError) -> bool {
        if !error.is_of_broker() {
            return false;
        }
        if !error.is(pondage_model::Code::NotLeader) {
            self.lost(&route.broker);
        }
        self.places().refused(route, error.leader(), self.brokers())
    }

    /// A broker can't be reached, or ends.
    pub(crate) fn lost(&self, broker: &Broker) {
        self.brokers().pass_over(broker);
        self.places().lost(broker);
    }

    /// Where to settle what a shard granted: its leader if that is known, else any broker, who may know it.
    pub(crate) fn broker_of(&self, shard: ShardId) -> (Broker, Option<Route>) {
        match self.places().leader(shard) {
            Some(route) => (route.broker.clone(), Some(route)),
            None => (self.brokers().current(), None),
        }
    }
}

/// One try, that ends with its own limit or with the time for all of them.
pub(crate) async fn try_until<T>(
    deadline: Instant,
    limit: Duration,
    trying: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, ClientError> {
    let limit = limit.min(deadline.saturating_duration_since(Instant::now()));
    match timeout(limit, trying).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(status.into()),
        Err(_) => Err(Refusal::Timeout.into()),
    }
}

/// The data plane of the broker at the channel's other end.
pub(crate) fn messages(channel: Channel) -> MessagesClient<Channel> {
    MessagesClient::new(channel)
        .max_decoding_message_size(limits::RPC_BYTES_MAX)
        .max_encoding_message_size(limits::RPC_BYTES_MAX)
}

/// Its administration.
pub(crate) fn admin(channel: Channel) -> AdminClient<Channel> {
    AdminClient::new(channel).max_decoding_message_size(limits::RPC_BYTES_MAX)
}

/// The cluster that it belongs to.
pub(crate) fn cluster_service(channel: Channel) -> ClusterClient<Channel> {
    ClusterClient::new(channel).max_decoding_message_size(limits::RPC_BYTES_MAX)
}

/// Its consumer groups.
pub(crate) fn groups(channel: Channel) -> GroupsClient<Channel> {
    GroupsClient::new(channel).max_decoding_message_size(limits::RPC_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    use pondage_protocol::to_status;

    #[tokio::test(start_paused = true)]
    async fn a_call_is_repeated_only_where_that_is_right_and_while_there_is_time() {
        let options = Options {
            deadline: Duration::from_secs(3),
            retry_wait: Duration::from_secs(1),
            retry_wait_max: Duration::from_secs(1),
            ..Options::default()
        };
        for (repeat, refusal, again) in [
            (Repeat::Safe, Refusal::Timeout, true),
            (Repeat::Safe, Refusal::StorageFull, true),
            (Repeat::IfDefinite, Refusal::StorageFull, true),
            (Repeat::IfDefinite, Refusal::Timeout, false),
            (Repeat::Safe, Refusal::InvalidName { length: 0 }, false),
        ] {
            let client = Client::connect_lazy("localhost:1", options.clone()).expect("an address");
            let tried = AtomicU32::new(0);
            let begun = Instant::now();
            let result: Result<(), ClientError> = client
                .call(repeat, |_| {
                    tried.fetch_add(1, Ordering::Relaxed);
                    let status = to_status(&refusal);
                    async { Err(status) }
                })
                .await;
            assert_eq!(result.expect_err("refused").outcome(), refusal.outcome());
            // Waits of half a second to a second each.
            let expected = if again { 3..=6 } else { 1..=1 };
            assert!(expected.contains(&tried.load(Ordering::Relaxed)), "{repeat:?} {refusal:?}");
            assert!(begun.elapsed() <= options.deadline);
        }
    }

    #[tokio::test]
    async fn nobody_there_is_definite() {
        let options = Options { deadline: Duration::from_millis(500), ..Options::default() };
        let error = Client::connect("127.0.0.1:1", options.clone()).await.expect_err("nobody there");
        assert_eq!((error.code(), error.outcome()), ("UNAVAILABLE", Outcome::Definite));
        assert!(Client::connect("not an address", options.clone()).await.is_err());
        // Also for who does not connect first: nothing was sent.
        let client = Client::connect_lazy("127.0.0.1:1", options).expect("an address");
        let error = client.purge("orders").await.expect_err("nobody there");
        assert_eq!((error.code(), error.outcome()), ("UNAVAILABLE", Outcome::Definite));
    }
}
