//! The log with what is sealed in it opened.

use std::sync::Arc;

use async_trait::async_trait;
use verbatim_domain::StreamId;
use verbatim_journal::{Error, Log};
use verbatim_keys::{Shown, Vault};
use verbatim_protocol::{JournalId, Recorded};

/// A log whose messages can be read: they are shown as if they had never been sealed. What was erased
/// stays sealed. A key that is missing, though nobody destroyed it, is an error: what can't be read
/// must not pass for erased.
pub struct OpenedLog {
    log: Arc<dyn Log>,
    keys: Arc<Vault>,
}

impl OpenedLog {
    pub fn new(log: Arc<dyn Log>, keys: Arc<Vault>) -> Self {
        Self { log, keys }
    }

    async fn open(&self, events: Vec<Arc<Recorded>>) -> Result<Vec<Arc<Recorded>>, Error> {
        let mut shown: Vec<_> = events.into_iter().map(Shown::from).collect();
        self.keys.open_all(&mut shown).await.map_err(|error| match error {
            verbatim_keys::Error::Unavailable(_) => Error::Unavailable(Box::new(error)),
            other => Error::Corrupt(other.to_string()),
        })?;
        if let Some(unreadable) = shown.iter().find(|shown| shown.is_unreadable()) {
            return Err(Error::Corrupt(format!(
                "the key store lacks the key of the message at position {}",
                unreadable.recorded.position
            )));
        }
        Ok(shown.into_iter().map(|shown| shown.recorded).collect())
    }
}

#[async_trait]
impl Log for OpenedLog {
    fn id(&self) -> JournalId {
        self.log.id()
    }

    async fn head(&self) -> Result<u64, Error> {
        self.log.head().await
    }

    async fn read_after(&self, after: u64, limit: usize) -> Result<Vec<Arc<Recorded>>, Error> {
        self.open(self.log.read_after(after, limit).await?).await
    }

    async fn read_stream(
        &self,
        stream: &StreamId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Arc<Recorded>>, Error> {
        self.open(self.log.read_stream(stream, after, limit).await?).await
    }
}

#[cfg(test)]
mod tests {
    use verbatim_domain::conversation::PersonalMessage;
    use verbatim_domain::{ConversationEvent, Event, Personal};
    use verbatim_keys::Context;
    use verbatim_keys::memory::MemoryKeys;

    use super::*;
    use crate::testing::{Fixed, of, said, user};

    async fn sealed(keys: &Vault, conversation: &str, text: &str) -> ConversationEvent {
        let mut event = said(1, "ann");
        let ConversationEvent::MessageSent(sent) = &mut event else { panic!("something was said") };
        let id = conversation.parse().expect("an id");
        let key = keys.in_use(&sent.sender_id).await.expect("a key");
        let place = Context { conversation: &id, sender: &sent.sender_id };
        let sealed = key.seal(&PersonalMessage::text(text), place).expect("sealed");
        sent.personal = Personal::Sealed(sealed);
        event
    }

    fn content(recorded: &Recorded) -> Option<&str> {
        match &recorded.event {
            Event::Conversation(ConversationEvent::MessageSent(sent)) => {
                sent.personal.plain().map(|said| &*said.content)
            }
            _ => None,
        }
    }

    #[tokio::test]
    async fn what_is_sealed_is_read_and_what_was_erased_is_not() {
        let keys = MemoryKeys::vault();
        let mut log = Fixed::default();
        log.add(of("c"), sealed(&keys, "c", "Hello!").await).add(of("c"), said(2, "bob"));
        let log: Arc<dyn Log> = Arc::new(log);
        let opened = OpenedLog::new(log.clone(), keys.clone());
        let read = opened.read_after(0, 10).await.expect("events");
        assert_eq!(content(&read[0]), Some("Hello!"));
        assert_eq!(read[0].event.event_version(), "1", "as if it had never been sealed");
        assert_eq!(read[1], log.read_after(1, 1).await.expect("events")[0]);

        let ids: Vec<_> = keys
            .store()
            .of_subject(&user("ann"))
            .await
            .expect("keys")
            .into_iter()
            .map(|key| key.id)
            .collect();
        keys.destroy(&user("ann"), &ids).await.expect("destroyed");
        let read = opened.read_stream(&of("c"), 0, 10).await.expect("events");
        assert_eq!(read, log.read_stream(&of("c"), 0, 10).await.expect("events"), "still sealed");

        // Without the store that it was sealed with, nobody can say that it was erased.
        let other = OpenedLog::new(log, MemoryKeys::vault());
        let error = other.read_after(0, 10).await.expect_err("no key").to_string();
        assert!(error.contains("lacks the key of the message at position 1"), "{error}");
    }
}
