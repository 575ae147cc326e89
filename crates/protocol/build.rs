//! Generates the gRPC code from the `.proto` files, without a system `protoc`.
#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "a build script speaks to cargo by its environment, standard output and files"
)]

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

const PROTO_ROOT: &str = "../../proto";
const FILES: [&str; 9] = [
    "pondage/v1/admin.proto",
    "pondage/v1/cluster.proto",
    "pondage/v1/consume.proto",
    "pondage/v1/error.proto",
    "pondage/v1/groups.proto",
    "pondage/v1/messages.proto",
    "pondage/v1/peers.proto",
    "pondage/v1/resources.proto",
    "pondage/v1/settle.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={PROTO_ROOT}");
    let descriptors = protox::compile(FILES, [PROTO_ROOT])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("pondage.v1.descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        // `protocol` knows no sockets: who connects brings the transport.
        .build_transport(false)
        .compile_fds(descriptors)?;
    Ok(())
}
