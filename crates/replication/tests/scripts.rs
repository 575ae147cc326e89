//! Golden scripts of interactions between replicas: `tests/scripts/*.txt`.
//!
//! `PONDAGE_REWRITE=1 cargo test -p pondage-replication --test scripts` writes what they lead to now; read the
//! difference before you commit it.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a test reads and rewrites its files"
)]
#![expect(clippy::unwrap_used, reason = "a script that is no script fails the test")]

mod cluster;
mod script;

use std::{env, fs, path::Path};

#[test]
fn scripts_lead_to_what_they_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut files: Vec<_> =
        fs::read_dir(&folder).expect("the scripts").map(|file| file.expect("a script").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no scripts in {}", folder.display());
    let mut different = Vec::new();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let said = fs::read_to_string(&file).expect("a script is text");
        println!("{name}");
        let led_to = script::run(&said);
        if said == led_to {
            continue;
        }
        if env::var_os("PONDAGE_REWRITE").is_some() {
            fs::write(&file, &led_to).expect("the script is rewritten");
            continue;
        }
        let at = said.lines().zip(led_to.lines()).position(|(said, led_to)| said != led_to);
        let line = at.unwrap_or_else(|| said.lines().count().min(led_to.lines().count()));
        different.push(format!(
            "{name}:{}\n  said:   {}\n  led to: {}",
            line + 1,
            said.lines().nth(line).unwrap_or("(the end)"),
            led_to.lines().nth(line).unwrap_or("(the end)")
        ));
    }
    assert!(different.is_empty(), "PONDAGE_REWRITE=1 rewrites them:\n{}", different.join("\n"));
}
