//! Helm, and what it makes of the chart.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

/// The namespace of most renderings.
pub(crate) const NAMESPACE: &str = "demo";

/// A program that a variable names, or that the tests of the Kubernetes cluster keep at this place.
pub(crate) fn tool(variable: &str, place: &str) -> Result<PathBuf> {
    let program = match env::var_os(variable) {
        Some(program) => PathBuf::from(program),
        None => {
            let home = env::var_os("HOME").context("no home folder: set HOME")?;
            Path::new(&home).join(".cache/pondage/kube").join(place)
        }
    };
    ensure!(
        program.is_file(),
        "there is no {}: the tests in tests/kube bring it; or let {variable} name one",
        program.display()
    );
    Ok(program)
}

/// The program.
pub(crate) struct Helm {
    program: PathBuf,
}

impl Helm {
    /// Finds it: `PONDAGE_HELM`, or where the tests of the Kubernetes cluster build it.
    pub(crate) fn find() -> Result<Self> {
        Ok(Self { program: tool("PONDAGE_HELM", "bin/helm")? })
    }

    /// Has the chart judged by Helm's own rules.
    pub(crate) fn lint(&self) -> Result<()> {
        self.run(&["lint", "--strict"], &[]).map(drop)
    }

    /// The objects of a release `pondage` in [`NAMESPACE`], hooks included.
    pub(crate) fn template(&self, args: &[&str]) -> Result<Vec<Value>> {
        self.template_in(NAMESPACE, args)
    }

    /// The objects of a release `pondage` in a namespace.
    pub(crate) fn template_in(&self, namespace: &str, args: &[&str]) -> Result<Vec<Value>> {
        let text = self.run(&["template", "pondage", "--namespace", namespace], args)?;
        let documents = serde_yaml::Deserializer::from_str(&text);
        let objects: Result<Vec<Value>, _> = documents.map(Value::deserialize).collect();
        let objects = objects.with_context(|| format!("what Helm rendered with {args:?} is no YAML"))?;
        Ok(objects.into_iter().filter(|object| !object.is_null()).collect())
    }

    /// What Helm says against these values.
    pub(crate) fn refused(&self, args: &[&str]) -> Result<String> {
        match self.run(&["template", "pondage", "--namespace", NAMESPACE], args) {
            Ok(_) => bail!("{args:?} were taken"),
            Err(error) => Ok(error.to_string()),
        }
    }

    fn run(&self, command: &[&str], args: &[&str]) -> Result<String> {
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/pondage");
        let output = Command::new(&self.program)
            .args(command)
            .arg(chart)
            .args(args)
            .stdin(Stdio::null())
            // No cluster is asked, and nobody's settings count.
            .env("KUBECONFIG", "/dev/null")
            .output()
            .with_context(|| format!("can't run {}", self.program.display()))?;
        let out = String::from_utf8(output.stdout).context("Helm printed no text")?;
        if output.status.success() {
            return Ok(out);
        }
        bail!("{}{out}", String::from_utf8_lossy(&output.stderr));
    }
}
