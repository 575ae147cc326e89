//! One row per crate, from the bottom up.

/// A crate and what it may use.
pub(crate) struct Row {
    /// The folder's name; the package is called `pondage-` and this.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) uses: Uses,
}

/// What a crate is, which decides the outside crates that it may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Decides and returns data: no runtime, no sockets, no randomness, no clock.
    Pure,
    /// Acts: may use what it needs.
    Shell,
    /// Part of the plan, comes with a later step.
    Later,
}

/// The crates of ours that a crate may name.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Uses {
    Only(&'static [&'static str]),
    All,
}

const fn row(name: &'static str, kind: Kind, uses: &'static [&'static str]) -> Row {
    Row { name, kind, uses: Uses::Only(uses) }
}

pub(crate) const ROWS: &[Row] = &[
    row("model", Kind::Pure, &[]),
    row("replication", Kind::Pure, &["model"]),
    row("storage", Kind::Pure, &["model"]),
    row("delivery", Kind::Pure, &["model"]),
    row("catalog", Kind::Pure, &["model"]),
    row("node", Kind::Pure, &["model", "replication", "storage", "delivery", "catalog"]),
    row("protocol", Kind::Pure, &["model"]),
    row("broker", Kind::Shell, &["model", "node", "protocol"]),
    row("gateway", Kind::Later, &["model", "protocol", "broker"]),
    row("client", Kind::Shell, &["model", "protocol"]),
    row("history", Kind::Pure, &["model"]),
    // An example, for people to copy: as theirs, it knows the client alone.
    row("worker", Kind::Shell, &["client"]),
    row("resources", Kind::Shell, &["model"]),
    row("autoscale", Kind::Pure, &[]),
    row("operator", Kind::Shell, &["model", "client", "resources", "autoscale"]),
    Row { name: "cli", kind: Kind::Shell, uses: Uses::All },
    // The tests' own crates; nothing of the product may use them.
    Row { name: "sim", kind: Kind::Shell, uses: Uses::All },
    row("model-check", Kind::Shell, &["model", "replication", "catalog"]),
    Row { name: "e2e", kind: Kind::Shell, uses: Uses::All },
    Row { name: "cluster-tests", kind: Kind::Shell, uses: Uses::All },
    row("kube-tests", Kind::Shell, &["client", "resources"]),
    row("chart-tests", Kind::Shell, &[]),
    row("autoscale-bench", Kind::Shell, &["autoscale"]),
    row("xtask", Kind::Shell, &[]),
];
