//! A real Prometheus beside a cluster's pods.
//!
//! Debian's package is taken apart and not installed: installed, it would start a service of the machine's own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::{
    cluster::Cluster,
    command::{call, call_with, wait_until},
    parts::NAME_SERVICE,
    tools,
};

/// The node in whose network it is.
const NODE: u8 = 1;
/// Where it listens, in that network.
const ADDRESS: &str = "127.0.0.1:9090";
/// How often it looks for pods and scrapes them: tests wait for it.
const EVERY: &str = "2s";
/// Gives a program (the arguments behind the first) this file (the first) as its `/etc/resolv.conf`, wherever that leads.
const WITH_NAMES: &str = r#"
    set -e
    file=$(readlink -m /etc/resolv.conf)
    mkdir -p "${file%/*}"
    [ -e "$file" ] || : > "$file"
    mount --bind "$0" "$file"
    exec "$@"
"#;
/// How long it may take until it answers.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// One that runs until it is stopped, or its cluster goes down.
#[derive(Debug)]
pub struct Prometheus<'a> {
    cluster: &'a Cluster,
    programs: PathBuf,
}

/// A series over some time.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its labels.
    pub labels: Value,
    /// Seconds since 1970, and values.
    pub points: Vec<(f64, f64)>,
}

impl<'a> Prometheus<'a> {
    /// Starts one with a configuration as users have it, but for how often it looks. It finds services by their names, as
    /// a pod does.
    ///
    /// # Errors
    /// If the package can't be had, or it does not get ready.
    pub fn start(cluster: &'a Cluster, configuration: &str) -> Result<Self> {
        let prometheus = Self { cluster, programs: programs()? };
        let node = cluster.node(NODE)?;
        let folder = node.folder().join("prometheus");
        fs::create_dir_all(&folder)?;
        let mut settings: Value = serde_yaml::from_str(configuration)?;
        settings["global"]["scrape_interval"] = json!(EVERY);
        let discovery = settings.pointer_mut("/scrape_configs/0/dns_sd_configs/0");
        discovery.context("it discovers nothing")?["refresh_interval"] = json!(EVERY);
        // All JSON is YAML.
        let file = folder.join("prometheus.yml");
        fs::write(&file, settings.to_string())?;
        let names = folder.join("resolv.conf");
        fs::write(&names, format!("nameserver {NAME_SERVICE}\n"))?;
        node.start_program(
            Path::new("unshare"),
            &[
                "--mount".to_owned(),
                "sh".to_owned(),
                "-c".to_owned(),
                WITH_NAMES.to_owned(),
                names.display().to_string(),
                prometheus.programs.join("prometheus").display().to_string(),
                format!("--config.file={}", file.display()),
                format!("--storage.tsdb.path={}", folder.join("data").display()),
                format!("--web.listen-address={ADDRESS}"),
            ],
        )?;
        wait_until("a Prometheus that answers", READY_TIMEOUT, || {
            Ok(prometheus.query("vector(1)")?.len() == 1)
        })?;
        Ok(prometheus)
    }

    /// What an expression is now: the labels and the value of each series.
    ///
    /// # Errors
    /// If it does not answer, or not to the question.
    pub fn query(&self, expression: &str) -> Result<Vec<(Value, f64)>> {
        let promtool = self.programs.join("promtool").display().to_string();
        let server = format!("http://{ADDRESS}");
        let said =
            self.cluster.exec(NODE, &promtool, &["query", "instant", "-o", "json", &server, expression])?;
        let series: Vec<Value> = serde_json::from_str(&said).with_context(|| said.clone())?;
        let value = |one: &Value| -> Result<f64> {
            Ok(one["value"][1].as_str().with_context(|| format!("no value: {one}"))?.parse()?)
        };
        series.iter().map(|one| Ok((one["metric"].clone(), value(one)?))).collect()
    }

    /// What an expression was from `begin` to `end`, both in seconds since 1970.
    ///
    /// # Errors
    /// If it does not answer, or not to the question.
    pub fn query_range(&self, expression: &str, begin: u64, end: u64) -> Result<Vec<Series>> {
        let promtool = self.programs.join("promtool").display().to_string();
        let server = format!("http://{ADDRESS}");
        let (begin, end) = (format!("--start={begin}"), format!("--end={end}"));
        let question = ["query", "range", "-o", "json", &begin, &end, "--step=2s", &server, expression];
        let said = self.cluster.exec(NODE, &promtool, &question)?;
        let series: Vec<Value> = serde_json::from_str(&said).with_context(|| said.clone())?;
        let point = |point: &Value| -> Result<(f64, f64)> {
            let (at, value) = (point[0].as_f64(), point[1].as_str());
            Ok((at.context("no time")?, value.context("no value")?.parse()?))
        };
        let read = |one: &Value| -> Result<Series> {
            let points = one["values"].as_array().into_iter().flatten().map(point);
            let points: Vec<_> = points.collect::<Result<_>>()?;
            // A ratio of nothing to nothing is no number, and shown as nothing.
            let points = points.into_iter().filter(|(_, value)| value.is_finite()).collect();
            Ok(Series { labels: one["metric"].clone(), points })
        };
        series.iter().map(read).collect()
    }

    /// Waits until an expression is one number.
    ///
    /// # Errors
    /// If it does not become that; says what it is instead.
    pub fn wait(&self, expression: &str, wanted: f64, limit: Duration) -> Result<()> {
        let mut last = Vec::new();
        let waited = wait_until(expression, limit, || {
            last = self.query(expression)?;
            Ok(matches!(last[..], [(_, value)] if (value - wanted).abs() < f64::EPSILON))
        });
        waited.with_context(|| format!("{expression} should be {wanted} and is {last:?}"))
    }

    /// Ends it.
    ///
    /// # Errors
    /// If it has ended already.
    pub fn stop(self) -> Result<()> {
        self.cluster.node(NODE)?.kill_program("prometheus")
    }
}

/// The folder of the package's programs, got once.
fn programs() -> Result<PathBuf> {
    let folder = tools::cache()?.join("prometheus");
    let programs = folder.join("usr/bin");
    if programs.join("prometheus").is_file() {
        return Ok(programs);
    }
    let unfinished = tempfile::Builder::new().prefix("prometheus-").tempdir_in(tools::cache()?)?;
    let download = |is_updated: bool| -> Result<()> {
        if is_updated {
            call("apt-get", &["update", "-qq"])?;
        }
        let mut command = Command::new("apt-get");
        // It lies where the user that apt downloads as may not write.
        command.args(["download", "-qq", "-o", "APT::Sandbox::User=root", "prometheus"]);
        call_with(command.current_dir(unfinished.path()), "").map(drop)
    };
    println!("getting Debian's package prometheus");
    if download(false).and_then(|()| archive(unfinished.path())).is_err() {
        download(true)
            .context("Debian's package prometheus is needed, and this machine's apt-get does not get it")?;
    }
    let package = archive(unfinished.path())?.display().to_string();
    let contents = unfinished.path().join("contents").display().to_string();
    call("dpkg-deb", &["--extract", &package, &contents])?;
    ensure!(
        Path::new(&contents).join("usr/bin/promtool").is_file(),
        "the package prometheus has no promtool"
    );
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::rename(&contents, &folder)?;
    Ok(programs)
}

fn archive(folder: &Path) -> Result<PathBuf> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            return Ok(path);
        }
    }
    bail!("apt-get downloaded nothing")
}
