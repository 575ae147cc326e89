//! The benchmark of autoscaling: the drain-time controller, KEDA, the HorizontalPodAutoscaler, Numaflow and fixed sizes
//! in the same simulator, over the same traces.
//!
//! ```text
//!  seeds ─► traces ─┐
//!  recorded files ──┼─► race (simulator of pondage-autoscale) ─► figures ─► tables, picture, verdict
//!  contenders ──────┘
//! ```
//!
//! The simulator and the controller are the product's own crate. What is here are the others, each written after what
//! is published of it and tested against published examples, the traces, and the bars.

pub mod chance;
pub mod contenders;
pub mod figures;
pub mod fixed;
pub mod hpa;
pub mod keda;
pub mod numaflow;
pub mod race;
pub mod report;
pub mod seeds;
pub mod traces;
pub mod verdict;
