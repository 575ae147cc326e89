//! What the cluster knows besides messages, as a deterministic state machine over shard 0
