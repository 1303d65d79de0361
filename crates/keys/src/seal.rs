//! Sealing and opening what one user said.

use std::fmt;

use aws_lc_rs::aead::LessSafeKey;
use verbatim_domain::conversation::PersonalMessage;
use verbatim_domain::{Ciphertext, ConversationId, KeyId, Sealed, UserId};

use crate::{Error, master};

/// A user's key, ready for use.
pub struct SubjectKey {
    pub(crate) id: KeyId,
    pub(crate) subject: UserId,
    pub(crate) key: LessSafeKey,
}

/// Where something was said, and by whom: what was sealed for one place can't be passed off as said
/// in another.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pub conversation: &'a ConversationId,
    pub sender: &'a UserId,
}

/// What was sealed, or why it can't be read.
#[derive(Debug, Clone, PartialEq)]
pub enum Opened {
    Read(PersonalMessage),
    /// Its key was destroyed.
    Erased,
    /// The store never had its key, or it was changed since.
    Unreadable,
}

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubjectKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Context<'_> {
    fn bytes(&self) -> Vec<u8> {
        [
            b"message\0",
            self.conversation.as_str().as_bytes(),
            b"\0",
            self.sender.as_str().as_bytes(),
        ]
        .concat()
    }
}

impl SubjectKey {
    /// Seals what was said in a place.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn seal(&self, said: &PersonalMessage, place: Context<'_>) -> Result<Sealed, Error> {
        let plain =
            serde_json::to_vec(said).map_err(|error| Error::Unavailable(Box::new(error)))?;
        let sealed = master::seal(&self.key, &place.bytes(), plain)?;
        Ok(Sealed { key: self.id, sealed: Ciphertext(sealed) })
    }

    pub(crate) fn open(&self, sealed: &Sealed, place: Context<'_>) -> Opened {
        let plain = master::open(&self.key, &place.bytes(), &sealed.sealed.0);
        plain
            .and_then(|plain| serde_json::from_slice(&plain).ok())
            .map_or(Opened::Unreadable, Opened::Read)
    }
}
