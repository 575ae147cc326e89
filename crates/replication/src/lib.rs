//! The leader and follower protocol of one shard as a deterministic state machine
