//! Who calls: tokens, and what they say of their bearer.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::Value;
use verbatim_domain::UserId;
use verbatim_protocol::{ErrorCode, Failure, Timestamp};

use crate::requests::Caller;
use crate::settings::{TokenKey, TokenSettings};

/// The longest token that is looked at, in bytes.
const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// How far two clocks may differ, in seconds.
const LEEWAY_SECONDS: u64 = 30;
const MAX_EMAIL_CHARACTERS: usize = 320;
const MAX_ROLE_CHARACTERS: usize = 64;
/// The role of a token that names none.
const DEFAULT_ROLE: &str = "user";

/// Why the configured key can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the token secret is empty")]
    EmptySecret,
    #[error("the public key isn't a PEM block of the kind PUBLIC KEY or RSA PUBLIC KEY")]
    NotAPublicKey,
    #[error("the public key is neither RSA, nor EC on the curve P-256, nor Ed25519")]
    Unsupported,
}

/// Why a token was refused. Displayed as clients are told; which of the many causes of
/// [`Rejection::Invalid`] it was is nobody's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Rejection {
    #[error("No token provided")]
    NoToken,
    #[error("Token expired")]
    Expired,
    #[error("Invalid token")]
    Invalid,
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        let code = match rejection {
            Rejection::Expired => ErrorCode::TokenExpired,
            Rejection::NoToken | Rejection::Invalid => ErrorCode::Unauthenticated,
        };
        Self::new(code, rejection.to_string())
    }
}

/// Checks tokens by the one configured key, with that key's one algorithm.
#[derive(Debug)]
pub struct Verifier {
    key: DecodingKey,
    validation: Validation,
}

#[derive(Deserialize)]
struct Claims {
    #[serde(rename = "userId")]
    user_id: Option<Value>,
    sub: Option<Value>,
    id: Option<Value>,
    email: Option<String>,
    role: Option<String>,
    exp: f64,
}

impl Verifier {
    /// # Errors
    /// [`KeyError`].
    pub fn new(settings: &TokenSettings) -> Result<Self, KeyError> {
        let (algorithm, key) = match &settings.key {
            TokenKey::Secret(secret) if secret.expose_secret().is_empty() => {
                return Err(KeyError::EmptySecret);
            }
            TokenKey::Secret(secret) => {
                (Algorithm::HS256, DecodingKey::from_secret(secret.expose_secret().as_bytes()))
            }
            TokenKey::PublicKeyPem(pem) => public_key(pem)?,
        };
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        // The crate refuses every token with an audience unless it is given one to compare with.
        validation.validate_aud = settings.audience.is_some();
        if let Some(audience) = &settings.audience {
            validation.set_audience(&[audience]);
            validation.required_spec_claims.insert("aud".to_owned());
        }
        if let Some(issuer) = &settings.issuer {
            validation.set_issuer(&[issuer]);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        Ok(Self { key, validation })
    }

    /// Who bears the token. A `Bearer ` prefix is tolerated.
    ///
    /// # Errors
    /// [`Rejection`].
    pub fn verify(&self, token: &str) -> Result<Caller, Rejection> {
        let token = without_scheme(token.trim()).trim();
        if token.is_empty() {
            return Err(Rejection::NoToken);
        }
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Rejection::Invalid);
        }
        let token = decode::<Claims>(token, &self.key, &self.validation).map_err(|error| {
            match error.kind() {
                ErrorKind::ExpiredSignature => Rejection::Expired,
                _ => Rejection::Invalid,
            }
        })?;
        // What its maker holds critical must be understood, and no extension is (RFC 7515, 4.1.11).
        if token.header.crit.is_some() {
            return Err(Rejection::Invalid);
        }
        caller(token.claims).ok_or(Rejection::Invalid)
    }
}

fn without_scheme(token: &str) -> &str {
    match token.split_at_checked("bearer".len()) {
        Some((scheme, rest))
            if scheme.eq_ignore_ascii_case("bearer")
                && (rest.is_empty() || rest.starts_with(' ')) =>
        {
            rest
        }
        _ => token,
    }
}

fn caller(claims: Claims) -> Option<Caller> {
    let user_id: UserId = claims.user_id.or(claims.sub).or(claims.id)?.as_str()?.parse().ok()?;
    if claims.email.as_deref().is_some_and(|email| !is_email(email)) {
        return None;
    }
    let role = claims.role.unwrap_or_else(|| DEFAULT_ROLE.to_owned());
    if !is_role(&role) {
        return None;
    }
    // The conversion saturates, which is what a time far beyond any calendar should do.
    let expires_at = Timestamp((claims.exp * 1_000.0) as i64);
    Some(Caller { user_id, email: claims.email, role, expires_at })
}

/// Whether a token may say this of its user: 1 to 320 characters, none of them a control character.
#[must_use]
pub fn is_email(text: &str) -> bool {
    fits(text, MAX_EMAIL_CHARACTERS)
}

/// Whether a token may say this of its user: 1 to 64 characters, none of them a control character.
#[must_use]
pub fn is_role(text: &str) -> bool {
    fits(text, MAX_ROLE_CHARACTERS)
}

fn fits(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

fn public_key(pem: &str) -> Result<(Algorithm, DecodingKey), KeyError> {
    // The crate reads private keys in this place too; whoever configures one should hear of it.
    let label = |name: &str| pem.contains(&format!("-----BEGIN {name}-----"));
    if !label("PUBLIC KEY") && !label("RSA PUBLIC KEY") {
        return Err(KeyError::NotAPublicKey);
    }
    let pem = pem.trim().as_bytes();
    if let Ok(key) = DecodingKey::from_ed_pem(pem) {
        return Ok((Algorithm::EdDSA, key));
    }
    if let Ok(key) = DecodingKey::from_ec_pem(pem) {
        // An uncompressed point of P-256; other curves' are longer.
        let p256 = key.try_get_as_bytes().is_ok_and(|point| point.len() == 65);
        return if p256 { Ok((Algorithm::ES256, key)) } else { Err(KeyError::Unsupported) };
    }
    let rsa = DecodingKey::from_rsa_pem(pem).map_err(|_| KeyError::Unsupported)?;
    Ok((Algorithm::RS256, rsa))
}

#[cfg(test)]
mod tests;
