//! Marks that clients move forward themselves, one a user and second.
//!
//! A client may acknowledge each message on its own; each would be an event. So while a user's last
//! mark is younger than a second, the highest later one waits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use verbatim_domain::inbox::{AdvanceDelivery, DeliveryOutcome};
use verbatim_domain::{InboxCommand, UserId};
use verbatim_protocol::{Command, Failure};

use super::Core;

/// How long after a mark the user's next one is sent.
const INTERVAL: Duration = Duration::from_secs(1);

/// The users whose last mark is younger than [`INTERVAL`], and the mark that each has waiting. A
/// user is in here exactly while a task looks after them, which ends by itself.
#[derive(Default)]
pub(super) struct Acks {
    waiting: Mutex<HashMap<UserId, Option<Mark>>>,
}

struct Mark {
    through: u64,
    settled: oneshot::Sender<Result<(), Failure>>,
}

impl Acks {
    fn waiting(&self) -> MutexGuard<'_, HashMap<UserId, Option<Mark>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a mark in line. If there is no task that will take it, gives it back.
    fn wait(&self, user: &UserId, mark: Mark) -> Option<Mark> {
        let mut waiting = self.waiting();
        let Some(place) = waiting.get_mut(user) else {
            waiting.insert(user.clone(), None);
            return Some(mark);
        };
        let through = match place.take() {
            Some(earlier) => {
                // What the client said since covers it; only the last word needs to be waited for.
                let _ = earlier.settled.send(Ok(()));
                earlier.through.max(mark.through)
            }
            None => mark.through,
        };
        *place = Some(Mark { through, ..mark });
        None
    }

    /// The user's waiting mark; without one, the user is forgotten.
    fn next(&self, user: &UserId) -> Option<Mark> {
        let mut waiting = self.waiting();
        let next = waiting.get_mut(user).and_then(Option::take);
        if next.is_none() {
            waiting.remove(user);
        }
        next
    }
}

/// Moves a user's mark to `through`, or further if they say so meanwhile. Resolves once that is
/// stored, or a later mark of the user's has taken this one's place.
pub(super) async fn acknowledge(
    core: &Arc<Core>,
    user: &UserId,
    through: u64,
) -> Result<(), Failure> {
    let (settled, outcome) = oneshot::channel();
    if let Some(first) = core.acks.wait(user, Mark { through, settled }) {
        tokio::spawn(look_after(Arc::clone(core), user.clone(), first));
    }
    outcome.await.unwrap_or_else(|_| Err(Failure::unavailable("The server is shutting down")))
}

async fn look_after(core: Arc<Core>, user: UserId, first: Mark) {
    let mut next = Some(first);
    while let Some(mark) = next {
        let command = InboxCommand::AdvanceDelivery(AdvanceDelivery {
            through: mark.through,
            outcome: DeliveryOutcome::Acknowledged,
        });
        let reply = core.send(Command::Inbox { user: user.clone(), command }).await;
        // Whoever asked may have gone; the mark is moved all the same.
        let _ = mark.settled.send(reply.map(|_| ()));
        tokio::time::sleep(INTERVAL).await;
        next = core.acks.next(&user);
    }
}
