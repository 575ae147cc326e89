//! `pondage completion`.

use clap::Args;
use clap_complete::env::Shells;

use super::print;
use crate::{
    completion::VARIABLE,
    exit::{Exit, Failure, Result},
};

/// Print what makes a shell complete commands, flags and the names of resources
#[derive(Args, Debug)]
#[command(after_help = "\
Names are asked from the broker that --server or PONDAGE_SERVER names.

Put one of these into your shell's start file:
  bash        source <(pondage completion bash)
  zsh         source <(pondage completion zsh)
  fish        pondage completion fish | source
  elvish      eval (pondage completion elvish | slurp)
  powershell  pondage completion powershell | Out-String | Invoke-Expression")]
pub(crate) struct Completion {
    /// The shell
    #[arg(value_name = "SHELL", value_parser = ["bash", "elvish", "fish", "powershell", "zsh"])]
    shell: String,
}

impl Completion {
    pub(crate) fn run(&self) -> Result<Exit> {
        print(&script(&self.shell)?)?;
        Ok(Exit::Ok)
    }
}

fn script(shell: &str) -> Result<String> {
    let shells = Shells::builtins();
    let completer =
        shells.completer(shell).ok_or_else(|| Failure::usage(format!("no completion for {shell}")))?;
    let mut script = Vec::new();
    completer.write_registration(VARIABLE, "pondage", "pondage", "pondage", &mut script)?;
    String::from_utf8(script).map_err(|error| Failure::failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_has_a_script_that_calls_back() {
        for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
            let script = script(shell).expect(shell);
            assert!(script.contains("pondage") && script.contains(VARIABLE), "{shell}: {script}");
        }
        assert!(script("tcsh").is_err());
    }
}
