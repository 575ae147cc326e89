//! Voters of the real library on real stores, with a network that is cut at will.

mod cluster;
mod growing;
mod known_faults;
mod living;
mod quorums;
mod store_suite;
mod unknown;
