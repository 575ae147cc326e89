//! The programs that talk to a cluster as its administrator: `kubectl` and `helm`.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;
use rustix::process::Pid;

use crate::command::call_with;

/// How to call one of them.
#[derive(Clone, Debug)]
pub struct Client {
    program: PathBuf,
    config: PathBuf,
    home: PathBuf,
    /// The first process of the node in whose network the cluster is found, where that is not the caller's. It ends with
    /// the node, so that none stays behind that waits for a cluster which is gone.
    node: Option<Pid>,
}

impl Client {
    /// Calls `program` with the kubeconfig at `config`; what it remembers goes to `home`.
    pub(crate) fn new(program: PathBuf, config: &Path, home: &Path) -> Self {
        Self { program, config: config.to_owned(), home: home.to_owned(), node: None }
    }

    /// From within a node, but with the caller's files.
    pub(crate) fn within(self, node: Pid) -> Self {
        Self { node: Some(node), ..self }
    }

    /// Another program that finds the cluster in the same way.
    #[must_use]
    pub fn with_program(self, program: PathBuf) -> Self {
        Self { program, ..self }
    }

    /// The call, for somebody who runs it himself.
    #[must_use]
    pub fn command(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut command = match self.node {
            None => Command::new(&self.program),
            Some(node) => {
                let mut outer = Command::new("nsenter");
                outer.arg(format!("--target={}", node.as_raw_nonzero())).args(["--net", "--pid", "--"]);
                outer.arg(&self.program);
                outer
            }
        };
        command.args(arguments).env("KUBECONFIG", &self.config).env("HOME", &self.home);
        // Where Helm would look instead of its home.
        for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME", "XDG_CACHE_HOME"] {
            command.env_remove(name);
        }
        command
    }

    /// Runs it with this on its standard input, and gives its standard output.
    ///
    /// # Errors
    /// What it said, if it failed.
    pub fn run(&self, arguments: &[&str], input: &str) -> Result<String> {
        call_with(&mut self.command(arguments), input)
    }
}
