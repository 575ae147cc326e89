//! A message on its way to a dead-letter queue: the same message with headers that say where it came from.

use bytes::Bytes;
use pondage_model::{
    Name, Refusal,
    entry::{Move, Publish},
    record::{Batch, BatchBuilder, Compression, RecordDraft},
};

/// The queue that the message left, or the topic that a shared group gave it up from.
pub const SOURCE_HEADER: &str = "pondage-dead-letter-source";
/// The shared group that gave it up.
pub const GROUP_HEADER: &str = "pondage-dead-letter-group";
/// The partition that it gave it up from.
pub const PARTITION_HEADER: &str = "pondage-dead-letter-partition";
/// Why: `rejected`, `max-deliveries` or `expired`.
pub const REASON_HEADER: &str = "pondage-dead-letter-reason";
/// Its offset there.
pub const OFFSET_HEADER: &str = "pondage-dead-letter-offset";
/// Its failed attempts there.
pub const FAILURES_HEADER: &str = "pondage-dead-letter-failures";

/// Builds the batch of one message that goes to the dead-letter queue; `group` is the shared group that gives it up, and the
/// partition. Headers of earlier moves stay before the new
/// ones: they are its history.
///
/// Decompresses: call it beside the shard's task, not in it.
///
/// # Errors
/// [`Refusal::CorruptBatch`] if the stored batch doesn't hold the message.
pub fn dead_letter(
    source: &Name,
    group: Option<&(Name, u32)>,
    stored: &Publish,
    moving: &Move,
) -> Result<Bytes, Refusal> {
    let batch = Batch::parse(stored.batch.clone())?;
    let record = batch
        .records()?
        .find(|record| record.offset == moving.offset)
        .ok_or(Refusal::CorruptBatch { what: "a stored batch lacks one of its messages" })?;
    let (offset, failures) = (moving.offset.to_string(), moving.failures.to_string());
    let added = [
        (SOURCE_HEADER, source.as_str()),
        (REASON_HEADER, moving.cause.as_str()),
        (OFFSET_HEADER, &offset),
        (FAILURES_HEADER, &failures),
    ];
    let partition = group.map(|(_, partition)| partition.to_string());
    let by = group.map(|(group, _)| (GROUP_HEADER, group.as_str()));
    let by = by.into_iter().chain(partition.as_ref().map(|partition| (PARTITION_HEADER, partition.as_str())));
    let history = record.headers.iter().map(|(key, value)| (key.as_ref(), value.as_deref()));
    let headers: Vec<(&[u8], Option<&[u8]>)> = history
        .chain(added.into_iter().chain(by).map(|(key, value)| (key.as_bytes(), Some(value.as_bytes()))))
        .collect();
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(&RecordDraft {
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers: &headers,
        timestamp_millis: record.timestamp_millis,
    })?;
    builder.build()
}

#[cfg(test)]
mod tests {
    use pondage_model::{
        MoveSeq, Offset, ShardId, StreamId,
        entry::{MoveCause, PublishAttributes},
        record::stamp_base_offset,
    };

    use super::*;

    #[test]
    fn a_dead_letter_is_the_same_message_with_its_history() {
        let mut builder = BatchBuilder::new(Compression::Lz4);
        for value in [&b"first"[..], b"second", b"third"] {
            let headers: &[(&[u8], Option<&[u8]>)] = &[(b"trace", Some(b"7"))];
            let draft = RecordDraft { key: Some(b"key"), value: Some(value), headers, timestamp_millis: 42 };
            builder.push(&draft).expect("small");
        }
        let batch = stamp_base_offset(builder.build().expect("small"), Offset(100));
        let stored =
            Publish { base_offset: Offset(100), count: 3, attributes: PublishAttributes::default(), batch };
        let moving = Move {
            seq: MoveSeq(1),
            offset: Offset(101),
            lease: None,
            cause: MoveCause::MaxDeliveries,
            failures: 5,
            target_shard: ShardId(1),
            target: StreamId(2),
        };
        let source = Name::new("orders").expect("valid");
        let moved = dead_letter(&source, None, &stored, &moving).expect("it is there");
        let records: Vec<_> = Batch::parse(moved).expect("a batch").records().expect("records").collect();
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].value.as_deref(), Some(&b"second"[..]));
        assert_eq!(records[0].timestamp_millis, 42);
        let headers: Vec<_> = records[0]
            .headers
            .iter()
            .map(|(key, value)| (&key[..], value.as_deref().unwrap_or_default()))
            .collect();
        let expected: [(&[u8], &[u8]); 5] = [
            (b"trace", b"7"),
            (SOURCE_HEADER.as_bytes(), b"orders"),
            (REASON_HEADER.as_bytes(), b"max-deliveries"),
            (OFFSET_HEADER.as_bytes(), b"101"),
            (FAILURES_HEADER.as_bytes(), b"5"),
        ];
        assert_eq!(headers, expected);
        let group = (Name::new("billing").expect("valid"), 7);
        let given_up = dead_letter(&source, Some(&group), &stored, &moving).expect("it is there");
        let records: Vec<_> = Batch::parse(given_up).expect("a batch").records().expect("records").collect();
        let last = records[0].headers.iter().rev().take(2);
        let last: Vec<_> =
            last.map(|(key, value)| (&key[..], value.as_deref().unwrap_or_default())).collect();
        let expected: [(&[u8], &[u8]); 2] =
            [(PARTITION_HEADER.as_bytes(), b"7"), (GROUP_HEADER.as_bytes(), b"billing")];
        assert_eq!(last, expected);
        let missing = Move { offset: Offset(103), ..moving };
        assert!(dead_letter(&source, None, &stored, &missing).is_err());
    }
}
