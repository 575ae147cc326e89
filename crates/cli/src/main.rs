//! The binary `pondage`: broker, local mode and command line. It knows every crate and holds no logic of theirs.

mod args;
mod commands;
mod completion;
mod connect;
mod exit;
mod files;
mod input;
mod kinds;
mod kubernetes;
mod logging;
mod order;
mod places;
mod render;
mod signals;

use std::{io::Write, process::ExitCode};

use clap::{CommandFactory, Parser};

use crate::{
    args::Cli,
    exit::{Exit, Failure},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    completion::answer_shell();
    if std::env::args_os().len() <= 1 {
        // clap would not see it where the environment names a server.
        let _ = Cli::command().print_help();
        return ExitCode::from(Exit::Ok.code());
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to stdout, errors to stderr; a closed pipe is not worth a word.
            let _ = error.print();
            let is_wrong = error.use_stderr();
            return ExitCode::from(if is_wrong { Exit::Usage } else { Exit::Ok }.code());
        }
    };
    let form = cli.command.error_form();
    let changes_something = cli.command.changes_something();
    let ended = run(cli);
    let exit = match ended {
        Ok(exit) => exit,
        Err(failure) if failure.is_broken_pipe() => Exit::Ok,
        Err(failure) => {
            let failure = if changes_something { failure } else { failure.without_effect() };
            // Nobody is left to tell if stderr is gone.
            let _ = std::io::stderr().write_all(render::error::text(&failure, form).as_bytes());
            failure.exit
        }
    };
    ExitCode::from(exit.code())
}

fn run(cli: Cli) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("pondage")
        .build()
        .map_err(|error| Failure::failed(format!("starting the runtime: {error}")))?;
    let ended = runtime.block_on(cli.run());
    // Readers of stdin may be stuck in a read for ever: the process ends without them.
    runtime.shutdown_background();
    ended
}
