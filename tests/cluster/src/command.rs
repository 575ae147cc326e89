//! The system's own tools, called and checked.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

/// Calls a tool and gives what it printed.
///
/// # Errors
/// If it can't be started or fails, with what it said.
pub(crate) fn call(program: &str, arguments: &[&str]) -> Result<String> {
    call_with(Command::new(program).args(arguments), "")
}

/// As [`call`], with something on its standard input.
///
/// # Errors
/// As [`call`].
pub(crate) fn call_with(command: &mut Command, input: &str) -> Result<String> {
    let name = format!("{command:?}");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("can't start {name}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends without reading all of it says why by itself.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{name} ended with {}: {}{input}", output.status, said.trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
