//! Gives a real API server our definitions and resources that it must take or refuse; `cargo xtask test --only admission`
//! runs it.

use std::{process::ExitCode, time::Instant};

use anyhow::Result;
use pondage_kube_tests::{
    admission::{CASES, check, install},
    control_plane::ControlPlane,
    tools::Tools,
};

fn main() -> ExitCode {
    match perform() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            println!("test result: FAILED. 0 passed; 1 failed; 0 ignored");
            ExitCode::FAILURE
        }
    }
}

fn perform() -> Result<bool> {
    let begun = Instant::now();
    let say = |what: &str| println!("{:6.1} s  {what}", begun.elapsed().as_secs_f64());
    let tools = Tools::prepare()?;
    let plane = ControlPlane::start(&tools)?;
    say("the API server answers");
    install(plane.kubectl())?;
    say("it serves our definitions");
    let mut failed = 0;
    for case in CASES {
        if let Err(error) = check(plane.kubectl(), case) {
            failed += 1;
            println!("FAILED: {} {}: {error:#}", case.kind, case.about);
        }
    }
    say("every case was tried");
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {word}. {} passed; {failed} failed; 0 ignored", CASES.len() - failed);
    Ok(failed == 0)
}
