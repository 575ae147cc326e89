//! Renders the Helm chart with many values and judges what comes out.
//!
//! ```text
//! cargo run -p pondage-chart-tests
//! ```
//!
//! What needs no Helm is tested in `xtask/tests/chart`.

mod helm;
mod objects;
mod refusals;
mod rendered;

use std::process::ExitCode;

use anyhow::Result;

use crate::helm::Helm;

/// A check: what must hold, and how it is looked at.
pub(crate) type Check = (&'static str, fn(&Helm) -> Result<()>);

fn main() -> ExitCode {
    let helm = match Helm::find() {
        Ok(helm) => helm,
        Err(error) => {
            eprintln!("error: {error:#}");
            println!("test result: FAILED. 0 passed; 1 failed; 0 ignored");
            return ExitCode::FAILURE;
        }
    };
    let checks = rendered::CHECKS.iter().chain(refusals::CHECKS);
    let (mut passed, mut failed) = (0, 0);
    for (what, check) in checks {
        match check(&helm) {
            Ok(()) => passed += 1,
            Err(error) => {
                failed += 1;
                println!("FAILED: {what}: {error:#}");
            }
        }
    }
    println!(
        "test result: {}. {passed} passed; {failed} failed; 0 ignored",
        if failed == 0 { "ok" } else { "FAILED" }
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
