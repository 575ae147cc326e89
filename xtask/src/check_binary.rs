//! Checks what the container image promises without a container engine: the binary names no loader and no
//! library, and it starts as an unprivileged user in a root folder that holds nothing else.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::project::Project;

/// The user and group of the image, as the Dockerfile's USER line has it.
const IMAGE_USER: &str = "65532:65532";

/// Arguments that make `pondage` start, print and end. Each runs in an empty root of its own.
const STARTS: &[&[&str]] = &[&["--version"], &["--help"], &["up", "--help"]];

/// Checks the binary that the shipped build made; answers how many checks passed.
pub(crate) fn check(project: &Project) -> Result<u64> {
    let binary = project.shipped_binary();
    let bytes = fs::read(&binary).with_context(|| format!("can't read {}", binary.display()))?;
    let needs = needs(&bytes).with_context(|| format!("{} is no ELF file", binary.display()))?;
    if needs != Needs::default() {
        bail!("{} is not static: {needs:?}", binary.display());
    }
    for args in STARTS {
        starts_alone(&binary, args)?;
    }
    Ok(1 + STARTS.len() as u64)
}

/// Runs the binary where nothing else is: no library, no /etc, no /proc, no shell.
fn starts_alone(binary: &Path, args: &[&str]) -> Result<()> {
    let root = EmptyRoot::around(binary)?;
    let mut command = if user_is_root()? {
        let mut chroot = Command::new("chroot");
        chroot.arg(format!("--userspec={IMAGE_USER}"));
        chroot
    } else {
        // Without privileges: a user namespace of our own, whose root is nobody outside.
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "chroot"]);
        unshare
    };
    command.arg(&root.0).arg("/pondage").args(args).env_clear().stdin(Stdio::null());
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let output = command.output().context("can't start chroot (coreutils) or unshare (util-linux)")?;
    if !output.status.success() || output.stdout.is_empty() {
        bail!(
            "`pondage {}` in an empty root ended with {}: {}",
            args.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

fn user_is_root() -> Result<bool> {
    let output = Command::new("id").arg("-u").stdin(Stdio::null()).output().context("can't run id")?;
    Ok(output.stdout.trim_ascii() == b"0")
}

/// A folder with one file, removed again at the end.
struct EmptyRoot(PathBuf);

impl EmptyRoot {
    fn around(binary: &Path) -> Result<Self> {
        let parent = binary.parent().context("the binary lies in a folder")?;
        let root = Self(parent.join(format!("empty-root-{}", process::id())));
        fs::create_dir(&root.0).with_context(|| format!("can't create {}", root.0.display()))?;
        // The build folder may be closed to others; the root of the unprivileged user must not be.
        fs::set_permissions(&root.0, fs::Permissions::from_mode(0o755))?;
        let copy = root.0.join("pondage");
        fs::copy(binary, &copy)?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o555))?;
        Ok(root)
    }
}

impl Drop for EmptyRoot {
    fn drop(&mut self) {
        // What can't be removed is one file in the build folder, and says so by its name.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a program needs from the system before its first instruction.
#[derive(Debug, Default, PartialEq, Eq)]
struct Needs {
    /// A program loader is named.
    loader: bool,
    /// The number of shared libraries.
    libraries: usize,
}

/// Reads the program headers of a 64-bit little-endian ELF file; nothing for any other file.
fn needs(bytes: &[u8]) -> Option<Needs> {
    const DYNAMIC: u64 = 2;
    const INTERPRETER: u64 = 3;
    const NEEDED: u64 = 1;
    if bytes.get(..6)? != [0x7f, b'E', b'L', b'F', 2, 1] {
        return None;
    }
    let headers = number(bytes, 0x20, 8)?;
    let header_size = number(bytes, 0x36, 2)?;
    let header_count = number(bytes, 0x38, 2)?;
    let mut needs = Needs::default();
    for index in 0..header_count {
        let header = headers.checked_add(index.checked_mul(header_size)?)?;
        match number(bytes, header, 4)? {
            INTERPRETER => needs.loader = true,
            DYNAMIC => {
                let start = number(bytes, header.checked_add(0x08)?, 8)?;
                let length = number(bytes, header.checked_add(0x20)?, 8)?;
                for entry in 0..length / 16 {
                    let tag = number(bytes, start.checked_add(entry.checked_mul(16)?)?, 8)?;
                    needs.libraries += usize::from(tag == NEEDED);
                }
            }
            _ => {}
        }
    }
    Some(needs)
}

/// The little-endian number of `length` bytes at `place`, if the file reaches that far.
fn number(bytes: &[u8], place: u64, length: usize) -> Option<u64> {
    let start = usize::try_from(place).ok()?;
    let field = bytes.get(start..start.checked_add(length)?)?;
    Some(field.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_program_needs_loader_and_libraries() {
        let ourselves = std::env::current_exe().expect("a running test has a program");
        let bytes = fs::read(ourselves).expect("it is readable");
        let needs = needs(&bytes).expect("it is an ELF file");
        assert!(needs.loader, "this test is linked dynamically");
        assert!(needs.libraries > 0, "it uses the C library");
    }

    #[test]
    fn other_files_are_refused_at_any_length() {
        assert_eq!(needs(b"#!/bin/sh"), None);
        let ourselves = std::env::current_exe().expect("a running test has a program");
        let bytes = fs::read(ourselves).expect("it is readable");
        for length in 0..0x200 {
            assert_eq!(needs(&bytes[..length]), None, "cut at {length}");
        }
    }
}
