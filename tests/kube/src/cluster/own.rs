//! A cluster whose nodes are ours: how it comes up and goes down.

use std::{
    fs,
    path::PathBuf,
    process::{Child, id},
    sync::Mutex,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};

use super::{Plan, cgroups, inside, network, node::Node, place, place::Place, settings, space::Space};
use crate::{addons, audit, client::Client, command::wait_until, machine, parts, steps::Steps, tools::Tools};

/// How long any part may take until it is ready.
pub(super) const READY_TIMEOUT: Duration = Duration::from_secs(180);
/// Where the plan is kept in the folder.
const PLAN: &str = "plan.json";

/// What there is of it. Dropping it takes it down, unless it is to stay.
#[derive(Debug)]
pub(super) struct Own {
    plan: Plan,
    place: Place,
    tools: Tools,
    switch: Space,
    /// Nodes outlive this program.
    is_kept: bool,
    /// Dropping this changes nothing.
    stays: bool,
    /// What was started by this program. The first processes of nodes that are not kept end when theirs are dropped.
    children: Mutex<Vec<Child>>,
}

impl Own {
    pub(super) fn make(plan: Plan, name: Option<&str>) -> Result<Self> {
        let steps = Steps::begin();
        place::ensure_visible()?;
        machine::prepare()?;
        let tools = Tools::prepare_cluster()?;
        let archives = addons::archives(&tools)?;
        steps.say("the tools are there");
        let place = Place::create(name)?;
        fs::write(place.path().join(PLAN), serde_json::to_vec(&plan)?)?;
        let mut own = Self::of(plan, place, tools, name.is_some());
        if let Err(error) = own.begin(&archives, &steps) {
            let logs =
                own.keep_logs().map_or_else(|error| format!("{error:#}"), |at| at.display().to_string());
            return Err(error.context(format!("no cluster (its logs: {logs})")));
        }
        own.stays = own.is_kept;
        Ok(own)
    }

    pub(super) fn find(name: &str) -> Result<Self> {
        let place = Place::find(name)?;
        let plan =
            fs::read(place.path().join(PLAN)).with_context(|| format!("the cluster {name} has no plan"))?;
        let mut own = Self::of(serde_json::from_slice(&plan)?, place, Tools::prepare_cluster()?, true);
        own.stays = true;
        Ok(own)
    }

    fn of(plan: Plan, place: Place, tools: Tools, is_kept: bool) -> Self {
        let switch = Space::new(place.path(), inside::SWITCH);
        Self { plan, place, tools, switch, is_kept, stays: false, children: Mutex::default() }
    }

    fn begin(&self, archives: &addons::Archives, steps: &Steps) -> Result<()> {
        let folder = self.place.path();
        settings::write_pki(&self.pki(), self.plan.nodes)?;
        audit::write_policy(folder)?;
        fs::create_dir(folder.join("home"))?;
        self.keep_child(self.switch.start(self.is_kept)?);
        network::make_switch(&self.switch)?;
        self.each(|node| node.prepare())?;
        steps.say("the nodes have their namespaces and their network");
        self.node(1).start_control_plane()?;
        let [kubectl, _] = self.clients()?;
        thread::scope(|scope| {
            let images = scope.spawn(|| {
                self.each(|node| {
                    node.start_containerd()?;
                    node.import(&archives.everywhere)?;
                    if node.number() == 1 { node.import(&archives.first) } else { Ok(()) }
                })
            });
            self.wait_for_api_server(&kubectl)?;
            steps.say("the API server answers");
            images.join().unwrap_or_else(|_| Err(anyhow!("a panic")))
        })?;
        steps.say("the nodes have their images");
        self.each(|node| node.start_kubelet())?;
        for resources in addons::RESOURCES {
            kubectl.run(&["apply", "-f", "-"], resources)?;
        }
        self.each(|node| node.wait_ready(&kubectl, ""))?;
        steps.say("all nodes are ready");
        for deployment in addons::DEPLOYMENTS {
            kubectl
                .run(&["-n", "kube-system", "rollout", "status", deployment, "--timeout=120s"], "")
                .context(deployment)?;
        }
        steps.say("there are names and volumes");
        Ok(())
    }

    pub(super) fn wait_for_api_server(&self, kubectl: &Client) -> Result<()> {
        let first = self.node(1);
        wait_until("an API server that answers", READY_TIMEOUT, || {
            // Nothing is to be waited for in a node that has ended.
            if first.space().process().is_ok() {
                kubectl.run(&["get", "--raw", "/readyz"], "")?;
            }
            Ok(true)
        })?;
        first.space().process().map(drop)
    }

    pub(super) const fn nodes(&self) -> u8 {
        self.plan.nodes
    }

    pub(super) const fn tools(&self) -> &Tools {
        &self.tools
    }

    pub(super) const fn switch(&self) -> &Space {
        &self.switch
    }

    pub(super) const fn is_kept(&self) -> bool {
        self.is_kept
    }

    pub(super) fn node(&self, number: u8) -> Node<'_> {
        Node::new(self, number, Space::new(self.place.path(), &settings::name(number)))
    }

    /// Does something with all nodes at the same time.
    pub(super) fn each(&self, work: impl Fn(&Node<'_>) -> Result<()> + Sync) -> Result<()> {
        thread::scope(|scope| {
            let workers: Vec<_> = (1..=self.plan.nodes)
                .map(|number| {
                    let (node, work) = (self.node(number), &work);
                    scope.spawn(move || work(&node).with_context(|| settings::name(number)))
                })
                .collect();
            workers
                .into_iter()
                .try_for_each(|worker| worker.join().unwrap_or_else(|_| Err(anyhow!("a panic"))))
        })
    }

    pub(super) fn clients(&self) -> Result<[Client; 2]> {
        let folder = self.place.path();
        let config = self.pki().join("administrator.kubeconfig");
        let first = self.node(1).space().process()?;
        Ok(["kubectl", "helm"]
            .map(|name| Client::new(self.tools.path(name), &config, &folder.join("home")).within(first)))
    }

    pub(super) fn pki(&self) -> PathBuf {
        self.place.path().join("pki")
    }

    pub(super) fn audit_log(&self) -> PathBuf {
        self.place.path().join("audit.log")
    }

    /// The group of processes that a node's pods are in.
    pub(super) fn cgroup(&self, node: &str) -> String {
        format!("{}{node}", self.place.cgroup_prefix())
    }

    pub(super) fn processes(&self) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
        let mut namespaces = Vec::new();
        for number in 1..=self.plan.nodes {
            namespaces.push(fs::read_link(self.node(number).space().namespace("pid")?)?);
        }
        Ok((namespaces, cgroups::found(&self.place.cgroup_prefix())?))
    }

    /// What the control plane is told.
    pub(super) fn with_place<T>(&self, tell: impl FnOnce(&parts::Place<'_>) -> T) -> T {
        tell(&parts::Place {
            pki: &self.pki(),
            folder: self.place.path(),
            address: network::node_address(1),
            eviction_seconds: self.plan.eviction_seconds,
        })
    }

    pub(super) fn keep_child(&self, child: Child) {
        self.children.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(child);
    }

    pub(super) fn keep_logs(&self) -> Result<PathBuf> {
        let kept = std::env::temp_dir().join(format!("pondage-kube-logs-{}", id()));
        let spaces = (1..=self.plan.nodes).map(settings::name).chain([inside::SWITCH.to_owned()]);
        for name in spaces {
            let logs = self.place.path().join(&name).join("logs");
            let to = kept.join(&name);
            fs::create_dir_all(&to)?;
            for entry in fs::read_dir(logs).into_iter().flatten() {
                let entry = entry?;
                fs::copy(entry.path(), to.join(entry.file_name()))?;
            }
        }
        Ok(kept)
    }

    /// Takes it down.
    pub(super) fn end(mut self) -> Result<()> {
        self.stays = true;
        self.take_down()
    }

    fn take_down(&self) -> Result<()> {
        let killed = self.each(|node| node.space().kill());
        killed.and(self.switch.kill())?;
        let mut children = self.children.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for mut child in children.drain(..) {
            // They ended with their namespaces.
            ensure!(child.wait().is_ok(), "a process is not ours");
        }
        self.place.remove()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if !self.stays
            && let Err(error) = self.take_down()
        {
            eprintln!("the cluster in {} stays: {error:#}", self.place.path().display());
        }
    }
}
