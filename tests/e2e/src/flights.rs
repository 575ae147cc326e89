//! The flights run: a real data set goes through a topic and three queues while the broker is being killed.
//!
//! Four producers publish every row to the topic, by carrier, and to the queue of its origin. Eight workers settle the
//! queues and release some messages. A reader follows the topic. The broker is killed with SIGKILL at random moments,
//! each with publishes and settles unanswered, and started again on the same data. At the end the [`verify`] module
//! holds the records of all of them against the file.

mod chance;
mod dataset;
mod kills;
mod ledger;
mod publish;
mod read;
mod report;
mod run;
mod settle;
mod verify;

pub use run::{Plan, run};

/// The topic that every row goes to.
const TOPIC: &str = "flights";
/// The origins of all flights, and the queues for them.
const QUEUES: [(&str, &str); 3] = [("EWR", "flights-ewr"), ("JFK", "flights-jfk"), ("LGA", "flights-lga")];
/// Where messages would go that failed too often. None shall.
const DEAD_LETTERS: &str = "flights-dead";
/// Producers; row n is sent by producer n modulo their number, each in the order of the file.
const PRODUCERS: usize = 4;
/// Consumers of the queues.
const WORKERS: usize = 8;
