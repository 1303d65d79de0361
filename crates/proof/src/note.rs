//! Signed notes, as C2SP's `signed-note` has them: a text, a blank line, and a line for each signature.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::hash::short_hash;

/// What a line with a signature begins with.
const MARK: &str = "— ";
/// The kind of key and signature: Ed25519.
const ED25519_KIND: u8 = 1;
const KEY_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;

const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";

/// Why a key can't be used. Says nothing of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("a key's name is text without blanks, control characters and `+`")]
    Name,
    #[error("a public key is NAME+HASH+BASE64, as `verbatim seal-key` prints it")]
    Verifier,
    #[error("the hash in the public key is not that of its name and key")]
    Hash,
    #[error("it holds no private Ed25519 key in PEM (PKCS#8)")]
    Pem,
    #[error("the system has no random numbers to give")]
    Random,
}

/// Why a note isn't believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    #[error("it is no signed note")]
    Malformed,
    /// The names that it is signed by.
    #[error("it is not signed with the key that was given, but by {0}")]
    OtherKey(String),
    #[error("the signature of {0} is wrong: the note was changed, or made by somebody else")]
    BadSignature(String),
}

/// Whether a key can go by this name.
///
/// # Errors
/// [`KeyError::Name`].
pub fn check_name(name: &str) -> Result<(), KeyError> {
    let fits = |c: char| !c.is_whitespace() && !c.is_control() && c != '+';
    if !name.is_empty() && name.chars().all(fits) { Ok(()) } else { Err(KeyError::Name) }
}

/// A public key and the name that it goes by: NAME+HASH+BASE64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verifier {
    name: String,
    key: [u8; KEY_BYTES],
}

impl Verifier {
    fn new(name: &str, key: [u8; KEY_BYTES]) -> Result<Self, KeyError> {
        check_name(name)?;
        Ok(Self { name: name.to_owned(), key })
    }

    /// Whose key it is: a log's origin.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The short hash by which a signature names its key.
    fn id(&self) -> u32 {
        short_hash(&[self.name.as_bytes(), b"\n", &[ED25519_KIND], &self.key])
    }

    /// The text of a note, if it is signed with one of these keys, and that key. Signatures of others
    /// say nothing; a wrong one of theirs is never passed over.
    ///
    /// # Errors
    /// [`NoteError`].
    pub fn open<'n, 'v>(
        verifiers: &'v [Self],
        note: &'n str,
    ) -> Result<(&'n str, &'v Self), NoteError> {
        let (text, signatures) = text_and_signatures(note).ok_or(NoteError::Malformed)?;
        let (mut signer, mut others) = (None, Vec::new());
        for line in signatures.lines() {
            let signature = Signature::parse(line).ok_or(NoteError::Malformed)?;
            let known = verifiers.iter().find(|verifier| {
                verifier.name == signature.name && verifier.id() == signature.key_id
            });
            match known {
                Some(verifier) if signature.is_of(&verifier.key, text) => {
                    signer = signer.or(Some(verifier));
                }
                Some(verifier) => return Err(NoteError::BadSignature(verifier.name.clone())),
                None => others.push(signature.name),
            }
        }
        match signer {
            Some(verifier) => Ok((text, verifier)),
            None => Err(NoteError::OtherKey(others.join(", "))),
        }
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![ED25519_KIND];
        key.extend(self.key);
        write!(f, "{}+{:08x}+{}", self.name, self.id(), STANDARD.encode(key))
    }
}

impl FromStr for Verifier {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(KeyError::Verifier);
        };
        let key = STANDARD.decode(key).map_err(|_| KeyError::Verifier)?;
        let Some((&ED25519_KIND, key)) = key.split_first() else { return Err(KeyError::Verifier) };
        let verifier = Self::new(name, key.try_into().map_err(|_| KeyError::Verifier)?)?;
        if id != format!("{:08x}", verifier.id()) {
            return Err(KeyError::Hash);
        }
        Ok(verifier)
    }
}

struct Signature<'n> {
    name: &'n str,
    key_id: u32,
    bytes: Vec<u8>,
}

impl<'n> Signature<'n> {
    fn parse(line: &'n str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix(MARK)?.split_once(' ')?;
        let bytes = STANDARD.decode(encoded).ok()?;
        let (id, bytes) = bytes.split_first_chunk::<4>()?;
        Some(Self { name, key_id: u32::from_be_bytes(*id), bytes: bytes.to_vec() })
    }

    fn is_of(&self, key: &[u8], text: &str) -> bool {
        self.bytes.len() == SIGNATURE_BYTES
            && UnparsedPublicKey::new(&ED25519, key).verify(text.as_bytes(), &self.bytes).is_ok()
    }
}

/// A note's text, its last line end included, and the lines of its signatures. `None` if it is no note.
#[must_use]
pub fn text_and_signatures(note: &str) -> Option<(&str, &str)> {
    let is_text = |c: char| c == '\n' || !c.is_ascii_control();
    let split = note.rfind("\n\n")?;
    let (text, signatures) = (&note[..=split], &note[split + 2..]);
    let complete = signatures.starts_with(MARK) && signatures.ends_with('\n');
    (complete && !text.trim_end().is_empty() && note.chars().all(is_text))
        .then_some((text, signatures))
}

/// The notes of a file in which they stand one after the other, blank lines between them.
pub fn notes(file: &str) -> impl Iterator<Item = &str> {
    let mut rest = file;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches('\n');
        if rest.is_empty() {
            return None;
        }
        let mut end = 0;
        let (mut signed, mut lines) = (false, rest.split_inclusive('\n'));
        for line in &mut lines {
            if signed && !line.starts_with(MARK) {
                break;
            }
            signed = line.starts_with(MARK);
            end += line.len();
        }
        let note;
        (note, rest) = rest.split_at(end);
        Some(note)
    })
}

/// A private key, and the name that it signs by.
pub struct Signer {
    pair: Ed25519KeyPair,
    verifier: Verifier,
}

impl Signer {
    /// The key in a PEM file (PKCS#8, `-----BEGIN PRIVATE KEY-----`).
    ///
    /// # Errors
    /// [`KeyError::Name`], [`KeyError::Pem`].
    pub fn from_pem(name: &str, pem: &str) -> Result<Self, KeyError> {
        let body = pem.split_once(PEM_BEGIN).and_then(|(_, rest)| rest.split_once(PEM_END));
        let (body, _) = body.ok_or(KeyError::Pem)?;
        let body: String = body.split_ascii_whitespace().collect();
        let der = STANDARD.decode(body).map_err(|_| KeyError::Pem)?;
        // Without its public half, too, as OpenSSL writes it.
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map_err(|_| KeyError::Pem)?;
        Self::new(name, pair)
    }

    fn new(name: &str, pair: Ed25519KeyPair) -> Result<Self, KeyError> {
        let key = pair.public_key().as_ref().try_into().map_err(|_| KeyError::Pem)?;
        Ok(Self { pair, verifier: Verifier::new(name, key)? })
    }

    /// A new key, in PEM.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn generate() -> Result<String, KeyError> {
        // Without its public half, which not every reader takes. It fits on one line.
        let der = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new());
        let der = der.map_err(|_| KeyError::Random)?;
        Ok(format!("{PEM_BEGIN}\n{}\n{PEM_END}\n", STANDARD.encode(der.as_ref())))
    }

    #[must_use]
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// The note of a text, which ends with a line end.
    #[must_use]
    pub fn sign(&self, text: &str) -> String {
        let mut signature = self.verifier.id().to_be_bytes().to_vec();
        signature.extend(self.pair.sign(text.as_bytes()).as_ref());
        format!("{text}\n{MARK}{} {}\n", self.verifier.name, STANDARD.encode(signature))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signer").field(&self.verifier).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // From the documentation of Go's package golang.org/x/mod/sumdb/note.
    const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const SECRET: &str = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    const TEXT: &str = "If you think cryptography is the answer to your problem,\n\
                        then you don't know what your problem is.\n";
    const NOTE: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\n\
        — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    fn published() -> Signer {
        let seed = STANDARD.decode(SECRET).expect("base64");
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed[1..]).expect("a key");
        Signer::new("PeterNeumann", pair).expect("a name")
    }

    fn key() -> Verifier {
        KEY.parse().expect("a key")
    }

    #[test]
    fn a_published_note_is_read_and_written() {
        assert_eq!(key().to_string(), KEY);
        assert_eq!(published().verifier(), &key());
        assert_eq!(published().sign(TEXT), NOTE);
        assert_eq!(Verifier::open(&[key()], NOTE), Ok((TEXT, &key())));
    }

    #[test]
    fn a_note_is_believed_by_its_key_alone() {
        let other = Signer::from_pem("log", &Signer::generate().expect("a key")).expect("a key");
        let opened = Verifier::open(std::slice::from_ref(other.verifier()), NOTE);
        assert_eq!(opened, Err(NoteError::OtherKey("PeterNeumann".to_owned())));
        let changed = NOTE.replace("cryptography", "Cryptography");
        let wrong = Err(NoteError::BadSignature("PeterNeumann".to_owned()));
        assert_eq!(Verifier::open(&[key()], &changed), wrong);
        // One more signature takes nothing away, and a wrong one is not made up for by a good one.
        let both = other.sign(TEXT) + NOTE.rsplit_once("\n\n").expect("two parts").1;
        assert!(Verifier::open(&[key()], &both).is_ok());
        let good = both.replace("cryptography", "Cryptography");
        let keys = [other.verifier().clone(), key()];
        assert!(matches!(Verifier::open(&keys, &good), Err(NoteError::BadSignature(_))));
    }

    #[test]
    fn what_is_no_note_is_refused() {
        let signature = NOTE.rsplit_once("\n\n").expect("two parts").1;
        for bad in [
            "",
            "text",
            "text\n",
            "text\n\n",
            signature,
            TEXT,
            NOTE.trim_end(),
            &NOTE.replace("— ", "- "),
            &NOTE.replace("AM=\n", "\n"),
            &NOTE.replace('\n', "\r\n"),
            &NOTE.replace("think", "th\u{7}nk"),
            &format!("{NOTE}more\n"),
            &format!("\n\n{signature}"),
        ] {
            assert_eq!(Verifier::open(&[key()], bad), Err(NoteError::Malformed), "{bad:?}");
        }
    }

    #[test]
    fn keys_that_are_none_are_refused() {
        for (bad, why) in [
            ("", KeyError::Verifier),
            ("name", KeyError::Verifier),
            ("name+00000000", KeyError::Verifier),
            ("name+00000000+AQ==", KeyError::Verifier),
            ("name+00000000+*", KeyError::Verifier),
            (&KEY.replace("+ARpc", "+AhpC"), KeyError::Verifier),
            (&KEY.replace("Peter", "Paul"), KeyError::Hash),
            (&KEY.replace("c74f20a3", "C74F20A3"), KeyError::Hash),
            (&KEY.replace("Peter", "Peter "), KeyError::Name),
        ] {
            assert_eq!(bad.parse::<Verifier>(), Err(why), "{bad}");
        }
        let pem = Signer::generate().expect("a key");
        for (name, pem, why) in [
            ("", &*pem, KeyError::Name),
            ("a b", &pem, KeyError::Name),
            ("a+b", &pem, KeyError::Name),
            ("log", "", KeyError::Pem),
            ("log", &pem.replace("PRIVATE", "PUBLIC"), KeyError::Pem),
            ("log", &pem.replace('M', "L"), KeyError::Pem),
        ] {
            assert_eq!(Signer::from_pem(name, pem).map(drop), Err(why), "{name:?} {pem}");
        }
    }

    #[test]
    fn a_key_that_openssl_made_is_taken() {
        // Without the public half. The key of RFC 8410, section 10.3.
        let pem = "-----BEGIN PRIVATE KEY-----\n\
                   MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
                   -----END PRIVATE KEY-----\n";
        let signer = Signer::from_pem("log", pem).expect("a key");
        // Section 10.1 has its public half.
        let public = STANDARD.decode("Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=");
        assert_eq!(signer.verifier().key.as_slice(), public.expect("base64"));
        let note = signer.sign("text\n");
        assert!(Verifier::open(std::slice::from_ref(signer.verifier()), &note).is_ok());
    }

    #[test]
    fn notes_stand_one_after_the_other() {
        let two = [published().sign("one\n"), published().sign("two\n\nparagraphs\n")];
        for separator in ["", "\n", "\n\n\n"] {
            let file = two.join(separator) + separator;
            assert_eq!(notes(&file).collect::<Vec<_>>(), two);
        }
        assert_eq!(notes("\n\n").count(), 0);
        let cut = &(two[0].clone() + &two[1])[..two[0].len() + 5];
        assert_eq!(notes(cut).collect::<Vec<_>>(), [&two[0], "two\n\n"]);
    }
}
