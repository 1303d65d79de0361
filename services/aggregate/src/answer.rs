//! What a command's sender is told.

use std::sync::Arc;

use futures::{StreamExt, stream};
use verbatim_domain::{
    ConversationCommand, ConversationEvent, ConversationId, Event, InboxCommand, InboxEvent,
    Personal,
    conversation::{MessageSent, SendMessage},
};
use verbatim_journal::{Error, Journal};
use verbatim_protocol::command::CommittedMessage;
use verbatim_protocol::{Command, CommandKey, Committed, ErrorCode, Failure, Recorded, Reply};

use crate::metrics::Metrics;
use crate::pending::Pending;

/// Keys looked for at once.
const LOOK_UPS: usize = 16;

/// When to try again after the journal gave no answer.
const RETRY_AFTER_MS: u64 = 1_000;

/// The answer to a command whose events were committed just now.
pub(crate) fn committed(command: &Command, last: &Recorded) -> Committed {
    Committed { position: last.position, duplicate: false, message: message(command, last) }
}

/// The answer to a command whose key the journal knows: by its own events, or by another's.
pub(crate) fn found(pending: &Pending, original: &Recorded) -> Reply {
    let command = &pending.envelope.command;
    if original.metadata == pending.metadata {
        return Ok(committed(command, original));
    }
    if original.stream == pending.stream && is_alike(command, &original.event) {
        let message = message(command, original);
        return Ok(Committed { position: original.position, duplicate: true, message });
    }
    Err(Failure::new(
        ErrorCode::IdempotencyConflict,
        "This clientMessageId was used for something else",
    ))
}

/// The answer to a command that asks for what is so already. `position` is one at which it was.
pub(crate) fn settled(position: u64) -> Committed {
    Committed { position, duplicate: true, message: None }
}

pub(crate) fn unavailable() -> Reply {
    Err(Failure::unavailable("The event store is unavailable").retry_after(RETRY_AFTER_MS))
}

/// Whether the command could have brought about the event, apart from what it was decided on.
fn is_alike(command: &Command, event: &Event) -> bool {
    use ConversationCommand as C;
    use ConversationEvent as E;
    match (command, event) {
        (
            Command::Conversation { command: C::SendMessage(command), .. },
            Event::Conversation(E::MessageSent(event)),
        ) => says_the_same(command, event),
        (Command::Conversation { command, .. }, Event::Conversation(event)) => matches!(
            (command, event),
            (C::CreateGroup(_), E::MemberJoined(_)) | (C::MarkRead(_), E::ConversationRead(_))
        ),
        (Command::Inbox { command, .. }, Event::Inbox(event)) => matches!(
            (command, event),
            (InboxCommand::Notify(_), InboxEvent::NotificationCreated(_))
                | (InboxCommand::ReadNotifications(_), InboxEvent::NotificationRead(_))
                | (InboxCommand::AdvanceDelivery(_), InboxEvent::DeliveryAdvanced(_))
        ),
        (Command::Erasures { .. }, Event::Erasures(_))
        | (Command::Connections { .. }, Event::Connections(_)) => true,
        _ => false,
    }
}

/// What is sealed can't be compared here: whoever asked opens it, and compares.
fn says_the_same(command: &SendMessage, event: &MessageSent) -> bool {
    let alike = match (&command.personal, &event.personal) {
        (Personal::Plain(one), Personal::Plain(other)) => one.says_as(other),
        _ => true,
    };
    command.author.user_id == event.sender_id && alike
}

fn message(command: &Command, recorded: &Recorded) -> Option<CommittedMessage> {
    let Command::Conversation { id, command: ConversationCommand::SendMessage(_) } = command else {
        return None;
    };
    let Event::Conversation(ConversationEvent::MessageSent(sent)) = &recorded.event else {
        return None;
    };
    Some(CommittedMessage {
        conversation_id: ConversationId::clone(id),
        position: recorded.position,
        recorded_at: recorded.recorded_at,
        sent: sent.clone(),
    })
}

/// What an answer still hangs on, once all that the decision was based on is committed.
#[derive(Debug)]
pub(crate) enum Question {
    /// At which position is what the command asks for so? At the head, in any case.
    Head,
    /// Was the rejected command carried out before? Then the original's answer stands.
    Rejected(Failure),
    /// What was the original of this repeated command? There is one: keys are remembered once what
    /// used them is committed.
    Repeated,
}

/// Answers what needs another look at the journal.
pub(crate) async fn after_look_up(
    journal: Arc<dyn Journal>,
    questions: Vec<(Pending, Question)>,
    metrics: Arc<Metrics>,
) {
    let heads = questions.iter().any(|(_, question)| matches!(question, Question::Head));
    let head = if heads { journal.head().await.ok() } else { None };
    let keys: Vec<CommandKey> = questions
        .iter()
        .filter(|(_, question)| !matches!(question, Question::Head))
        .map(|(pending, _)| pending.key().clone())
        .collect();
    let mut originals = look_up(&*journal, keys);
    for (pending, question) in questions {
        let original = match question {
            Question::Head => {
                let reply = head.map_or_else(unavailable, |head| Ok(settled(head)));
                pending.answer(reply, &metrics);
                continue;
            }
            Question::Rejected(_) | Question::Repeated => originals.next().await,
        };
        let reply = match (original, question) {
            (Some(Ok(Some(original))), _) => found(&pending, &original),
            (Some(Ok(None)), Question::Rejected(failure)) => Err(failure),
            _ => unavailable(),
        };
        pending.answer(reply, &metrics);
    }
}

/// Looks for keys, some at a time; results come in the order of the keys.
pub(crate) fn look_up(
    journal: &dyn Journal,
    keys: Vec<CommandKey>,
) -> impl stream::Stream<Item = Result<Option<Arc<Recorded>>, Error>> + Unpin {
    let look_ups = stream::iter(keys).map(async move |key| journal.find_by_key(&key).await);
    Box::pin(look_ups.buffered(LOOK_UPS))
}
