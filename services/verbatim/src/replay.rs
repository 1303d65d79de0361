//! `verbatim replay`: what was recorded, once more, in order.
//!
//! Events are only read and handed out: no projector, reactor or gateway has a part in it, so nothing
//! that an event brought about when it was new comes about again.

mod pace;
mod sink;
mod socket_io;
mod store;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use verbatim_audit::{Range, Selection, pages};
use verbatim_journal::Log;

use crate::admin::runtime;
use crate::cli::{ReplayArgs, StoreArgs};
use crate::copy::place;
use crate::progress::Progress;
use crate::refusal::{bad_input, is_closed};
use crate::serve::Signals;
use crate::source::{self, PAGE};
use pace::Pace;
use sink::{Destination, Sink};

pub use pace::Speed;

/// Events that are read at once where they are handed out at a pace: what is read is shown as it was then,
/// however much later that is.
const PACED_PAGE: usize = 100;

/// How long what is under way may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(2);

pub fn run(args: &ReplayArgs) -> anyhow::Result<()> {
    if let Some(destination) = Destination::parse(args)? {
        return runtime()?.block_on(hand_out(args, destination));
    }
    let place = place(&args.into).context("--into").map_err(bad_input)?;
    if !Selection::from(&args.select).is_everything() || args.speed != Speed::Max {
        return Err(bad_input(anyhow!(
            "--into: a store takes every event of the log, and as fast as it can: leave out \
             --conversation, --user, --type and --speed"
        )));
    }
    runtime()?.block_on(async {
        let log = source::open_stored(&store(args)).await?;
        let range = source::range(&*log, &args.select).await?;
        store::fill(&*log, range, &place).await
    })
}

fn store(args: &ReplayArgs) -> StoreArgs {
    StoreArgs { data: args.data.clone(), database_url: args.cluster.database_url.clone() }
}

async fn hand_out(args: &ReplayArgs, destination: Destination) -> anyhow::Result<()> {
    let log = source::open(&store(args), &args.opening).await?;
    let range = source::range(&*log, &args.select).await?;
    let mut sink = destination.open(log.id()).await?;
    let mut done = Done { events: 0, through: range.first - 1 };
    let outcome = match stream(args, log, range, &mut sink, &mut done).await {
        Ok(()) => sink.close().await,
        failed => failed,
    };
    let next = done.through + 1;
    match outcome {
        Err(error) if is_closed(&error) => Ok(()),
        Err(error) => Err(error.context(format!("--from {next} goes on where it ended"))),
        Ok(()) => {
            eprintln!(
                "replayed {} events of positions {} to {}; --from {next} goes on after them",
                done.events, range.first, done.through
            );
            Ok(())
        }
    }
}

/// Cancelled when the process is asked to end. Then it ends, also if whoever takes what is handed out takes
/// no more.
fn interruption() -> anyhow::Result<CancellationToken> {
    let mut signals = Signals::new()?;
    let interrupted = CancellationToken::new();
    let asked = interrupted.clone();
    tokio::spawn(async move {
        signals.next().await;
        asked.cancel();
        sleep(END_TIMEOUT).await;
        std::process::exit(1);
    });
    Ok(interrupted)
}

/// How far a replay has come.
struct Done {
    events: u64,
    /// Everything up to this position was handed out, as far as it was chosen.
    through: u64,
}

async fn stream(
    args: &ReplayArgs,
    log: Arc<dyn Log>,
    range: Range,
    sink: &mut Sink,
    done: &mut Done,
) -> anyhow::Result<()> {
    let selection = Selection::from(&args.select);
    let mut speed = Pace::new(args.speed);
    let progress = Progress::default();
    let interrupted = interruption()?;
    let mut interrupted = pin!(interrupted.cancelled());
    let page = if args.speed == Speed::Max { PAGE } else { PACED_PAGE };
    let mut pages = pages(log, range, page);
    loop {
        let page = tokio::select! {
            page = pages.next() => page,
            () = &mut interrupted => bail!("interrupted"),
        };
        let Some(page) = page else { return Ok(()) };
        let page = page?;
        let mut events = 0;
        for recorded in page.iter().filter(|recorded| selection.chooses(recorded)) {
            if let Some(due) = speed.due(recorded.recorded_at) {
                sink.flush(&progress).await?;
                done.through = recorded.position - 1;
                done.events += std::mem::take(&mut events);
                progress.show(recorded.position - range.first, range.len());
                tokio::select! {
                    () = sleep_until(due) => {}
                    ended = sink.idle() => ended?,
                    () = &mut interrupted => bail!("interrupted"),
                }
            }
            sink.send(recorded, &progress).await?;
            events += 1;
        }
        sink.flush(&progress).await?;
        done.events += events;
        done.through = page.last().map_or(range.last, |last| last.position);
        progress.show(done.through + 1 - range.first, range.len());
    }
}
