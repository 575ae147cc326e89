//! Queues, leases, groups, delays and deduplication as deterministic folds over a log
