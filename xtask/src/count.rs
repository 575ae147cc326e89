//! Reads from the output of test runners how many tests they ran.

use std::ops::AddAssign;

/// Tests, or checks that count as one test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub passed: u64,
    pub failed: u64,
    pub skipped: u64,
}

impl Count {
    /// Checks that all passed.
    pub(crate) fn passed(passed: u64) -> Self {
        Self { passed, ..Self::default() }
    }

    /// Checks that all failed.
    pub(crate) fn failed(failed: u64) -> Self {
        Self { failed, ..Self::default() }
    }
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// What a summary line of nextest (`Summary [ 1.2s] 5 tests run: 4 passed, 1 failed, 2 skipped`) or of libtest
/// (`test result: ok. 3 passed; 0 failed; 1 ignored; …`) says; nothing for any other line.
pub(crate) fn summary(line: &str) -> Option<Count> {
    let facts = if line.trim_start().starts_with("Summary [") {
        line.split_once(" run: ")?.1
    } else {
        // At the line's start only: nextest shows a failed test's own output indented.
        line.strip_prefix("test result: ")?.split_once(". ")?.1
    };
    let mut count = Count::default();
    for fact in facts.split([',', ';']) {
        let mut words = fact.split_whitespace();
        let (Some(number), Some(word)) = (words.next(), words.next()) else { continue };
        let Ok(number) = number.parse::<u64>() else { continue };
        match word {
            "passed" => count.passed += number,
            "skipped" | "ignored" => count.skipped += number,
            // nextest keeps these apart, to us a test that does not end has failed
            "failed" | "timed" | "exec" => count.failed += number,
            _ => {}
        }
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_lines_of_the_runners_are_understood() {
        let counts = |passed, failed, skipped| Some(Count { passed, failed, skipped });
        let table: &[(&str, Option<Count>)] = &[
            ("     Summary [   0.034s] 12 tests run: 12 passed, 3 skipped", counts(12, 0, 3)),
            (
                "     Summary [   9.0s] 5/9 tests run: 3 passed (1 slow), 1 failed, 1 timed out, 0 skipped",
                counts(3, 2, 0),
            ),
            (
                "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s",
                counts(3, 0, 1),
            ),
            (
                "test result: FAILED. 2 passed; 4 failed; 0 ignored; 0 measured; 7 filtered out",
                counts(2, 4, 0),
            ),
            ("        PASS [   0.005s] pondage-model entry::tests::passed", None),
            ("    test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 2 filtered out", None),
            ("running 3 tests", None),
            ("", None),
        ];
        for (line, expected) in table {
            assert_eq!(summary(line), *expected, "{line}");
        }
    }
}
