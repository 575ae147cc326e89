//! Questions with answers, to any address: seeds are no registered brokers yet.
//!
//! They travel on connections of their own, so that an answer never waits behind entries for followers.

use std::{collections::HashMap, error::Error as _, sync::Mutex, time::Duration};

use bytes::Bytes;
use pondage_model::{Outcome, limits};
use pondage_protocol::{
    Failure, from_status,
    v1::{self, peers_client::PeersClient},
};
use tonic::{Code, Status, transport::Channel};

use super::{
    FRAME_BYTES_MAX, PeerOptions,
    dial::{DialError, Dialer, channel_to},
    introduction::CallKind,
    lock,
};
use crate::tls::Tls;

/// Addresses whose connections are kept; the one that was not used for longest is closed for another.
const POOLED_MAX: usize = limits::BROKERS_MAX;
/// How long a dial may take. Shorter than a link's: calls that wait for it have deadlines of their own.
const DIAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a call was not answered.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No connection came about.
    #[error("{address} can't be reached: {error}")]
    Unreachable {
        /// Where.
        address: String,
        /// Why. `ConnectionRefused`: nobody listens there.
        error: std::io::ErrorKind,
    },
    /// Somebody else answers there.
    #[error("{address}: {what}")]
    SomebodyElse {
        /// Where.
        address: String,
        /// Who, in its words.
        what: String,
    },
    /// The callee refused.
    #[error(transparent)]
    Refused(Failure),
    /// The question is greater than a call takes.
    #[error("a call of {bytes} bytes; the limit is {}", limits::RPC_BYTES_MAX)]
    TooLarge {
        /// How great it is.
        bytes: usize,
    },
    /// The connection was lost before the answer came.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// No answer came in time.
    #[error("no answer in time")]
    Timeout,
}

impl CallError {
    /// Whether the call may have taken effect.
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Unreachable { .. } | Self::SomebodyElse { .. } | Self::TooLarge { .. } => Outcome::Definite,
            Self::Refused(failure) => failure.outcome,
            Self::Lost(_) | Self::Timeout => Outcome::Unknown,
        }
    }
}

/// Connections for calls, by address.
pub(super) struct Calls {
    pool: Mutex<Pool>,
    tls: Option<Tls>,
    options: PeerOptions,
}

#[derive(Default)]
struct Pool {
    channels: HashMap<String, (Channel, u64)>,
    uses: u64,
}

impl Calls {
    pub(super) fn new(tls: Option<Tls>, options: PeerOptions) -> Self {
        Self { pool: Mutex::default(), tls, options }
    }

    pub(super) async fn call(
        &self,
        address: &str,
        introduction: v1::Introduction,
        kind: CallKind,
        body: Bytes,
        limit: Duration,
    ) -> Result<Bytes, CallError> {
        if body.len() > limits::RPC_BYTES_MAX {
            return Err(CallError::TooLarge { bytes: body.len() });
        }
        let channel = self.channel(address).map_err(|error| unreachable(&error))?;
        let mut client = PeersClient::new(channel)
            .max_decoding_message_size(FRAME_BYTES_MAX)
            .max_encoding_message_size(FRAME_BYTES_MAX);
        let request = v1::CallRequest { introduction: Some(introduction), kind: kind as u32, body };
        match tokio::time::timeout(limit, client.call(request)).await {
            Ok(Ok(answer)) => Ok(answer.into_inner().body),
            Ok(Err(status)) => Err(error_of(&status, address)),
            Err(_) => Err(CallError::Timeout),
        }
    }

    fn channel(&self, address: &str) -> Result<Channel, DialError> {
        let mut pool = lock(&self.pool);
        pool.uses += 1;
        let use_number = pool.uses;
        if let Some((channel, used)) = pool.channels.get_mut(address) {
            *used = use_number;
            return Ok(channel.clone());
        }
        if pool.channels.len() >= POOLED_MAX {
            let oldest = pool.channels.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(oldest) = oldest.map(|(address, _)| address.clone()) {
                pool.channels.remove(&oldest);
            }
        }
        let dialer = Dialer::new(address, self.tls.clone(), DIAL_TIMEOUT);
        let channel = channel_to(address, dialer, &self.options)?;
        pool.channels.insert(address.to_owned(), (channel.clone(), use_number));
        Ok(channel)
    }
}

fn unreachable(error: &DialError) -> CallError {
    CallError::Unreachable { address: error.address.clone(), error: error.error.kind() }
}

fn error_of(status: &Status, address: &str) -> CallError {
    let mut source = status.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<DialError>() {
            return unreachable(error);
        }
        source = error.source();
    }
    // Only what the library itself says of a connection has a source.
    if status.source().is_some() {
        return CallError::Lost(status.message().to_owned());
    }
    if status.code() == Code::FailedPrecondition && status.details().is_empty() {
        return CallError::SomebodyElse { address: address.to_owned(), what: status.message().to_owned() };
    }
    CallError::Refused(from_status(status))
}
