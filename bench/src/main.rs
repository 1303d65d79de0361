//! Load for chat servers that speak Verbatim's fixed contract, and servers and stores that show the
//! limits of the machine. Each prints its result as one line of JSON.

mod ask;
mod cast;
mod client;
mod events;
mod fill;
mod idle;
mod limits;
mod processes;
mod read;
mod relay;
mod run;
mod socket;
mod storm;
mod talk;

use clap::{Parser, Subcommand};
use serde::Serialize;
use tokio::task::LocalSet;

/// Verbatim's, so that the relay has no other.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Users who talk in pairs, or in one group.
    Talk(talk::Args),
    /// Connections that do nothing: how fast they come, and what they hold.
    Idle(idle::Args),
    /// Requests, one after the other on each connection.
    Ask(ask::Args),
    /// Everybody comes back at once, having missed some messages.
    Storm(storm::Args),
    /// The most that a store below Verbatim can take.
    #[command(subcommand)]
    Limit(limits::Limit),
    /// Fill a journal.
    Fill(fill::Args),
    /// The most that a database gives of a journal's events.
    Read(read::Args),
    /// A command that works through events: how fast, and with how much memory.
    Run(run::Args),
    /// A server that stores nothing and hands on what it is sent: the limit of the transport.
    Relay(relay::Args),
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    if let Command::Relay(args) = cli.command {
        return relay::run(&args);
    }
    // One thread: load must leave the rest of the machine to the server.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let work = async {
        match cli.command {
            Command::Talk(args) => print(&talk::run(args).await?),
            Command::Idle(args) => print(&idle::run(args).await?),
            Command::Ask(args) => print(&ask::run(args).await?),
            Command::Storm(args) => print(&storm::run(args).await?),
            Command::Limit(limit) => print(&limits::run(limit).await?),
            Command::Fill(args) => print(&fill::run(args).await?),
            Command::Read(args) => print(&read::run(args).await?),
            Command::Run(args) => print(&run::run(&args)?),
            Command::Relay(_) => unreachable!("it was run before"),
        }
    };
    LocalSet::new().block_on(&runtime, work)
}

fn print(report: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(report)?);
    Ok(())
}
