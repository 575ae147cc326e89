//! A shard's log on a disk: frames, segments, index, recovery, retention, over a Disk port
