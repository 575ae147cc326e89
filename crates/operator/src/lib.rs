//! The operator: custom resources of Kubernetes become brokers, topics, queues and groups, and stay so.
//!
//! ```text
//!                      ┌───────────────────────── operator ─────────────────────────┐
//!  BrokerCluster ─────►│ cluster:  fetch ─► validate ─► build ─► apply ─► roll       │──► StatefulSet, Services, …
//!  Topic, Queue,  ────►│ declared: fetch ─► validate ───────────► apply              │──► brokers' admin API
//!  ConsumerGroup       │                                             │               │
//!                      │ status, conditions, events  ◄───────────────┘               │
//!                      └─────────────────────────────────────────────────────────────┘
//! ```
//!
//! Each look at a resource starts from what is there now, and two looks do no more than one. *Fetch* reads caches and
//! asks brokers; *validate* and *build* are pure; *apply* writes what differs. What was begun and must not be forgotten
//! (the cluster's identity, that it began, which broker is being restarted) is in the status, written with a
//! precondition. A resource that can't be read stops nobody else's: watches carry raw objects.
//!
//! Brokers need neither the operator nor the API server to serve, to replicate and to fail over.

mod brokers;
mod cluster;
mod conditions;
mod declared;
mod error;
mod events;
mod http;
mod lease;
mod metrics;
mod names;
mod namespaces;
mod operator;
mod run;
mod scaling;
mod status;
mod triggers;
mod watching;
mod written;

pub use run::{Options, RunError, run};
pub use scaling::scaling_settings;
