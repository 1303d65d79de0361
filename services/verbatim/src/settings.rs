//! From command line and environment to validated settings. Every error names its setting.

mod seal;

use std::fmt::Display;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, bail};
use ipnet::IpNet;
use secrecy::SecretString;
use tracing_subscriber::filter::EnvFilter;
use verbatim_bus::nats::{Login, NatsOptions, Tls, Topics};
use verbatim_gateway::settings::{
    ConnectionList, Limits, Origins, PublicUrl, Settings, TokenKey, TokenSettings,
};
use verbatim_keys::MasterKey;

use crate::cli::{ClusterArgs, LimitArgs, MasterKeyArgs, ServeArgs};
use crate::data::DataFolder;
use crate::log::Format;

pub use seal::{Seal, key as seal_key, signer_of};

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Everything that `serve` needs to know.
pub struct Serve {
    pub listen: SocketAddr,
    pub gateway: Settings,
    /// Where none is given, a data folder has its own; aggregates need none.
    pub master_key: Option<MasterKey>,
    /// Whether the secret is the data folder's own, so that `verbatim token` alone makes tokens.
    pub own_secret: bool,
    pub seal: Seal,
    /// Between two samples of the connections.
    pub sample_seconds: u64,
    pub log: LogSettings,
}

pub struct LogSettings {
    pub format: Format,
    /// A level, or directives; either is good.
    pub level: String,
}

/// Settings that are good whatever the data folder holds.
pub fn log(args: &ServeArgs) -> anyhow::Result<LogSettings> {
    let format = match args.log_format.as_str() {
        "pretty" => Format::Pretty,
        "json" => Format::Json,
        other => bail!("LOG_FORMAT: {other:?} is neither `pretty` nor `json`"),
    };
    let level = level(&args.log_level).with_context(|| {
        format!("LOG_LEVEL: {:?} is neither a level nor directives", args.log_level)
    })?;
    Ok(LogSettings { format, level })
}

/// A level, or directives. A word alone could also be a target, of which all would be logged and of
/// all others nothing: that is a mistyped level.
fn level(text: &str) -> anyhow::Result<String> {
    let directives: Vec<_> = text.split(',').map(str::trim).collect();
    for directive in &directives {
        let known = LEVELS.iter().any(|level| level.eq_ignore_ascii_case(directive));
        if !known && !directive.contains('=') {
            bail!("{directive:?} is none of {}", LEVELS.join(", "));
        }
    }
    let directives = directives.join(",");
    EnvFilter::try_new(&directives)?;
    Ok(directives)
}

/// Where everything is kept.
pub enum Form {
    /// In a folder that this process has for itself.
    Embedded(DataFolder),
    /// On servers that several processes share.
    Cluster(Box<Cluster>),
}

pub struct Cluster {
    pub database_url: SecretString,
    pub nats: NatsOptions,
    /// What this process does.
    pub roles: Vec<Role>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Gateway,
    Aggregate,
    Projection,
}

impl Role {
    pub const ALL: [Self; 3] = [Self::Gateway, Self::Aggregate, Self::Projection];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Aggregate => "aggregate",
            Self::Projection => "projection",
        }
    }
}

/// Validates all settings. The data folder is touched only for its secret, and last.
pub fn serve(args: &ServeArgs) -> anyhow::Result<(Serve, Form)> {
    let cluster = cluster(&args.role, &args.cluster)?;
    let log = log(args)?;
    let listen = listen(args.listen.as_deref(), args.port.as_deref())?;
    let limits = limits(&args.limits)?;
    let ping_interval = milliseconds("PING_INTERVAL_MS", &args.limits.ping_interval_ms, 100)?;
    let ping_timeout = milliseconds("PING_TIMEOUT_MS", &args.limits.ping_timeout_ms, 100)?;
    let public_url =
        args.public_url.as_deref().map(public_url).transpose().context("PUBLIC_URL")?;
    let origins = args.cors_origins.as_deref().map_or(Ok(Origins::OwnAndLocal), origins)?;
    let trusted_proxies = args.trusted_proxies.as_deref().map_or(Ok(Vec::new()), proxies)?;
    let connection_list = match args.connection_list.as_str() {
        "everyone" => ConnectionList::Everyone,
        "admins" => ConnectionList::Admins,
        other => bail!("CONNECTION_LIST: {other:?} is neither `everyone` nor `admins`"),
    };
    let sample_seconds = sample_seconds(&args.connections_sample_seconds)?;
    expected_claims(args.jwt_issuer.as_deref(), args.jwt_audience.as_deref())?;
    let seal = seal::seal(&args.seal)?;
    let key = key(args)?;
    let master_key = master_key(&args.master_key)?;
    let own_secret = key.is_none();
    let (key, form) = match (key, cluster) {
        (Some(key), Some(cluster)) => (key, Form::Cluster(cluster)),
        // Only gateways check tokens.
        (None, Some(cluster)) if !cluster.roles.contains(&Role::Gateway) => {
            (TokenKey::Secret(String::new().into()), Form::Cluster(cluster))
        }
        (None, Some(_)) => {
            bail!("JWT_SECRET: the gateways of a cluster must share one, or a JWT_PUBLIC_KEY_FILE")
        }
        (key, None) => {
            let folder = DataFolder::create(&args.data.data_dir)?;
            let key = match key {
                Some(key) => key,
                None => TokenKey::Secret(folder.token_secret()?),
            };
            (key, Form::Embedded(folder))
        }
    };
    if let Form::Cluster(cluster) = &form
        && master_key.is_none()
        && cluster.roles != [Role::Aggregate]
    {
        bail!("MASTER_KEY: the processes of a cluster must share one, or a MASTER_KEY_FILE");
    }
    let gateway = Settings {
        tokens: TokenSettings {
            key,
            issuer: args.jwt_issuer.clone(),
            audience: args.jwt_audience.clone(),
        },
        public_url,
        origins,
        trusted_proxies,
        connection_list,
        limits,
        ping_interval,
        ping_timeout,
        shutdown_timeout: Duration::from_secs(8),
    };
    Ok((Serve { listen, gateway, master_key, own_secret, seal, sample_seconds, log }, form))
}

/// The cluster form, if it is asked for.
fn cluster(role: &str, args: &ClusterArgs) -> anyhow::Result<Option<Box<Cluster>>> {
    let roles = match role {
        "all" => Role::ALL.to_vec(),
        "gateway" => vec![Role::Gateway],
        "aggregate" => vec![Role::Aggregate],
        "projection" => vec![Role::Projection],
        other => {
            bail!("VERBATIM_ROLE: {other:?} is none of `gateway`, `aggregate`, `projection`, `all`")
        }
    };
    let (database_url, nats_url) = match (&args.database_url, &args.nats_url) {
        (Some(database), Some(nats)) => (database, nats),
        (Some(_), None) => bail!("DATABASE_URL needs NATS_URL beside it: give both or neither"),
        (None, Some(_)) => bail!("NATS_URL needs DATABASE_URL beside it: give both or neither"),
        (None, None) if roles.len() < Role::ALL.len() => bail!(
            "VERBATIM_ROLE: one process alone has the data folder, so it does everything; roles of \
             their own need DATABASE_URL and NATS_URL"
        ),
        (None, None) => {
            for (name, given) in [
                ("NATS_USER", args.nats_user.is_some()),
                ("NATS_PASSWORD", args.nats_password.is_some()),
                ("NATS_CREDENTIALS_FILE", args.nats_credentials_file.is_some()),
                ("NATS_CA_FILE", args.nats_ca_file.is_some()),
            ] {
                if given {
                    bail!("{name}: needs NATS_URL beside it");
                }
            }
            return Ok(None);
        }
    };
    Ok(Some(Box::new(Cluster {
        database_url: postgres_url(database_url)?,
        nats: nats(nats_url, args, &roles)?,
        roles,
    })))
}

/// Samples are of full hours' parts, so that each belongs to one hour.
fn sample_seconds(text: &str) -> anyhow::Result<u64> {
    match text.parse() {
        Ok(seconds @ 1..=3_600) if 3_600 % seconds == 0 => Ok(seconds),
        _ => bail!(
            "CONNECTIONS_SAMPLE_SECONDS: {text:?} is no whole number that 3600 can be divided by"
        ),
    }
}

/// A URL of `PostgreSQL`'s. Never shown: it may hold a password.
pub fn postgres_url(url: &str) -> anyhow::Result<SecretString> {
    if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
        bail!("DATABASE_URL: must begin with postgres://");
    }
    Ok(url.to_owned().into())
}

/// How NATS is reached, by a process that does this.
pub fn nats(url: &str, args: &ClusterArgs, roles: &[Role]) -> anyhow::Result<NatsOptions> {
    let mut urls = Vec::new();
    for url in url.split(',').map(str::trim).filter(|url| !url.is_empty()) {
        if !(url.starts_with("nats://") || url.starts_with("tls://")) {
            bail!("NATS_URL: each server must begin with nats:// or tls://");
        }
        urls.push(url.to_owned());
    }
    let Some(first) = urls.first() else {
        bail!("NATS_URL: must name a server such as nats://127.0.0.1:4222");
    };
    let login = match (&args.nats_user, &args.nats_password) {
        (Some(user), Some(password)) => {
            Some(Login { user: user.clone(), password: password.clone().into() })
        }
        (None, None) => None,
        (Some(_), None) => bail!("NATS_USER needs NATS_PASSWORD beside it"),
        (None, Some(_)) => bail!("NATS_PASSWORD needs NATS_USER beside it"),
    };
    if login.is_some() && args.nats_credentials_file.is_some() {
        bail!("NATS_USER and NATS_CREDENTIALS_FILE: give one, not both");
    }
    for (name, file) in [
        ("NATS_CREDENTIALS_FILE", &args.nats_credentials_file),
        ("NATS_CA_FILE", &args.nats_ca_file),
    ] {
        if let Some(file) = file.as_ref().filter(|file| !file.is_file()) {
            bail!("{name}: no such file {}", file.display());
        }
    }
    let topics = |of: Role| match of {
        Role::Gateway => Topics::GATEWAY,
        Role::Aggregate => Topics::AGGREGATE,
        Role::Projection => Topics::PROJECTION,
    };
    let (role, topics) = match roles {
        [role] => (role.as_str(), topics(*role)),
        _ => ("all", Topics::ALL),
    };
    let mut options = NatsOptions::new(first.clone());
    options.tls = Tls {
        required: urls.iter().all(|url| url.starts_with("tls://")),
        ca_file: args.nats_ca_file.clone(),
    };
    options.login = login;
    options.credentials.clone_from(&args.nats_credentials_file);
    options.prefix.clone_from(&args.nats_prefix);
    role.clone_into(&mut options.role);
    options.topics = topics;
    options.urls = urls;
    Ok(options)
}

/// The address that is given, or the default one with the port that is given.
pub fn listen(listen: Option<&str>, port: Option<&str>) -> anyhow::Result<SocketAddr> {
    if let Some(listen) = listen {
        return listen.parse().with_context(|| {
            format!("VERBATIM_LISTEN: {listen:?} is not an address and port such as 127.0.0.1:3000")
        });
    }
    let port = match port {
        Some(port) => {
            port.parse().with_context(|| format!("PORT: {port:?} is not a port number"))?
        }
        None => 3000,
    };
    Ok(SocketAddr::from(([127, 0, 0, 1], port)))
}

/// A secret that isn't empty.
pub fn secret(text: &str) -> anyhow::Result<SecretString> {
    if text.is_empty() {
        bail!("JWT_SECRET: must not be empty (unset it to use the data folder's own)");
    }
    Ok(text.to_owned().into())
}

/// What tokens are to name, where they are to name it.
pub fn expected_claims(issuer: Option<&str>, audience: Option<&str>) -> anyhow::Result<()> {
    for (name, value) in [("JWT_ISSUER", issuer), ("JWT_AUDIENCE", audience)] {
        if value.is_some_and(str::is_empty) {
            bail!("{name}: must not be empty");
        }
    }
    Ok(())
}

fn key(args: &ServeArgs) -> anyhow::Result<Option<TokenKey>> {
    match (&args.jwt_secret, &args.jwt_public_key_file) {
        (Some(_), Some(_)) => bail!("JWT_SECRET and JWT_PUBLIC_KEY_FILE: give one, not both"),
        (Some(text), None) => Ok(Some(TokenKey::Secret(secret(text)?))),
        (None, Some(file)) => {
            let pem = std::fs::read_to_string(file)
                .with_context(|| format!("JWT_PUBLIC_KEY_FILE: cannot read {}", file.display()))?;
            Ok(Some(TokenKey::PublicKeyPem(pem)))
        }
        (None, None) => Ok(None),
    }
}

/// The key of keys, if it is given.
pub fn master_key(args: &MasterKeyArgs) -> anyhow::Result<Option<MasterKey>> {
    match (&args.master_key, &args.master_key_file) {
        (Some(_), Some(_)) => bail!("MASTER_KEY and MASTER_KEY_FILE: give one, not both"),
        (Some(text), None) => text.parse().map(Some).context("MASTER_KEY"),
        (None, Some(file)) => {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("MASTER_KEY_FILE: cannot read {}", file.display()))?;
            text.parse().map(Some).context("MASTER_KEY_FILE")
        }
        (None, None) => Ok(None),
    }
}

fn public_url(text: &str) -> anyhow::Result<PublicUrl> {
    let (scheme, rest) = text
        .split_once("://")
        .with_context(|| format!("{text:?} is not a URL such as https://chat.example.com"))?;
    let secure = match scheme {
        "http" | "ws" => false,
        "https" | "wss" => true,
        other => bail!("the scheme {other:?} is none of http, https, ws, wss"),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let valid = !authority.is_empty()
        && !authority.contains('@')
        && authority.parse::<http::uri::Authority>().is_ok_and(|parsed| {
            !parsed.host().is_empty()
                && match parsed.as_str()[parsed.host().len()..].strip_prefix(':') {
                    Some(_) => parsed.port_u16().is_some(),
                    None => true,
                }
        });
    if !valid {
        bail!(
            "{text:?} must be a scheme, a host and at most a port, such as https://chat.example.com"
        );
    }
    Ok(PublicUrl { secure, authority: authority.to_owned() })
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

fn origins(text: &str) -> anyhow::Result<Origins> {
    if text.trim() == "*" {
        return Ok(Origins::Any);
    }
    let mut listed = Vec::new();
    for origin in list(text) {
        let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        if host.is_none_or(|host| host.is_empty() || host.contains(['/', '*', ' ', '?', '#'])) {
            bail!(
                "CORS_ORIGINS: {origin:?} is not an origin such as https://app.example.com \
                 (a scheme and a host, no path; or `*` alone for any)"
            );
        }
        listed.push(origin.to_ascii_lowercase());
    }
    if listed.is_empty() {
        bail!("CORS_ORIGINS: names no origin");
    }
    Ok(Origins::Listed(listed))
}

fn proxies(text: &str) -> anyhow::Result<Vec<IpNet>> {
    list(text)
        .map(|entry| {
            entry
                .parse::<IpNet>()
                .or_else(|_| entry.parse::<std::net::IpAddr>().map(IpNet::from))
                .with_context(|| {
                    format!(
                        "TRUSTED_PROXIES: {entry:?} is not an address or network such as 10.0.0.0/8"
                    )
                })
        })
        .collect()
}

/// A whole number of at least `least`.
fn number<T>(name: &str, text: &str, least: T) -> anyhow::Result<T>
where
    T: FromStr + PartialOrd + Display + Copy,
{
    match text.parse::<T>() {
        Ok(value) if value >= least => Ok(value),
        _ => {
            bail!("{name}: {text:?} is not a whole number of at least {least} (and not too large)")
        }
    }
}

/// The longest time that a setting may name: clocks reach no further than so much beyond it.
const LONGEST: Duration = Duration::from_hours(24);

fn milliseconds(name: &str, text: &str, least: u64) -> anyhow::Result<Duration> {
    bounded(name, Duration::from_millis(number(name, text, least)?))
}

fn seconds(name: &str, text: &str, least: u64) -> anyhow::Result<Duration> {
    bounded(name, Duration::from_secs(number(name, text, least)?))
}

fn bounded(name: &str, time: Duration) -> anyhow::Result<Duration> {
    if time > LONGEST {
        bail!("{name}: must be at most a day");
    }
    Ok(time)
}

fn limits(args: &LimitArgs) -> anyhow::Result<Limits> {
    let limits = Limits {
        packet_bytes: number("MAX_PACKET_BYTES", &args.max_packet_bytes, 1_024)?,
        content_bytes: number("MAX_CONTENT_BYTES", &args.max_content_bytes, 1)?,
        attachments: number("MAX_ATTACHMENTS", &args.max_attachments, 0)?,
        messages_per_second: number(
            "RATE_LIMIT_MESSAGES_PER_SECOND",
            &args.rate_limit_messages_per_second,
            0,
        )?,
        message_burst: number("RATE_LIMIT_BURST", &args.rate_limit_burst, 1)?,
        requests_per_second: number(
            "RATE_LIMIT_REQUESTS_PER_SECOND",
            &args.rate_limit_requests_per_second,
            0,
        )?,
        in_flight_per_socket: number(
            "MAX_IN_FLIGHT_PER_SOCKET",
            &args.max_in_flight_per_socket,
            1,
        )?,
        waiting_per_socket: number("MAX_WAITING_PER_SOCKET", &args.max_waiting_per_socket, 0)?,
        sockets_per_user: number("MAX_SOCKETS_PER_USER", &args.max_sockets_per_user, 1)?,
        auth_timeout: seconds("AUTH_TIMEOUT_SECONDS", &args.auth_timeout_seconds, 1)?,
        unread_packets: number("MAX_UNREAD_PACKETS", &args.max_unread_packets, 1)?,
        unread_bytes: number("MAX_UNREAD_BYTES", &args.max_unread_bytes, 1_024)?,
        write_timeout: seconds("WRITE_TIMEOUT_SECONDS", &args.write_timeout_seconds, 1)?,
        refusals: number("MAX_REFUSALS", &args.max_refusals, 1)?,
        refusal_window: Duration::from_secs(10),
    };
    if limits.content_bytes > limits.packet_bytes {
        bail!(
            "MAX_CONTENT_BYTES: must not be larger than MAX_PACKET_BYTES ({})",
            limits.packet_bytes
        );
    }
    Ok(limits)
}

#[cfg(test)]
mod tests;
