use clap::Parser;

use super::*;
use crate::cli::Cli;

/// Settings from flags alone: the environment's twins are the same arguments to clap.
fn parse(flags: &[&str]) -> anyhow::Result<Serve> {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().to_str().expect("text").to_owned();
    let all = ["verbatim", "--data-dir", &folder].into_iter().chain(flags.iter().copied());
    let cli = Cli::try_parse_from(all)?;
    serve(&cli.serve).map(|(settings, _)| settings)
}

#[test]
fn every_bad_setting_is_named() {
    for (flag, bad, name) in [
        ("--listen", "localhost", "VERBATIM_LISTEN"),
        ("--listen", "127.0.0.1:99999", "VERBATIM_LISTEN"),
        ("--port", "http", "PORT"),
        ("--public-url", "chat.example.com", "PUBLIC_URL"),
        ("--public-url", "ftp://chat.example.com", "PUBLIC_URL"),
        ("--public-url", "https://chat.example.com/app", "PUBLIC_URL"),
        ("--public-url", "https://a b", "PUBLIC_URL"),
        ("--public-url", "https://host:port", "PUBLIC_URL"),
        ("--cors-origins", "app.example.com", "CORS_ORIGINS"),
        ("--cors-origins", "https://app.example.com/", "CORS_ORIGINS"),
        ("--cors-origins", "https://*.example.com", "CORS_ORIGINS"),
        ("--cors-origins", ",", "CORS_ORIGINS"),
        ("--trusted-proxies", "proxy", "TRUSTED_PROXIES"),
        ("--trusted-proxies", "10.0.0.0/99", "TRUSTED_PROXIES"),
        ("--log-format", "xml", "LOG_FORMAT"),
        ("--log-level", "verbose", "LOG_LEVEL"),
        ("--log-level", "warning", "LOG_LEVEL"),
        ("--log-level", "42", "LOG_LEVEL"),
        ("--log-level", "", "LOG_LEVEL"),
        ("--log-level", "warn,verbatim", "LOG_LEVEL"),
        ("--log-level", "verbatim=loud", "LOG_LEVEL"),
        ("--log-level", "a=b=c", "LOG_LEVEL"),
        ("--auth-timeout-seconds", "18446744073709551615", "AUTH_TIMEOUT_SECONDS"),
        ("--write-timeout-seconds", "86401", "WRITE_TIMEOUT_SECONDS"),
        ("--ping-interval-ms", "86400001", "PING_INTERVAL_MS"),
        ("--role", "gateway", "VERBATIM_ROLE"),
        ("--role", "broker", "VERBATIM_ROLE"),
        ("--database-url", "postgres://localhost/x", "DATABASE_URL"),
        ("--nats-url", "nats://localhost", "NATS_URL"),
        ("--nats-user", "gateway", "NATS_USER"),
        ("--connection-list", "nobody", "CONNECTION_LIST"),
        ("--jwt-secret", "", "JWT_SECRET"),
        ("--jwt-public-key-file", "/nonexistent/key.pem", "JWT_PUBLIC_KEY_FILE"),
        ("--jwt-issuer", "", "JWT_ISSUER"),
        ("--jwt-audience", "", "JWT_AUDIENCE"),
        ("--database-url", "postgres://localhost/v", "DATABASE_URL"),
        ("--nats-url", "nats://localhost", "NATS_URL"),
        ("--rate-limit-messages-per-second", "-1", "RATE_LIMIT_MESSAGES_PER_SECOND"),
        ("--rate-limit-burst", "0", "RATE_LIMIT_BURST"),
        ("--rate-limit-requests-per-second", "many", "RATE_LIMIT_REQUESTS_PER_SECOND"),
        ("--max-packet-bytes", "10", "MAX_PACKET_BYTES"),
        ("--max-content-bytes", "0", "MAX_CONTENT_BYTES"),
        ("--max-content-bytes", "70000", "MAX_CONTENT_BYTES"),
        ("--max-attachments", "1.5", "MAX_ATTACHMENTS"),
        ("--max-in-flight-per-socket", "0", "MAX_IN_FLIGHT_PER_SOCKET"),
        ("--max-waiting-per-socket", "x", "MAX_WAITING_PER_SOCKET"),
        ("--max-sockets-per-user", "0", "MAX_SOCKETS_PER_USER"),
        ("--auth-timeout-seconds", "0", "AUTH_TIMEOUT_SECONDS"),
        ("--max-unread-packets", "0", "MAX_UNREAD_PACKETS"),
        ("--max-unread-bytes", "1", "MAX_UNREAD_BYTES"),
        ("--write-timeout-seconds", "0", "WRITE_TIMEOUT_SECONDS"),
        ("--max-refusals", "0", "MAX_REFUSALS"),
        ("--seal-key-file", "/nonexistent/key.pem", "SEAL_KEY_FILE"),
        ("--seal-key-file", "/dev/null", "SEAL_KEY_FILE"),
        ("--seal-origin", "", "SEAL_ORIGIN"),
        ("--seal-origin", "two words", "SEAL_ORIGIN"),
        ("--seal-origin", "a+b", "SEAL_ORIGIN"),
        ("--seal-old-keys", "nonsense", "SEAL_OLD_KEYS"),
        ("--seal-every-events", "0", "SEAL_EVERY_EVENTS"),
        ("--seal-every-events", "100001", "SEAL_EVERY_EVENTS"),
        ("--seal-every-seconds", "0", "SEAL_EVERY_SECONDS"),
        ("--seal-every-seconds", "soon", "SEAL_EVERY_SECONDS"),
        ("--seal-checkpoints-to", "ftp://example.com/x", "SEAL_CHECKPOINTS_TO"),
        ("--seal-checkpoints-to", "https://", "SEAL_CHECKPOINTS_TO"),
        ("--seal-checkpoints-to", "/nonexistent/folder/file", "SEAL_CHECKPOINTS_TO"),
        ("--seal-checkpoints-to", "/tmp", "SEAL_CHECKPOINTS_TO"),
        ("--ping-interval-ms", "0", "PING_INTERVAL_MS"),
        ("--ping-timeout-ms", "99999999999999999999", "PING_TIMEOUT_MS"),
    ] {
        let error = parse(&[&format!("{flag}={bad}")]).err().unwrap_or_else(|| {
            panic!("{flag}={bad} must be refused");
        });
        assert!(format!("{error:#}").contains(name), "{flag}={bad}: {error:#}");
    }
}

#[test]
fn a_log_level_is_a_level_or_directives() {
    for level in ["off", "error", "warn", "info", "debug", "trace", "INFO", "verbatim=trace"] {
        parse(&["--log-level", level]).expect(level);
    }
    parse(&["--log-level", "warn, verbatim_gateway=debug,[socket.receive]=trace"]).expect("good");
}

#[test]
fn secret_and_public_key_exclude_each_other() {
    let error = parse(&["--jwt-secret=s", "--jwt-public-key-file=key.pem"]).err().expect("refused");
    assert!(error.to_string().contains("not both"));
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let settings = parse(&[]).expect("good");
    assert_eq!(settings.listen.to_string(), "127.0.0.1:3000");
    assert!(settings.own_secret);
    let (limits, expected) = (settings.gateway.limits, Limits::default());
    assert_eq!(format!("{limits:?}"), format!("{expected:?}"));
}

#[test]
fn the_port_replaces_the_defaults_only() {
    let listen = |flags: &[&str]| parse(flags).expect("good").listen.to_string();
    assert_eq!(listen(&["--port=4000"]), "127.0.0.1:4000");
    assert_eq!(listen(&["--port=4000", "--listen=0.0.0.0:5000"]), "0.0.0.0:5000");
}

#[test]
fn lists_are_separated_by_commas() {
    let settings = parse(&[
        "--cors-origins=https://a.example, http://b.example:8080",
        "--trusted-proxies=10.0.0.0/8,::1",
        "--public-url=wss://chat.example.com/",
    ])
    .expect("good")
    .gateway;
    assert_eq!(
        settings.origins,
        Origins::Listed(vec!["https://a.example".into(), "http://b.example:8080".into()])
    );
    assert_eq!(settings.trusted_proxies.len(), 2);
    let url = settings.public_url.expect("given");
    assert_eq!((url.secure, url.authority.as_str()), (true, "chat.example.com"));
}
