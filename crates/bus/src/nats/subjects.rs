//! The names of everything on the server.

use async_nats::Subject;
use verbatim_domain::LANES;

/// The header of commands that says where their replies go.
pub(super) const REPLY_TO: &str = "Verbatim-Reply";

/// What stands between a process's inbox and the number of a command.
const REPLY: &str = "command.reply";
const ACK: &str = "command.ack";
/// What stands in place of the number where replies to several commands are one message.
const MANY: &str = "many";

#[derive(Debug)]
pub(super) struct Subjects {
    prefix: String,
    inbox: String,
    commands: Vec<Subject>,
}

/// What a message to the process's own inbox answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answers {
    /// The stream took the commands of these numbers, or refused them.
    Stored(Vec<u64>),
    /// The command of this number is settled.
    Settled(u64),
    /// Those are that its lines name.
    SettledMany,
}

impl Subjects {
    pub(super) fn new(prefix: &str, role: &str) -> Self {
        // Not to be guessed, so that nobody who may publish replies answers for somebody else.
        let inbox = format!("{prefix}.replies.{role}.{:032x}", rand::random::<u128>());
        let commands = (0..LANES).map(|lane| format!("{prefix}.commands.{lane}").into()).collect();
        Self { prefix: prefix.to_owned(), inbox, commands }
    }

    pub(super) fn stream(&self) -> String {
        format!("{}_COMMANDS", self.prefix.to_uppercase().replace('.', "_"))
    }

    pub(super) fn all_commands(&self) -> String {
        format!("{}.commands.*", self.prefix)
    }

    pub(super) fn command(&self, lane: u16) -> Subject {
        self.commands[usize::from(lane)].clone()
    }

    pub(super) fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    /// Nobody serves it.
    pub(super) fn round_trip(&self) -> String {
        format!("{}.roundtrip", self.prefix)
    }

    /// What all of this process's inboxes begin with.
    pub(super) fn inbox(&self) -> &str {
        &self.inbox
    }

    pub(super) fn answers(&self) -> String {
        format!("{}.command.*.*", self.inbox)
    }

    /// Where the server says whether it has stored the commands of these numbers.
    pub(super) fn ack(&self, numbers: &[u64]) -> Subject {
        format!("{}.{ACK}.{}", self.inbox, listed(numbers)).into()
    }

    /// Where the replies go to the commands of these numbers.
    pub(super) fn replies(&self, numbers: &[u64]) -> String {
        format!("{}.{REPLY}.{}", self.inbox, listed(numbers))
    }

    /// Where a lane's commands are delivered to; another for each consumer.
    pub(super) fn lane(&self, lane: u16, consumer: u64) -> String {
        format!("{}.lane.{lane}.{consumer}", self.inbox)
    }

    pub(super) fn parse_answer(&self, subject: &str) -> Option<Answers> {
        let name = subject.strip_prefix(&self.inbox)?.strip_prefix('.')?;
        let (kind, number) = name.rsplit_once('.')?;
        if (kind, number) == (REPLY, MANY) {
            return Some(Answers::SettledMany);
        }
        match kind {
            ACK => Some(Answers::Stored(unlisted(number)?)),
            REPLY => Some(Answers::Settled(number.parse().ok()?)),
            _ => None,
        }
    }

    /// Where replies go by what a command's header says, and the commands' numbers: that header is not to
    /// be trusted with any other subject.
    pub(super) fn reply_inbox(&self, subject: &str) -> Option<(Subject, Vec<u64>)> {
        let token = |token: &str| {
            !token.is_empty()
                && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        let (inbox, numbers) = subject.rsplit_once('.')?;
        let name = inbox.strip_prefix(&self.prefix)?.strip_prefix(".replies.")?;
        let tokens: Vec<_> = name.split('.').collect();
        match *tokens {
            [role, id, "command", "reply"] if token(role) && token(id) => {
                Some((inbox.into(), unlisted(numbers)?))
            }
            _ => None,
        }
    }
}

fn listed(numbers: &[u64]) -> String {
    let numbers: Vec<_> = numbers.iter().map(u64::to_string).collect();
    numbers.join("-")
}

fn unlisted(numbers: &str) -> Option<Vec<u64>> {
    numbers.split('-').map(|number| number.parse().ok()).collect()
}

/// Where the reply to a process's command goes.
pub(super) fn reply(inbox: &str, number: u64) -> Subject {
    format!("{inbox}.{number}").into()
}

/// Where replies to several commands of a process go.
pub(super) fn replies(inbox: &str) -> Subject {
    format!("{inbox}.{MANY}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart_by_kind_and_number() {
        let subjects = Subjects::new("verbatim", "gateway");
        for numbers in [&[7][..], &[7, 9, 8]] {
            let stored = Some(Answers::Stored(numbers.to_vec()));
            assert_eq!(subjects.parse_answer(&subjects.ack(numbers)), stored);
            let (inbox, found) = subjects.reply_inbox(&subjects.replies(numbers)).expect("ours");
            assert_eq!(found, numbers);
            assert_eq!(subjects.parse_answer(&reply(&inbox, 8)), Some(Answers::Settled(8)));
            assert_eq!(subjects.parse_answer(&replies(&inbox)), Some(Answers::SettledMany));
            assert_eq!(subjects.reply_inbox(&replies(&inbox)), None, "no command names it");
        }
        let other = Subjects::new("verbatim", "gateway");
        assert_eq!(subjects.parse_answer(&other.ack(&[8])), None);
        for nonsense in ["reply.x", "reply.1-2", "ack.1-x", "ack.1-", "ack.-1", "ack."] {
            let nonsense = format!("{}.command.{nonsense}", subjects.inbox());
            assert_eq!(subjects.parse_answer(&nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn replies_go_to_inboxes_only() {
        let subjects = Subjects::new("verbatim.eu", "aggregate");
        let other = Subjects::new("verbatim.eu", "gateway");
        let found = subjects.reply_inbox(&other.replies(&[3, 4]));
        let inbox = format!("{}.command.reply", other.inbox());
        assert_eq!(found, Some((inbox.into(), vec![3, 4])));
        for bad in [
            "",
            "verbatim.eu.events",
            "verbatim.eu.replies.gateway.x.command.ack.1",
            "verbatim.eu.replies.gateway.*.command.reply.1",
            "verbatim.eu.replies.gateway.x.command.reply.",
            "verbatim.eu.replies.gateway.x.command.reply.1-",
            "verbatim.eu.replies.gateway.x.command.reply.1-x",
            "verbatim.eu.replies.gateway.x.y.command.reply.1",
            "verbatim.eu.replies.gateway.x y.command.reply.1",
            "$JS.API.STREAM.DELETE.X",
        ] {
            assert_eq!(subjects.reply_inbox(bad), None, "{bad}");
        }
    }
}
