//! The way back from who handles a command to who gave it.
//!
//! Replies to the same process that wait at the same time, such as those to all commands of one commit,
//! go as one message: a line for each, the command's number and the reply.

use std::sync::Arc;

use async_nats::{HeaderMap, Subject};
use bytes::BytesMut;
use tokio::time::Instant;
use verbatim_protocol::command::COMMAND_DEADLINE_MS;
use verbatim_protocol::{Failure, Reply, Timestamp};

use super::lanes::Following;
use super::outgoing::{Outgoing, Parcel, Publisher, Ticket};
use super::waiting::remaining;
use super::{subjects, wire};
use crate::refusal::unavailable;

/// The most bytes of replies in one message.
const LARGEST: usize = 256 << 10;

#[derive(Debug, Clone)]
pub(super) struct Replies(Publisher);

/// Puts replies together that go to the same process.
pub(super) fn pack(waiting: Vec<(Outgoing, Ticket)>, largest: usize) -> Vec<Parcel> {
    let mut bundles: Vec<Bundle> = Vec::new();
    for (reply, ticket) in waiting {
        let Some((inbox, number)) = subjects::reply_inbox(&reply.subject) else { continue };
        let line = number.len() + 1 + reply.payload.len() + 1;
        let has_room = |bundle: &&mut Bundle| {
            bundle.inbox == inbox && bundle.bytes + line <= largest.min(LARGEST)
        };
        let (inbox, number) = (inbox.to_owned(), number.to_owned());
        // The last of a process: replies keep their order.
        match bundles.iter_mut().rev().find(|bundle| bundle.inbox == inbox).filter(has_room) {
            Some(bundle) => {
                bundle.bytes += line;
                bundle.replies.push((number, reply));
                bundle.tickets.push(ticket);
            }
            None => bundles.push(Bundle {
                inbox,
                bytes: line,
                replies: vec![(number, reply)],
                tickets: vec![ticket],
            }),
        }
    }
    bundles.into_iter().map(Bundle::parcel).collect()
}

/// Replies to one process.
struct Bundle {
    inbox: String,
    bytes: usize,
    replies: Vec<(String, Outgoing)>,
    tickets: Vec<Ticket>,
}

impl Bundle {
    fn parcel(mut self) -> Parcel {
        let message = if self.replies.len() == 1 {
            self.replies.remove(0).1
        } else {
            let mut lines = BytesMut::with_capacity(self.bytes);
            let mut deadline = Instant::now();
            for (number, reply) in &self.replies {
                lines.extend_from_slice(number.as_bytes());
                lines.extend_from_slice(b" ");
                lines.extend_from_slice(&reply.payload);
                lines.extend_from_slice(b"\n");
                deadline = deadline.max(reply.deadline);
            }
            Outgoing {
                subject: subjects::replies(&self.inbox),
                answer_to: None,
                headers: HeaderMap::new(),
                payload: lines.freeze(),
                deadline,
            }
        };
        Parcel { message, tickets: self.tickets }
    }
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

#[cfg(test)]
mod tests {
    use verbatim_protocol::Committed;

    use super::*;
    use crate::nats::outgoing::Backlog;

    fn reply(inbox: &str, number: u64, text: &str) -> Outgoing {
        let reply: Reply = Err(unavailable(&format!("{text} {number}")));
        Outgoing {
            subject: format!("{inbox}.{number}").into(),
            answer_to: None,
            headers: HeaderMap::new(),
            payload: serde_json::to_vec(&reply).expect("it can be written").into(),
            deadline: Instant::now(),
        }
    }

    fn packed(replies: Vec<Outgoing>, largest: usize) -> Vec<Parcel> {
        let backlog = Backlog::default();
        let waiting: Vec<_> = replies.into_iter().map(|reply| (reply, backlog.enter())).collect();
        let (count, parcels) = (waiting.len(), pack(waiting, largest));
        assert_eq!(parcels.iter().map(|parcel| parcel.tickets.len()).sum::<usize>(), count);
        parcels
    }

    fn numbers(parcel: &Parcel) -> Vec<u64> {
        let answers = unpack(&parcel.message.payload);
        answers
            .map(|answer| {
                let (number, reply) = answer.expect("it can be read");
                let message = reply.expect_err("a refusal").message;
                assert!(message.ends_with(&format!(" {number}")), "{message}");
                number
            })
            .collect()
    }

    #[test]
    fn replies_to_one_process_go_together_and_in_order() {
        let replies =
            (1..=10).map(|n| reply(if n % 3 == 0 { "one" } else { "other" }, n, "a\nb")).collect();
        let parcels = packed(replies, 1 << 20);
        let subjects: Vec<_> =
            parcels.iter().map(|parcel| parcel.message.subject.as_str()).collect();
        assert_eq!(subjects, ["other.many", "one.many"]);
        assert_eq!(numbers(&parcels[0]), [1, 2, 4, 5, 7, 8, 10]);
        assert_eq!(numbers(&parcels[1]), [3, 6, 9]);
    }

    #[test]
    fn one_reply_goes_as_it_is() {
        let parcels = packed(vec![reply("one", 7, "x"), reply("other", 7, "x")], 1 << 20);
        let subjects: Vec<_> =
            parcels.iter().map(|parcel| parcel.message.subject.as_str()).collect();
        assert_eq!(subjects, ["one.7", "other.7"]);
        assert_eq!(parcels[0].message.payload, reply("one", 7, "x").payload);
    }

    #[test]
    fn no_message_is_larger_than_the_server_takes() {
        let line = reply("one", 1, "x").payload.len() + 3;
        let parcels = packed((1..=9).map(|n| reply("one", n, "x")).collect(), line * 2);
        assert!(parcels.iter().all(|parcel| parcel.message.payload.len() <= line * 2));
        let sizes: Vec<_> = parcels.iter().map(|parcel| parcel.tickets.len()).collect();
        assert_eq!(sizes, [2, 2, 2, 2, 1]);
        // What has no room for even one is the client's to refuse.
        assert_eq!(packed((1..=3).map(|n| reply("one", n, "x")).collect(), 4).len(), 3);
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
