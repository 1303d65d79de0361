//! `verbatim export`: events as files for other programs.
//!
//! A file has its name only once it is whole and on the disk; until then it is `.partial`, and so is
//! the manifest, which is written last.

mod columns;
mod csv;
mod files;
mod json;
mod lines;
mod manifest;
mod parquet;

use std::io;
use std::sync::Arc;

use anyhow::Context;
use verbatim_audit::{Range, Selection, pages_with};
use verbatim_journal::Log;
use verbatim_protocol::Recorded;

use crate::admin::runtime;
use crate::cli::{ExportArgs, Format};
use crate::progress::Progress;
use crate::source::{self, PAGE};
use files::{Files, Sink, Target};
use manifest::Manifest;

/// How events become a file. Many are encoded at once, and then written in their order.
trait Encoding: Send + Sync + 'static {
    type Encoded: Send;
    type Writer: Writer<Self::Encoded>;

    fn encode(&self, recorded: &Arc<Recorded>) -> io::Result<Self::Encoded>;

    /// Begins a file.
    fn begin(&self, sink: Sink) -> io::Result<Self::Writer>;
}

/// A file in the making.
trait Writer<E> {
    fn write(&mut self, encoded: E) -> io::Result<()>;

    /// Writes what is left, and gives the file back.
    fn finish(self) -> io::Result<Sink>;
}

impl Format {
    /// What files of it are called.
    fn extension(self) -> &'static str {
        match self {
            Self::Ndjson | Self::Cloudevents => "ndjson",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }
}

pub fn run(args: &ExportArgs) -> anyhow::Result<()> {
    let target = Target::new(args)?;
    runtime()?.block_on(async {
        let log = source::open(&args.store, &args.opening).await?;
        let range = source::range(&*log, &args.select).await?;
        let export = Export { args, target, range };
        let events = match args.format {
            Format::Ndjson => export.run(log, lines::Lines(json::Envelopes)).await,
            Format::Cloudevents => {
                let format = json::CloudEvents::new(&log.id().to_string());
                export.run(log, lines::Lines(format)).await
            }
            Format::Csv => export.run(log, lines::Lines(csv::Csv)).await,
            Format::Parquet => export.run(log, parquet::Parquet).await,
        }?;
        eprintln!(
            "exported {events} events of positions {} to {} to {}; --from {} goes on after them",
            range.first,
            range.last,
            args.out.display(),
            range.last + 1
        );
        Ok(())
    })
}

struct Export<'a> {
    args: &'a ExportArgs,
    target: Target,
    range: Range,
}

impl Export<'_> {
    /// Gives the number of events.
    async fn run<E: Encoding>(self, log: Arc<dyn Log>, encoding: E) -> anyhow::Result<u64> {
        let Self { args, target, range } = self;
        let encoding = Arc::new(encoding);
        let manifest = Manifest::new(log.id(), args, range);
        let mut files = Files::create(target, manifest, Arc::clone(&encoding))?;
        let progress = Progress::default();
        let selection = Selection::from(&args.select);
        let mut pages = pages_with(log, range, PAGE, move |page| {
            let chosen = page.iter().filter(|recorded| selection.chooses(recorded));
            let encoded = chosen.map(|recorded| (recorded.position, encoding.encode(recorded)));
            (encoded.collect::<Vec<_>>(), page.last().map_or(range.last, |last| last.position))
        });
        while let Some(page) = pages.next().await {
            let (encoded, last) = page?;
            for (position, encoded) in encoded {
                let writing = encoded.map_err(Into::into);
                let writing = writing.and_then(|encoded| files.write(position, encoded));
                writing.with_context(|| format!("at position {position}"))?;
            }
            progress.show(last + 1 - range.first, range.len());
        }
        drop(progress);
        files.finish()
    }
}
