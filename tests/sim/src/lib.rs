//! The simulator: drives the real node with a hostile disk, crashes and restarts from seeds
