//! The network of the nodes: a switch, which is a namespace of its own so that every node can be lost, and a link from it
//! to each node. Nothing leads out to the machine.

use std::{net::Ipv4Addr, process::Command};

use anyhow::Result;

use super::space::Space;
use crate::command::{call, call_with};

/// What the switch is called, as a device.
const SWITCH_DEVICE: &str = "switch";

/// The address of a node, from 1.
pub(super) const fn node_address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 80, 0, number)
}

/// Where the pods of a node get their addresses.
pub(super) fn pods_of(number: u8) -> String {
    format!("10.81.{number}.0/24")
}

/// Where all pods get theirs.
pub(super) const PODS: &str = "10.81.0.0/16";

/// Makes the switch of a new namespace.
pub(super) fn make_switch(switch: &Space) -> Result<()> {
    let lines = format!("link add {SWITCH_DEVICE} type bridge\nlink set {SWITCH_DEVICE} up\n");
    switch.run("ip", &["-batch", "-"], &lines)?;
    Ok(())
}

/// Links a new node to the switch, and tells it where the pods of the others are.
pub(super) fn connect(switch: &Space, node: &Space, number: u8, nodes: u8) -> Result<()> {
    let port = port(number);
    // The link of a node that was killed goes at some time by itself.
    drop(switch.run("ip", &["link", "del", &port], ""));
    let [here, there] = [switch.process()?, node.process()?].map(|process| process.as_raw_nonzero());
    // The same each time, so that the others need not find out anew.
    let hardware = format!("02:00:00:00:00:{number:02x}");
    let line = format!(
        "link add name {port} netns {here} type veth peer name eth0 address {hardware} netns {there}\n"
    );
    call_with(Command::new("ip").args(["-batch", "-"]), &line)?;
    mend(switch, number)?;
    // The addresses of services are nowhere, and yet must have a route before they become those of pods: the default.
    let mut lines = format!(
        "link set lo up\naddr add {}/24 dev eth0\nlink set eth0 up\nroute add default dev eth0\n",
        node_address(number)
    );
    for other in (1..=nodes).filter(|other| *other != number) {
        lines += &format!("route add {} via {}\n", pods_of(other), node_address(other));
    }
    node.run("ip", &["-batch", "-"], &lines)?;
    Ok(())
}

/// Takes the node's link from the switch: packets vanish, and neither end is told.
pub(super) fn cut(switch: &Space, number: u8) -> Result<()> {
    switch.run("ip", &["link", "set", &port(number), "nomaster"], "")?;
    Ok(())
}

/// Puts it back.
pub(super) fn mend(switch: &Space, number: u8) -> Result<()> {
    switch.run("ip", &["link", "set", &port(number), "master", SWITCH_DEVICE, "up"], "")?;
    Ok(())
}

fn port(number: u8) -> String {
    format!("port{number}")
}

/// Network devices of the machine itself, which clusters must leave as they are.
pub(crate) fn machine_devices() -> Result<String> {
    call("ip", &["-brief", "link"])
}
