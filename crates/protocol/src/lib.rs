//! Bytes to domain and back for every protocol
