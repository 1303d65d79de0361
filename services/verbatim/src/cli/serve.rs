//! What a server is told: settings, and where its data lies.

use std::path::PathBuf;

use clap::Args;

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
