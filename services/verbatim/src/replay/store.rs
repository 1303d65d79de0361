//! A store that becomes the same log.

use anyhow::{Context, anyhow};
use verbatim_audit::Range;
use verbatim_journal::{Import, Log};

use crate::copy::{Place, copy, first_difference, verify};
use crate::refusal::{bad_input, bad_store};

/// Fills a store with the log up to the range's end, and holds each event against its original. What
/// it has already must be the log's beginning, and reach as far as where the range begins.
pub async fn fill(log: &dyn Log, range: Range, place: &Place<'_>) -> anyhow::Result<()> {
    let target = place.open_copy(log.id()).await.context("--into").map_err(bad_store)?;
    let filled = fill_journal(log, range, &*target.journal).await;
    let closed = target.close().await;
    filled?;
    closed
}

async fn fill_journal(log: &dyn Log, range: Range, target: &dyn Import) -> anyhow::Result<()> {
    let begun = target.head().await?;
    if begun + 1 < range.first {
        return Err(bad_input(anyhow!(
            "--from: the store ends at position {begun}, so it goes on at {}",
            begun + 1
        )));
    }
    let known = begun.min(range.last);
    if let Some(difference) = first_difference(log, target, 0, known).await? {
        return Err(bad_input(anyhow!("--into: {difference}")));
    }
    let copied = async {
        copy(log, target, begun, range.last).await?;
        verify(log, target, known, range.last).await
    };
    if let Err(error) = copied.await {
        let next = target.head().await.map_or(begun, |head| head.max(begun)) + 1;
        return Err(error.context(format!("--from {next} goes on where it ended")));
    }
    eprintln!(
        "replayed {} events, {begun} were there; all up to position {} are the same; \
         --from {} goes on after them",
        range.last - known,
        range.last,
        begun.max(range.last) + 1
    );
    Ok(())
}
