//! The API server and its etcd, on loopback ports, in a folder of their own.

use std::{
    fs::File,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::{client::Client, kubeconfig, log::tail, parts, pki, tools::Tools};

/// How long the API server may take until it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(120);

/// A running control plane. It ends, with all that it stored, when this is dropped.
#[derive(Debug)]
pub struct ControlPlane {
    etcd: Child,
    apiserver: Child,
    kubectl: Client,
    folder: TempDir,
}

impl ControlPlane {
    /// Starts one and waits until it answers.
    ///
    /// # Errors
    /// If it does not answer in time, with the end of its log.
    pub fn start(tools: &Tools) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("pondage-kube-").tempdir()?;
        let at = folder.path();
        pki::write(at, &[Ipv4Addr::LOCALHOST], &[])?;
        let [client, peer, api] = free_ports()?;
        let etcd = spawn(tools, at, "etcd", &parts::etcd(&at.join("etcd"), [client, peer]))?;
        let apiserver = spawn(tools, at, "kube-apiserver", &parts::api_server_alone(at, client, api));
        let config = kubeconfig::write(at, "administrator", &format!("https://127.0.0.1:{api}"))?;
        let kubectl = Client::new(tools.path("kubectl"), &config, at);
        let mut plane = match apiserver {
            Ok(apiserver) => Self { etcd, apiserver, kubectl, folder },
            Err(error) => {
                end(etcd);
                return Err(error);
            }
        };
        plane.wait()?;
        Ok(plane)
    }

    /// Runs `kubectl` against it.
    #[must_use]
    pub const fn kubectl(&self) -> &Client {
        &self.kubectl
    }

    fn wait(&mut self) -> Result<()> {
        let begun = Instant::now();
        while self.kubectl.run(&["get", "--raw", "/readyz"], "").is_err() {
            let ended = self.apiserver.try_wait()?.or(self.etcd.try_wait()?);
            if ended.is_some() || begun.elapsed() > READY_TIMEOUT {
                let log = |name: &str| tail(&log_path(self.folder.path(), name));
                bail!("no API server: {}\n{}", log("etcd"), log("kube-apiserver"));
            }
            sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        for child in [&mut self.apiserver, &mut self.etcd] {
            // It may have ended by itself.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn spawn(tools: &Tools, folder: &Path, name: &str, arguments: &[String]) -> Result<Child> {
    let log = File::create(log_path(folder, name))?;
    Command::new(tools.path(name))
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("{name} does not start"))
}

fn end(mut child: Child) {
    drop(child.kill());
    drop(child.wait());
}

fn log_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.log"))
}

/// Three ports that are free now.
fn free_ports() -> Result<[u16; 3]> {
    let bound = [(); 3].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(&bound) {
        let listener = listener.as_ref().map_err(|error| anyhow::anyhow!("no free port: {error}"))?;
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}
