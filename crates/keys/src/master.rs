//! The key that wraps all others.

use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use verbatim_domain::{KeyId, UserId};

use crate::Error;

/// What a store's proof is the authentication code of.
const PROVED: &[u8] = b"verbatim master key";

/// 256 bits that whoever runs the server keeps.
pub struct MasterKey {
    key: LessSafeKey,
    proof: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 32 bytes, as 64 hexadecimal digits or in base64")]
pub struct InvalidMasterKey;

impl FromStr for MasterKey {
    type Err = InvalidMasterKey;

    fn from_str(text: &str) -> Result<Self, InvalidMasterKey> {
        let text = text.trim();
        let bytes = hex::decode(text).or_else(|_| STANDARD.decode(text));
        let bytes: [u8; 32] =
            bytes.ok().and_then(|bytes| bytes.try_into().ok()).ok_or(InvalidMasterKey)?;
        let key = ready(&bytes).ok_or(InvalidMasterKey)?;
        let proof = hmac::sign(&hmac::Key::new(HMAC_SHA256, &bytes), PROVED);
        Ok(Self { key, proof: proof.as_ref().to_vec() })
    }
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

impl MasterKey {
    /// Something that only this key makes, always the same.
    pub(crate) fn proof(&self) -> Vec<u8> {
        self.proof.clone()
    }

    pub(crate) fn has_made(&self, proof: &[u8]) -> bool {
        proof == self.proof
    }

    /// A subject's key, for the store.
    pub(crate) fn wrap(&self, id: KeyId, subject: &UserId, key: &[u8]) -> Result<Vec<u8>, Error> {
        seal(&self.key, &wrapping(id, subject), key.to_vec())
    }

    pub(crate) fn unwrap(&self, id: KeyId, subject: &UserId, wrapped: &[u8]) -> Option<Vec<u8>> {
        open(&self.key, &wrapping(id, subject), wrapped)
    }
}

/// What a wrapped key belongs to: it can't be passed off as another's.
fn wrapping(id: KeyId, subject: &UserId) -> Vec<u8> {
    [b"key\0", &id.0.as_bytes()[..], subject.as_str().as_bytes()].concat()
}

/// A key of 32 bytes, ready for use. Only [`seal`] may encrypt with it.
pub(crate) fn ready(key: &[u8]) -> Option<LessSafeKey> {
    Some(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).ok()?))
}

/// Never the same twice: of a cryptographic generator in this process, and with the time, as a machine that
/// is set back to what it was would draw the same again. (aws-lc's own generator asks the processor for
/// entropy at each call, which would be most of what sealing takes.)
fn nonce() -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    rand::fill(&mut nonce);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    for (byte, time) in nonce.iter_mut().zip(now.to_le_bytes()) {
        *byte ^= time;
    }
    nonce
}

/// A fresh nonce, the ciphertext and its tag.
pub(crate) fn seal(key: &LessSafeKey, aad: &[u8], mut plain: Vec<u8>) -> Result<Vec<u8>, Error> {
    let broken = |_| Error::Unavailable("encryption failed".into());
    let nonce = nonce();
    plain.splice(0..0, nonce);
    let nonce = Nonce::assume_unique_for_key(nonce);
    let tag = key
        .seal_in_place_separate_tag(nonce, Aad::from(aad), &mut plain[NONCE_LEN..])
        .map_err(broken)?;
    plain.extend_from_slice(tag.as_ref());
    Ok(plain)
}

/// `None` if it was sealed with another key, for another purpose, or changed.
pub(crate) fn open(key: &LessSafeKey, aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut buffer = sealed.to_vec();
    let plain = key.open_in_place(nonce, Aad::from(aad), &mut buffer).ok()?.len();
    buffer.truncate(plain);
    Some(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn master(byte: u8) -> MasterKey {
        hex::encode([byte; 32]).parse().expect("a key")
    }

    #[test]
    fn a_key_is_32_bytes_in_either_form() {
        for bad in ["", "abc", &"0".repeat(63), &"0".repeat(62), &STANDARD.encode([0; 31]), "é"] {
            assert_eq!(bad.parse::<MasterKey>().err(), Some(InvalidMasterKey), "{bad:?}");
        }
        let key = STANDARD.encode([7; 32]).parse::<MasterKey>().expect("base64");
        assert!(key.has_made(&master(7).proof()), "the same key");
        assert!(!key.has_made(&master(8).proof()), "another");
    }

    #[test]
    fn no_nonce_comes_twice() {
        let mut nonces: Vec<_> = (0..10_000).map(|_| nonce()).collect();
        nonces.sort_unstable();
        nonces.dedup();
        assert_eq!(nonces.len(), 10_000);
    }

    #[test]
    fn a_wrapped_key_is_its_subjects_alone() {
        let (id, other) = (KeyId(uuid::Uuid::from_u128(1)), KeyId(uuid::Uuid::from_u128(2)));
        let (ann, bob) = ("ann".parse().expect("an id"), "bob".parse().expect("an id"));
        let wrapped = master(1).wrap(id, &ann, b"secret").expect("wrapped");
        assert_eq!(master(1).unwrap(id, &ann, &wrapped).as_deref(), Some(&b"secret"[..]));
        assert_eq!(master(2).unwrap(id, &ann, &wrapped), None);
        assert_eq!(master(1).unwrap(other, &ann, &wrapped), None);
        assert_eq!(master(1).unwrap(id, &bob, &wrapped), None);
        for cut in 0..wrapped.len() {
            assert_eq!(master(1).unwrap(id, &ann, &wrapped[..cut]), None, "{cut}");
        }
    }
}
