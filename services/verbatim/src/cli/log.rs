//! What reads the log, or brings history in, is told.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;
use verbatim_analytics::By;
use verbatim_audit::{Bound, EventType};
use verbatim_domain::{ConversationId, UserId};
use verbatim_protocol::Timestamp;

use super::{ClusterArgs, DataArgs, MasterKeyArgs, SealKeyFileArgs, StoreArgs};
use crate::refusal::{EXIT_CODES, IMPORT_EXIT_CODES, PROOF_EXIT_CODES, VERIFY_EXIT_CODES};
use crate::replay::Speed;

/// Which events. Those chosen by several options are chosen by all of them.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Events")]
pub struct SelectArgs {
    /// The first position, or the time from which on, both included; positions count 1, 2, 3 …, times
    /// are such as 2024-01-01T10:00:00Z. Without it, from the beginning.
    #[arg(long, value_name = "POSITION|TIME")]
    pub from: Option<Bound>,

    /// The last position, or the time until which, both included. Without it, to the end of the log
    /// as it is at the start.
    #[arg(long, value_name = "POSITION|TIME")]
    pub to: Option<Bound>,

    /// Only of this conversation, its notifications included; repeat it for several.
    #[arg(long = "conversation", value_name = "ID")]
    pub conversations: Vec<ConversationId>,

    /// Only what this user brought about, or what is about them; repeat it for several.
    #[arg(long = "user", value_name = "ID")]
    pub users: Vec<UserId>,

    /// Only of this type, such as MessageSent; repeat it for several.
    #[arg(long = "type", value_name = "TYPE")]
    pub types: Vec<EventType>,
}

/// Whether messages are shown as they were said.
#[derive(Debug, Clone, Args)]
pub struct OpeningArgs {
    #[command(flatten)]
    pub master_key: MasterKeyArgs,

    /// Leave messages encrypted, as they are stored; no key is needed then.
    #[arg(long)]
    pub sealed: bool,
}

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The events' envelopes, a line of JSON each.
    Ndjson,
    /// CloudEvents 1.0, a line of JSON each.
    Cloudevents,
    /// A flat table.
    Csv,
    /// The same table, typed.
    Parquet,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = EXIT_CODES)]
pub struct ExportArgs {
    #[command(flatten)]
    pub store: StoreArgs,

    #[command(flatten)]
    pub select: SelectArgs,

    #[command(flatten)]
    pub opening: OpeningArgs,

    /// How events are written.
    #[arg(long, value_name = "FORMAT")]
    pub format: Format,

    /// The file to write, if its name ends as the format's files do (.ndjson, .csv, .parquet); else
    /// the folder to make. It must not exist. Until all of it is written, its name ends in .partial.
    #[arg(long, value_name = "FILE|FOLDER")]
    pub out: PathBuf,

    /// Begin another file in the folder after so many events.
    #[arg(long, value_name = "N")]
    pub events_per_file: Option<std::num::NonZeroU64>,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = EXIT_CODES)]
pub struct ReplayArgs {
    #[command(flatten)]
    pub data: DataArgs,

    #[command(flatten)]
    pub select: SelectArgs,

    #[command(flatten)]
    pub opening: OpeningArgs,

    /// `max`; or `1x` for the pace at which the events were recorded, `10x` for ten times that.
    #[arg(long, default_value = "max", value_name = "SPEED")]
    pub speed: Speed,

    /// `stdout`: envelopes, a line of JSON each. `nats:SUBJECT`: the same, a message each, to the
    /// servers that --nats-url names. `socket.io:URL`: the same, as events named `replay:event`, to a
    /// server at http://HOST:PORT. `sqlite:FOLDER` or `postgres://…`: a store that is empty, or holds
    /// the beginning of the log.
    #[arg(long, default_value = "stdout", value_name = "DESTINATION", hide_env_values = true)]
    pub into: String,

    /// What the Socket.IO server is shown as `auth.token`.
    #[arg(long, env = "REPLAY_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub token: Option<String>,

    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// How another system's history is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ImportFormat {
    /// A line of JSON for each conversation and each message; schemas/import.json says what it holds.
    Ndjson,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = IMPORT_EXIT_CODES)]
pub struct ImportArgs {
    /// A data folder that no server uses, made where it is missing.
    #[command(flatten)]
    pub store: StoreArgs,

    #[command(flatten)]
    pub master_key: MasterKeyArgs,

    /// How the file is written.
    #[arg(long, value_name = "FORMAT", default_value = "ndjson")]
    pub format: ImportFormat,

    /// Only check: each bad line is printed with what is wrong, and nothing is written.
    #[arg(long)]
    pub check: bool,

    /// What was said counts as unread. Without it, every member has read it. Either way it is pushed to
    /// nobody, and nobody is notified.
    #[arg(long)]
    pub unread: bool,

    /// Bytes of a message's text.
    #[arg(long, env = "MAX_CONTENT_BYTES", default_value = "32768", value_name = "BYTES")]
    pub max_content_bytes: std::num::NonZeroUsize,

    /// Attachments of a message.
    #[arg(long, env = "MAX_ATTACHMENTS", default_value = "10", value_name = "N")]
    pub max_attachments: usize,

    /// The file; `-` is standard input, which is put into a temporary file first.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = VERIFY_EXIT_CODES)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub store: StoreArgs,

    /// The public key that checkpoints must be signed with, as `verbatim seal-key` prints it; repeat it
    /// where the key or the log has been another. Without it, the keys that the store itself names.
    #[arg(long = "public-key", value_name = "KEY")]
    pub public_keys: Vec<String>,

    /// A file with checkpoints that were kept elsewhere, as SEAL_CHECKPOINTS_TO writes it: only they
    /// tell of what was rewritten together with the seal.
    #[arg(long, value_name = "FILE")]
    pub checkpoints: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = PROOF_EXIT_CODES)]
pub struct VerifyProofArgs {
    /// The answer of `GET /app/audit/proofs/…` or `/app/audit/consistency`; `-` for standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// The public key that the checkpoint must be signed with, as `verbatim seal-key` prints it; repeat
    /// it for several.
    #[arg(long = "public-key", value_name = "KEY", required = true)]
    pub public_keys: Vec<String>,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = EXIT_CODES)]
pub struct SealKeyArgs {
    #[command(flatten)]
    pub store: StoreArgs,

    #[command(flatten)]
    pub key: SealKeyFileArgs,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = EXIT_CODES)]
pub struct AsOfArgs {
    #[command(flatten)]
    pub store: StoreArgs,

    #[command(flatten)]
    pub master_key: MasterKeyArgs,

    /// When: after the event of this position, or after all that was recorded until this time.
    #[arg(value_name = "POSITION|TIME")]
    pub at: Bound,

    /// Only this conversation; repeat it for several. Without it, all that there were.
    #[arg(long = "conversation", value_name = "ID")]
    pub conversations: Vec<ConversationId>,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = EXIT_CODES)]
pub struct StatsArgs {
    #[command(flatten)]
    pub store: StoreArgs,

    /// From the hour or day that this time is in, such as 2024-01-01T10:00:00Z. Without it, 24 hours or
    /// 30 days until --to.
    #[arg(long, value_name = "TIME")]
    pub from: Option<Timestamp>,

    /// To the hour or day that this time is in, which is included. Without it, until now.
    #[arg(long, value_name = "TIME")]
    pub to: Option<Timestamp>,

    /// `hour` or `day`; or one of these and `conversation` or `role` after a comma: `day,role`.
    #[arg(long, default_value = "day", value_name = "HOW")]
    pub by: By,

    /// As JSON: an object with a list for each of messages, users, deliveries, responses and
    /// connections, as the REST calls give them.
    #[arg(long)]
    pub json: bool,
}
