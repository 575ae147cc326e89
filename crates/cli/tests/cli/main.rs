//! The real binary, as people and scripts use it: each test has a broker of its own, in a process, on free ports.

mod administering;
mod clustered;
mod completing;
mod consuming;
mod defining;
mod harness;
mod publishing;
mod resources;
mod running;
mod secured;
