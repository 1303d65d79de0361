//! A command that has been taken and not answered yet.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use verbatim_bus::Request;
use verbatim_domain::StreamId;
use verbatim_protocol::{CommandEnvelope, CommandKey, Reply, Timestamp};

use crate::lanes::Ticket;
use crate::metrics::Metrics;

pub(crate) struct Pending {
    pub(crate) stream: StreamId,
    pub(crate) envelope: CommandEnvelope,
    /// Stored with its events; holds the command's id, so it tells its own events from others'.
    pub(crate) metadata: Arc<str>,
    /// How often another writer got between its decision and its append.
    pub(crate) conflicts: u32,
    pub(crate) key_is: KeyIs,
    /// Its place in its lane, where workers share the journal.
    pub(crate) ticket: Option<Ticket>,
    reply: Box<dyn FnOnce(Reply) + Send>,
    taken: Instant,
}

/// What is known of a command's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyIs {
    /// Nothing yet: the append will tell.
    Unknown,
    /// To be looked for before the command is decided again.
    Suspect,
    /// Looked for, and not in the journal: the command was not carried out before.
    Unused,
}

impl Pending {
    pub(crate) fn new(request: Request, ticket: Option<Ticket>, taken: Instant) -> Self {
        let Request { command: envelope, reply, .. } = request;
        Self {
            stream: envelope.command.stream(),
            metadata: metadata(&envelope),
            envelope,
            conflicts: 0,
            key_is: KeyIs::Unknown,
            ticket,
            reply,
            taken,
        }
    }

    pub(crate) fn key(&self) -> &CommandKey {
        &self.envelope.key
    }

    /// Whether a user named the command, and may name another one alike.
    pub(crate) fn is_users(&self) -> bool {
        !self.envelope.key.issuer.starts_with('$')
    }

    pub(crate) fn is_expired(&self, now: Timestamp) -> bool {
        self.envelope.deadline <= now
    }

    pub(crate) fn answer(self, reply: Reply, metrics: &Metrics) {
        metrics.count(&reply);
        metrics.command_duration.observe(self.taken.elapsed().as_secs_f64());
        (self.reply)(reply);
    }

    /// Lets go of a command whose sender has stopped waiting.
    pub(crate) fn expire(self, metrics: &Metrics) {
        metrics.expired.inc();
        drop(self.reply);
    }
}

fn metadata(envelope: &CommandEnvelope) -> Arc<str> {
    let mut json = String::with_capacity(128);
    let written = write!(json, r#"{{"commandId":"{}""#, envelope.command_id);
    written.expect("a string takes all that is written");
    if let Some(traceparent) = &envelope.traceparent {
        let quoted = serde_json::to_string(&**traceparent).expect("a text is always JSON");
        json.push_str(r#","traceparent":"#);
        json.push_str(&quoted);
    }
    json.push('}');
    json.into()
}
