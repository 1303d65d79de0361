//! What has a sealed part, on its way to those who read it.

use std::sync::Arc;

use verbatim_domain::conversation::MessageSent;
use verbatim_domain::{ConversationEvent, ConversationId, Event, Personal, Sealed};
use verbatim_protocol::Recorded;
use verbatim_protocol::client::{Conversation, Message, Notification, Unreadable};

use crate::{Context, Opened};

/// Something with a sealed part.
pub trait Content: Send {
    fn sealed(&self) -> Option<&Sealed>;

    /// Where it was said; asked only while something is sealed.
    fn place(&self) -> Context<'_>;

    fn show(&mut self, opened: Opened);
}

impl Content for Message {
    fn sealed(&self) -> Option<&Sealed> {
        self.sealed.as_ref()
    }

    fn place(&self) -> Context<'_> {
        Context { conversation: &self.conversation_id, sender: &self.sender_id }
    }

    fn show(&mut self, opened: Opened) {
        self.sealed = None;
        match opened {
            Opened::Read(said) => self.say(said),
            Opened::Erased => self.unreadable = Some(Unreadable::Erased),
            Opened::Unreadable => self.unreadable = Some(Unreadable::KeyMissing),
        }
    }
}

impl Content for Notification {
    fn sealed(&self) -> Option<&Sealed> {
        self.sealed.as_ref()
    }

    fn place(&self) -> Context<'_> {
        Context { conversation: &self.conversation_id, sender: &self.sender_id }
    }

    fn show(&mut self, opened: Opened) {
        self.sealed = None;
        match opened {
            Opened::Read(said) => {
                Notification::excerpt(&said.content).clone_into(&mut self.content);
                self.sender_info.email = said.email;
            }
            Opened::Erased => self.unreadable = Some(Unreadable::Erased),
            Opened::Unreadable => self.unreadable = Some(Unreadable::KeyMissing),
        }
    }
}

impl Content for Conversation {
    fn sealed(&self) -> Option<&Sealed> {
        self.last_message.as_ref().and_then(Content::sealed)
    }

    fn place(&self) -> Context<'_> {
        self.last_message.as_ref().expect("something of it is sealed").place()
    }

    fn show(&mut self, opened: Opened) {
        if let Some(message) = &mut self.last_message {
            message.show(opened);
        }
    }
}

/// An event on its way to somebody who reads it. What can't be read stays sealed.
pub struct Shown {
    pub recorded: Arc<Recorded>,
    conversation: Option<ConversationId>,
    is_unreadable: bool,
}

impl Shown {
    /// Whether it can't be read, though nobody has erased it.
    #[must_use]
    pub fn is_unreadable(&self) -> bool {
        self.is_unreadable
    }
}

impl From<Arc<Recorded>> for Shown {
    fn from(recorded: Arc<Recorded>) -> Self {
        let conversation = sent(&recorded).and_then(|_| recorded.stream.aggregate_id.parse().ok());
        Self { recorded, conversation, is_unreadable: false }
    }
}

fn sent(recorded: &Recorded) -> Option<&MessageSent> {
    match &recorded.event {
        Event::Conversation(ConversationEvent::MessageSent(sent)) => Some(sent),
        _ => None,
    }
}

impl Content for Shown {
    fn sealed(&self) -> Option<&Sealed> {
        self.conversation.as_ref()?;
        match &sent(&self.recorded)?.personal {
            Personal::Sealed(sealed) => Some(sealed),
            Personal::Plain(_) => None,
        }
    }

    fn place(&self) -> Context<'_> {
        let place = self.conversation.as_ref().zip(sent(&self.recorded));
        let (conversation, sent) = place.expect("something of it is sealed");
        Context { conversation, sender: &sent.sender_id }
    }

    fn show(&mut self, opened: Opened) {
        self.is_unreadable = opened == Opened::Unreadable;
        let Opened::Read(said) = opened else { return };
        let recorded = Arc::make_mut(&mut self.recorded);
        if let Event::Conversation(ConversationEvent::MessageSent(sent)) = &mut recorded.event {
            sent.personal = Personal::Plain(said);
            recorded.original = None;
        }
    }
}
