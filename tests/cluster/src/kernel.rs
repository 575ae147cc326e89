//! The two requests to the kernel that no safe wrapper has. The only unsafe code of these tests.
#![allow(unsafe_code)]

use std::{
    fs::{File, OpenOptions},
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::Path,
};

use anyhow::{Context, Result};
use rustix::{
    fs::OFlags,
    ioctl::{self, Setter, opcode},
};

/// `struct ifreq` as TUNSETIFF reads it: a name and flags, in 40 bytes.
#[repr(C, align(8))]
struct InterfaceRequest {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// A tunnel of IP packets (not Ethernet frames), without a header of its own before each.
const TUN_PLAIN: u16 = 0x0001 | 0x1000;

/// Makes a TUN device in the calling thread's network namespace. It lives as long as the file, which gives and takes one
/// packet a call and does not block.
///
/// # Errors
/// If the system has no such devices or does not allow them.
pub(crate) fn tun(name: &str) -> Result<File> {
    const TUNSETIFF: ioctl::Opcode = opcode::write::<i32>(b'T', 202);
    let nonblocking = OFlags::NONBLOCK.bits();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(i32::try_from(nonblocking)?)
        .open("/dev/net/tun")
        .context("can't open /dev/net/tun")?;
    let mut request = InterfaceRequest { name: [0; 16], flags: TUN_PLAIN, rest: [0; 22] };
    let length = name.len().min(15);
    request.name[..length].copy_from_slice(&name.as_bytes()[..length]);
    // SAFETY: TUNSETIFF reads a `struct ifreq`, which this is in size and layout, and writes the name back into it.
    unsafe { ioctl::ioctl(&file, Setter::<TUNSETIFF, InterfaceRequest>::new(request)) }
        .with_context(|| format!("can't make the device {name}"))?;
    Ok(file)
}

/// Cuts the power of the mounted ext4 or XFS at `mount`: from now on nothing more reaches its device, neither data nor
/// journal, and everything asked of it fails.
///
/// # Errors
/// If it is another file system, or the caller may not.
pub(crate) fn cut_power(mount: &Path) -> Result<()> {
    const SHUTDOWN: ioctl::Opcode = opcode::read::<u32>(b'X', 125);
    /// Not even what is in the journal's memory is written.
    const NO_LOG_FLUSH: u32 = 2;
    let folder = File::open(mount).with_context(|| format!("can't open {}", mount.display()))?;
    // SAFETY: the request reads one u32, the kind of shutdown, although its number says the opposite.
    unsafe { ioctl::ioctl(folder.as_fd(), Setter::<SHUTDOWN, u32>::new(NO_LOG_FLUSH)) }
        .with_context(|| format!("can't cut the power of {}", mount.display()))?;
    Ok(())
}
