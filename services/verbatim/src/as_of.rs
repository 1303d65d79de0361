//! `verbatim as-of`: conversations as they stood, a line of JSON each.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use anyhow::anyhow;
use verbatim_audit::as_of::{self, History};
use verbatim_audit::{Range, conversation_as_of, pages, range};
use verbatim_domain::{ConversationEvent, ConversationId, Event};
use verbatim_journal::Log;
use verbatim_protocol::Recorded;

use crate::admin::runtime;
use crate::cli::AsOfArgs;
use crate::refusal::{bad_input, is_closed};
use crate::source::{self, PAGE};

pub fn run(args: &AsOfArgs) -> anyhow::Result<()> {
    let outcome = runtime()?.block_on(async {
        let log = source::open_with(&args.store, &args.master_key).await?;
        let position = range::position_at(&*log, args.at).await.map_err(source::settled)?;
        let mut out = BufWriter::new(io::stdout());
        if args.conversations.is_empty() {
            write_all(log, position, &mut out).await?;
        } else {
            for id in &args.conversations {
                if !write(&*log, id, position, &mut out).await? {
                    return Err(bad_input(anyhow!(
                        "there was no conversation {id} at position {position}"
                    )));
                }
            }
        }
        Ok(out.flush()?)
    });
    match outcome {
        Err(error) if is_closed(&error) => Ok(()),
        outcome => outcome,
    }
}

/// Writes every conversation, in the order in which they began. What began is read from the log, so
/// that no list of them has to be in memory.
async fn write_all(log: Arc<dyn Log>, position: u64, out: &mut impl Write) -> anyhow::Result<()> {
    let mut pages = pages(Arc::clone(&log), Range { first: 1, last: position }, PAGE);
    while let Some(page) = pages.next().await {
        for recorded in page? {
            if let Some(id) = begun(&recorded) {
                write(&*log, &id, position, out).await?;
            }
        }
    }
    Ok(())
}

/// The conversation that an event begins.
fn begun(recorded: &Recorded) -> Option<ConversationId> {
    match &recorded.event {
        Event::Conversation(ConversationEvent::ConversationStarted(_)) => {
            recorded.stream.aggregate_id.parse().ok()
        }
        _ => None,
    }
}

/// Writes a conversation with its messages, which are many; says whether there was one.
async fn write(
    log: &dyn Log,
    id: &ConversationId,
    position: u64,
    out: &mut impl Write,
) -> anyhow::Result<bool> {
    let Some(conversation) = conversation_as_of(log, id, position).await? else {
        return Ok(false);
    };
    write!(out, "{{\"position\":{position},\"conversation\":")?;
    serde_json::to_writer(&mut *out, &conversation).map_err(io::Error::from)?;
    write!(out, ",\"messages\":[")?;
    let mut history = History::new(log, id, position);
    let mut separator = "";
    while let Some(page) = history.next().await? {
        for message in page.iter().filter_map(|recorded| as_of::message(id, recorded)) {
            write!(out, "{separator}")?;
            serde_json::to_writer(&mut *out, &message).map_err(io::Error::from)?;
            separator = ",";
        }
    }
    writeln!(out, "]}}")?;
    Ok(true)
}
