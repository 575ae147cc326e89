//! One node, what runs in it, and what is done to it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, ensure};

use super::{
    cgroups, network,
    own::{Own, READY_TIMEOUT},
    settings,
    space::Space,
};
use crate::{client::Client, command::wait_until, parts};

/// How long containerd may take.
const CONTAINERD_TIMEOUT: Duration = Duration::from_secs(60);

/// One of the nodes.
#[derive(Debug)]
pub struct Node<'a> {
    own: &'a Own,
    number: u8,
    space: Space,
}

impl<'a> Node<'a> {
    pub(super) const fn new(own: &'a Own, number: u8, space: Space) -> Self {
        Self { own, number, space }
    }

    /// Its number, from 1.
    #[must_use]
    pub const fn number(&self) -> u8 {
        self.number
    }

    /// What Kubernetes calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.space.name()
    }

    /// The zone that only it is in.
    #[must_use]
    pub fn zone(&self) -> String {
        format!("zone-{}", char::from(b'a' + self.number - 1))
    }

    /// Cuts it off from all others. Packets vanish; neither it nor the others are told.
    ///
    /// # Errors
    /// If it does not run.
    pub fn cut(&self) -> Result<()> {
        network::cut(self.own.switch(), self.number)
    }

    /// Ends what [`Node::cut`] began.
    ///
    /// # Errors
    /// If it does not run.
    pub fn mend(&self) -> Result<()> {
        network::mend(self.own.switch(), self.number)
    }

    /// Kills everything in it at once, as if its power failed. Its disk keeps what was written. With the first node goes
    /// the control plane.
    ///
    /// # Errors
    /// If it does not end.
    pub fn kill(&self) -> Result<()> {
        self.space.kill()
    }

    /// Starts it after [`Node::kill`], and waits until it is ready.
    ///
    /// # Errors
    /// If it runs, or does not become ready.
    pub fn start(&self) -> Result<()> {
        self.prepare()?;
        if self.number == 1 {
            self.start_control_plane()?;
        }
        self.start_containerd()?;
        let [kubectl, _] = self.own.clients()?;
        self.own.wait_for_api_server(&kubectl)?;
        let before = self.heard_of(&kubectl)?;
        self.start_kubelet()?;
        self.wait_ready(&kubectl, &before)
    }

    /// Starts a program of a test's own in it, which stays until it is killed or the node ends.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start_program(&self, program: &Path, arguments: &[String]) -> Result<()> {
        self.own.keep_child(self.space.daemon(program, arguments)?);
        Ok(())
    }

    /// Kills a program that runs in it.
    ///
    /// # Errors
    /// If there is none.
    pub fn kill_program(&self, program: &str) -> Result<()> {
        ensure!(self.space.kill_program(program)?, "no {program} runs in {}", self.name());
        Ok(())
    }

    /// A folder for what goes with the cluster, seen under the same path inside and outside.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.space.folder()
    }

    /// Where the log of a program that runs in it is: `kubelet`, `containerd`, `kube-apiserver`, …
    #[must_use]
    pub fn log(&self, program: &str) -> PathBuf {
        self.space.log(program)
    }

    pub(super) const fn space(&self) -> &Space {
        &self.space
    }

    pub(super) fn prepare(&self) -> Result<()> {
        let cgroup = self.own.cgroup(self.name());
        // A machine that starts has none. A kubelet that finds those of containers of an earlier life asks for each of
        // them for seconds before it begins.
        cgroups::remove(&cgroup)?;
        cgroups::create(&cgroup)?;
        settings::write(self.space.folder(), &self.own.pki(), self.number, &cgroup)?;
        self.own.keep_child(self.space.start(self.own.is_kept())?);
        network::connect(self.own.switch(), &self.space, self.number, self.own.nodes())
    }

    pub(super) fn start_control_plane(&self) -> Result<()> {
        let data = self.space.folder().join("etcd");
        self.start_part("etcd", &parts::etcd_of_cluster(&data))?;
        self.start_api_server()?;
        let controllers = self.own.with_place(parts::controllers);
        self.start_part("kube-controller-manager", &controllers)?;
        self.start_part("kube-scheduler", &parts::scheduler(&self.own.pki()))
    }

    fn start_api_server(&self) -> Result<()> {
        self.start_part("kube-apiserver", &self.own.with_place(parts::api_server_of_cluster))
    }

    pub(super) fn start_containerd(&self) -> Result<()> {
        let config = format!("--config={}", self.space.folder().join("containerd").display());
        self.start_program(Path::new("containerd"), &[config])?;
        wait_until("containerd", CONTAINERD_TIMEOUT, || {
            self.space.run("ctr", &["--namespace=k8s.io", "version"], "")?;
            Ok(true)
        })
    }

    pub(super) fn import(&self, archives: &[PathBuf]) -> Result<()> {
        for archive in archives {
            let path = archive.display().to_string();
            self.space.run("ctr", &["--namespace=k8s.io", "images", "import", &path], "")?;
        }
        Ok(())
    }

    pub(super) fn start_kubelet(&self) -> Result<()> {
        let (folder, name) = (self.space.folder(), self.name());
        let address = network::node_address(self.number);
        let kubelet = parts::kubelet(&self.own.pki(), folder, name, address, &self.zone());
        self.start_part("kubelet", &kubelet)?;
        self.start_part("kube-proxy", &parts::proxy(folder, name))
    }

    /// Waits until it is ready and was heard of at another time than `before`: what is known of a node that was killed
    /// says for a while that it is ready.
    pub(super) fn wait_ready(&self, kubectl: &Client, before: &str) -> Result<()> {
        wait_until("a node that is ready", READY_TIMEOUT, || {
            let heard = self.heard_of(kubectl)?;
            Ok(heard != before && heard.starts_with("True "))
        })
    }

    /// Whether it is ready, and when it said so; nothing as long as it is not known.
    fn heard_of(&self, kubectl: &Client) -> Result<String> {
        let ready = ".status.conditions[?(@.type==\"Ready\")]";
        let path = format!("jsonpath={{{ready}.status}} {{{ready}.lastHeartbeatTime}}");
        kubectl.run(&["get", "node", self.name(), "--ignore-not-found", "-o", &path], "")
    }

    fn start_part(&self, part: &str, arguments: &[String]) -> Result<()> {
        self.start_program(&self.own.tools().path(part), arguments)
    }
}

/// The API server of a cluster.
#[derive(Debug)]
pub struct ApiServer<'a> {
    pub(super) node: Node<'a>,
}

impl ApiServer<'_> {
    /// Kills it. Nothing else of the control plane ends.
    ///
    /// # Errors
    /// If it does not run.
    pub fn stop(&self) -> Result<()> {
        self.node.kill_program("kube-apiserver")
    }

    /// Starts it again, and waits until it answers.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn start(&self) -> Result<()> {
        self.node.start_api_server()?;
        let [kubectl, _] = self.node.own.clients()?;
        self.node.own.wait_for_api_server(&kubectl)
    }
}
