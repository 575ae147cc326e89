//! A real Kubernetes for tests: the API server with its etcd alone, or a whole cluster of several nodes.
//!
//! [`tools`] builds everything from Go modules into a cache. [`control_plane`] runs the API server on loopback ports, for
//! which no root is needed; [`admission`] asks it about resources of ours. [`cluster`] makes nodes out of namespaces,
//! [`image`] what runs in them, [`audit`] tells what the API server was asked, and [`check`] tries all of it. [`prometheus`] watches
//! what runs there, and [`e2e`] installs and uses Pondage in one.
//!
//! A program that makes clusters begins with [`cluster::serve_if_called`]: nodes call it again.

mod addons;
pub mod admission;
pub mod audit;
pub mod check;
mod client;
pub mod cluster;
mod command;
pub mod control_plane;
pub mod e2e;
pub mod image;
mod kubeconfig;
mod log;
mod machine;
mod parts;
mod pki;
pub mod prometheus;
pub mod steps;
pub mod tools;

pub use addons::SHELL;
pub use client::Client;
