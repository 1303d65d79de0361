//! A store that becomes the same log.

use anyhow::{Context, anyhow};
use verbatim_audit::Range;
use verbatim_journal::Log;

use crate::copy::{Place, copy, verify};
use crate::refusal::{bad_input, bad_store};

/// Fills a store with the log up to the range's end, and holds each event against its original. What
/// it has already must be the log's beginning, and reach as far as where the range begins.
pub async fn fill(log: &dyn Log, range: Range, place: &Place<'_>) -> anyhow::Result<()> {
    let (target, lock) = place.open_copy(log.id()).await.context("--into").map_err(bad_store)?;
    let begun = target.head().await?;
    if begun + 1 < range.first {
        return Err(bad_input(anyhow!(
            "--from: the store ends at position {begun}, so it goes on at {}",
            begun + 1
        )));
    }
    let copied = copy(log, &*target, begun, range.last).await?;
    let verified = verify(log, &*target, range.last).await?;
    drop(lock);
    eprintln!(
        "replayed {copied} events, {begun} were there; all up to position {verified} are the same; \
         --from {} goes on after them",
        begun + copied + 1
    );
    Ok(())
}
