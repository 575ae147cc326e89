//! The system's own programs, called and checked.

use std::{
    io::Write,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// Calls a program and gives what it printed.
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
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("{name} does not start"))?;
    // Small enough for a pipe; who does not read it says why on its standard error.
    drop(child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !output.status.success() {
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        bail!("{name} ended with {}: {}", output.status, said.trim());
    }
    Ok(text(&output.stdout))
}

/// Asks again and again until the answer is yes.
///
/// # Errors
/// If it is still no, or an error, after `limit`: with the last error.
pub(crate) fn wait_until(what: &str, limit: Duration, mut ask: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    loop {
        let answer = ask();
        if matches!(answer, Ok(true)) {
            return Ok(());
        }
        if begun.elapsed() > limit {
            let last = answer.err().map(|error| format!(": {error:#}")).unwrap_or_default();
            bail!("{what}: not after {} s{last}", limit.as_secs());
        }
        sleep(Duration::from_millis(100));
    }
}
