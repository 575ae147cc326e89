//! Every pure crate carries the same list of banned clocks, randomness, threads, sockets and files: clippy reads
//! only the nearest clippy.toml, so the lists are repeated, and this keeps the copies from drifting apart.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The crate whose list the others are compared with.
const REFERENCE: &str = "model";
const COPIES: &[&str] = &["replication", "delivery", "catalog", "node", "protocol", "history"];

/// What every list must hold. `storage`, with the real disk behind its port, writes a list of its own.
const CORE: &[&str] = &[
    "std::collections::HashMap",
    "std::collections::HashSet",
    "std::fs::File",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "std::thread::sleep",
    "std::thread::spawn",
    "std::time::Instant",
    "std::time::SystemTime",
];

#[test]
fn every_pure_crate_bans_the_core() {
    for name in COPIES.iter().chain(&[REFERENCE, "storage"]) {
        let own = bans(name);
        for path in CORE {
            assert!(own.contains_key(*path), "crates/{name}/clippy.toml does not ban {path}");
        }
    }
}

#[test]
fn the_copies_ban_all_that_the_reference_bans() {
    let reference = bans(REFERENCE);
    for name in COPIES {
        let own = bans(name);
        for path in reference.keys() {
            assert!(
                own.contains_key(path),
                "crates/{name}/clippy.toml does not ban {path}, crates/{REFERENCE}'s does"
            );
        }
    }
}

#[test]
fn every_ban_says_why_or_what_instead() {
    for name in COPIES.iter().chain(&[REFERENCE, "storage"]) {
        for (path, reason) in bans(name) {
            assert!(!reason.is_empty(), "crates/{name}/clippy.toml bans {path} without a reason");
        }
    }
}

/// The banned paths of a crate with their reasons, whichever of clippy's lists they stand in.
fn bans(name: &str) -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root");
    let file = root.join("crates").join(name).join("clippy.toml");
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let value = |line: &str, key: &str| -> Option<String> {
        let rest = line.split_once(&format!("{key} = \""))?.1;
        Some(rest.split('"').next().unwrap_or_default().to_owned())
    };
    text.lines()
        .filter_map(|line| Some((value(line, "path")?, value(line, "reason").unwrap_or_default())))
        .collect()
}
