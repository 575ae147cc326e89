//! The network of a run: a namespace for each host, and a hub between them that routes, cuts, loses and delays.

mod shaper;
mod traffic;

use std::{
    fs::File,
    net::Ipv4Addr,
    os::fd::AsFd,
    process::{Command, id},
    sync::Arc,
    thread,
};

use anyhow::{Context, Result, anyhow};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::command::{call, call_with};
pub use shaper::Shape;
use shaper::Shaper;
pub use traffic::Traffic;

/// What all namespaces of all runs begin with; the process id of the run follows.
pub(crate) const NAME_PREFIX: &str = "pondage-";

/// One of the hosts, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(pub u8);

impl Host {
    /// Its address, in the range that is set aside for tests of networks (RFC 2544).
    #[must_use]
    pub const fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.0, 2)
    }

    const fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.0, 1)
    }
}

/// A network namespace. Dropping it does not delete it: the network does.
#[derive(Clone, Debug)]
pub struct Namespace {
    name: String,
    link: Arc<File>,
}

impl Namespace {
    fn create(name: String) -> Result<Self> {
        call("ip", &["netns", "add", &name])?;
        let link =
            File::open(format!("/run/netns/{name}")).with_context(|| format!("the namespace {name}"))?;
        Ok(Self { name, link: Arc::new(link) })
    }

    /// Moves the calling thread into it; processes and sockets that it makes from now on are there.
    ///
    /// # Errors
    /// If the system does not allow it.
    pub fn enter(&self) -> Result<()> {
        move_into_link_name_space(self.link.as_fd(), Some(LinkNameSpaceType::Network))
            .with_context(|| format!("can't enter the namespace {}", self.name))
    }

    /// Does something in it, on a thread of its own, and waits for it.
    ///
    /// # Errors
    /// Those of the work, and if the namespace can't be entered.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.enter()?;
                work()
            });
            inside.join().unwrap_or_else(|_| Err(anyhow!("the work in {} panicked", self.name)))
        })
    }

    fn run(&self, program: &str, arguments: &[&str], input: &str) -> Result<String> {
        let mut command = Command::new("ip");
        call_with(command.args(["netns", "exec", &self.name, program]).args(arguments), input)
    }
}

/// The namespaces of a run and the way between them. Dropping it takes everything away.
#[derive(Debug)]
pub struct Network {
    hub: Namespace,
    hosts: Vec<Namespace>,
    shaper: Shaper,
}

impl Network {
    /// Makes a network of so many hosts, all of which reach each other.
    ///
    /// # Errors
    /// If the machine can't; nothing is left behind.
    pub fn new(hosts: u8) -> Result<Self> {
        let prefix = format!("{NAME_PREFIX}{}", id());
        let cleaner = Cleaner { prefix: prefix.clone() };
        let hub = Namespace::create(format!("{prefix}-hub"))?;
        // Before there are devices, which take these settings over.
        hub.within(|| {
            for (setting, value) in
                [("ip_forward", "1"), ("conf/all/rp_filter", "0"), ("conf/default/rp_filter", "0")]
            {
                let path = format!("/proc/sys/net/ipv4/{setting}");
                std::fs::write(&path, value).with_context(|| path.clone())?;
            }
            Ok(())
        })?;
        let mut namespaces = Vec::new();
        for host in (1..=hosts).map(Host) {
            let namespace = Namespace::create(format!("{prefix}-{}", host.0))?;
            let (hub, name, number) = (&hub.name, &namespace.name, host.0);
            let lines = format!("link add h{number} netns {hub} type veth peer name eth0 netns {name}\n");
            call_with(Command::new("ip").args(["-batch", "-"]), &lines)?;
            let lines = format!("addr add {}/24 dev h{number}\nlink set h{number} up\n", host.gateway());
            call_with(Command::new("ip").args(["-n", hub, "-batch", "-"]), &lines)?;
            let lines = format!(
                "addr add {}/24 dev eth0\nlink set eth0 up\nlink set lo up\nroute add default via {}\n",
                host.address(),
                host.gateway()
            );
            call_with(Command::new("ip").args(["-n", name, "-batch", "-"]), &lines)?;
            namespaces.push(namespace);
        }
        let shaper = Shaper::start(&hub)?;
        let lines =
            format!("link set {0} up\nroute add default dev {0} table {1}\n", shaper::DEVICE, shaper::TABLE);
        call_with(Command::new("ip").args(["-n", &hub.name, "-batch", "-"]), &lines)?;
        std::mem::forget(cleaner);
        let network = Self { hub, hosts: namespaces, shaper };
        network.set(&Traffic::default())?;
        Ok(network)
    }

    /// The namespace of a host.
    ///
    /// # Panics
    /// If there is no such host, a mistake of the caller.
    #[must_use]
    pub fn namespace(&self, host: Host) -> &Namespace {
        &self.hosts[usize::from(host.0) - 1]
    }

    /// From now on the packets between hosts go as `traffic` says.
    ///
    /// # Errors
    /// If the machine can't.
    pub fn set(&self, traffic: &Traffic) -> Result<()> {
        self.shaper.set(traffic.shape.unwrap_or_default());
        self.hub.run("nft", &["-f", "-"], &traffic.rules())?;
        let hosts = (1..=u8::try_from(self.hosts.len())?).map(Host);
        let lines = traffic.routes(hosts);
        let rules = call("ip", &["-n", &self.hub.name, "rule", "show", "priority", traffic::PRIORITY])?;
        let stale: String =
            rules.lines().map(|_| format!("rule del priority {}\n", traffic::PRIORITY)).collect();
        call_with(Command::new("ip").args(["-n", &self.hub.name, "-batch", "-"]), &(stale + &lines))?;
        Ok(())
    }

    /// Packets that went through the shaper so far: shows that it had a part.
    #[must_use]
    pub fn shaped_packets(&self) -> u64 {
        self.shaper.packets()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.shaper.stop();
        drop(Cleaner { prefix: format!("{NAME_PREFIX}{}", id()) });
    }
}

/// Takes the namespaces of a run away when it is dropped, with the devices in them.
struct Cleaner {
    prefix: String,
}

impl Drop for Cleaner {
    fn drop(&mut self) {
        let Ok(names) = names() else { return };
        for name in names.iter().filter(|name| name.starts_with(&format!("{}-", self.prefix))) {
            if let Err(error) = call("ip", &["netns", "del", name]) {
                eprintln!("the namespace {name} stays: {error:#}");
            }
        }
    }
}

/// The names of the machine's network namespaces.
///
/// # Errors
/// If the system does not say.
pub(crate) fn names() -> Result<Vec<String>> {
    let list = call("ip", &["netns", "list"])?;
    Ok(list.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}
