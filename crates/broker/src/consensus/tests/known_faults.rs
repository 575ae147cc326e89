//! Faults that implementations of this protocol had, on our store and behind our adapter.
