//! The steps of something that takes long, each a line with the time so far.

use std::time::Instant;

/// The steps so far.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    begun: Instant,
}

impl Steps {
    /// From now on.
    #[must_use]
    pub fn begin() -> Self {
        Self { begun: Instant::now() }
    }

    /// This is done.
    pub fn say(&self, what: &str) {
        println!("{:6.1} s  {what}", self.begun.elapsed().as_secs_f64());
    }
}
