//! Reads the input on a thread of its own: reading from a terminal or a pipe blocks.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use tokio::sync::mpsc;

use super::{Format, InputError, Parts, Records};

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 256 << 10;
/// Messages that go to the publisher at once.
const CHUNK_MESSAGES: usize = 512;
/// Bytes after which a chunk goes, whatever it holds.
const CHUNK_BYTES: usize = 1 << 20;
/// Chunks that wait for the publisher.
const CHUNKS: usize = 4;

/// Where messages come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
}

impl Source {
    /// `-` is standard input, and so is nothing.
    pub(crate) fn all(paths: &[PathBuf]) -> Vec<Self> {
        let source =
            |path: &PathBuf| if path == Path::new("-") { Self::Stdin } else { Self::File(path.clone()) };
        if paths.is_empty() { vec![Self::Stdin] } else { paths.iter().map(source).collect() }
    }

    /// Its name in messages.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Stdin => "stdin".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }

    /// Its size in bytes, where that is known beforehand.
    pub(crate) fn size_bytes(&self) -> Option<u64> {
        match self {
            Self::Stdin => None,
            Self::File(path) => {
                path.metadata().ok().filter(std::fs::Metadata::is_file).map(|file| file.len())
            }
        }
    }

    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::Stdin => Box::new(io::stdin()),
            Self::File(path) => Box::new(File::open(path)?),
        })
    }
}

/// A message on its way to the publisher.
#[derive(Debug)]
pub(crate) struct Item {
    /// The index of its source.
    pub(crate) source: usize,
    /// The line on which it begins, from 1.
    pub(crate) line: u64,
    /// Bytes of the input up to its end, over all sources.
    pub(crate) read_bytes: u64,
    /// What it says.
    pub(crate) parts: Parts,
}

/// Messages that are being read.
pub(crate) struct Reading {
    chunks: mpsc::Receiver<Result<Vec<Item>, (usize, InputError)>>,
}

impl Reading {
    /// Starts to read all sources, one after the other.
    pub(crate) fn start(sources: Vec<Source>, format: Format) -> io::Result<Self> {
        let (sender, chunks) = mpsc::channel(CHUNKS);
        std::thread::Builder::new().name("input".to_owned()).spawn(move || {
            let mut read_bytes = 0;
            for (index, source) in sources.iter().enumerate() {
                match read(index, source, &format, &mut read_bytes, &sender) {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => {
                        // Whoever stopped listening does not want to know.
                        let _ = sender.blocking_send(Err((index, error)));
                        return;
                    }
                }
            }
        })?;
        Ok(Self { chunks })
    }

    /// The next messages; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Result<Vec<Item>, (usize, InputError)>> {
        self.chunks.recv().await
    }
}

/// Counts the bytes that go through.
struct Counted<R> {
    inner: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bytes += count as u64;
        Ok(count)
    }
}

/// Reads one source; false if nobody listens any more.
fn read(
    index: usize,
    source: &Source,
    format: &Format,
    read_bytes: &mut u64,
    sender: &mpsc::Sender<Result<Vec<Item>, (usize, InputError)>>,
) -> Result<bool, InputError> {
    let opened = source.open().map_err(|error| InputError { line: 0, problem: error.to_string() })?;
    let mut input = BufReader::with_capacity(BUFFER_BYTES, Counted { inner: opened, bytes: 0 });
    let mut records = Records::new(format.clone());
    let mut chunk = Vec::new();
    let mut chunk_bytes = 0;
    let before = *read_bytes;
    loop {
        let next = records.next(&mut input);
        *read_bytes = before + input.get_ref().bytes - input.buffer().len() as u64;
        let is_end = !matches!(next, Ok(Some(_)));
        if let Ok(Some((line, parts))) = &next {
            chunk_bytes += parts.value.len();
            chunk.push(Item { source: index, line: *line, read_bytes: *read_bytes, parts: parts.clone() });
        }
        // What was typed or piped is published now, not when a chunk is full.
        let is_due = is_end || input.buffer().is_empty();
        if (is_due || chunk.len() >= CHUNK_MESSAGES || chunk_bytes >= CHUNK_BYTES) && !chunk.is_empty() {
            chunk_bytes = 0;
            if sender.blocking_send(Ok(std::mem::take(&mut chunk))).is_err() {
                return Ok(false);
            }
        }
        if is_end {
            return next.map(|_| true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sources_are_read_in_order_with_their_lines() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("a"), "one\ntwo\n").expect("writable");
        std::fs::write(path("b"), "three").expect("writable");
        let sources = Source::all(&[path("a"), path("b"), path("absent")]);
        assert_eq!(sources[0].size_bytes(), Some(8));
        assert_eq!(sources[2].size_bytes(), None);
        let mut reading = Reading::start(sources, Format::Lines { key_separator: None }).expect("a thread");
        let mut seen = Vec::new();
        let error = loop {
            match reading.next().await.expect("the error comes last") {
                Ok(items) => {
                    seen.extend(items.into_iter().map(|item| (item.source, item.line, item.parts.value)));
                }
                Err(error) => break error,
            }
        };
        let expected = [(0, 1, "one"), (0, 2, "two"), (1, 1, "three")];
        assert_eq!(seen, expected.map(|(source, line, value)| (source, line, value.into())));
        assert_eq!((error.0, error.1.line), (2, 0));
        assert!(reading.next().await.is_none());
    }

    #[test]
    fn no_file_is_stdin() {
        assert_eq!(Source::all(&[]), [Source::Stdin]);
        assert_eq!(Source::all(&["-".into()]), [Source::Stdin]);
    }
}
