//! The names of everything on the server.

use async_nats::Subject;
use verbatim_domain::LANES;

/// The header of a command that says where its reply goes.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answers {
    /// The stream took the command of this number, or refused it.
    Stored(u64),
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

    pub(super) fn ack(&self, number: u64) -> Subject {
        format!("{}.{ACK}.{number}", self.inbox).into()
    }

    pub(super) fn reply(&self, number: u64) -> Subject {
        format!("{}.{REPLY}.{number}", self.inbox).into()
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
        let number = number.parse().ok()?;
        match kind {
            ACK => Some(Answers::Stored(number)),
            REPLY => Some(Answers::Settled(number)),
            _ => None,
        }
    }

    /// Whether replies go to such a subject: what a command's header says is not to be trusted with
    /// any other.
    pub(super) fn is_reply(&self, subject: &str) -> bool {
        let token = |token: &str| {
            !token.is_empty()
                && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        let name = subject.strip_prefix(&self.prefix);
        let name = name.and_then(|name| name.strip_prefix(".replies."));
        let tokens: Option<Vec<_>> = name.map(|name| name.split('.').collect());
        matches!(tokens.as_deref(), Some([role, id, "command", "reply", number])
            if token(role) && token(id) && number.parse::<u64>().is_ok())
    }
}

/// Where replies to commands of the same process go, and the command's number.
pub(super) fn reply_inbox(subject: &str) -> Option<(&str, &str)> {
    subject.rsplit_once('.')
}

/// Where replies to several commands of a process go, by what [`reply_inbox`] gives.
pub(super) fn replies(inbox: &str) -> Subject {
    format!("{inbox}.{MANY}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart_by_kind_and_number() {
        let subjects = Subjects::new("verbatim", "gateway");
        assert_eq!(subjects.parse_answer(&subjects.ack(7)), Some(Answers::Stored(7)));
        assert_eq!(subjects.parse_answer(&subjects.reply(8)), Some(Answers::Settled(8)));
        let (inbox, number) = (subjects.reply(8), "8");
        let (inbox, found) = reply_inbox(&inbox).expect("a reply's");
        assert_eq!(found, number);
        assert_eq!(subjects.parse_answer(&replies(inbox)), Some(Answers::SettledMany));
        assert!(!subjects.is_reply(&replies(inbox)), "no command names it");
        let other = Subjects::new("verbatim", "gateway");
        assert_eq!(subjects.parse_answer(&other.reply(8)), None);
        let nonsense = format!("{}.command.reply.x", subjects.inbox());
        assert_eq!(subjects.parse_answer(&nonsense), None);
    }

    #[test]
    fn replies_go_to_inboxes_only() {
        let subjects = Subjects::new("verbatim.eu", "aggregate");
        let other = Subjects::new("verbatim.eu", "gateway");
        assert!(subjects.is_reply(&other.reply(3)));
        for bad in [
            "",
            "verbatim.eu.events",
            "verbatim.eu.replies.gateway.x.command.ack.1",
            "verbatim.eu.replies.gateway.*.command.reply.1",
            "verbatim.eu.replies.gateway.x.command.reply.",
            "verbatim.eu.replies.gateway.x.y.command.reply.1",
            "verbatim.eu.replies.gateway.x y.command.reply.1",
            "$JS.API.STREAM.DELETE.X",
        ] {
            assert!(!subjects.is_reply(bad), "{bad}");
        }
    }
}
