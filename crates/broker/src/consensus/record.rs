//! The voter's record: whom it voted for, and up to where its log was given up. `docs/formats/consensus.md` draws it.

use std::io::{self, IoSlice};

use bytes::Bytes;
use pondage_model::wire::{Malformed, Wire};
use pondage_node::disk::Disk;

use super::{
    files,
    types::{LogId, Vote, put_optional_log_id, put_vote, take_optional_log_id, take_vote},
};

const NAME: &str = "vote";
const MAGIC: &[u8; 8] = b"PONDVOTE";

/// What a voter must never forget besides its log.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Record {
    /// The latest vote.
    pub(crate) vote: Option<Vote>,
    /// The last entry that a durable snapshot replaced: nothing at or below it is read from the log again.
    pub(crate) purged: Option<LogId>,
}

impl Record {
    /// Reads the record; `None` if there never was one. One that can't be read is never taken for none.
    pub(crate) fn read<D: Disk>(disk: &D, folder: &str) -> io::Result<Option<Self>> {
        let path = format!("{folder}/{NAME}");
        if !disk.exists(&path)? {
            return Ok(None);
        }
        let file = disk.open(&path)?;
        files::read_checked(&file, MAGIC, |mut body| {
            let record =
                Self { vote: take_vote_or_none(&mut body)?, purged: take_optional_log_id(&mut body)? };
            if body.is_empty() { Ok(record) } else { Err(Malformed("bytes left over")) }
        })
        .map(Some)
        .map_err(|error| io::Error::new(error.kind(), format!("{}/{path}: {error}", disk.name())))
    }

    /// Replaces the record in one step. It is durable when this returns; after an error it is the old or the new one.
    pub(crate) fn write<D: Disk>(&self, disk: &D, folder: &str) -> io::Result<()> {
        let mut body = Vec::new();
        self.vote.is_some().put(&mut body);
        if let Some(vote) = &self.vote {
            put_vote(vote, &mut body);
        }
        put_optional_log_id(self.purged.as_ref(), &mut body);
        files::replace(disk, folder, NAME, MAGIC, &[IoSlice::new(&body)])
    }
}

fn take_vote_or_none(body: &mut Bytes) -> Result<Option<Vote>, Malformed> {
    bool::take(body)?.then(|| take_vote(body)).transpose()
}

#[cfg(test)]
mod tests {
    use pondage_model::Uuid;
    use pondage_node::disk::DiskFile;
    use pondage_storage::{Faults, HostileDisk};

    use super::{
        super::types::{VolumeId, log_id},
        *,
    };

    #[test]
    fn it_survives_and_damage_is_never_taken_for_an_empty_one() {
        let disk = HostileDisk::new(1, Faults::default());
        disk.create_dir_all("f").unwrap();
        assert_eq!(Record::read(&disk, "f").unwrap(), None);
        let vote = Vote::new(7, VolumeId(Uuid([3; 16])));
        let record = Record { vote: Some(vote), purged: Some(log_id(2, 9)) };
        record.write(&disk, "f").unwrap();
        assert_eq!(Record::read(&disk, "f").unwrap(), Some(record.clone()));
        Record::default().write(&disk, "f").unwrap();
        assert_eq!(Record::read(&disk, "f").unwrap(), Some(Record::default()));
        record.write(&disk, "f").unwrap();
        let file = disk.open("f/vote").unwrap();
        for at in 0..file.len().unwrap() {
            let mut byte = [0];
            file.read_at(at, &mut byte).unwrap();
            file.write_at(at, &[IoSlice::new(&[byte[0] ^ 0x10])]).unwrap();
            assert!(Record::read(&disk, "f").is_err(), "byte {at}");
            file.write_at(at, &[IoSlice::new(&byte)]).unwrap();
        }
        file.set_len(3).unwrap();
        assert!(Record::read(&disk, "f").is_err());
    }
}
