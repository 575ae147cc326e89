//! The brokers that a client knows, and its connections to them.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pondage_model::{Outcome, Refusal};
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use crate::{ClientError, Options, Tls, error::deepest_reason};

const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// A connection on which nothing comes for as long is asked whether it is still there, and how long the answer may
/// take: a broker that vanished without a word has a new leader in about as much time.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_millis(750);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Brokers that are remembered; the cluster may have more.
const BROKERS_MAX: usize = 256;

/// One broker, by the address that it is reached at. Its connection comes back by itself after a loss.
#[derive(Clone, Debug)]
pub(crate) struct Broker {
    pub(crate) address: Arc<str>,
    pub(crate) channel: Channel,
}

impl PartialEq for Broker {
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address
    }
}

/// The brokers that were given and those that were learned of.
#[derive(Debug)]
pub(crate) struct Brokers {
    settings: Settings,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The given ones first.
    known: Vec<Broker>,
    /// Who is asked what any broker can answer: the same one for as long as it does, so that a client sees its own
    /// changes.
    current: usize,
}

/// What all connections share.
#[derive(Clone, Debug)]
struct Settings {
    /// With what the addresses of brokers begin that the cluster names without it.
    scheme: String,
    connect_timeout: Duration,
    keep_alive_interval: Duration,
    keep_alive_timeout: Duration,
    tls: Option<Tls>,
}

impl Brokers {
    /// Knows the brokers at these addresses, as a list with commas between them; connects when they are needed.
    pub(crate) fn new(addresses: &str, options: &Options) -> Result<Self, ClientError> {
        let given: Vec<&str> = addresses.split(',').map(str::trim).filter(|one| !one.is_empty()).collect();
        let usual = if options.tls.is_some() { "https" } else { "http" };
        let scheme =
            given.first().and_then(|first| first.split_once("://")).map_or(usual, |(scheme, _)| scheme);
        let settings = Settings {
            scheme: scheme.to_owned(),
            connect_timeout: options.connect_timeout,
            keep_alive_interval: KEEP_ALIVE_INTERVAL.min(options.request_timeout / 3),
            keep_alive_timeout: KEEP_ALIVE_TIMEOUT.min(options.connect_timeout),
            tls: options.tls.clone(),
        };
        let mut known: Vec<Broker> = Vec::new();
        for address in given {
            let broker = settings.broker(address)?;
            if !known.contains(&broker) {
                known.push(broker);
            }
        }
        if known.is_empty() {
            return Err(not_an_address());
        }
        Ok(Self { settings, state: Mutex::new(State { known, current: 0 }) })
    }

    /// Connects to all at once and takes the first that answers for the current one.
    pub(crate) async fn connect(&self) -> Result<(), ClientError> {
        let mut connecting = JoinSet::new();
        for (index, broker) in self.state().known.iter().enumerate() {
            let endpoint = self.settings.endpoint(&broker.address)?;
            let address = Arc::clone(&broker.address);
            connecting.spawn(async move { (index, address, endpoint.connect().await) });
        }
        let mut last = not_an_address();
        while let Some(connected) = connecting.join_next().await {
            match connected {
                Ok((index, address, Ok(channel))) => {
                    let mut state = self.state();
                    state.known[index] = Broker { address, channel };
                    state.current = index;
                    return Ok(());
                }
                Ok((_, address, Err(error))) => {
                    let reason = deepest_reason(&error);
                    let message = format!("no connection to {address}: {reason}");
                    last = ClientError::unavailable(message, Outcome::Definite);
                }
                // It ended early only if it panicked; the others may do better.
                Err(_) => {}
            }
        }
        Err(last)
    }

    /// Whom to ask what any broker can answer.
    pub(crate) fn current(&self) -> Broker {
        let state = self.state();
        state.known[state.current].clone()
    }

    /// The broker did not serve: ask another one next.
    pub(crate) fn pass_over(&self, broker: &Broker) {
        let mut state = self.state();
        if state.known[state.current] == *broker {
            state.current = (state.current + 1) % state.known.len();
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.state().known.len()
    }

    /// The broker at an address that the cluster names.
    pub(crate) fn at(&self, address: &str) -> Result<Broker, ClientError> {
        let url = self.settings.url(address);
        let mut state = self.state();
        if let Some(found) = state.known.iter().find(|broker| *broker.address == *url) {
            return Ok(found.clone());
        }
        let broker = self.settings.broker(address)?;
        if state.known.len() < BROKERS_MAX {
            state.known.push(broker.clone());
        }
        Ok(broker)
    }

    /// The cluster has brokers at these addresses.
    pub(crate) fn learn(&self, addresses: &[String]) {
        for address in addresses {
            // One that is none can't be asked, and that is all.
            drop(self.at(address));
        }
    }

    /// No code that holds the lock can panic half way, so a poisoned one is as good.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Settings {
    fn url(&self, address: &str) -> String {
        if address.contains("://") { address.to_owned() } else { format!("{}://{address}", self.scheme) }
    }

    fn broker(&self, address: &str) -> Result<Broker, ClientError> {
        let channel = self.endpoint(address)?.connect_lazy();
        Ok(Broker { address: self.url(address).into(), channel })
    }

    fn endpoint(&self, address: &str) -> Result<Endpoint, ClientError> {
        let endpoint = Endpoint::from_shared(self.url(address)).map_err(|_| not_an_address())?;
        let endpoint = endpoint
            .connect_timeout(self.connect_timeout)
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            // A broker that vanished without a word is noticed while streams wait for it.
            .http2_keep_alive_interval(self.keep_alive_interval)
            .keep_alive_timeout(self.keep_alive_timeout)
            .keep_alive_while_idle(true);
        self.tls.as_ref().map_or(Ok(endpoint.clone()), |tls| tls.secure(endpoint))
    }
}

fn not_an_address() -> ClientError {
    let what = "address: expected host:port or http://host:port, or several with commas between them";
    Refusal::InvalidArgument { what: what.to_owned() }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_are_known_once_however_they_are_written() {
        let brokers = Brokers::new("a:1, http://a:1,,b:2", &Options::default()).expect("addresses");
        assert_eq!(brokers.count(), 2);
        brokers.learn(&["b:2".to_owned(), "c:3".to_owned(), "no address at all".to_owned()]);
        assert_eq!(brokers.count(), 3);
        assert_eq!(*brokers.at("c:3").expect("an address").address, *"http://c:3");
        for none in ["", " , ", "not an address"] {
            assert!(Brokers::new(none, &Options::default()).is_err(), "{none:?}");
        }
    }

    #[tokio::test]
    async fn only_who_is_asked_can_be_passed_over() {
        let brokers = Brokers::new("a:1,b:2", &Options::default()).expect("addresses");
        let (first, other) = (brokers.current(), brokers.at("b:2").expect("known"));
        brokers.pass_over(&other);
        assert_eq!(brokers.current(), first);
        brokers.pass_over(&first);
        assert_eq!(brokers.current(), other);
        brokers.pass_over(&other);
        assert_eq!(brokers.current(), first);
    }
}
