//! What is said is sealed before it leaves the gateway, with its author's key.
//!
//! Mostly that key is at hand. Where it isn't, the author's commands wait for it, in their order; it
//! is made, if this is the first thing that they say.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::oneshot;
use uuid::Uuid;
use verbatim_domain::conversation::{Author, PersonalMessage, SendMessage};
use verbatim_domain::{
    ClientMessageId, ConversationCommand, ConversationId, MessageId, Personal, UserId,
};
use verbatim_keys::{Context, SubjectKey};
use verbatim_protocol::{Command, CommandKey, Failure, Reply};

use super::Core;

/// A message on its way, but for its content.
pub(super) struct Draft {
    pub command_id: Uuid,
    pub key: CommandKey,
    pub conversation: ConversationId,
    pub message_id: MessageId,
    pub author: Author,
    pub target: Option<UserId>,
    pub client_message_id: Option<ClientMessageId>,
}

/// What became of a send, and what was said.
pub(super) type Sent = (Reply, PersonalMessage);

/// Authors whose commands wait for a key.
#[derive(Default)]
pub(super) struct Waiting(Mutex<HashMap<UserId, VecDeque<Waiter>>>);

enum Waiter {
    Message {
        draft: Draft,
        said: PersonalMessage,
        answer: Turn<Sent>,
    },
    /// Something else, which needs no key.
    Other {
        command: Command,
        answer: Turn<Reply>,
    },
}

/// Gets what is to be waited for then, once it is on its way.
type Turn<T> = oneshot::Sender<BoxFuture<'static, T>>;

impl Waiting {
    fn authors(&self) -> MutexGuard<'_, HashMap<UserId, VecDeque<Waiter>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends what was said, sealed. Its place among what its author sends is settled when this returns.
pub(super) fn send(
    core: &Arc<Core>,
    draft: Draft,
    said: PersonalMessage,
) -> BoxFuture<'static, Sent> {
    let author = draft.author.user_id.clone();
    let (answer, answered) = oneshot::channel();
    {
        let mut authors = core.waiting.authors();
        if let Some(waiting) = authors.get_mut(&author) {
            waiting.push_back(Waiter::Message { draft, said, answer });
        } else if let Some(key) = core.ports.keys.at_hand(&author) {
            drop(authors);
            return sealed(core, &key, draft, said);
        } else {
            let first = Waiter::Message { draft, said, answer };
            authors.insert(author.clone(), VecDeque::from([first]));
            tokio::spawn(fetch(Arc::clone(core), author).boxed());
        }
    }
    async move {
        match answered.await {
            Ok(sent) => sent.await,
            Err(_) => (Err(Failure::internal()), PersonalMessage::text("")),
        }
    }
    .boxed()
}

/// Sends something else that a user asks for: behind what they have said before.
pub(super) fn send_behind(
    core: &Core,
    user: &UserId,
    command: Command,
) -> BoxFuture<'static, Reply> {
    let mut authors = core.waiting.authors();
    let Some(waiting) = authors.get_mut(user) else {
        drop(authors);
        return core.send(command);
    };
    let (answer, answered) = oneshot::channel();
    waiting.push_back(Waiter::Other { command, answer });
    async move {
        match answered.await {
            Ok(reply) => reply.await,
            Err(_) => Err(Failure::internal()),
        }
    }
    .boxed()
}

/// Has the author's key fetched, and sends what waits for it.
async fn fetch(core: Arc<Core>, author: UserId) {
    let key = core.ports.keys.in_use(&author).await;
    if let Err(error) = &key {
        tracing::warn!(%error, "a message can't be sealed");
    }
    loop {
        let next = {
            let mut authors = core.waiting.authors();
            let next = authors.get_mut(&author).and_then(VecDeque::pop_front);
            if next.is_none() {
                // Under the lock: from now on the key is at hand, or is fetched anew.
                authors.remove(&author);
            }
            next
        };
        // Whoever asked may be gone.
        match (next, &key) {
            (None, _) => return,
            (Some(Waiter::Message { draft, said, answer }), Ok(key)) => {
                drop(answer.send(sealed(&core, key, draft, said)));
            }
            (Some(Waiter::Message { said, answer, .. }), Err(_)) => {
                drop(answer.send(refused(said)));
            }
            (Some(Waiter::Other { command, answer }), _) => drop(answer.send(core.send(command))),
        }
    }
}

fn sealed(
    core: &Core,
    key: &SubjectKey,
    draft: Draft,
    said: PersonalMessage,
) -> BoxFuture<'static, Sent> {
    let Draft { command_id, key: command_key, conversation: id, .. } = draft;
    let place = Context { conversation: &id, sender: &draft.author.user_id };
    let personal = match key.seal(&said, place) {
        Ok(sealed) => Personal::Sealed(sealed),
        Err(error) => {
            tracing::error!(%error, "a message can't be sealed");
            return refused(said);
        }
    };
    let send = ConversationCommand::SendMessage(SendMessage {
        message_id: draft.message_id,
        author: draft.author,
        target: draft.target,
        client_message_id: draft.client_message_id,
        personal,
    });
    let command = Command::Conversation { id, command: send };
    let reply = core.send_as(command_id, command_key, command);
    reply.map(|reply| (reply, said)).boxed()
}

fn refused(said: PersonalMessage) -> BoxFuture<'static, Sent> {
    let failure = Failure::unavailable("The key store is unavailable");
    std::future::ready((Err(failure), said)).boxed()
}
