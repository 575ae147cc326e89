//! What the data folder of several brokers says of them, in `cluster.json`.
//!
//! The cluster's identity is durable before any broker starts, and that it was begun is durable before a second one
//! does. So a cluster is begun once: whatever happens to the volumes afterwards, a later start never makes a new
//! cluster under the same name.
//!
//! ```text
//!   record            volumes                 a start
//!   none              none                    records a new cluster
//!   none              some                    is refused: whose they are is not known
//!   not initialised   any                     tells broker 1 to begin it, again
//!   initialised       all gone                is refused: the data is lost
//!   initialised       some gone               new volumes take their places
//! ```

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use pondage_model::Uuid;
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure, Result};

const RECORD: &str = "cluster.json";
const LOCK: &str = "cluster.lock";
/// What a volume has from its first start on.
const IDENTITY: &str = "identity";
const VERSION: u32 = 1;

/// The brokers of a data folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Record {
    version: u32,
    cluster: String,
    /// Whether the first broker was told to begin the cluster, and did.
    pub(crate) initialised: bool,
    /// By number, from 1.
    pub(crate) brokers: Vec<RecordedBroker>,
}

/// Where a broker of the folder listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RecordedBroker {
    /// For clients and the other brokers.
    pub(crate) listen: SocketAddr,
    /// For metrics and health.
    pub(crate) http: SocketAddr,
    /// The number that the cluster gave its volume, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<u32>,
}

impl Record {
    /// Of a cluster that is not there yet.
    pub(crate) fn new(cluster: Uuid) -> Self {
        Self { version: VERSION, cluster: cluster.to_string(), initialised: false, brokers: Vec::new() }
    }

    /// The cluster.
    pub(crate) fn cluster(&self) -> Result<Uuid> {
        self.cluster.parse().map_err(|error| Failure::failed(format!("{RECORD}: {error}")))
    }
}

/// A data folder of several brokers that is this process's alone.
#[derive(Debug)]
pub(crate) struct ClusterFolder {
    path: PathBuf,
    _lock: File,
}

impl ClusterFolder {
    /// Makes the folder if it is not there, and takes it.
    pub(crate) fn claim(path: &Path) -> Result<Self> {
        let failed =
            |error: io::Error| Failure::failed(format!("the data folder {}: {error}", path.display()));
        fs::create_dir_all(path).map_err(failed)?;
        if path.join(IDENTITY).exists() {
            let what = format!("the data folder {} is that of a lone broker", path.display());
            return Err(
                Failure::usage(what).help("leave --brokers out, or choose another folder with --data")
            );
        }
        let lock = File::options().create(true).append(true).open(path.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_path_buf(), _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                let what = format!("the data folder {} is in use by another process", path.display());
                Err(Failure::failed(what).help("stop that one, or choose another folder with --data"))
            }
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// The record; none in a folder that has had no cluster.
    pub(crate) fn record(&self) -> Result<Option<Record>> {
        let record = read(&self.path)?;
        if record.is_none() && self.has_volumes()? {
            let what = format!("{} holds volumes of brokers and no {RECORD}", self.path.display());
            return Err(Failure::failed(what).help(format!(
                "restore {RECORD} from a copy: without it, whose data this is can't be known"
            )));
        }
        Ok(record)
    }

    /// Makes the record durable.
    pub(crate) fn save(&self, record: &Record) -> Result<()> {
        let failed =
            |error: io::Error| Failure::failed(format!("{}: {error}", self.path.join(RECORD).display()));
        let text = serde_json::to_string_pretty(record)
            .map_err(|error| Failure::failed(format!("{RECORD}: {error}")))?;
        let unfinished = self.path.join(format!("{RECORD}.new"));
        let mut file = File::create(&unfinished).map_err(failed)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&unfinished, self.path.join(RECORD)).map_err(failed)?;
        File::open(&self.path).and_then(|folder| folder.sync_all()).map_err(failed)
    }

    /// The folder of a broker, by its number from 1.
    pub(crate) fn broker(&self, number: usize) -> PathBuf {
        broker_folder(&self.path, number)
    }

    /// Whether the broker has a volume.
    pub(crate) fn has_volume(&self, number: usize) -> bool {
        self.broker(number).join(IDENTITY).exists()
    }

    /// Refuses to go on with a cluster whose volumes are all gone.
    pub(crate) fn check_not_lost(&self, record: &Record) -> Result<()> {
        let mut numbers = 1..=record.brokers.len();
        if !record.initialised || numbers.any(|number| self.has_volume(number)) {
            return Ok(());
        }
        let message = format!(
            "the data is lost: cluster {} was begun here, and all volumes in {} are gone",
            record.cluster,
            self.path.display()
        );
        Err(Failure { exit: Exit::Failed, word: "DATA_LOST".to_owned(), ..Failure::failed(message) }.help(
            "put the folders broker-1, broker-2 … back; or begin a new, empty cluster in another folder (--data)",
        ))
    }

    fn has_volumes(&self) -> Result<bool> {
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            let is_broker =
                path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("broker-"));
            if is_broker && path.join(IDENTITY).exists() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether a folder is that of several brokers.
pub(crate) fn is_cluster(path: &Path) -> bool {
    path.join(RECORD).exists()
}

/// Whether a process runs the brokers of this folder.
pub(crate) fn is_running(path: &Path) -> bool {
    let lock = File::options().append(true).open(path.join(LOCK));
    lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Reads a folder's record.
pub(crate) fn read(path: &Path) -> Result<Option<Record>> {
    let file = path.join(RECORD);
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::failed(format!("{}: {error}", file.display()))),
    };
    let wrong = |what: String| {
        Err(Failure::failed(format!("{}: {what}", file.display()))
            .help("restore the file from a copy; a cluster is never begun again over its data"))
    };
    match serde_json::from_str::<Record>(&text) {
        Ok(record) if record.version != VERSION => {
            wrong(format!("version {} is not {VERSION}, the one that this program knows", record.version))
        }
        Ok(record) if record.cluster.parse::<Uuid>().is_err() => wrong("no UUID of a cluster".to_owned()),
        Ok(record) => Ok(Some(record)),
        Err(error) => wrong(error.to_string()),
    }
}

/// The folder of a broker, by its number from 1.
pub(crate) fn broker_folder(path: &Path, number: usize) -> PathBuf {
    path.join(format!("broker-{number}"))
}

/// The file that asks for a restart of a broker; it goes once the broker was started again.
pub(crate) fn restart_file(path: &Path, number: usize) -> PathBuf {
    path.join(format!("broker-{number}.restart"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(folder: &Path, number: usize) {
        fs::create_dir_all(broker_folder(folder, number)).expect("writable");
        fs::write(broker_folder(folder, number).join(IDENTITY), "x").expect("writable");
    }

    fn recorded(initialised: bool) -> Record {
        let listen = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let brokers = vec![RecordedBroker { listen: listen(1), http: listen(2), id: Some(4) }];
        Record { initialised, brokers, ..Record::new(Uuid([3; 16])) }
    }

    #[test]
    fn a_record_is_read_as_it_was_saved_and_by_one_process_at_a_time() {
        let place = tempfile::tempdir().expect("a folder");
        let path = place.path().join("new");
        assert!(!is_running(&path) && !is_cluster(&path));
        let folder = ClusterFolder::claim(&path).expect("free");
        assert_eq!(folder.record(), Ok(None));
        folder.save(&recorded(false)).expect("writable");
        assert_eq!(folder.record(), Ok(Some(recorded(false))));
        assert_eq!(recorded(true).cluster(), Ok(Uuid([3; 16])));
        assert!(is_running(&path) && is_cluster(&path));
        let second = ClusterFolder::claim(&path).expect_err("taken");
        assert!(second.message.contains("in use"), "{second}");
        drop(folder);
        assert!(!is_running(&path));
        ClusterFolder::claim(&path).expect("free again");
    }

    #[test]
    fn a_cluster_is_begun_once() {
        for (record, volumes, expected) in [
            (None, &[][..], None),
            (None, &[2], Some("no cluster.json")),
            (Some(recorded(false)), &[], None),
            (Some(recorded(false)), &[1], None),
            (Some(recorded(true)), &[1], None),
            (Some(recorded(true)), &[], Some("the data is lost")),
        ] {
            let place = tempfile::tempdir().expect("a folder");
            let folder = ClusterFolder::claim(place.path()).expect("free");
            if let Some(record) = &record {
                folder.save(record).expect("writable");
            }
            volumes.iter().for_each(|number| volume(place.path(), *number));
            let checked = folder.record().and_then(|found| {
                assert_eq!(found, record);
                found.map_or(Ok(()), |found| folder.check_not_lost(&found))
            });
            let said = checked.err().map(|failure| failure.message);
            assert_eq!(said.is_some(), expected.is_some(), "{said:?}");
            assert!(expected.is_none_or(|part| said.is_some_and(|said| said.contains(part))), "{expected:?}");
        }
    }

    #[test]
    fn other_folders_and_damaged_records_are_refused() {
        let lone = tempfile::tempdir().expect("a folder");
        fs::write(lone.path().join(IDENTITY), "x").expect("writable");
        let refused = ClusterFolder::claim(lone.path()).expect_err("a lone broker's");
        assert!(refused.exit == Exit::Usage && refused.message.contains("lone broker"), "{refused}");
        for text in ["", "{}", r#"{"version":2,"cluster":"x","initialised":true,"brokers":[]}"#] {
            let place = tempfile::tempdir().expect("a folder");
            fs::write(place.path().join(RECORD), text).expect("writable");
            assert!(read(place.path()).is_err(), "{text}");
        }
    }
}
