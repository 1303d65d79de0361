//! The command line. Every setting is a flag with an environment twin.

#![expect(clippy::doc_markdown, reason = "what stands here is shown as help")]

mod log;
mod serve;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use verbatim_domain::UserId;

pub use log::*;
pub use serve::*;

use crate::refusal::{ADMIN_EXIT_CODES, REBUILD_EXIT_CODES};

/// The messaging backend that keeps every word: Socket.IO and REST in, an event log behind.
///
/// Without a command it serves.
#[derive(Debug, Parser)]
#[command(name = "verbatim", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve clients (what `verbatim` alone does).
    Serve(Box<ServeArgs>),
    /// Print a token for a user, and nothing else.
    Token(TokenArgs),
    /// Copy the journal to a new file, from a running server or a stopped one.
    Backup(BackupArgs),
    /// Make a data folder from a backup.
    Restore(RestoreArgs),
    /// Make the read models and the analytics anew from the journal, in a running server or a stopped
    /// one; or check those in use.
    Rebuild(RebuildArgs),
    /// Ask the server that listens here whether it is ready; exit code 1 if it isn't.
    Health(HealthArgs),
    /// Bring PostgreSQL's schemas up to date. A start does so, too.
    Migrate(MigrateArgs),
    /// Copy a log from a data folder to PostgreSQL, or back, and verify the copy. What was interrupted
    /// goes on where it was.
    Copy(CopyArgs),
    /// Write events to files: JSON lines, CloudEvents, CSV or Parquet, with a manifest. Of a stopped
    /// server's log or beside a running one.
    Export(ExportArgs),
    /// Hand events out again, in order: to standard output, to NATS, to a Socket.IO server, or into an
    /// empty store, which becomes the same log. Nobody is notified of anything.
    Replay(Box<ReplayArgs>),
    /// Bring in conversations and messages of another system, from a file with a line of JSON for each.
    /// What is there already is left as it is, so what was interrupted goes on where it was.
    Import(ImportArgs),
    /// Show conversations, their members and messages as they stood, a line of JSON each.
    AsOf(AsOfArgs),
    /// Erase what a user has said: content, attachments and e-mail address of all their messages, in
    /// a running server or a stopped one; in a cluster that runs by DATABASE_URL and NATS_URL, in a
    /// stopped one by DATABASE_URL alone. There is no way back.
    Erase(EraseArgs),
    /// The keys that personal content is encrypted with.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Hold the log against everything that was sealed of it, and name the first event that was changed,
    /// removed or inserted. Of a stopped server's log or beside a running one.
    Verify(VerifyArgs),
    /// Check a proof that the server gave out, with nothing but the public key.
    VerifyProof(VerifyProofArgs),
    /// Print the public key that the log's checkpoints are signed with, and nothing else.
    SealKey(SealKeyArgs),
    /// Show what the log amounts to: messages, users, deliveries, answers and connections by hour or
    /// day. Of a stopped server's log or beside a running one.
    Stats(StatsArgs),
    /// Commands that could not be handled and were set aside.
    #[command(subcommand)]
    DeadLetters(DeadLettersCommand),
}

#[derive(Debug, Clone, Args)]
pub struct TokenArgs {
    #[command(flatten)]
    pub data: DataArgs,

    /// Secret to sign with; without it, the data folder's.
    #[arg(long, env = "JWT_SECRET", value_name = "SECRET", hide_env_values = true)]
    pub jwt_secret: Option<String>,

    /// The user.
    #[arg(long, value_name = "ID")]
    pub user: String,

    /// The user's e-mail address, shown to those they write to.
    #[arg(long, value_name = "ADDRESS")]
    pub email: Option<String>,

    /// `user`, `agent`, `system`, `admin`, or any other.
    #[arg(long, default_value = "user", value_name = "ROLE")]
    pub role: String,

    /// How long the token is good, such as `30m`, `1h` or `7d`.
    #[arg(long, default_value = "24h", value_name = "DURATION")]
    pub ttl: String,

    /// Its `iss`.
    #[arg(long, env = "JWT_ISSUER", value_name = "ISSUER")]
    pub jwt_issuer: Option<String>,

    /// Its `aud`.
    #[arg(long, env = "JWT_AUDIENCE", value_name = "AUDIENCE")]
    pub jwt_audience: Option<String>,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = ADMIN_EXIT_CODES)]
pub struct BackupArgs {
    #[command(flatten)]
    pub data: DataArgs,

    /// The file to write; it must not exist.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = ADMIN_EXIT_CODES)]
pub struct RestoreArgs {
    #[command(flatten)]
    pub data: DataArgs,

    /// The backup.
    #[arg(long, value_name = "FILE")]
    pub from: PathBuf,
}

/// A data folder, or a cluster's database.
#[derive(Debug, Clone, Args)]
pub struct StoreArgs {
    #[command(flatten)]
    pub data: DataArgs,

    /// A cluster's PostgreSQL, in place of a data folder.
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: Option<String>,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = REBUILD_EXIT_CODES)]
pub struct RebuildArgs {
    #[command(flatten)]
    pub store: StoreArgs,

    /// Only compare: the read models and the analytics in use stay, and each row in which they differ from
    /// what is made anew is printed. Exit code 4 if there is any.
    #[arg(long)]
    pub check: bool,
}

#[derive(Debug, Clone, Args)]
pub struct HealthArgs {
    /// Where the server listens [default: 127.0.0.1:3000].
    #[arg(long, env = "VERBATIM_LISTEN", value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,

    /// Replaces the port of the default address.
    #[arg(long, env = "PORT", value_name = "PORT")]
    pub port: Option<String>,
}

/// The database of a cluster.
#[derive(Debug, Clone, Args)]
pub struct MigrateArgs {
    /// PostgreSQL.
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: String,
}

#[derive(Debug, Clone, Subcommand)]
pub enum DeadLettersCommand {
    /// List them, oldest first, a line of JSON each, without what clients said.
    List(MigrateArgs),
    /// Hand one to its aggregate again. It stays listed until it is carried out.
    Retry {
        #[command(flatten)]
        cluster: ClusterArgs,
        /// Its number in the list.
        id: i64,
    },
    /// Remove one for good.
    Drop {
        #[command(flatten)]
        database: MigrateArgs,
        /// Its number in the list.
        id: i64,
    },
}

#[derive(Debug, Clone, Args)]
#[command(after_help = ADMIN_EXIT_CODES)]
pub struct EraseArgs {
    #[command(flatten)]
    pub data: DataArgs,

    /// The user.
    #[arg(long, value_name = "ID")]
    pub user: UserId,

    #[command(flatten)]
    pub cluster: ClusterArgs,
}

#[derive(Debug, Clone, Subcommand)]
pub enum KeysCommand {
    /// Copy a data folder's keys to a new file, from a running server or a stopped one. They stay
    /// wrapped by the master key.
    Backup(BackupArgs),
    /// Take a backup's keys into a data folder that no server uses. What was erased since stays so.
    Restore(RestoreArgs),
}

#[derive(Debug, Clone, Args)]
#[command(after_help = ADMIN_EXIT_CODES)]
pub struct CopyArgs {
    /// The log to copy: `sqlite:FOLDER` (no server may be using it) or `postgres://…`.
    #[arg(long, value_name = "PLACE")]
    pub from: String,

    /// Where the copy is to be, in the same words: empty, or an earlier state of this copy.
    #[arg(long, value_name = "PLACE")]
    pub to: String,
}
