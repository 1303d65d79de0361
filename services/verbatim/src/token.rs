//! `verbatim token`: a token on standard output, and nothing else.

use anyhow::{Context, bail};
use jsonwebtoken::{EncodingKey, Header, encode};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use verbatim_domain::UserId;
use verbatim_gateway::auth;

use crate::cli::TokenArgs;
use crate::data::DataFolder;
use crate::settings;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Claims<'a> {
    user_id: &'a str,
    sub: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    role: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    iat: i64,
    exp: i64,
}

pub fn run(args: &TokenArgs) -> anyhow::Result<()> {
    let secret = match &args.jwt_secret {
        Some(secret) => settings::secret(secret)?,
        None if std::env::var_os("JWT_PUBLIC_KEY_FILE").is_some() => {
            bail!("JWT_PUBLIC_KEY_FILE is set: tokens are signed by whoever holds the private key")
        }
        None => DataFolder::create(&args.data.data_dir)?.token_secret()?,
    };
    println!("{}", mint(args, &secret, jiff::Timestamp::now().as_second())?);
    Ok(())
}

fn mint(args: &TokenArgs, secret: &SecretString, now: i64) -> anyhow::Result<String> {
    let user: UserId = args.user.parse().context("--user")?;
    // What the server would refuse is not handed out.
    if !auth::is_role(&args.role) {
        bail!("--role: must be 1 to 64 characters, none of them a control character");
    }
    if args.email.as_deref().is_some_and(|email| !auth::is_email(email)) {
        bail!("--email: must be 1 to 320 characters, none of them a control character");
    }
    settings::expected_claims(args.jwt_issuer.as_deref(), args.jwt_audience.as_deref())?;
    let claims = Claims {
        user_id: user.as_str(),
        sub: user.as_str(),
        email: args.email.as_deref(),
        role: &args.role,
        iss: args.jwt_issuer.as_deref(),
        aud: args.jwt_audience.as_deref(),
        iat: now,
        exp: now + seconds(&args.ttl).context("--ttl")?,
    };
    let key = EncodingKey::from_secret(secret.expose_secret().as_bytes());
    Ok(encode(&Header::default(), &claims, &key)?)
}

fn seconds(text: &str) -> anyhow::Result<i64> {
    let unreadable = || format!("{text:?} is not a duration such as 30m, 1h or 7d");
    let span: jiff::Span = text.parse().ok().with_context(unreadable)?;
    // Months and years have no fixed length.
    let length = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours());
    let seconds = length.ok().with_context(unreadable)?.as_secs();
    if seconds < 1 {
        bail!("{text:?} must be at least a second");
    }
    Ok(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_read_as_people_write_them() {
        assert_eq!(seconds("30m").expect("a duration"), 1_800);
        assert_eq!(seconds("1h").expect("a duration"), 3_600);
        assert_eq!(seconds("7d").expect("a duration"), 604_800);
        for bad in ["", "1", "h", "-1h", "0s", "1x", "1mo", "1y"] {
            let error = seconds(bad).expect_err("it is none").to_string();
            assert!(error.starts_with(&format!("{bad:?} ")), "{error}");
        }
    }

    #[test]
    fn what_the_server_would_refuse_is_not_handed_out() {
        use clap::Parser;

        use crate::cli::{Cli, Command};

        let long = "r".repeat(65);
        for (flag, bad) in [
            ("--user", "a b"),
            ("--role", ""),
            ("--role", &long),
            ("--email", ""),
            ("--email", "a\n@example.com"),
            ("--jwt-issuer", ""),
            ("--jwt-audience", ""),
        ] {
            let mut words = vec!["verbatim", "token", "--user", "alice"];
            if flag == "--user" {
                words.truncate(2);
            }
            words.extend([flag, bad]);
            let cli = Cli::try_parse_from(words).expect("a command line");
            let Some(Command::Token(args)) = cli.command else { panic!("another command") };
            assert!(mint(&args, &"secret".to_owned().into(), 0).is_err(), "{flag} {bad:?}");
        }
    }
}
