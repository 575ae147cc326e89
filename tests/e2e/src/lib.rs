//! Process-level tests, demos and benchmarks against the real binary
