//! How a client finds the API server, and who it is there.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::json;

/// Writes the kubeconfig of whoever has the certificate `user` in the folder, beside it.
pub(crate) fn write(folder: &Path, user: &str, server: &str) -> Result<PathBuf> {
    let file = |name: &str| folder.join(name).display().to_string();
    // JSON is YAML.
    let text = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "test", "cluster": {
            "server": server,
            "certificate-authority": file("authority.crt"),
        }}],
        "users": [{ "name": user, "user": {
            "client-certificate": file(&format!("{user}.crt")),
            "client-key": file(&format!("{user}.key")),
        }}],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": user } }],
        "current-context": "test",
    });
    let config = folder.join(format!("{user}.kubeconfig"));
    fs::write(&config, text.to_string()).with_context(|| config.display().to_string())?;
    Ok(config)
}
