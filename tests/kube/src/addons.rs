//! What a cluster has before a test comes: a name server, a provisioner of volumes, and the images of both.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use anyhow::Result;

use crate::{
    command::call,
    image::Image,
    machine::BUSYBOX,
    tools::{self, Tools},
};

/// What every pod begins with.
pub(crate) const PAUSE: &str = "pondage.test/pause:1";
/// A shell with the usual small programs, for tests that need one inside of the cluster.
pub const SHELL: &str = "pondage.test/shell:1";
const NAME_SERVER: &str = "pondage.test/coredns:1";
const VOLUMES: &str = "pondage.test/volumes:1";

/// The resources, in the order in which they are given.
pub(crate) const RESOURCES: [&str; 2] =
    [include_str!("../manifests/name-server.yaml"), include_str!("../manifests/volumes.yaml")];

/// What is waited for.
pub(crate) const DEPLOYMENTS: [&str; 2] = ["deployment/name-server", "deployment/volumes"];

/// The images as archives. The first `everywhere` are needed on every node, the others on the first.
pub(crate) struct Archives {
    pub everywhere: Vec<PathBuf>,
    pub first: Vec<PathBuf>,
}

/// Makes the images, if they are not there from an earlier time.
pub(crate) fn archives(tools: &Tools) -> Result<Archives> {
    let folder = tools::cache()?.join("images");
    fs::create_dir_all(&folder)?;
    let of_tool = |name: &str, tool: &str, path: &str| {
        let image = Image::new(name, &[&format!("/{path}")]).file(&tools.path(tool), path).open_folder("tmp");
        archive(&folder, tool, &tools.key(tool)?, &image)
    };
    let busybox = Path::new(BUSYBOX);
    let mut shell = Image::new(SHELL, &["/bin/sh"])
        .file(busybox, "bin/busybox")
        .text("root:x:0:0:root:/:/bin/sh\n", "etc/passwd")
        .text("root:x:0:\n", "etc/group")
        .open_folder("tmp");
    let programs = call(BUSYBOX, &["--list"])?;
    for program in programs.lines().filter(|program| *program != "busybox") {
        shell = shell.link("busybox", &format!("bin/{program}"));
    }
    let size = fs::metadata(busybox)?.len().to_string();
    Ok(Archives {
        everywhere: vec![of_tool(PAUSE, "pause", "pause")?, archive(&folder, "shell", &size, &shell)?],
        first: vec![of_tool(NAME_SERVER, "coredns", "coredns")?, of_tool(VOLUMES, "volumes", "volumes")?],
    })
}

fn archive(folder: &Path, name: &str, key: &str, image: &Image) -> Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    (key, format!("{image:?}")).hash(&mut hasher);
    let path = folder.join(format!("{name}-{:016x}.tar", hasher.finish()));
    if !path.exists() {
        image.write(&path)?;
    }
    Ok(path)
}
