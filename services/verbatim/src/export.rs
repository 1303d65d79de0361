//! `verbatim export`: events as files for other programs.
//!
//! A file has its name only once it is whole and on the disk; until then it is `.partial`, and so is
//! the manifest, which is written last.

mod columns;
mod csv;
mod files;
mod json;
mod manifest;
mod parquet;

use std::io;

use anyhow::Context;
use verbatim_audit::{Selection, pages};
use verbatim_protocol::Recorded;

use crate::admin::runtime;
use crate::cli::{ExportArgs, Format};
use crate::progress::Progress;
use crate::source::{self, PAGE};
use files::{Files, Sink, Target};
use manifest::Manifest;

/// Writes events in a format, to one file.
trait Encoder {
    fn write(&mut self, recorded: &Recorded) -> io::Result<()>;

    /// Writes what is left, and gives the file back.
    fn finish(self: Box<Self>) -> io::Result<Sink>;
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

    fn encoder(self, journal: &str, sink: Sink) -> io::Result<Box<dyn Encoder>> {
        Ok(match self {
            Self::Ndjson => Box::new(json::Envelopes::new(sink)),
            Self::Cloudevents => Box::new(json::CloudEvents::new(sink, journal)),
            Self::Csv => Box::new(csv::Csv::new(sink)?),
            Self::Parquet => Box::new(parquet::Parquet::new(sink)?),
        })
    }
}

pub fn run(args: &ExportArgs) -> anyhow::Result<()> {
    let target = Target::new(args)?;
    let selection = Selection::from(&args.select);
    runtime()?.block_on(async {
        let log = source::open(&args.store, &args.opening).await?;
        let range = source::range(&*log, &args.select).await?;
        let manifest = Manifest::new(log.id(), args, range);
        let mut files = Files::create(target, manifest)?;
        let progress = Progress::default();
        let mut pages = pages(log, range, PAGE);
        while let Some(page) = pages.next().await {
            let page = page?;
            for recorded in page.iter().filter(|recorded| selection.chooses(recorded)) {
                let writing = files.write(recorded);
                writing.with_context(|| format!("at position {}", recorded.position))?;
            }
            let last = page.last().map_or(range.last, |last| last.position);
            progress.show(last + 1 - range.first, range.len());
        }
        drop(progress);
        let events = files.finish()?;
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
