//! The way back from who handles a command to who gave it.
//!
//! Replies to the same process that wait at the same time, such as those to all commands of one commit,
//! go as one message: a line for each, the command's number and the reply.

use std::sync::Arc;

use async_nats::Subject;
use verbatim_protocol::command::COMMAND_DEADLINE_MS;
use verbatim_protocol::{Failure, Reply, Timestamp};

use super::lanes::Following;
use super::outgoing::{Message, Outgoing, Packing, Publisher};
use super::waiting::remaining;
use super::{subjects, wire};
use crate::refusal::unavailable;

/// The most replies in one message.
const MOST: usize = 512;

#[derive(Debug, Clone)]
pub(super) struct Replies(Publisher);

/// Where a command's reply goes.
#[derive(Debug, Clone)]
pub(super) struct ReplyTo {
    pub(super) inbox: Subject,
    pub(super) number: u64,
}

/// How replies to the same process become one message.
pub(super) fn packing() -> Packing {
    let pack = |replies: &[Outgoing]| {
        let inbox = &replies[0].to;
        if let [reply] = replies {
            let subject = subjects::reply(inbox, reply.number);
            return Message { subject, answered: None, payload: reply.payload.clone() };
        }
        let mut lines = Vec::new();
        for reply in replies {
            lines.extend_from_slice(reply.number.to_string().as_bytes());
            lines.extend_from_slice(b" ");
            lines.extend_from_slice(&reply.payload);
            lines.extend_from_slice(b"\n");
        }
        Message { subject: subjects::replies(inbox), answered: None, payload: lines.into() }
    };
    Packing { most: MOST, pack: Box::new(pack) }
}

/// The replies of such a message, each with its command's number.
pub(super) fn unpack(lines: &[u8]) -> impl Iterator<Item = Result<(u64, Reply), String>> {
    lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(|line| {
        let space = line.iter().position(|byte| *byte == b' ').ok_or("no number")?;
        let number =
            std::str::from_utf8(&line[..space]).ok().and_then(|number| number.parse().ok());
        let reply = serde_json::from_slice(&line[space + 1..]).map_err(wire::where_only)?;
        Ok((number.ok_or("no number")?, reply))
    })
}

impl Replies {
    pub(super) fn new(publisher: Publisher) -> Self {
        Self(publisher)
    }

    /// Answers a command that is given out and that nobody here can read: a newer process may.
    pub(super) fn refuse(&self, reply_to: Option<ReplyTo>) {
        let deadline = Timestamp(Timestamp::now().0 + COMMAND_DEADLINE_MS as i64);
        let refusal = Err(unavailable("The command is of another version"));
        self.to(reply_to, deadline, None)(refusal);
    }

    /// What answers a command that is given out now.
    pub(super) fn to(
        &self,
        reply_to: Option<ReplyTo>,
        deadline: Timestamp,
        following: Option<Arc<Following>>,
    ) -> Box<dyn FnOnce(Reply) + Send> {
        let pending = reply_to.map(|reply_to| Pending {
            reply_to: Some(reply_to),
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
    reply_to: Option<ReplyTo>,
    deadline: Timestamp,
    following: Option<Arc<Following>>,
    replies: Replies,
}

impl Pending {
    fn answer(&mut self, reply: &Reply) {
        let Some(ReplyTo { inbox, number }) = self.reply_to.take() else { return };
        // Past the deadline nobody waits.
        let Some(deadline) = remaining(self.deadline) else { return };
        let payload = match serde_json::to_vec(reply) {
            Ok(payload) => payload,
            Err(error) => {
                tracing::error!(%error, "a reply can't be written");
                serde_json::to_vec(&Reply::Err(Failure::internal())).unwrap_or_default()
            }
        };
        let outgoing = Outgoing { to: inbox, number, payload: payload.into(), deadline };
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

#[cfg(test)]
mod tests {
    use tokio::time::Instant;
    use verbatim_protocol::Committed;

    use super::*;

    fn reply(number: u64) -> Outgoing {
        let reply: Reply = Err(unavailable(&format!("a\nb {number}")));
        Outgoing {
            to: "inbox".into(),
            number,
            payload: serde_json::to_vec(&reply).expect("it can be written").into(),
            deadline: Instant::now(),
        }
    }

    #[test]
    fn several_replies_are_a_line_each() {
        let Packing { pack, .. } = packing();
        let Message { subject, payload, .. } = pack(&[reply(7), reply(9), reply(8)]);
        assert_eq!(subject.as_str(), "inbox.many");
        let numbers: Vec<_> = unpack(&payload)
            .map(|answer| {
                let (number, reply) = answer.expect("it can be read");
                let message = reply.expect_err("a refusal").message;
                assert!(message.ends_with(&format!(" {number}")), "{message}");
                number
            })
            .collect();
        assert_eq!(numbers, [7, 9, 8]);
    }

    #[test]
    fn one_reply_goes_as_it_is() {
        let Packing { pack, .. } = packing();
        let Message { subject, payload, .. } = pack(&[reply(7)]);
        assert_eq!((subject.as_str(), payload), ("inbox.7", reply(7).payload));
    }

    #[test]
    fn of_a_message_that_makes_no_sense_what_does_is_read() {
        let good = serde_json::to_string(&Reply::Ok(Committed {
            position: 3,
            duplicate: false,
            message: None,
        }))
        .expect("it can be written");
        let lines = format!("x {good}\n7\n8 {{\n-1 {good}\n\n 9\n5 {good}\n\n\u{1F980}");
        let read: Vec<_> = unpack(lines.as_bytes()).collect();
        let good: Vec<_> = read.iter().flatten().map(|(number, _)| *number).collect();
        assert_eq!((read.len(), good), (7, vec![5]));
        assert_eq!(unpack(b"").count(), 0);
        assert_eq!(unpack(b"\xff\xfe \xff").flatten().count(), 0);
    }
}
