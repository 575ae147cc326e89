//! How many consumers a group needs, as a pure function of what brokers and Kubernetes tell, and a simulator that shares
//! it. No I/O, no clock, no randomness.
//!
//! * [`decide`](decide()) is the drain-time controller: settings, state and an [`Observation`] in, a [`Decision`] with its
//!   [`Reason`] and all its figures out, and the state for the next look.
//! * [`Spec`] is what a group's owner asks for; [`Settings`] is the same, checked.
//! * [`Learned`] is what has to survive a restart; it stands in the group's status.
//! * [`simulate`] is a group in a computer, for benchmarks and for `pondage autoscale simulate`; [`trace`] reads what
//!   shall happen in it from a table.
//!
//! # Deliberately absent
//!
//! Kubernetes, brokers and metrics: the operator makes observations and does what decisions say.

mod assignment;
mod decide;
mod observation;
pub mod simulate;
mod spec;
mod state;
pub mod trace;

pub use assignment::assign;
pub use decide::{Because, Decision, Inputs, LimitedBy, Reason, STALE_MILLIS, TICK_MILLIS, decide};
pub use observation::{MemberSeen, Observation, PartitionSeen, PodSeen, Source};
pub use spec::{
    Behavior, DelayTarget, Fallback, FallbackBehavior, MILLIS_MAX, PERIOD_MILLIS_MAX, POLICIES_MAX, Policy,
    PolicyKind, REPLICAS_MAX, Refused, Rules, STABILIZATION_MILLIS_MAX, ScaleToZero, Select, Settings, Spec,
    Target, UTILIZATION_PERCENT_DEFAULT,
};
pub use state::{Learned, State};
