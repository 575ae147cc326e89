use std::process::Command;

use super::*;

/// The archive as the system's `tar` lists it.
fn listed(archive: &Path, inner: bool) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut shown = archive.to_owned();
    if inner {
        let status =
            Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(folder.path()).status().unwrap();
        assert!(status.success());
        shown = folder.path().join("layer.tar");
    }
    let output = Command::new("tar").args(["--numeric-owner", "--utc", "-tvf"]).arg(shown).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect()
}

#[test]
fn an_image_holds_what_was_said_and_the_same_bytes_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("some");
    fs::write(&binary, "1234").unwrap();
    let image = Image::new("a.test/a:1", &["/bin/a"])
        .file(&binary, "bin/a")
        .link("a", "bin/b")
        .text("hello", "etc/deep/hello")
        .open_folder("tmp");
    let [one, two] = ["one.tar", "two.tar"].map(|name| folder.path().join(name));
    image.write(&one).unwrap();
    image.write(&two).unwrap();
    assert!(fs::read(&one).unwrap() == fs::read(&two).unwrap(), "the same image is other bytes");
    let day = "1970-01-01 00:00";
    assert_eq!(
        listed(&one, true),
        format!(
            "drwxr-xr-x 0/0 0 {day} bin/\n-r-xr-xr-x 0/0 4 {day} bin/a\nlrwxrwxrwx 0/0 0 {day} bin/b -> a\n\
             drwxr-xr-x 0/0 0 {day} etc/\ndrwxr-xr-x 0/0 0 {day} etc/deep/\n\
             -rw-r--r-- 0/0 5 {day} etc/deep/hello\ndrwxrwxrwt 0/0 0 {day} tmp/\n"
        )
    );
    let outer = listed(&one, false);
    assert!(outer.contains("manifest.json") && outer.contains("layer.tar"), "{outer}");
}

/// What runs in the tests' clusters is what the Dockerfile says.
#[test]
fn the_image_of_pondage_is_that_of_the_dockerfile() {
    let dockerfile = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Dockerfile");
    let text = fs::read_to_string(dockerfile).unwrap();
    let (build, last) = text.split_once("\nFROM scratch\n").expect("the last stage begins from scratch");
    for line in ["mkdir -p /image/data", "install -m 0555", "/image/pondage"] {
        assert!(build.contains(line), "{line:?} is not in the build stage");
    }
    let steps: Vec<&str> = last
        .lines()
        .filter(|line| {
            ["COPY", "ADD", "RUN", "USER", "ENTRYPOINT", "CMD", "WORKDIR", "ENV", "VOLUME"]
                .contains(&line.split(' ').next().unwrap_or_default())
        })
        .collect();
    assert_eq!(
        steps,
        ["COPY --from=build --chown=65532:65532 /image/ /", "USER 65532:65532", "ENTRYPOINT [\"/pondage\"]"]
    );

    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("pondage");
    fs::write(&binary, "the binary").unwrap();
    let archive = folder.path().join("image.tar");
    let image = Image::pondage("pondage.test/pondage:1", &binary);
    image.write(&archive).unwrap();
    assert_eq!((image.user, &image.entrypoint[..]), (65532, &["/pondage".to_owned()][..]));
    let day = "1970-01-01 00:00";
    assert_eq!(
        listed(&archive, true),
        format!("drwxr-xr-x 65532/65532 0 {day} data/\n-r-xr-xr-x 65532/65532 10 {day} pondage\n")
    );
}
