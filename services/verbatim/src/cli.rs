//! The command line. Every setting is a flag with an environment twin.

#![expect(clippy::doc_markdown, reason = "what stands here is shown as help")]

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;
use verbatim_analytics::By;
use verbatim_audit::{Bound, EventType};
use verbatim_domain::{ConversationId, UserId};
use verbatim_protocol::Timestamp;

use crate::refusal::{
    ADMIN_EXIT_CODES, EXIT_CODES, IMPORT_EXIT_CODES, PROOF_EXIT_CODES, REBUILD_EXIT_CODES,
    VERIFY_EXIT_CODES,
};
use crate::replay::Speed;

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

/// Where everything is kept.
#[derive(Debug, Clone, Args)]
pub struct DataArgs {
    /// The data folder.
    #[arg(long, env = "VERBATIM_DATA_DIR", default_value = "./data", value_name = "FOLDER")]
    pub data_dir: PathBuf,
}

/// The key of keys.
#[derive(Debug, Clone, Args)]
pub struct MasterKeyArgs {
    /// The key that wraps the keys of personal content: 32 bytes, in hexadecimal or base64. A data
    /// folder has one of its own where none is given.
    #[arg(long, env = "MASTER_KEY", value_name = "KEY", hide_env_values = true)]
    pub master_key: Option<String>,

    /// A file that holds it.
    #[arg(long, env = "MASTER_KEY_FILE", value_name = "FILE")]
    pub master_key_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub data: DataArgs,

    /// Address and port to listen on; port 0 takes a free one [default: 127.0.0.1:3000].
    #[arg(long, env = "VERBATIM_LISTEN", value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,

    /// Replaces the port of the default address; unused where --listen is given.
    #[arg(long, env = "PORT", value_name = "PORT")]
    pub port: Option<String>,

    #[command(flatten)]
    pub cluster: ClusterArgs,

    /// What this process does: `gateway`, `aggregate`, `projection`, or `all`.
    #[arg(
        long,
        env = "VERBATIM_ROLE",
        default_value = "all",
        value_name = "ROLE",
        help_heading = "Cluster"
    )]
    pub role: String,

    /// Secret that tokens are signed with (HS256). Without it, and without a public key, one is made
    /// in the data folder.
    #[arg(long, env = "JWT_SECRET", value_name = "SECRET", hide_env_values = true)]
    pub jwt_secret: Option<String>,

    /// PEM file with the public key that tokens are checked with (RS256, ES256 or EdDSA, by the
    /// kind of key), in place of a secret.
    #[arg(long, env = "JWT_PUBLIC_KEY_FILE", value_name = "FILE")]
    pub jwt_public_key_file: Option<PathBuf>,

    #[command(flatten)]
    pub master_key: MasterKeyArgs,

    /// The `iss` that tokens must have.
    #[arg(long, env = "JWT_ISSUER", value_name = "ISSUER")]
    pub jwt_issuer: Option<String>,

    /// The `aud` that tokens must have.
    #[arg(long, env = "JWT_AUDIENCE", value_name = "AUDIENCE")]
    pub jwt_audience: Option<String>,

    /// The URL that clients reach this server by, where it isn't the one they asked.
    #[arg(long, env = "PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<String>,

    /// Origins of web pages that may call, separated by commas, or `*`. Without it: the server's own
    /// and any localhost.
    #[arg(long, env = "CORS_ORIGINS", value_name = "ORIGINS")]
    pub cors_origins: Option<String>,

    /// Addresses or networks of proxies whose X-Forwarded-* headers are believed, separated by
    /// commas.
    #[arg(long, env = "TRUSTED_PROXIES", value_name = "NETWORKS")]
    pub trusted_proxies: Option<String>,

    /// `pretty`, or `json`.
    #[arg(long, env = "LOG_FORMAT", default_value = "pretty", value_name = "FORMAT")]
    pub log_format: String,

    /// `off`, `error`, `warn`, `info`, `debug` or `trace`; or directives such as
    /// `warn,verbatim_gateway=debug`.
    #[arg(long, env = "LOG_LEVEL", default_value = "info", value_name = "LEVEL")]
    pub log_level: String,

    /// Who may list all connections: `everyone`, or `admins`.
    #[arg(long, env = "CONNECTION_LIST", default_value = "everyone", value_name = "WHO")]
    pub connection_list: String,

    /// Seconds from one sample of how many are connected to the next, for the analytics; an hour is
    /// divided by it without a rest. What hasn't changed is not recorded.
    #[arg(long, env = "CONNECTIONS_SAMPLE_SECONDS", default_value = "60", value_name = "SECONDS")]
    pub connections_sample_seconds: String,

    #[command(flatten)]
    pub seal: SealArgs,

    #[command(flatten)]
    pub limits: LimitArgs,
}

/// The cluster form: PostgreSQL and NATS in place of the data folder.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Cluster")]
pub struct ClusterArgs {
    /// PostgreSQL, together with --nats-url: nothing is kept in the data folder then.
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: Option<String>,

    /// NATS servers, separated by commas, together with --database-url; `tls://` asks for TLS.
    #[arg(long, env = "NATS_URL", value_name = "URL", hide_env_values = true)]
    pub nats_url: Option<String>,

    /// The user that NATS knows this process as.
    #[arg(long, env = "NATS_USER", value_name = "NAME")]
    pub nats_user: Option<String>,

    /// The user's password.
    #[arg(long, env = "NATS_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    pub nats_password: Option<String>,

    /// A NATS credentials file, in place of user and password.
    #[arg(long, env = "NATS_CREDENTIALS_FILE", value_name = "FILE")]
    pub nats_credentials_file: Option<PathBuf>,

    /// PEM file with the authorities that may vouch for the NATS servers, beside the system's.
    #[arg(long, env = "NATS_CA_FILE", value_name = "FILE")]
    pub nats_ca_file: Option<PathBuf>,

    /// What the subjects of a deployment begin with, so that several can share NATS.
    #[arg(long, env = "NATS_PREFIX", default_value = "verbatim", value_name = "NAME")]
    pub nats_prefix: String,
}

/// Who seals the log, and as what.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Seal")]
pub struct SealKeyFileArgs {
    /// PEM file with the Ed25519 key (PKCS#8) that checkpoints of the log are signed with. Without it,
    /// one is made in the data folder; a cluster doesn't seal its log without it.
    #[arg(long, env = "SEAL_KEY_FILE", value_name = "FILE")]
    pub seal_key_file: Option<PathBuf>,

    /// What the log is called in checkpoints [default: verbatim/ and the journal's id].
    #[arg(long, env = "SEAL_ORIGIN", value_name = "NAME")]
    pub seal_origin: Option<String>,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Seal")]
pub struct SealArgs {
    #[command(flatten)]
    pub key: SealKeyFileArgs,

    /// Public keys that the log was sealed with before, separated by blanks: a seal that goes on from
    /// another key's is not believed.
    #[arg(long, env = "SEAL_OLD_KEYS", value_name = "KEYS")]
    pub seal_old_keys: Option<String>,

    /// Events after which a checkpoint is signed.
    #[arg(long, env = "SEAL_EVERY_EVENTS", default_value = "10000", value_name = "N")]
    pub seal_every_events: String,

    /// Seconds after which one is signed, if there is any event that has none.
    #[arg(long, env = "SEAL_EVERY_SECONDS", default_value = "10", value_name = "SECONDS")]
    pub seal_every_seconds: String,

    /// Where checkpoints go besides: a file that they are appended to, or an http(s) URL that each is
    /// posted to.
    #[arg(long, env = "SEAL_CHECKPOINTS_TO", value_name = "FILE|URL", hide_env_values = true)]
    pub seal_checkpoints_to: Option<String>,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Messages that a user may send a second; 0 switches the limit off.
    #[arg(long, env = "RATE_LIMIT_MESSAGES_PER_SECOND", default_value = "20", value_name = "N")]
    pub rate_limit_messages_per_second: String,

    /// Messages that a user may send at once before that limit holds.
    #[arg(long, env = "RATE_LIMIT_BURST", default_value = "60", value_name = "N")]
    pub rate_limit_burst: String,

    /// Other requests that a user may make a second; 0 switches the limit off.
    #[arg(long, env = "RATE_LIMIT_REQUESTS_PER_SECOND", default_value = "100", value_name = "N")]
    pub rate_limit_requests_per_second: String,

    /// Bytes of one packet, on both transports, and of a REST body.
    #[arg(long, env = "MAX_PACKET_BYTES", default_value = "65536", value_name = "BYTES")]
    pub max_packet_bytes: String,

    /// Bytes of a message's text.
    #[arg(long, env = "MAX_CONTENT_BYTES", default_value = "32768", value_name = "BYTES")]
    pub max_content_bytes: String,

    /// Attachments of a message.
    #[arg(long, env = "MAX_ATTACHMENTS", default_value = "10", value_name = "N")]
    pub max_attachments: String,

    /// Requests of one socket that are worked on at once.
    #[arg(long, env = "MAX_IN_FLIGHT_PER_SOCKET", default_value = "64", value_name = "N")]
    pub max_in_flight_per_socket: String,

    /// Requests of one socket that wait in order behind those.
    #[arg(long, env = "MAX_WAITING_PER_SOCKET", default_value = "1024", value_name = "N")]
    pub max_waiting_per_socket: String,

    /// Sockets of one user.
    #[arg(long, env = "MAX_SOCKETS_PER_USER", default_value = "20", value_name = "N")]
    pub max_sockets_per_user: String,

    /// Seconds that a connection has to show a good token.
    #[arg(long, env = "AUTH_TIMEOUT_SECONDS", default_value = "5", value_name = "SECONDS")]
    pub auth_timeout_seconds: String,

    /// Packets that a slow reader may leave untaken before its transport is closed.
    #[arg(long, env = "MAX_UNREAD_PACKETS", default_value = "4096", value_name = "N")]
    pub max_unread_packets: String,

    /// Bytes that a slow reader may leave untaken.
    #[arg(long, env = "MAX_UNREAD_BYTES", default_value = "4194304", value_name = "BYTES")]
    pub max_unread_bytes: String,

    /// Seconds that one write to a connection may hang.
    #[arg(long, env = "WRITE_TIMEOUT_SECONDS", default_value = "20", value_name = "SECONDS")]
    pub write_timeout_seconds: String,

    /// Refused requests within ten seconds after which a socket is disconnected.
    #[arg(long, env = "MAX_REFUSALS", default_value = "1000", value_name = "N")]
    pub max_refusals: String,

    /// Milliseconds between a socket's heartbeats.
    #[arg(long, env = "PING_INTERVAL_MS", default_value = "25000", value_name = "MS")]
    pub ping_interval_ms: String,

    /// Milliseconds that a heartbeat's answer may take.
    #[arg(long, env = "PING_TIMEOUT_MS", default_value = "20000", value_name = "MS")]
    pub ping_timeout_ms: String,
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
