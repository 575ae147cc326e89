//! Tar archives as POSIX has them (ustar), with nothing in them that differs from one time to the next.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
};

use anyhow::{Context, Result, ensure};

const BLOCK_BYTES: usize = 512;

/// Who may do what.
#[derive(Clone, Copy)]
pub(super) struct Header {
    pub mode: u32,
    pub owner: u32,
}

/// An archive that is being written.
pub(super) struct Archive<W> {
    to: W,
}

impl<W: Write> Archive<W> {
    pub(super) fn new(to: W) -> Self {
        Self { to }
    }

    pub(super) fn file(&mut self, path: &str, header: Header, bytes: &[u8]) -> Result<()> {
        self.head(path, header, b'0', bytes.len() as u64, "")?;
        self.to.write_all(bytes)?;
        self.pad(bytes.len() as u64)
    }

    /// With the content of a file of this machine.
    pub(super) fn file_from(&mut self, path: &str, header: Header, source: &Path) -> Result<()> {
        let name = || source.display().to_string();
        let file = File::open(source).with_context(name)?;
        let length = file.metadata()?.len();
        self.head(path, header, b'0', length, "")?;
        let copied = io::copy(&mut file.take(length), &mut self.to).with_context(name)?;
        ensure!(copied == length, "{} became shorter while it was read", source.display());
        self.pad(length)
    }

    pub(super) fn folder(&mut self, path: &str, header: Header) -> Result<()> {
        self.head(&format!("{path}/"), header, b'5', 0, "")
    }

    pub(super) fn link(&mut self, path: &str, target: &str) -> Result<()> {
        self.head(path, Header { mode: 0o777, owner: 0 }, b'2', 0, target)
    }

    /// Two blocks of zeros are the end.
    pub(super) fn finish(mut self) -> Result<()> {
        self.to.write_all(&[0; 2 * BLOCK_BYTES])?;
        Ok(self.to.flush()?)
    }

    fn head(&mut self, path: &str, header: Header, kind: u8, length: u64, link: &str) -> Result<()> {
        ensure!(path.len() < 100 && link.len() < 100, "{path} is longer than an image's path may be");
        let mut block = [0; BLOCK_BYTES];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, path.as_bytes());
        put(100, format!("{:07o}", header.mode).as_bytes());
        put(108, format!("{:07o}", header.owner).as_bytes());
        put(116, format!("{:07o}", header.owner).as_bytes());
        put(124, format!("{length:011o}").as_bytes());
        // The time of change: the beginning of time.
        put(136, b"00000000000");
        // The sum is made with spaces where it will stand.
        put(148, b"        ");
        put(156, &[kind]);
        put(157, link.as_bytes());
        put(257, b"ustar\x0000");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        Ok(self.to.write_all(&block)?)
    }

    fn pad(&mut self, length: u64) -> Result<()> {
        let over = (length % BLOCK_BYTES as u64) as usize;
        let zeros = [0; BLOCK_BYTES];
        Ok(self.to.write_all(&zeros[..(BLOCK_BYTES - over) % BLOCK_BYTES])?)
    }
}
