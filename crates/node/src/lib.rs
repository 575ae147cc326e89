//! One broker as step(now, event) -> effects, composed of replication, storage, delivery and catalog
