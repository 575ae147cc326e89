//! `pondage version`.

use clap::Args;
use serde_json::json;

use super::{ResultForm, print};
use crate::exit::{Exit, Result};

/// What `-V` prints.
pub(crate) const SHORT: &str = env!("CARGO_PKG_VERSION");

/// What `--version` prints.
pub(crate) const LONG: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit:  ",
    env!("PONDAGE_COMMIT"),
    "\ntarget:  ",
    env!("PONDAGE_TARGET"),
    "\nprofile: ",
    env!("PONDAGE_PROFILE")
);

/// Print the version and what this binary was built for
#[derive(Args, Debug)]
#[command(after_help = "The version of a broker: pondage get cluster")]
pub(crate) struct Version {
    /// The form of the result
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    output: ResultForm,
}

impl Version {
    pub(crate) fn is_json(&self) -> bool {
        self.output == ResultForm::Json
    }

    pub(crate) fn run(&self) -> Result<Exit> {
        let text = match self.output {
            ResultForm::Text => format!("pondage {LONG}\n"),
            ResultForm::Json => {
                let object = json!({
                    "version": SHORT,
                    "commit": env!("PONDAGE_COMMIT"),
                    "target": env!("PONDAGE_TARGET"),
                    "profile": env!("PONDAGE_PROFILE"),
                });
                format!("{object}\n")
            }
        };
        print(&text)?;
        Ok(Exit::Ok)
    }
}
