//! Where the project lies, where its builds go, and how cargo is called inside it.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

/// The profile of everything that runs as a process in tests: optimised, but linked in a fraction of the
/// release profile's time. The stages and commands that use [`Project::shipped`] name it.
pub(crate) const SHIPPED_PROFILE: &str = "fast-build";

/// The working tree and the folders outside it that the commands use.
pub(crate) struct Project {
    /// The working tree's root.
    pub root: PathBuf,
    /// What cargo writes; shared by all clones of this user unless CARGO_TARGET_DIR says otherwise.
    pub target_directory: PathBuf,
    /// Installed test tools, one folder per tool and version.
    pub tools_directory: PathBuf,
    /// The machine's target triple, as rustc names it.
    pub host: String,
}

impl Project {
    /// Finds the working tree around this crate and the user's cache folder.
    pub(crate) fn find() -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest.parent().context("xtask lies in the working tree's root")?.to_path_buf();
        let cache = cache_directory();
        let target_directory = match env::var_os("CARGO_TARGET_DIR").filter(|value| !value.is_empty()) {
            Some(directory) => env::current_dir()?.join(directory),
            None => cache.join("target"),
        };
        Ok(Self { root, target_directory, tools_directory: cache.join("tools"), host: host_triple()? })
    }

    /// A cargo call in the working tree, without standard input.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = self.command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.stdin(Stdio::null());
        cargo
    }

    /// A program called in the working tree with the environment that a shell there would have: cargo describes
    /// this package to its own children, which would mislead a nested cargo.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target_directory);
        for (name, _) in env::vars_os() {
            let name_text = name.to_string_lossy();
            if name_text.starts_with("CARGO_PKG_") || name_text.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&name);
            }
        }
        command
    }

    /// Makes a call of cargo, or of a tool that calls it, build as the container image does: statically linked.
    /// One set of flags for simulator, processes and image check, so that their dependencies are compiled once.
    /// Tests that start processes find `pondage` through PONDAGE_BIN.
    pub(crate) fn shipped(&self, mut command: Command) -> Command {
        let flags_name = format!("CARGO_TARGET_{}_RUSTFLAGS", self.host.replace('-', "_").to_uppercase());
        command.env(flags_name, "-C target-feature=+crt-static").env("CARGO_BUILD_TARGET", &self.host);
        // Would replace those flags and turn the static binary into a dynamic one.
        command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
        command.env("PONDAGE_BIN", self.shipped_binary());
        command
    }

    /// Runs a package's program in the shipped build; what cargo and the program are told comes behind.
    pub(crate) fn program(&self, package: &str) -> Command {
        let mut program = self.shipped(self.cargo());
        program.args(["run", "--profile", SHIPPED_PROFILE, "--package", package]);
        program
    }

    /// Where a build by [`Self::shipped`] with [`SHIPPED_PROFILE`] puts `pondage`.
    pub(crate) fn shipped_binary(&self) -> PathBuf {
        self.target_directory.join(&self.host).join(SHIPPED_PROFILE).join("pondage")
    }
}

/// The user's cache folder for this project; a temporary one where the user has no home.
fn cache_directory() -> PathBuf {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_CACHE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(env::temp_dir)
        .join("pondage")
}

fn host_triple() -> Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(&rustc).arg("-vV").stdin(Stdio::null()).output().context("can't run rustc")?;
    let text = String::from_utf8(output.stdout).context("rustc -vV printed no text")?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}
