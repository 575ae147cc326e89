//! The file that tells other programs where a broker listens.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::exit::{Failure, Result};

/// A file that exists exactly while a broker serves: it is there as a whole or not at all, and goes with its owner.
pub(super) struct AddressFile {
    path: PathBuf,
}

impl AddressFile {
    /// Takes the name. One that an earlier broker left behind when it was killed goes now: what it says is over.
    pub(super) fn claim(path: &Path) -> Result<Self> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Failure::usage(format!("--address-file {}: {error}", path.display())))
            }
            _ => Ok(Self { path: path.to_path_buf() }),
        }
    }

    /// Writes the addresses.
    pub(super) fn write(&self, server: &str, http: &str) -> Result<()> {
        let mut partial = self.path.clone().into_os_string();
        partial.push(".partial");
        let text = format!("{}\n", json!({ "server": server, "http": http }));
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
        file.write("http://127.0.0.1:1", "http://127.0.0.1:2").expect("writable");
        let text = fs::read_to_string(&path).expect("written");
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(
            (&json["server"], &json["http"]),
            (&json!("http://127.0.0.1:1"), &json!("http://127.0.0.1:2"))
        );
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 0);
    }
}
