//! The way back from who handles a command to who gave it.

use std::sync::Arc;

use async_nats::{HeaderMap, Subject};
use verbatim_protocol::command::COMMAND_DEADLINE_MS;
use verbatim_protocol::{Failure, Reply, Timestamp};

use super::lanes::Following;
use super::outgoing::{Outgoing, Publisher};
use super::waiting::remaining;
use crate::refusal::unavailable;

#[derive(Debug, Clone)]
pub(super) struct Replies(Publisher);

impl Replies {
    pub(super) fn new(publisher: Publisher) -> Self {
        Self(publisher)
    }

    /// Answers a command that is given out and that nobody here can read: a newer process may.
    pub(super) fn refuse(&self, subject: Option<Subject>) {
        let deadline = Timestamp(Timestamp::now().0 + COMMAND_DEADLINE_MS as i64);
        let refusal = Err(unavailable("The command is of another version"));
        self.to(subject, deadline, None)(refusal);
    }

    /// What answers a command that is given out now.
    pub(super) fn to(
        &self,
        subject: Option<Subject>,
        deadline: Timestamp,
        following: Option<Arc<Following>>,
    ) -> Box<dyn FnOnce(Reply) + Send> {
        let pending = subject.map(|subject| Pending {
            subject: Some(subject),
            deadline,
            following,
            replies: self.clone(),
        });
        Box::new(move |reply| {
            if let Some(mut pending) = pending {
                pending.answer(&reply);
            }
        })
    }
}

/// A command that was given out and is not answered yet.
struct Pending {
    /// `None` once answered.
    subject: Option<Subject>,
    deadline: Timestamp,
    following: Option<Arc<Following>>,
    replies: Replies,
}

impl Pending {
    fn answer(&mut self, reply: &Reply) {
        let Some(subject) = self.subject.take() else { return };
        // Past the deadline nobody waits.
        let Some(deadline) = remaining(self.deadline) else { return };
        let payload = match serde_json::to_vec(reply) {
            Ok(payload) => payload,
            Err(error) => {
                tracing::error!(%error, "a reply can't be written");
                serde_json::to_vec(&Reply::Err(Failure::internal())).unwrap_or_default()
            }
        };
        let outgoing = Outgoing {
            subject,
            answer_to: None,
            headers: HeaderMap::new(),
            payload: payload.into(),
            deadline,
        };
        if self.replies.0.publish(outgoing).is_err() {
            self.replies.0.count_dropped();
        }
    }
}

impl Drop for Pending {
    /// Who drops a command unanswered is done with it, unless the lane was left: then its next owner
    /// finds the command behind the cursor, and the answer is that one's to give.
    fn drop(&mut self) {
        if self.following.as_ref().is_some_and(|following| !following.is_left()) {
            self.answer(&Err(unavailable("The command was not handled")));
        }
    }
}
