//! Process-level faults: real `pondage` processes, each in a network namespace of its own, are killed, stopped, cut off,
//! slowed down, wiped, filled up and cut from power while clients publish and settle at a steady rate.
//!
//! ```text
//!  clients ──veth──┐                       ┌──veth── broker 1 ── folder or volume
//!  (load)          ├── hub: routes, cuts ──┼──veth── broker 2 ── folder or volume
//!                  │   (nftables), loss,   └──veth── broker 3 ── folder or volume
//!                  └── shaper (TUN): delay, reordering, duplicates
//! ```
//!
//! Every request and everything that a client sees goes through one recorder into `pondage-history`, which judges it
//! by the delivery contract. A run ends with an audit: all brokers are killed and started again, the topic is read from
//! its first message to its end, and the queues are drained.
//!
//! # What holds
//!
//! * **A run harms nothing but itself.** Its namespaces, folders, mounts and loop devices carry its process id in their
//!   names; they go when it ends, by a panic too, and what a run left that was itself killed goes when the next one starts.
//!   Only processes in those namespaces are killed. The namespaces lead nowhere.
//! * **A fault counts only if it hit something**: a kill with neither a publish nor a settle unanswered is made again.
//! * **Nothing is skipped in silence**: where the machine can't make a fault, the run says so and counts it.
//!
//! # Deliberately absent
//!
//! Injected I/O errors and flipped bits, which the simulator and the storage tests make at every place; two clusters at
//! once.

mod chance;
mod clock;
pub mod cluster;
mod command;
mod folder;
mod kernel;
pub mod leftovers;
pub mod load;
pub mod machine;
pub mod network;
pub mod process;
pub mod report;
pub mod run;
pub mod scenarios;
mod tls;
pub mod volume;
