//! The Rust client: admin, publish, consume.
//!
//! ```no_run
//! # async fn example() -> Result<(), pondage_client::ClientError> {
//! use pondage_client::{Client, ConsumerOptions, Message, Options, PublisherOptions};
//!
//! let client = Client::connect("http://localhost:7400", Options::default()).await?;
//! let publisher = client.publisher("orders", PublisherOptions::default()).await?;
//! let ack = publisher.send(Message::new("hello")).await?.await?;
//! println!("stored at {}", ack.offset);
//!
//! let consumer = client.consumer("orders", ConsumerOptions::default()).await?;
//! while let Some(message) = consumer.next().await? {
//!     println!("{:?}", message.value);
//!     message.accept().await?;
//! }
//! # Ok(())
//! # }
//! ```

mod admin;
mod brokers;
mod client;
mod cluster;
mod consume_stream;
mod error;
mod group_member;
mod health;
mod inbox;
mod message;
mod observing;
mod options;
mod partitioner;
mod patience;
mod places;
mod publisher;
mod queue_consumer;
mod retry;
pub mod rolling;
mod settles;
mod tls;
mod topic_reader;
mod unary;
mod verdicts;

pub use admin::Watch;
pub use client::Client;
pub use error::ClientError;
pub use group_member::{
    Attendance, GroupMember, GroupMessage, GroupShare, HandlerError, MemberError, MemberOptions, ShareSource,
    SharedConsumer, WorkerOptions,
};
pub use health::{Trouble, is_under_replicated, troubles};
pub use message::{Message, QueueMessage, ReceivedMessage, TopicEvent, TopicMessage};
pub use observing::Observing;
pub use options::{ConsumerOptions, Options, PublisherOptions, ReaderOptions};
pub use partitioner::partition_of_key;
pub use pondage_model::record::Compression;
pub use pondage_protocol::{
    admin::{Applied, Apply, Broker, Change, Cluster, Delete, WatchEvent, Watched},
    cluster::{
        BrokerStatus, ClusterStatus, Drain, LeaderMove, MovePlan, ShardKind, ShardStatus, UncleanElection,
    },
    consume::StartAt,
    groups::{GroupPartition, SharedLag},
    members::{Member, Membership, OwnedPartition},
    messages::{MessageRun, MessageState},
    observe::GroupObservation,
    resources::{Resource, ResourceKind, Settings, StreamStatus},
    settle::{SettleItem, SettleResult, Settled, Tokens, Verdict},
};
pub use publisher::{Ack, Publisher, Sending};
pub use queue_consumer::QueueConsumer;
pub use tls::Tls;
pub use topic_reader::TopicReader;
pub use unary::{BrowseRange, Browsed, Browsing, Location};
