//! What `cargo xtask test` does, as data: a new check is a new line here.

use anyhow::Result;

use crate::project::{Project, SHIPPED_PROFILE};
use crate::tools::Tool;
use crate::{check_binary, check_docs};

/// One part of the test run: it has a name, can be run alone, and fails as a whole.
pub(crate) struct Stage {
    pub name: &'static str,
    /// What a failure would mean, in one line.
    pub about: &'static str,
    pub when: When,
    /// Done in this order; the first that fails ends the stage.
    pub steps: &'static [Step],
}

/// Which runs a stage belongs to. `--only` runs any.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// Whole and quick runs.
    Always,
    /// Whole runs, too slow between two edits.
    Whole,
    /// Quick runs, the small dose of a stage that whole runs do in full.
    Quick,
}

/// One command of a stage.
pub(crate) enum Step {
    /// A cargo call with the development profiles.
    Cargo(&'static [&'static str]),
    /// A cargo call with the shipped build: static, optimised ([`Project::shipped`]).
    Shipped(&'static [&'static str]),
    /// A package's program, in the shipped build, and what it and cargo are told.
    Program(&'static str, &'static [&'static str]),
    /// A package's tests, in the shipped build.
    ProcessTests(&'static str),
    /// A call of an installed tool with the development profiles.
    Tool(Tool, &'static [&'static str]),
    /// A check written here; answers how many things it looked at.
    Check(fn(&Project) -> Result<u64>),
}

/// All stages in the order in which they run: what fails fastest comes first.
pub(crate) const STAGES: &[Stage] = &[
    Stage {
        name: "fmt",
        about: "the code is formatted",
        when: When::Always,
        steps: &[Step::Cargo(&["fmt", "--all", "--check"])],
    },
    Stage {
        name: "docs",
        about: "the documents' links lead somewhere",
        when: When::Always,
        steps: &[Step::Check(check_docs::check)],
    },
    Stage {
        name: "deny",
        about: "licences, sources and bans of the dependencies",
        when: When::Always,
        steps: &[Step::Tool(Tool::Deny, &["check", "--hide-inclusion-graph", "licenses", "bans", "sources"])],
    },
    Stage {
        name: "clippy",
        about: "no warning in any crate, tests included",
        when: When::Always,
        steps: &[Step::Cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "--deny",
            "warnings",
        ])],
    },
    Stage {
        name: "unit",
        about: "unit, contract, property and in-process tests",
        when: When::Always,
        steps: &[Step::Tool(
            Tool::Nextest,
            &[
                "nextest",
                "run",
                "--workspace",
                "--exclude",
                "pondage-e2e",
                "--exclude",
                "pondage-cluster-tests",
                "--locked",
            ],
        )],
    },
    Stage {
        name: "doctest",
        about: "the examples in the code's documentation",
        when: When::Always,
        // The one crate that has any, as a test here makes sure: rustdoc reads every crate that it is asked about anew.
        steps: &[Step::Cargo(&["test", "--package", "pondage-client", "--doc", "--locked"])],
    },
    Stage {
        name: "sim-few",
        about: "a few simulated clusters under faults",
        when: When::Quick,
        steps: &[Step::Program("pondage-sim", &["--", "run", "--seeds", "0..50"])],
    },
    Stage {
        name: "sim",
        about: "1,000 simulated clusters, 60 s each under faults, 50 of them twice",
        when: When::Whole,
        steps: &[Step::Program(
            "pondage-sim",
            &["--", "run", "--seeds", "0..1000", "--seconds", "60", "--rerun", "50"],
        )],
    },
    Stage {
        name: "planted",
        about: "known faults, each planted and found by its recorded seed",
        when: When::Whole,
        steps: &[Step::Program("pondage-sim", &["--features", "planted", "--", "replay"])],
    },
    Stage {
        name: "static-binary",
        about: "the shipped binary needs nothing: it starts alone in an empty root, not as root",
        when: When::Whole,
        steps: &[BUILD_PONDAGE, Step::Check(check_binary::check)],
    },
    Stage {
        name: "e2e",
        about: "real processes: crash, restart, bad input, command line",
        when: When::Whole,
        steps: &[BUILD_PONDAGE, Step::ProcessTests("pondage-e2e")],
    },
    Stage {
        name: "flights",
        about: "336,776 flights published and settled while the broker is killed 20 times",
        when: When::Whole,
        steps: &[BUILD_PONDAGE, Step::Program("pondage-e2e", &["--bin", "flights", "--"])],
    },
    Stage {
        name: "flights-cluster",
        about: "100,000 flights through three brokers while one after the other is killed",
        when: When::Whole,
        steps: &[
            BUILD_PONDAGE,
            Step::Program(
                "pondage-e2e",
                &["--bin", "flights", "--", "--brokers", "3", "--kills", "10", "--rows", "100000"],
            ),
        ],
    },
    Stage {
        name: "admission",
        about: "what a real Kubernetes API server makes of our definitions, and of hostile resources",
        when: When::Whole,
        steps: &[Step::Program("pondage-kube-tests", &["--bin", "admission"])],
    },
    Stage {
        name: "kubernetes",
        about: "Pondage installed and used in a real Kubernetes of three nodes",
        when: When::Whole,
        steps: &[
            BUILD_PONDAGE,
            // The applications in its pods, too.
            Step::Shipped(&[
                "build",
                "--profile",
                SHIPPED_PROFILE,
                "--locked",
                "--package",
                "pondage-kube-tests",
                "--package",
                "pondage-worker",
                "--bins",
            ]),
            Step::Program("pondage-kube-tests", &["--bin", "kubernetes"]),
        ],
    },
    Stage {
        name: "chart",
        // After the stage above, which builds Helm.
        about: "the Helm chart as Helm renders it: rights, restrictions, and values that it refuses",
        when: When::Whole,
        steps: &[Step::Program("pondage-chart-tests", &["--bin", "chart", "--"])],
    },
    Stage {
        name: "cluster",
        about: "three brokers in network namespaces: killed, stopped, cut off, wiped, restored, out of power or disk",
        when: When::Whole,
        steps: &[
            BUILD_PONDAGE,
            Step::ProcessTests("pondage-cluster-tests"),
            // Two cores carry three brokers and their clients: a rate that leaves room to catch up between faults.
            Step::Program("pondage-cluster-tests", &["--bin", "cluster", "--", "--rate", "3000"]),
        ],
    },
];

/// The binary that the process-level stages start.
pub(crate) const BUILD_PONDAGE: Step =
    Step::Shipped(&["build", "--profile", SHIPPED_PROFILE, "--locked", "--package", "pondage-cli"]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_has_its_own_name_and_something_to_do() {
        for (index, stage) in STAGES.iter().enumerate() {
            assert!(!stage.steps.is_empty(), "stage {} does nothing", stage.name);
            let same = STAGES[index + 1..].iter().find(|other| other.name == stage.name);
            assert!(same.is_none(), "two stages are called {}", stage.name);
        }
    }

    #[test]
    fn examples_are_in_the_crate_whose_examples_are_run() {
        let crates = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
        let mut found = Vec::new();
        let mut folders = vec![crates.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("readable")) {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|end| end == "rs")
                    && has_example(&std::fs::read_to_string(&path).expect("text"))
                {
                    found.push(path.strip_prefix(&crates).expect("inside").display().to_string());
                }
            }
        }
        assert!(!found.is_empty() && found.iter().all(|file| file.starts_with("client/src/")), "{found:?}");
    }

    /// Whether a comment has a block that is a program: every other kind of block says its kind.
    fn has_example(text: &str) -> bool {
        let mut is_inside = false;
        let comments = text.lines().map(str::trim_start);
        let comments = comments.filter_map(|line| line.strip_prefix("///").or(line.strip_prefix("//!")));
        let mut fences = comments.filter_map(|line| line.trim().strip_prefix("```"));
        fences.any(|kind| {
            is_inside = !is_inside;
            is_inside && ["", "rust", "no_run", "ignore", "should_panic", "compile_fail"].contains(&kind)
        })
    }

    #[test]
    fn whole_and_quick_runs_both_simulate() {
        for wanted in [When::Quick, When::Whole] {
            let found = STAGES.iter().any(|stage| stage.name.starts_with("sim") && stage.when == wanted);
            assert!(found, "a kind of run has no simulation");
        }
    }
}
