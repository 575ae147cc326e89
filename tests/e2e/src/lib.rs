//! Process-level tests and demonstrations: they start the real binary, and harm it.

pub mod flights;
pub mod process;
