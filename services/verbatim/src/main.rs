//! The executable: command line, settings, and the one place where backends are chosen and wired.

mod admin;
mod as_of;
mod cli;
mod control;
mod copy;
mod data;
mod dead_letters;
mod export;
mod health;
mod import;
mod keys;
mod lanes;
mod log;
mod migrate;
mod progress;
mod refusal;
mod replay;
mod seal_key;
mod serve;
mod settings;
mod source;
mod stats;
mod token;
mod verify;
mod verify_proof;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

/// A fifth of the processor time under load went into the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        None => serve::run(cli.serve),
        Some(Command::Serve(args)) => serve::run(*args),
        Some(Command::Token(args)) => token::run(&args),
        Some(Command::Backup(args)) => admin::backup(&args),
        Some(Command::Restore(args)) => admin::restore(&args),
        Some(Command::Rebuild(args)) => admin::rebuild(&args),
        Some(Command::Copy(args)) => copy::run(&args),
        Some(Command::Export(args)) => export::run(&args),
        Some(Command::Import(args)) => import::run(&args),
        Some(Command::Replay(args)) => replay::run(&args),
        Some(Command::AsOf(args)) => as_of::run(&args),
        Some(Command::Erase(args)) => keys::erase(&args),
        Some(Command::Keys(command)) => keys::run(&command),
        Some(Command::Verify(args)) => verify::run(&args),
        Some(Command::VerifyProof(args)) => verify_proof::run(&args),
        Some(Command::SealKey(args)) => seal_key::run(&args),
        Some(Command::Stats(args)) => stats::run(&args),
        Some(Command::Health(args)) => health::run(&args),
        Some(Command::Migrate(args)) => migrate::run(&args),
        Some(Command::DeadLetters(command)) => dead_letters::run(command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("verbatim: {error:#}");
            refusal::exit_code(&error).into()
        }
    }
}
