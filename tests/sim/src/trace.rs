//! What happened in a world, as text for people and as a hash for comparison.

use std::fmt::Write;

/// A running hash (FNV-1a, 64 bits) over every step, printed as it goes if asked.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) hash: u64,
    pub(crate) events: u64,
    print: bool,
    line: String,
}

impl Trace {
    pub(crate) const fn new(print: bool) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, events: 0, print, line: String::new() }
    }

    pub(crate) fn say(&mut self, micros: u64, what: std::fmt::Arguments<'_>) {
        self.events += 1;
        self.line.clear();
        write!(self.line, "{micros:>10} {what}").expect("a string takes all");
        for byte in self.line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.print {
            println!("{}", self.line);
        }
    }
}
