//! What the adapter is told when it is made.

use std::fmt;
use std::path::PathBuf;

use secrecy::SecretString;

use super::Error;
use crate::in_process::Capacity;

/// How to reach the NATS server, and what for.
#[derive(Clone)]
pub struct NatsOptions {
    /// `nats://host:4222`, or `tls://…`; any that answers is taken. A user and a password may stand
    /// in them, percent-encoded; they are never logged.
    pub urls: Vec<String>,
    /// Instead of a login in the URLs.
    pub login: Option<Login>,
    /// A file with a JWT and an `NKey` seed.
    pub credentials: Option<PathBuf>,
    pub tls: Tls,
    /// What kind of process this is, such as `gateway`: a subject token, so that permissions can be
    /// given by it.
    pub role: String,
    /// What all subjects begin with; in capitals, the stream's name too. One deployment a prefix.
    pub prefix: String,
    /// What this process listens to.
    pub topics: Topics,
    pub capacity: Capacity,
    /// Messages of one lane, of up to 64 commands each, that are taken from the server ahead of who
    /// handles them.
    pub lane_window: usize,
    pub stream: StreamOptions,
}

#[derive(Clone)]
pub struct Login {
    pub user: String,
    pub password: SecretString,
}

#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Refuses a server that offers none.
    pub required: bool,
    /// Certificates in PEM to trust besides the system's.
    pub ca_file: Option<PathBuf>,
}

/// The topics to subscribe to; publishing needs no mention here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Topics {
    pub events: bool,
    pub frames: bool,
    pub presence: bool,
}

impl Topics {
    pub const ALL: Self = Self { events: true, frames: true, presence: true };
    pub const GATEWAY: Self = Self { events: false, frames: true, presence: true };
    pub const AGGREGATE: Self = Self { events: false, frames: false, presence: false };
    pub const PROJECTION: Self = Self { events: true, frames: false, presence: true };
}

/// The stream that keeps commands until their lanes' owners take them. It is stored in files, and
/// keeps each for fifteen seconds, handled or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamOptions {
    pub replicas: usize,
    /// Past this many, commands are refused.
    pub max_messages: i64,
    /// Past this size, commands are refused.
    pub max_bytes: i64,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self { replicas: 1, max_messages: 1_000_000, max_bytes: 512 << 20 }
    }
}

impl NatsOptions {
    /// For the server at `url`, without a login, listening to all topics.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            urls: vec![url.into()],
            login: None,
            credentials: None,
            tls: Tls::default(),
            role: "all".to_owned(),
            prefix: "verbatim".to_owned(),
            topics: Topics::ALL,
            capacity: Capacity::default(),
            lane_window: 256,
            stream: StreamOptions::default(),
        }
    }

    pub(super) fn validate(&self) -> Result<(), Error> {
        let is_token = |token: &str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            !token.is_empty() && token.bytes().all(allowed)
        };
        if !self.prefix.split('.').all(is_token) {
            return Err(Error::Options("the subject prefix is not made of letters and digits"));
        }
        if !is_token(&self.role) {
            return Err(Error::Options("the role is not made of letters and digits"));
        }
        if self.urls.is_empty() {
            return Err(Error::Options("there is no URL"));
        }
        let Capacity { commands, events, frames, presence } = self.capacity;
        if [commands, events, frames, presence, self.lane_window].contains(&0) {
            return Err(Error::Options("a capacity is 0"));
        }
        Ok(())
    }

    /// The URLs, without what is in them of a login.
    pub(super) fn addresses(&self) -> Vec<String> {
        self.urls.iter().map(|url| split(url).0).collect()
    }

    pub(super) fn login(&self) -> Option<Login> {
        self.login.clone().or_else(|| self.urls.iter().find_map(|url| split(url).1))
    }
}

/// An address and the login that stood before it.
fn split(url: &str) -> (String, Option<Login>) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("nats", url));
    // The last `@`, so that one in a password that was not encoded doesn't show the rest of it.
    let (login, host) = match rest.rsplit_once('@') {
        Some((login, host)) => (Some(login), host),
        None => (None, rest),
    };
    let login = login.map(|login| {
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        Login { user: decode(user), password: decode(password).into() }
    });
    (format!("{scheme}://{host}"), login)
}

/// Undoes percent-encoding; leaves what isn't any.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let code = tail.first_chunk::<2>().filter(|_| byte == b'%');
        let code = code.and_then(|code| std::str::from_utf8(code).ok());
        let decoded = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        bytes.push(decoded.unwrap_or(byte));
        rest = if decoded.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl fmt::Debug for NatsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsOptions")
            .field("urls", &self.addresses())
            .field("login", &self.login())
            .field("credentials", &self.credentials)
            .field("tls", &self.tls)
            .field("role", &self.role)
            .field("prefix", &self.prefix)
            .field("topics", &self.topics)
            .field("capacity", &self.capacity)
            .field("lane_window", &self.lane_window)
            .field("stream", &self.stream)
            .finish()
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_login_in_a_url_is_taken_out_and_never_shown() {
        for (url, user, password) in [
            ("nats://ann:s3cr%40t@host:4222", "ann", "s3cr@t"),
            ("tls://ann:s3cr@t@host:4222", "ann", "s3cr@t"),
            ("ann:s3cr%t@host:4222", "ann", "s3cr%t"),
        ] {
            let options = NatsOptions::new(url);
            let login = options.login().expect("a login");
            assert_eq!((login.user.as_str(), login.password.expose_secret()), (user, password));
            assert!(options.addresses()[0].ends_with("://host:4222"), "{url}");
            assert!(!format!("{options:?}").contains("s3cr"), "{options:?}");
        }
        assert!(NatsOptions::new("nats://host").login().is_none());
    }

    #[test]
    fn options_that_make_no_subjects_are_refused() {
        for prefix in ["", "a..b", "a.*", "a b", ">"] {
            let options = NatsOptions { prefix: prefix.to_owned(), ..NatsOptions::new("host") };
            assert!(options.validate().is_err(), "{prefix:?}");
        }
        let options = NatsOptions { role: "a.b".to_owned(), ..NatsOptions::new("host") };
        assert!(options.validate().is_err());
        assert!(NatsOptions::new("host").validate().is_ok());
    }
}
