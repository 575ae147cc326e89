//! The image's recipe keeps its promises: one static binary, nothing around it, nobody's privileges.

use std::fs;
use std::path::Path;

#[test]
fn the_last_stage_is_one_copy_into_nothing() {
    let dockerfile = read("Dockerfile");
    let instructions = instructions(&dockerfile);
    let last_stage =
        instructions.iter().rposition(|(name, _)| name == "FROM").expect("a Dockerfile has stages");
    let stage = &instructions[last_stage..];
    assert_eq!(stage[0].1, "scratch");
    let all = |wanted: &str| -> Vec<&str> {
        stage.iter().filter(|(name, _)| name == wanted).map(|(_, rest)| rest.as_str()).collect()
    };
    assert_eq!(all("COPY").len(), 1, "one COPY");
    assert_eq!(all("USER"), ["65532:65532"]);
    assert_eq!(all("ENTRYPOINT"), ["[\"/pondage\"]"]);
    for needs_shell in ["RUN", "ADD", "SHELL"] {
        assert_eq!(all(needs_shell), Vec::<&str>::new(), "{needs_shell} in an empty image");
    }
    let labels = all("LABEL").join(" ");
    for key in ["title", "description", "licenses", "version"] {
        assert!(labels.contains(&format!("org.opencontainers.image.{key}=")), "no label {key}");
    }
}

#[test]
fn the_build_stage_uses_the_toolchain_of_the_tests() {
    let toolchain = read("rust-toolchain.toml");
    let channel = toolchain.split_once("channel = \"").expect("a channel is pinned").1;
    let channel = channel.split('"').next().expect("a string ends");
    let dockerfile = read("Dockerfile");
    let image = format!("docker.io/library/rust:{channel}-");
    assert!(dockerfile.contains(&image), "the Dockerfile builds with {image}…");
    assert!(dockerfile.contains("target-feature=+crt-static"), "the binary is linked statically");
}

/// The Dockerfile's instructions, continued lines joined, comments left out.
fn instructions(text: &str) -> Vec<(String, String)> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    lines
        .join("\n")
        .replace("\\\n", " ")
        .lines()
        .filter_map(|line| line.trim().split_once(' '))
        .map(|(name, rest)| (name.to_owned(), rest.trim().to_owned()))
        .collect()
}

fn read(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root");
    fs::read_to_string(root.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}
