//! Bytes to domain and back for every protocol. No sockets: a transport hands bytes in and takes bytes out.

/// The native API, generated from `proto/pondage/v1`.
#[allow(clippy::all, clippy::pedantic, reason = "generated code")]
pub mod v1 {
    tonic::include_proto!("pondage.v1");

    /// The descriptors of the native API, encoded, for server reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("pondage.v1.descriptors");
}
