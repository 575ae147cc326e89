//! What is built once: Kubernetes with etcd as one binary, and what a whole cluster needs beside it, from the Go modules
//! that `tools/` pins.

use std::{
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{FlockOperation, flock};

/// The release that is built. `tools/kubernetes/go.mod` names it too.
const KUBERNETES: (&str, &str, &str) = ("1.34.4", "1", "34");
/// Helm's release. `tools/helm/go.mod` names it too.
const HELM: &str = "3.19.5";

/// What the one binary can be called as.
const PARTS: [&str; 7] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
];

/// One Go module, and the program that it is built for.
#[derive(Debug)]
struct Module {
    /// Its folder in `tools/`, and what the program is called.
    name: &'static str,
    /// The package; a dot is a `main.go` of ours.
    package: &'static str,
    /// What the first time costs.
    cost: &'static str,
}

/// The API server with its etcd, and everything else of Kubernetes.
const CONTROL_PLANE: Module =
    Module { name: "kubernetes", package: ".", cost: "about ten minutes of two processors" };

/// What a cluster needs beside it.
const AROUND: [Module; 4] = [
    Module { name: "pause", package: ".", cost: "a second" },
    Module { name: "coredns", package: ".", cost: "about two minutes of two processors" },
    Module { name: "helm", package: "helm.sh/helm/v3/cmd/helm", cost: "about two minutes of two processors" },
    Module {
        name: "volumes",
        package: "github.com/rancher/local-path-provisioner",
        cost: "about a minute of two processors",
    },
];

/// The built tools.
#[derive(Clone, Debug)]
pub struct Tools {
    folder: PathBuf,
}

impl Tools {
    /// Builds what a control plane needs, if it is missing. The first time takes many minutes, then nothing.
    ///
    /// # Errors
    /// Without Go, or if something does not build; says what to do.
    pub fn prepare() -> Result<Self> {
        Self::build(&[CONTROL_PLANE])
    }

    /// Builds what a whole cluster needs, if it is missing.
    ///
    /// # Errors
    /// As [`Tools::prepare`].
    pub fn prepare_cluster() -> Result<Self> {
        let [pause, coredns, helm, volumes] = AROUND;
        Self::build(&[CONTROL_PLANE, pause, coredns, helm, volumes])
    }

    /// Builds what talks to a cluster that is somebody else's.
    ///
    /// # Errors
    /// As [`Tools::prepare`].
    pub fn prepare_clients() -> Result<Self> {
        let [_, _, helm, _] = AROUND;
        Self::build(&[CONTROL_PLANE, helm])
    }

    fn build(modules: &[Module]) -> Result<Self> {
        let cache = cache()?;
        let folder = cache.join("bin");
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        // Whoever comes at the same time waits, and finds it built.
        let lock = File::create(cache.join("lock"))?;
        flock(&lock, FlockOperation::LockExclusive)?;
        for module in modules {
            build(&folder, module)?;
        }
        for part in PARTS {
            let link = folder.join(part);
            if !link.exists() {
                symlink("kubernetes", &link).with_context(|| link.display().to_string())?;
            }
        }
        Ok(Self { folder })
    }

    /// Where a tool is.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Changes whenever the tool is built anew.
    pub(crate) fn key(&self, name: &str) -> Result<String> {
        let path = self.path(&format!("{name}.key"));
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    }
}

/// Where everything goes that outlives a run.
pub(crate) fn cache() -> Result<PathBuf> {
    let home = std::env::var_os("HOME").context("no home folder: set HOME")?;
    Ok(Path::new(&home).join(".cache/pondage/kube"))
}

fn build(folder: &Path, module: &Module) -> Result<()> {
    let Module { name, package, cost } = module;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools").join(name);
    let go = match Command::new("go").arg("version").output() {
        Ok(output) if output.status.success() => output.stdout,
        _ => {
            bail!("{name} is built with Go, which is not here: install Go 1.26 or later (https://go.dev/dl)")
        }
    };
    let flags = flags(name);
    let mut hasher = DefaultHasher::new();
    (go, &flags, package).hash(&mut hasher);
    let mut files: Vec<PathBuf> =
        fs::read_dir(&source)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.sort();
    for path in files {
        fs::read(&path).with_context(|| path.display().to_string())?.hash(&mut hasher);
    }
    let key = format!("{:016x}", hasher.finish());
    let (built, noted) = (folder.join(name), folder.join(format!("{name}.key")));
    if built.exists() && fs::read_to_string(&noted).is_ok_and(|noted| noted == key) {
        return Ok(());
    }
    println!("building {name}: once, {cost}");
    let begun = Instant::now();
    let status = Command::new("go")
        .args(["build", "-trimpath", "-tags", "providerless,dockerless,netgo,osusergo", "-ldflags", &flags])
        .arg("-o")
        .arg(&built)
        .arg(package)
        .current_dir(&source)
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-buildvcs=false")
        .status()?;
    ensure!(status.success(), "{name} does not build: {status}");
    fs::write(&noted, key)?;
    println!("built {name} in {:.0} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// A Kubernetes that is not told its release calls itself 0.0.0, and clients refuse it; a Helm that is not told that of
/// Kubernetes takes it for one of years ago, and refuses charts where it has no cluster to ask.
fn flags(name: &str) -> String {
    let (version, major, minor) = KUBERNETES;
    let kubernetes = |package: &str| {
        format!(
            " -X {package}.gitVersion=v{version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor} \
             -X {package}.gitTreeState=clean -X {package}.buildDate=1970-01-01T00:00:00Z"
        )
    };
    let helm =
        |package: &str| format!(" -X {package}.k8sVersionMajor={major} -X {package}.k8sVersionMinor={minor}");
    let set = match name {
        "kubernetes" => {
            kubernetes("k8s.io/component-base/version") + &kubernetes("k8s.io/client-go/pkg/version")
        }
        "helm" => {
            format!(" -X helm.sh/helm/v3/internal/version.version=v{HELM}")
                + &helm("helm.sh/helm/v3/pkg/chartutil")
                + &helm("helm.sh/helm/v3/pkg/lint/rules")
        }
        _ => String::new(),
    };
    format!("-s -w{set}")
}
