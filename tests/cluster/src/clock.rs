//! Clock jumps of one process: its own copy of the kernel's `clock_gettime` is replaced by one that adds an offset to
//! the wall clock.
//!
//! A preloaded library would do for a dynamic binary only, and could not jump while the process runs; the machine's
//! own clock is everybody's. Each process has a private copy of the kernel's user-space page (vDSO), which its
//! superuser may write through `/proc/PID/mem`, as debuggers do. The monotonic clock is left alone, as NTP and
//! administrators leave it.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    process::id,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

/// `clock_gettime(id, time)` by system call, and then `time.seconds += OFFSET` if the id is that of the wall clock.
#[rustfmt::skip]
const CODE: [u8; 24] = [
    0xb8, 0xe4, 0x00, 0x00, 0x00,             // mov eax, 228
    0x0f, 0x05,                               // syscall
    0x85, 0xff,                               // test edi, edi
    0x75, 0x0a,                               // jne to the ret
    0x48, 0x8b, 0x0d, 0x06, 0x00, 0x00, 0x00, // mov rcx, [rip + 6]: behind this code
    0x48, 0x01, 0x0e,                         // add [rsi], rcx
    0xc3,                                     // ret
    0x90, 0x90,                               // to a multiple of 8
];
/// Bytes of the code and the offset.
const PATCH_BYTES: u64 = CODE.len() as u64 + 8;
/// How often a process is stopped anew because a thread was just reading the clock.
const TRIES: usize = 50;

/// Whether clocks can be made to jump on this machine; else why not.
///
/// # Errors
/// With the reason.
pub(crate) fn check() -> Result<()> {
    ensure!(cfg!(target_arch = "x86_64"), "the replacement is made for x86-64");
    find(id()).map(|_| ())
}

/// From now on the process sees the wall clock so many seconds ahead (or behind). The caller has its threads stopped by
/// `stop`, and lets them go on by `go_on`.
///
/// # Errors
/// If the process ended, or the machine can't.
pub(crate) fn jump(
    process: u32,
    seconds: i64,
    stop: impl Fn() -> Result<()>,
    go_on: impl Fn() -> Result<()>,
) -> Result<()> {
    let (vdso, function) = find(process)?;
    let memory = OpenOptions::new().read(true).write(true).open(format!("/proc/{process}/mem"))?;
    let mut patch = [0; PATCH_BYTES as usize];
    patch[..CODE.len()].copy_from_slice(&CODE);
    patch[CODE.len()..].copy_from_slice(&seconds.to_le_bytes());
    for _ in 0..TRIES {
        stop()?;
        let is_quiet = is_quiet(process, &vdso);
        let written = match is_quiet {
            Ok(true) => memory.write_all_at(&patch, function).context("can't write to the process"),
            _ => Ok(()),
        };
        go_on()?;
        written?;
        if is_quiet? {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(1));
    }
    bail!("threads of {process} read the clock all the time");
}

/// Whether all threads are stopped, and none of them in the midst of what is to be replaced.
fn is_quiet(process: u32, vdso: &std::ops::Range<u64>) -> Result<bool> {
    // SIGSTOP is sent; the threads stop one after the other.
    thread::sleep(Duration::from_millis(2));
    for entry in fs::read_dir(format!("/proc/{process}/task"))? {
        let state = fs::read_to_string(entry?.path().join("syscall")).unwrap_or_default();
        // "running", or numbers of which the last is the program counter.
        let counter = state.split_whitespace().next_back().and_then(|word| word.strip_prefix("0x"));
        let counter = counter.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        if counter.is_none_or(|counter| vdso.contains(&counter)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Where the kernel's page lies in the process, and where its `clock_gettime`.
fn find(process: u32) -> Result<(std::ops::Range<u64>, u64)> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps"))?;
    let line = maps.lines().find(|line| line.ends_with("[vdso]")).context("the process has no vDSO")?;
    let (from, to) =
        line.split(' ').next().and_then(|range| range.split_once('-')).context("a line of maps")?;
    let range = u64::from_str_radix(from, 16)?..u64::from_str_radix(to, 16)?;
    let mut image = vec![0; usize::try_from(range.end - range.start)?];
    let memory = OpenOptions::new().read(true).open(format!("/proc/{process}/mem"))?;
    memory.read_exact_at(&mut image, range.start).context("can't read the process")?;
    let place =
        symbol(&image, "__vdso_clock_gettime").context("the vDSO has no clock_gettime with room for ours")?;
    Ok((range.clone(), range.start + place))
}

/// Where a function begins in an ELF image as it is loaded, if it is as long as the replacement. Follows the one jump
/// that some kernels' functions consist of.
fn symbol(image: &[u8], name: &str) -> Option<u64> {
    /// The kinds of sections that hold the symbols and their names.
    const DYNAMIC_SYMBOLS: u32 = 11;
    let short = |at: usize| Some(u16::from_le_bytes(image.get(at..at + 2)?.try_into().ok()?));
    let word = |at: usize| Some(u32::from_le_bytes(image.get(at..at + 4)?.try_into().ok()?));
    let long = |at: usize| usize::try_from(u64::from_le_bytes(image.get(at..at + 8)?.try_into().ok()?)).ok();
    let (sections, size, count) = (long(0x28)?, usize::from(short(0x3a)?), usize::from(short(0x3c)?));
    let section = |index: usize| sections + index * size;
    let symbols = (0..count).map(section).find(|at| word(at + 4) == Some(DYNAMIC_SYMBOLS))?;
    let names = section(word(symbols + 0x28)? as usize);
    let (from, bytes, names) = (long(symbols + 0x18)?, long(symbols + 0x20)?, long(names + 0x18)?);
    let at = (from..from + bytes).step_by(24).find(|at| {
        let begin = word(*at).map(|offset| names + offset as usize);
        let text = begin.and_then(|begin| image.get(begin..begin + name.len() + 1));
        text.is_some_and(|text| text[..name.len()] == *name.as_bytes() && text[name.len()] == 0)
    })?;
    let (value, length) = (long(at + 8)?, long(at + 16)?);
    if length >= PATCH_BYTES as usize {
        return Some(value as u64);
    }
    // endbr64, then a jump over 32 bits.
    let jump = if image.get(value..value + 4)? == [0xf3, 0x0f, 0x1e, 0xfa] { value + 4 } else { value };
    if *image.get(jump)? != 0xe9 {
        return None;
    }
    let distance = i64::from(word(jump + 1)?.cast_signed());
    u64::try_from(i64::try_from(jump + 5).ok()? + distance).ok()
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader},
        process::{Command, Stdio},
        time::{SystemTime, UNIX_EPOCH},
    };

    use rustix::process::{Pid, Signal, kill_process};

    use super::*;

    /// Set for the process that is to be harmed.
    const TELL: &str = "PONDAGE_TELL_THE_TIME";

    /// The process that is harmed: this test, run again.
    #[test]
    fn tell_the_time() {
        for _ in std::env::var_os(TELL).iter().flat_map(|_| 0..500) {
            println!("\nnow {}", seconds());
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn seconds() -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs().cast_signed()
    }

    #[test]
    fn one_process_sees_another_year() {
        const YEAR: i64 = 365 * 86_400;
        if check().is_err() || !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: clocks can't be made to jump here");
            return;
        }
        let me = std::env::current_exe().expect("this test");
        let mut command = Command::new(me);
        command.args(["--exact", "clock::tests::tell_the_time", "--nocapture"]).env(TELL, "1");
        let mut child = command.stdout(Stdio::piped()).spawn().expect("this test again");
        let pid = Pid::from_child(&child);
        let signal = |signal| move || Ok(kill_process(pid, signal)?);
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut seen = lines.filter_map(|line| line.ok()?.strip_prefix("now ")?.parse::<i64>().ok());
        // `spawn` comes back while the kernel still maps the new program, its clock page last.
        seen.next().expect("the process runs");
        for years in [0, 10, -10, 0] {
            jump(child.id(), years * YEAR, signal(Signal::STOP), signal(Signal::CONT)).expect("a jump");
            // What was told before the jump may still be in the pipe.
            let ahead = seen.nth(5).expect("a time") - seconds();
            assert!((ahead - years * YEAR).abs() <= 5, "{ahead} s ahead");
        }
        child.kill().expect("a kill");
        child.wait().expect("its end");
    }
}
