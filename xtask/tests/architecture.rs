//! The arrows between the crates, as ARCHITECTURE.md draws them: a crate uses what its row names and nothing else
//! of ours, and the pure cores bring in no runtime, no sockets, no randomness and no clock from elsewhere.
//!
//! A new arrow is a change of this table, made and reviewed as such.

mod rows;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use rows::{Kind, ROWS, Row, Uses};
use serde_json::{Value, json};

/// Crates that bring an event loop, threads, sockets, system calls, randomness or a clock. A name that ends in `-`
/// stands for all crates that begin with it.
const IMPURE: &[&str] = &[
    "async-",
    "axum",
    "chrono",
    "crossbeam",
    "crossbeam-",
    "fastrand",
    "futures-executor",
    "getrandom",
    "hyper",
    "hyper-",
    "jiff",
    "libc",
    "memmap2",
    "mio",
    "nix",
    "openraft",
    "polling",
    "quinn",
    "rand",
    "rand_core",
    "rayon",
    "reqwest",
    "rustix",
    "rustls",
    "smol",
    "socket2",
    "tempfile",
    "time",
    "tokio",
    "tokio-",
    "tonic-health",
    "tonic-reflection",
    "tower-http",
    "uuid",
    "windows-sys",
];

/// Impure crates that one pure crate may name all the same, each with its reason.
const EXCEPTIONS: &[(&str, &str)] = &[
    // The file implementation of the `Disk` port: preallocation, fdatasync, file locks.
    ("storage", "rustix"),
];

/// Features of tonic that bring sockets: the generated code of `protocol` needs none of them.
const TONIC_TRANSPORT: &[&str] = &["channel", "router", "server", "transport"];

#[test]
fn the_workspace_keeps_the_arrows() {
    let found = violations(&metadata(), ROWS);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// What a pure crate names may itself drag in a runtime: look at everything below, with the features that the
/// crate alone asks for. `protocol` is left out: tonic names tokio for its channels, without any transport.
#[test]
fn pure_crates_bring_in_no_runtime_from_below() {
    let deep: &[&str] = &["axum", "hyper", "mio", "openraft", "rand", "reqwest", "socket2", "tokio", "tonic"];
    for row in ROWS.iter().filter(|row| row.kind == Kind::Pure && row.name != "protocol") {
        let tree = cargo(&["tree", "--package", &package(row.name), "--edges", "normal", "--prefix", "none"]);
        assert!(tree.starts_with(&package(row.name)), "cargo tree answers for {}: {tree}", row.name);
        for line in tree.lines() {
            let name = line.split(' ').next().unwrap_or_default();
            assert!(!deep.contains(&name), "{} brings in {name}:\n{tree}", package(row.name));
        }
    }
}

#[test]
fn rows_name_only_rows_above_them() {
    for (index, row) in ROWS.iter().enumerate() {
        if let Uses::Only(used) = row.uses {
            for name in used {
                let above = ROWS[..index].iter().any(|other| other.name == *name);
                assert!(above, "{} uses {name}, which has no row above it", row.name);
            }
        }
    }
}

#[test]
fn planted_faults_are_found() {
    let model = Row { name: "model", kind: Kind::Pure, uses: Uses::Only(&[]) };
    let node = Row { name: "node", kind: Kind::Pure, uses: Uses::Only(&["model"]) };
    let broker = Row { name: "broker", kind: Kind::Shell, uses: Uses::Only(&["node"]) };
    let operator = Row { name: "operator", kind: Kind::Later, uses: Uses::Only(&["model"]) };
    let rows = [model, node, broker, operator];
    let plain = |from: &str, to: &str| with_dependency(from, &json!({ "name": to, "kind": null }));
    let table: &[(Value, &str)] = &[
        (plain("pondage-node", "pondage-model"), ""),
        (plain("pondage-broker", "pondage-node"), ""),
        (plain("pondage-broker", "tokio"), ""),
        (plain("pondage-model", "bytes"), ""),
        (plain("pondage-model", "pondage-node"), "pondage-model may not use pondage-node"),
        (plain("pondage-broker", "pondage-model"), "pondage-broker may not use pondage-model"),
        (plain("pondage-node", "tokio"), "pondage-node is pure and may not use tokio"),
        (plain("pondage-node", "tokio-util"), "pondage-node is pure and may not use tokio-util"),
        (plain("pondage-node", "rustix"), "pondage-node is pure and may not use rustix"),
        (
            with_dependency("pondage-node", &json!({ "name": "rand", "kind": null, "target": "cfg(unix)" })),
            "pondage-node is pure and may not use rand",
        ),
        (
            with_dependency("pondage-model", &json!({ "name": "pondage-node", "kind": "build" })),
            "pondage-model may not use pondage-node",
        ),
        (with_dependency("pondage-node", &json!({ "name": "tokio", "kind": "dev" })), ""),
        (with_dependency("pondage-broker", &json!({ "name": "pondage-model", "kind": "dev" })), ""),
        (with_dependency("pondage-node", &json!({ "name": "pondage-node", "kind": "dev" })), ""),
        (
            with_dependency("pondage-model", &json!({ "name": "pondage-node", "kind": "dev" })),
            "pondage-model may not use pondage-node, not even in tests: it lies above",
        ),
        (
            with_dependency("pondage-model", &json!({ "name": "pondage-broker", "kind": "dev" })),
            "pondage-model may not use pondage-broker, not even in tests: it lies above",
        ),
        (
            with_dependency(
                "pondage-node",
                &json!({ "name": "tonic", "kind": null, "uses_default_features": false, "features": ["codegen"] }),
            ),
            "",
        ),
        (
            with_dependency(
                "pondage-node",
                &json!({ "name": "tonic", "kind": null, "uses_default_features": true, "features": [] }),
            ),
            "pondage-node is pure and may not use tonic with its transport",
        ),
        (
            with_dependency(
                "pondage-node",
                &json!({ "name": "tonic", "kind": null, "uses_default_features": false, "features": ["server"] }),
            ),
            "pondage-node is pure and may not use tonic with its transport",
        ),
        (plain("pondage-extra", "bytes"), "pondage-extra has no row"),
        (plain("pondage-operator", "bytes"), "pondage-operator exists: its row is no longer for later"),
    ];
    for (planted, expected) in table {
        assert_eq!(violations(planted, &rows).join("; "), *expected, "{planted}");
    }
    let without_node = json!({ "packages": [
        { "name": "pondage-model", "dependencies": [] }, { "name": "pondage-broker", "dependencies": [] },
    ]});
    assert_eq!(violations(&without_node, &rows), ["the row node has no crate"]);
}

/// Everything in which the workspace that cargo describes differs from the rows.
fn violations(metadata: &Value, rows: &[Row]) -> Vec<String> {
    let packages = metadata["packages"].as_array().expect("cargo lists packages");
    let mut found = Vec::new();
    for package in packages {
        let name = text(package, "name");
        let Some(row) = row_of(rows, name) else {
            found.push(format!("{name} has no row"));
            continue;
        };
        if row.kind == Kind::Later {
            found.push(format!("{name} exists: its row is no longer for later"));
        }
        for dependency in package["dependencies"].as_array().expect("a package lists its dependencies") {
            found.extend(violation(rows, row, name, dependency));
        }
    }
    let names: BTreeSet<&str> = packages.iter().map(|package| text(package, "name")).collect();
    for row in rows.iter().filter(|row| row.kind != Kind::Later) {
        if !names.contains(package(row.name).as_str()) {
            found.push(format!("the row {} has no crate", row.name));
        }
    }
    found
}

fn violation(rows: &[Row], row: &Row, name: &str, dependency: &Value) -> Option<String> {
    let used = text(dependency, "name");
    let for_tests = dependency["kind"] == "dev";
    if let Some(used_row) = row_of(rows, used) {
        if for_tests {
            // A crate's tests may ask for a feature of the crate itself.
            let upwards = used_row.name != row.name && reaches(rows, used_row, row.name);
            return upwards.then(|| format!("{name} may not use {used}, not even in tests: it lies above"));
        }
        return (!may_use(row, used_row.name)).then(|| format!("{name} may not use {used}"));
    }
    if row.kind != Kind::Pure || for_tests || dependency["kind"] == "build" {
        return None;
    }
    if used == "tonic" {
        let features = dependency["features"].as_array().map(Vec::as_slice).unwrap_or_default();
        let transport = dependency["uses_default_features"] != false
            || features.iter().any(|feature| TONIC_TRANSPORT.iter().any(|banned| feature == banned));
        return transport.then(|| format!("{name} is pure and may not use tonic with its transport"));
    }
    let impure =
        IMPURE.iter().any(|banned| *banned == used || banned.ends_with('-') && used.starts_with(banned));
    let excepted = EXCEPTIONS.contains(&(row.name, used));
    (impure && !excepted).then(|| format!("{name} is pure and may not use {used}"))
}

fn may_use(row: &Row, used: &str) -> bool {
    match row.uses {
        Uses::Only(names) => names.contains(&used),
        Uses::All => true,
    }
}

/// Whether `from` is or uses `to`, directly or through others.
fn reaches(rows: &[Row], from: &Row, to: &str) -> bool {
    match from.uses {
        Uses::All => true,
        Uses::Only(names) => {
            from.name == to
                || rows.iter().filter(|row| names.contains(&row.name)).any(|row| reaches(rows, row, to))
        }
    }
}

fn row_of<'a>(rows: &'a [Row], package_name: &str) -> Option<&'a Row> {
    rows.iter().find(|row| package(row.name) == package_name)
}

/// Packages carry a prefix that their folders and rows do not.
fn package(name: &str) -> String {
    if name == "xtask" { name.to_owned() } else { format!("pondage-{name}") }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().expect("cargo gives names as text")
}

/// A workspace of three good crates, with one more dependency at `from`.
fn with_dependency(from: &str, dependency: &Value) -> Value {
    let mut names = BTreeSet::from(["pondage-model", "pondage-node", "pondage-broker"]);
    names.insert(from);
    let packages: Vec<Value> = names
        .iter()
        .map(|name| {
            let dependencies = if *name == from { vec![dependency.clone()] } else { Vec::new() };
            json!({ "name": name, "dependencies": dependencies })
        })
        .collect();
    json!({ "packages": packages })
}

fn metadata() -> Value {
    let output = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    serde_json::from_str(&output).expect("cargo metadata prints JSON")
}

fn cargo(args: &[&str]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root");
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(program)
        .args(args)
        .current_dir(root)
        .stdin(Stdio::null())
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "cargo {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo prints text")
}
