//! The Rust client: admin, publish, consume
