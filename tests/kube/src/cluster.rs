//! A cluster of several nodes, each a set of namespaces of this machine.
//!
//! The first node has the control plane too. Every node has its own containerd, kubelet and kube-proxy; pods have a network
//! that reaches across nodes, names, and volumes. Every node is a zone of its own. Nothing leads out of the cluster, and
//! nothing of the machine's own is changed.

mod cgroups;
mod inside;
mod network;
mod node;
mod own;
mod place;
mod settings;
mod space;

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::{audit::Audit, client::Client, command::call, image::Image, tools::Tools};
pub use inside::serve as serve_if_called;
pub(crate) use network::machine_devices;
pub use node::{ApiServer, Node};
use own::Own;

/// Names a cluster that is there already, whoever made it.
pub const ELSEWHERE: &str = "PONDAGE_E2E_KUBECONFIG";

/// Nodes that there may be.
const NODES_MAX: u8 = 9;

/// What a cluster is to be like.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// How many nodes.
    pub nodes: u8,
    /// Pods leave a node that is lost after so many seconds. Left out, after 300, as everywhere.
    pub eviction_seconds: Option<u32>,
}

/// A cluster. One that a test made goes down when this is dropped; one of a name stays until it is taken down.
#[derive(Debug)]
pub struct Cluster {
    site: Site,
}

#[derive(Debug)]
enum Site {
    /// The nodes are ours.
    Own(Box<Own>),
    /// Somebody else's, with the clients that reach it.
    Elsewhere([Client; 2]),
}

impl Cluster {
    /// Makes one for a test, or takes the one that `PONDAGE_E2E_KUBECONFIG` names.
    ///
    /// # Errors
    /// If the machine can't; says what to do instead.
    pub fn up(nodes: u8) -> Result<Self> {
        Self::up_as(Plan { nodes, eviction_seconds: None })
    }

    /// As [`Cluster::up`], with all that can be said of it.
    ///
    /// # Errors
    /// As [`Cluster::up`].
    pub fn up_as(plan: Plan) -> Result<Self> {
        if let Some(config) = env::var_os(ELSEWHERE) {
            return Self::elsewhere(Path::new(&config));
        }
        Self::make(plan, None)
    }

    /// Makes one that stays, under a name, until [`Cluster::down`].
    ///
    /// # Errors
    /// As [`Cluster::up`], and if there is one of this name.
    pub fn keep(plan: Plan, name: &str) -> Result<Self> {
        Self::make(plan, Some(name))
    }

    /// The one that was made under a name.
    ///
    /// # Errors
    /// If there is none.
    pub fn find(name: &str) -> Result<Self> {
        Ok(Self::of(Own::find(name)?))
    }

    fn elsewhere(config: &Path) -> Result<Self> {
        ensure!(config.is_file(), "{ELSEWHERE} names {}, which is no file", config.display());
        let tools = Tools::prepare_clients()?;
        let home = env::var_os("HOME").context("no home folder: set HOME")?;
        let clients = ["kubectl", "helm"].map(|name| Client::new(tools.path(name), config, Path::new(&home)));
        let cluster = Self { site: Site::Elsewhere(clients) };
        cluster.kubectl(&["get", "--raw", "/readyz"], "").context("the cluster of PONDAGE_E2E_KUBECONFIG")?;
        Ok(cluster)
    }

    fn of(own: Own) -> Self {
        Self { site: Site::Own(Box::new(own)) }
    }

    /// Runs `kubectl` with this on its standard input, and gives its standard output.
    ///
    /// # Errors
    /// What it said, if it failed.
    pub fn kubectl(&self, arguments: &[&str], input: &str) -> Result<String> {
        let [kubectl, _] = self.clients()?;
        kubectl.run(arguments, input)
    }

    /// Runs `helm` and gives its standard output.
    ///
    /// # Errors
    /// What it said, if it failed.
    pub fn helm(&self, arguments: &[&str]) -> Result<String> {
        let [_, helm] = self.clients()?;
        helm.run(arguments, "")
    }

    /// `kubectl` and `helm`, for somebody who runs them himself. They are good until the first node is killed.
    ///
    /// # Errors
    /// If the first node does not run.
    pub fn clients(&self) -> Result<[Client; 2]> {
        match &self.site {
            Site::Own(own) => own.clients(),
            Site::Elsewhere(clients) => Ok(clients.clone()),
        }
    }

    /// One of the nodes, from 1.
    ///
    /// # Errors
    /// If there is no such node, or the nodes are not ours.
    pub fn node(&self, number: u8) -> Result<Node<'_>> {
        let own = self.own()?;
        ensure!((1..=own.nodes()).contains(&number), "the nodes are 1 to {}", own.nodes());
        Ok(own.node(number))
    }

    /// The API server.
    ///
    /// # Errors
    /// If it is not ours.
    pub fn api_server(&self) -> Result<ApiServer<'_>> {
        Ok(ApiServer { node: self.node(1)? })
    }

    /// What the API server was asked.
    ///
    /// # Errors
    /// If it is not ours.
    pub fn audit(&self) -> Result<Audit> {
        Ok(Audit::new(self.own()?.audit_log()))
    }

    /// Copies the logs of all parts to where they stay when the cluster goes, and says where.
    ///
    /// # Errors
    /// If they can't be copied, or the nodes are not ours.
    pub fn keep_logs(&self) -> Result<PathBuf> {
        self.own()?.keep_logs()
    }

    /// Runs a program in a node and gives its standard output.
    ///
    /// # Errors
    /// If it fails, or there is no such node.
    pub fn exec(&self, node: u8, program: &str, arguments: &[&str]) -> Result<String> {
        self.node(node)?.space().run(program, arguments, "")
    }

    /// A call in a node, for somebody who runs it himself.
    ///
    /// # Errors
    /// If there is no such node.
    pub fn command<A: AsRef<OsStr>>(&self, node: u8, program: &str, arguments: &[A]) -> Result<Command> {
        self.node(node)?.space().command(Path::new(program), arguments)
    }

    /// Moves the calling thread into the network of the first node, where pods and services are reached by their
    /// addresses. Threads and sockets that it makes from now on are there: call it before a runtime starts.
    ///
    /// # Errors
    /// If the system does not allow it, or the nodes are not ours.
    pub fn enter_network(&self) -> Result<()> {
        use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
        let path = self.node(1)?.space().namespace("net")?;
        let namespace = fs::File::open(&path).with_context(|| path.display().to_string())?;
        Ok(move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(LinkNameSpaceType::Network))?)
    }

    /// Gives an image to all nodes.
    ///
    /// # Errors
    /// If they don't take it.
    pub fn load(&self, image: &Image) -> Result<()> {
        let folder = tempfile::Builder::new().prefix("pondage-image-").tempdir()?;
        let archive = folder.path().join("image.tar");
        image.write(&archive)?;
        self.load_archives(&[archive])
    }

    /// Gives images to all nodes, out of archives as `docker save` makes them.
    ///
    /// # Errors
    /// If they don't take one.
    pub fn load_archives(&self, archives: &[PathBuf]) -> Result<()> {
        match &self.site {
            Site::Own(own) => own.each(|node| node.import(archives)),
            Site::Elsewhere(_) => self.load_elsewhere(archives),
        }
    }

    fn load_elsewhere(&self, archives: &[PathBuf]) -> Result<()> {
        let context = self.kubectl(&["config", "current-context"], "")?;
        let Some(kind) = context.trim().strip_prefix("kind-") else {
            bail!(
                "images can be given to clusters of kind only: give {} to the nodes of {} yourself",
                archives.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "),
                context.trim()
            );
        };
        for archive in archives {
            call("kind", &["load", "image-archive", &archive.display().to_string(), "--name", kind])?;
        }
        Ok(())
    }

    /// The namespaces of processes of all nodes, and the groups of processes of their pods.
    pub(crate) fn processes(&self) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
        self.own()?.processes()
    }

    /// Takes it down. Nothing of it is left.
    ///
    /// # Errors
    /// If something does not end.
    pub fn down(self) -> Result<()> {
        match self.site {
            Site::Own(own) => own.end(),
            Site::Elsewhere(_) => Ok(()),
        }
    }

    fn own(&self) -> Result<&Own> {
        match &self.site {
            Site::Own(own) => Ok(own),
            Site::Elsewhere(_) => {
                bail!("the nodes are not ours: unset {ELSEWHERE} for what harms them or looks into them")
            }
        }
    }

    fn make(plan: Plan, name: Option<&str>) -> Result<Self> {
        ensure!((1..=NODES_MAX).contains(&plan.nodes), "a cluster has 1 to {NODES_MAX} nodes");
        Ok(Self::of(Own::make(plan, name)?))
    }
}
