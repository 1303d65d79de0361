//! How the log is sealed.

use anyhow::{Context, bail};
use secrecy::{ExposeSecret, SecretString};
use verbatim_journal::Log;
use verbatim_projection::{Destination, SealSettings};
use verbatim_proof::{Signer, Verifier};

use super::{number, seconds};
use crate::cli::{SealArgs, SealKeyFileArgs};

/// So many leaves wait in memory at most.
const MOST_EVENTS: u64 = 100_000;

/// What signs it, and when.
pub struct Seal {
    /// In PEM, if it was given.
    pub key: Option<SecretString>,
    pub origin: Option<String>,
    /// Public keys that were used before.
    pub old_keys: Vec<Verifier>,
    pub pace: SealSettings,
}

pub fn seal(args: &SealArgs) -> anyhow::Result<Seal> {
    let every_events = number("SEAL_EVERY_EVENTS", &args.seal_every_events, 1)?;
    if every_events > MOST_EVENTS {
        bail!("SEAL_EVERY_EVENTS: must be at most {MOST_EVENTS}");
    }
    let every = seconds("SEAL_EVERY_SECONDS", &args.seal_every_seconds, 1)?;
    let to = args.seal_checkpoints_to.as_deref().map(destination).transpose();
    let checkpoints_to = to.context("SEAL_CHECKPOINTS_TO")?;
    let (key, origin) = (key(&args.key)?, args.key.seal_origin.clone());
    let old_keys = args.seal_old_keys.as_deref().unwrap_or_default().split_whitespace();
    let old_keys = old_keys.map(str::parse).collect::<Result<_, _>>().context("SEAL_OLD_KEYS")?;
    let pace = SealSettings { every_events, every, checkpoints_to };
    Ok(Seal { key, origin, old_keys, pace })
}

/// The key for seals that is given, and that the log can be called as it is to be.
pub fn key(args: &SealKeyFileArgs) -> anyhow::Result<Option<SecretString>> {
    if let Some(origin) = &args.seal_origin {
        verbatim_proof::check_name(origin).context("SEAL_ORIGIN")?;
    }
    let Some(file) = &args.seal_key_file else { return Ok(None) };
    let pem: SecretString = std::fs::read_to_string(file)
        .with_context(|| format!("SEAL_KEY_FILE: cannot read {}", file.display()))?
        .into();
    signer("log", &pem).with_context(|| format!("SEAL_KEY_FILE: {}", file.display()))?;
    Ok(Some(pem))
}

/// What signs checkpoints of a log.
pub fn signer_of(
    log: &dyn Log,
    origin: Option<&str>,
    pem: &SecretString,
) -> anyhow::Result<Signer> {
    signer(&origin.map_or_else(|| format!("verbatim/{}", log.id()), str::to_owned), pem)
}

fn signer(origin: &str, pem: &SecretString) -> anyhow::Result<Signer> {
    Ok(Signer::from_pem(origin, pem.expose_secret())?)
}

fn destination(text: &str) -> anyhow::Result<Destination> {
    if let Some((scheme, _)) = text.split_once("://") {
        let url = text.parse::<http::Uri>().ok().filter(|url| url.host().is_some());
        match url.filter(|_| matches!(scheme, "http" | "https")) {
            Some(url) => return Ok(Destination::Url(url)),
            // It may hold a secret.
            None => bail!("it is neither a file nor an http(s) URL"),
        }
    }
    let path = std::path::absolute(text)?;
    if !path.parent().is_some_and(std::path::Path::is_dir) || path.is_dir() {
        bail!("{} is no file, or its folder is missing", path.display());
    }
    Ok(Destination::File(path))
}
