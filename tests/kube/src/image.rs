//! Container images of one layer, from scratch: the files that a test says, and nothing else.
//!
//! Made without a container engine, and the same bytes from the same files. What comes out is an archive that
//! containerd, Docker and kind import.

mod tar;

use std::{
    fs::{self, File},
    io::BufWriter,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::json;

use crate::command::call;
use tar::{Archive, Header};

/// The user of the image that is shipped.
const PONDAGE_USER: u32 = 65532;

/// An image that is not yet written.
#[derive(Clone, Debug)]
pub struct Image {
    name: String,
    aliases: Vec<String>,
    entrypoint: Vec<String>,
    user: u32,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    path: String,
    owner: u32,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    File(PathBuf),
    Text(String),
    Link(String),
    Folder(u32),
}

impl Image {
    /// An empty image. The name has a tag that is not `latest`, which nodes would try to fetch.
    #[must_use]
    pub fn new(name: &str, entrypoint: &[&str]) -> Self {
        let entrypoint = entrypoint.iter().map(ToString::to_string).collect();
        Self { name: name.to_owned(), aliases: Vec::new(), entrypoint, user: 0, entries: Vec::new() }
    }

    /// The image that the Dockerfile makes of the same binary; a unit test compares the two.
    #[must_use]
    pub fn pondage(name: &str, binary: &Path) -> Self {
        let user = PONDAGE_USER;
        let mut image = Self::new(name, &["/pondage"]).user(user);
        image.add("data", user, Content::Folder(0o755));
        image.add("pondage", user, Content::File(binary.to_owned()));
        image
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same image under another name besides.
    #[must_use]
    pub fn also_called(mut self, name: &str) -> Self {
        self.aliases.push(name.to_owned());
        self
    }

    /// Containers run as this user and group.
    #[must_use]
    pub fn user(mut self, user: u32) -> Self {
        self.user = user;
        self
    }

    /// With a file of this machine, which everybody may read and run. The path in the image has no slash in front.
    #[must_use]
    pub fn file(mut self, source: &Path, path: &str) -> Self {
        self.add(path, 0, Content::File(source.to_owned()));
        self
    }

    /// With a small file of this text.
    #[must_use]
    pub fn text(mut self, text: &str, path: &str) -> Self {
        self.add(path, 0, Content::Text(text.to_owned()));
        self
    }

    /// With a symbolic link.
    #[must_use]
    pub fn link(mut self, target: &str, path: &str) -> Self {
        self.add(path, 0, Content::Link(target.to_owned()));
        self
    }

    /// With an empty folder in which everybody may write.
    #[must_use]
    pub fn open_folder(mut self, path: &str) -> Self {
        self.add(path, 0, Content::Folder(0o1777));
        self
    }

    fn add(&mut self, path: &str, owner: u32, content: Content) {
        self.entries.push(Entry { path: path.to_owned(), owner, content });
    }

    /// Writes it as an archive.
    ///
    /// # Errors
    /// If a file can't be read or written.
    pub fn write(&self, archive: &Path) -> Result<()> {
        let unfinished = archive.with_extension("unfinished");
        let layer = archive.with_extension("layer");
        self.write_layer(&layer).with_context(|| format!("the image {}", self.name))?;
        let digest = call("sha256sum", &[&layer.display().to_string()])?;
        let digest = digest.split_whitespace().next().context("sha256sum says nothing")?;
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let beginning = "1970-01-01T00:00:00Z";
        let configuration = json!({
            "architecture": architecture,
            "os": "linux",
            "created": beginning,
            "config": {
                "Entrypoint": self.entrypoint,
                "User": format!("{0}:{0}", self.user),
                "Env": ["PATH=/bin"],
                "WorkingDir": "/",
            },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
            "history": [{ "created": beginning }],
        });
        let names: Vec<&String> = [&self.name].into_iter().chain(&self.aliases).collect();
        let manifest = json!([{ "Config": "config.json", "RepoTags": names, "Layers": ["layer.tar"] }]);
        let mut outer = Archive::new(BufWriter::new(File::create(&unfinished)?));
        let header = Header { mode: 0o644, owner: 0 };
        outer.file("manifest.json", header, manifest.to_string().as_bytes())?;
        outer.file("config.json", header, configuration.to_string().as_bytes())?;
        outer.file_from("layer.tar", header, &layer)?;
        outer.finish()?;
        fs::remove_file(&layer)?;
        fs::rename(&unfinished, archive)?;
        Ok(())
    }

    fn write_layer(&self, path: &Path) -> Result<()> {
        let mut layer = Archive::new(BufWriter::new(File::create(path)?));
        let mut folders = Vec::new();
        for Entry { path, owner, content } in &self.entries {
            let owner = *owner;
            for (end, _) in path.match_indices('/') {
                if !folders.contains(&&path[..end]) {
                    layer.folder(&path[..end], Header { mode: 0o755, owner: 0 })?;
                    folders.push(&path[..end]);
                }
            }
            match content {
                Content::File(source) => layer.file_from(path, Header { mode: 0o555, owner }, source)?,
                Content::Text(text) => layer.file(path, Header { mode: 0o644, owner }, text.as_bytes())?,
                Content::Link(target) => layer.link(path, target)?,
                Content::Folder(mode) => layer.folder(path, Header { mode: *mode, owner })?,
            }
        }
        layer.finish()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
