//! The file that tells other programs where a broker listens.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::exit::{Failure, Result};

/// A file that exists exactly while a broker serves: it is there as a whole or not at all, and goes with its owner.
pub(in crate::commands) struct AddressFile {
    path: PathBuf,
}

impl AddressFile {
    /// Takes the name. One that an earlier broker left behind when it was killed goes now: what it says is over.
    pub(in crate::commands) fn claim(path: &Path) -> Result<Self> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Failure::usage(format!("--address-file {}: {error}", path.display())))
            }
            _ => Ok(Self { path: path.to_path_buf() }),
        }
    }

    /// Writes the addresses: of each broker where clients connect and where metrics are. Any of them answers clients.
    pub(in crate::commands) fn write(&self, places: &[(String, String)]) -> Result<()> {
        let mut partial = self.path.clone().into_os_string();
        partial.push(".partial");
        let servers: Vec<&str> = places.iter().map(|(server, _)| server.as_str()).collect();
        let first = places.first().map(|(_, http)| http);
        let mut addresses = json!({ "server": servers.join(","), "http": first });
        if places.len() > 1 {
            let each = places.iter().map(|(server, http)| json!({ "server": server, "http": http }));
            addresses["brokers"] = each.collect();
        }
        let text = format!("{addresses}\n");
        fs::write(&partial, text)
            .and_then(|()| fs::rename(&partial, &self.path))
            .map_err(|error| Failure::failed(format!("--address-file {}: {error}", self.path.display())))
    }
}

impl Drop for AddressFile {
    fn drop(&mut self) {
        // It may never have been written.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_there_while_its_owner_lives() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("address");
        fs::write(&path, "left behind").expect("writable");
        let file = AddressFile::claim(&path).expect("the folder is writable");
        assert!(!path.exists());
        let place = |port: u16| (format!("http://b:{port}"), format!("http://b:{}", port + 1));
        for (places, expected) in [
            (vec![place(1)], json!({ "server": "http://b:1", "http": "http://b:2" })),
            (
                vec![place(1), place(3)],
                json!({
                    "server": "http://b:1,http://b:3",
                    "http": "http://b:2",
                    "brokers": [
                        { "server": "http://b:1", "http": "http://b:2" },
                        { "server": "http://b:3", "http": "http://b:4" },
                    ],
                }),
            ),
        ] {
            file.write(&places).expect("writable");
            let text = fs::read_to_string(&path).expect("written");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&text).expect("JSON"), expected);
        }
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 0);
    }
}
