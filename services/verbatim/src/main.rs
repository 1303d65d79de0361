//! The executable: command line, settings, and the one place where backends are chosen and wired.

mod admin;
mod cli;
mod control;
mod data;
mod log;
mod serve;
mod settings;
mod token;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        None => serve::run(cli.serve),
        Some(Command::Serve(args)) => serve::run(*args),
        Some(Command::Token(args)) => token::run(&args),
        Some(Command::Backup(args)) => admin::backup(&args),
        Some(Command::Restore(args)) => admin::restore(&args),
        Some(Command::Rebuild(args)) => admin::rebuild(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("verbatim: {error:#}");
            ExitCode::FAILURE
        }
    }
}
