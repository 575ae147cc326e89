//! Tells the binary what it was built for. The commit is said by whoever builds a release, in `PONDAGE_COMMIT`: a
//! build that looked into `.git` would start anew with every commit.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=PONDAGE_COMMIT");
    for (ours, cargos) in [("PONDAGE_TARGET", "TARGET"), ("PONDAGE_PROFILE", "PROFILE")] {
        let value = std::env::var(cargos).unwrap_or_else(|_| "unknown".to_owned());
        println!("cargo::rustc-env={ours}={value}");
    }
    let commit = std::env::var("PONDAGE_COMMIT").unwrap_or_default();
    let is_plain = commit.bytes().all(|byte| byte.is_ascii_alphanumeric());
    println!(
        "cargo::rustc-env=PONDAGE_COMMIT={}",
        if is_plain && !commit.is_empty() { commit.as_str() } else { "unknown" }
    );
}
