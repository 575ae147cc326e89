//! The command line by itself, and that docs/cli.md tells all of it.

use std::collections::BTreeSet;

use clap::CommandFactory;

use super::*;

fn documentation() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli.md");
    std::fs::read_to_string(path).expect("docs/cli.md is there")
}

/// All commands that do something, with their full names.
fn commands(command: &clap::Command, prefix: &str, found: &mut Vec<(String, clap::Command)>) {
    let name = format!("{prefix}{}", command.get_name());
    let mut parts = command.get_subcommands().filter(|part| part.get_name() != "help").peekable();
    if parts.peek().is_none() {
        found.push((name, command.clone()));
        return;
    }
    for part in parts {
        commands(part, &format!("{name} "), found);
    }
}

/// The section under a heading, up to the next heading.
fn section<'a>(text: &'a str, heading: &str) -> Option<&'a str> {
    let marked = format!("\n## `{heading}`\n");
    let start = text.find(&marked)? + marked.len();
    let rest = &text[start..];
    Some(rest.find("\n## ").map_or(rest, |end| &rest[..end]))
}

/// Flags in a text, such as `--dry-run`.
fn flags_in(text: &str) -> BTreeSet<String> {
    let is_part = |letter: char| letter.is_ascii_lowercase() || letter == '-';
    let words = text.split(|letter: char| !is_part(letter));
    words.filter(|word| word.starts_with("--") && !word.ends_with("-")).map(str::to_owned).collect()
}

/// Long flags of a command, without those of every command.
fn flags_of(command: &clap::Command, wants_global: bool) -> BTreeSet<String> {
    let ours = command.get_arguments().filter(|arg| {
        !arg.is_hide_set()
            && arg.is_global_set() == wants_global
            && !matches!(arg.get_id().as_str(), "help" | "version")
    });
    ours.filter_map(|arg| arg.get_long()).map(|long| format!("--{long}")).collect()
}

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_and_flag_is_documented_and_nothing_else() {
    let mut root = Cli::command();
    let global = flags_of(&root, true);
    root.build();
    let text = documentation();
    let mut found = Vec::new();
    commands(&root, "", &mut found);
    let mut wrong = Vec::new();
    for (name, command) in &found {
        let Some(section) = section(&text, name) else {
            wrong.push(format!("no section ## `{name}`"));
            continue;
        };
        let table: String =
            section.lines().filter(|line| line.starts_with('|')).map(|line| format!("{line}\n")).collect();
        let documented: BTreeSet<String> =
            table.lines().filter_map(|line| line.split('|').nth(1)).flat_map(flags_in).collect();
        let real: BTreeSet<String> = &flags_of(command, false) - &global;
        wrong.extend((&real - &documented).iter().map(|flag| format!("{name}: {flag} is not documented")));
        wrong.extend(
            (&documented - &real).iter().map(|flag| format!("{name}: {flag} is documented and not there")),
        );
    }
    let headings = text.lines().filter_map(|line| line.strip_prefix("## `")?.strip_suffix('`'));
    for heading in headings.filter(|heading| !found.iter().any(|(name, _)| name == heading)) {
        wrong.push(format!("## `{heading}` is no command"));
    }
    for flag in &global {
        if !flags_in(&text).contains(flag) {
            wrong.push(format!("{flag} is not documented"));
        }
    }
    assert!(wrong.is_empty(), "docs/cli.md:\n{}", wrong.join("\n"));
}

#[test]
fn the_documentation_and_the_help_list_the_same_exit_codes() {
    let text = documentation();
    for exit in [
        Exit::Ok,
        Exit::Failed,
        Exit::Usage,
        Exit::NotFound,
        Exit::Unknown,
        Exit::NoConnection,
        Exit::Interrupted,
        Exit::Terminated,
    ] {
        let row = format!("| {} |", exit.code());
        assert!(text.contains(&row), "{row}");
    }
    let help = Cli::command().render_long_help().to_string();
    assert!(help.contains(EXIT_CODES), "{help}");
}

#[test]
fn every_command_says_how_it_is_used() {
    let mut root = Cli::command();
    root.build();
    let mut found = Vec::new();
    commands(&root, "", &mut found);
    for (name, mut command) in found {
        let help = command.render_help().to_string();
        assert!(command.get_about().is_some(), "{name}");
        let has_example = command.get_after_help().is_some_and(|after| after.to_string().contains("pondage"));
        assert!(has_example, "{name} has no example:\n{help}");
    }
}

#[test]
fn command_lines_of_the_documents_parse() {
    for line in [
        "up -f deploy/quickstart.yaml",
        "up -f a.yaml b.yaml --data d --listen 127.0.0.1:0 --http 127.0.0.1:0 --log-format json --sync-delay 2ms",
        "up --brokers 3 -f deploy/quickstart.yaml",
        "broker --cluster 01234567-89ab-cdef-0123-456789abcdef --seeds b1:7420,b2:7420 --advertise b3:7420",
        "cluster status -o wide --watch",
        "cluster drain 2 --wait --wait-timeout 1m",
        "cluster drain 4 --everything --force",
        "cluster restart --data ./pondage-data",
        "cluster restart --brokers 2,3 --exec ./restart.sh --despite-minimum",
        "cluster reassign shard/4 --to 2,3,5",
        "cluster elect-unclean 4 --replica 2 --reason burned --yes",
        "cluster raise-feature-level",
        "publish orders",
        "consume orders --limit 1",
        "get queues",
        "publish flights --csv flights.csv --key carrier",
        "consume orders --exec ./work.sh",
        "browse orders-dead",
        "groups list",
        "groups describe flights-audit",
        "groups members flights-audit -o json",
        "consume --group flights-audit",
        "stats queues --sort oldest",
        "top -n 1",
        "groups reset-offsets flights-audit flights --to -1h",
        "describe queue orders -o yaml",
        "apply -f FILE",
        "--server http://x:1 --timeout 5s get all",
        "get all --server http://x:1",
        "completion bash",
        "version",
    ] {
        let words = std::iter::once("pondage").chain(line.split_whitespace());
        assert!(Cli::try_parse_from(words).is_ok(), "{line}");
    }
    for line in [
        "",
        "frobnicate",
        "get",
        "get tipics",
        "publish",
        "up extra",
        "groups",
        "groups reset-offsets g",
        "groups reset-offsets g --to 3 --partition 1",
        "consume",
        "stats --interval 0s",
        "apply",
        "up --brokers 0",
        "up --brokers 10",
        "broker",
        "cluster",
        "cluster drain",
        "cluster drain 0",
        "cluster drain 2 --undo --wait",
        "cluster restart",
        "cluster restart --exec x --data y",
        "cluster reassign 4",
        "cluster status --check --watch",
    ] {
        let words = std::iter::once("pondage").chain(line.split_whitespace());
        assert!(Cli::try_parse_from(words).is_err(), "{line}");
    }
}
