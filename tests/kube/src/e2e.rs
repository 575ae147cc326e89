//! Pondage in a real Kubernetes, as somebody installs and uses it: one cluster of three nodes, and one scenario after the
//! other.

mod access;
mod declared;
mod faults;
mod hostile;
mod install;
mod paced;
mod pictures;
mod rollout;
mod scaled;
mod shop;
mod watched;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, ensure};

use crate::{
    cluster::{Cluster, Plan},
    image::Image,
    steps::Steps,
};
use shop::Shop;

/// What is tried: it answers with its figures.
type Scenario = fn(&Shop) -> Result<String>;

/// All of them, in this order.
const SCENARIOS: [(&str, Scenario); 19] = [
    ("the chart is installed, and three brokers are ready", install::brokers_get_ready),
    ("deploy/quickstart.yaml is ready, a queue within two seconds", install::quickstart_gets_ready),
    ("nothing but lease calls while nobody wants anything", access::quiet_while_idle),
    ("Prometheus finds all pods, and knows backlog and lag", watched::prometheus_knows),
    ("monitors for a Prometheus operator, as long as they are wanted", watched::monitors_are_made),
    ("consumers from none to many and back, as the backlog wants it", scaled::consumers_follow_the_backlog),
    ("100,000 messages while a broker, a pod and a node are lost", faults::nothing_acknowledged_is_lost),
    ("the API server is away for 60 s, and a broker dies", faults::brokers_need_no_api_server),
    ("another setting, another image and a wish restart one broker at a time", rollout::one_at_a_time),
    ("a broken image stops at its first broker, and is taken back", rollout::a_broken_change_stops),
    ("a deleted service, a changed queue: all as it was", declared::drift_is_repaired),
    ("what cannot be is said, and hurts nobody else", declared::refusals_are_said),
    ("an old bad object hurts nobody, not even at a start", hostile::old_bad_objects_are_said),
    ("what is paused or somebody else's stays as it is", declared::what_is_not_ours_stays),
    ("a queue's end under each policy", declared::deletion_follows_the_policy),
    ("1,000 queues at once", declared::a_thousand_queues),
    ("a namespace goes although the operator is gone", declared::a_namespace_goes_without_the_operator),
    ("what the operator may do is what it does", access::rights_are_used),
    ("uninstalled and installed again, with all messages", install::data_outlives_the_release),
];

/// Which scenarios; the first two, on which all build, always.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// Every one.
    All,
    /// Those whose description contains this.
    Only(String),
    /// That one, and all behind it.
    From(String),
}

/// What differs from run to run.
#[derive(Clone, Debug, Default)]
pub struct Habits {
    /// How long nobody is to want anything.
    pub idle: Duration,
    /// Where the dashboards are drawn, if they are.
    pub pictures: Option<PathBuf>,
}

/// Runs scenarios.
///
/// # Errors
/// If the cluster does not come up, or a scenario fails: the rest builds on it.
pub fn run(pondage: &Path, applications: &Path, wanted: &Wanted, habits: Habits) -> Result<usize> {
    let steps = Steps::begin();
    let cluster = Cluster::up_as(Plan { nodes: 3, eviction_seconds: None })?;
    cluster.load(&Image::pondage(shop::IMAGE, pondage).also_called(shop::NEXT_IMAGE))?;
    let traffic = Image::new(shop::TRAFFIC, &["/traffic"]).user(65_532);
    let traffic =
        traffic.file(&applications.join("traffic"), "traffic").file(&applications.join("worker"), "worker");
    cluster.load(&traffic)?;
    steps.say("three nodes are up and have the images");
    let shop = Shop::new(cluster, habits, pondage.to_owned());
    let mut passed = 0;
    // What others build on is always done.
    let mut is_reached = false;
    let mut is_wanted = |about: &str| match wanted {
        Wanted::All => true,
        Wanted::Only(only) => about.contains(only),
        Wanted::From(from) => {
            is_reached |= about.contains(from);
            is_reached
        }
    };
    for (at, (about, scenario)) in SCENARIOS.into_iter().enumerate() {
        if !is_wanted(about) && at >= 2 {
            continue;
        }
        match scenario(&shop) {
            Ok(figures) => steps.say(&format!("ok: {about} ({figures})")),
            Err(error) => {
                steps.say(&format!("FAILED: {about}: {error:#}"));
                println!("{}", shop.evidence());
                if let Ok(logs) = shop.cluster.keep_logs() {
                    println!("the logs are in {}", logs.display());
                }
                return Err(error.context(about));
            }
        }
        passed += 1;
    }
    ensure!(passed > 0, "no scenario is called so");
    shop.cluster.down()?;
    steps.say("down");
    Ok(passed)
}
