//! `verbatim import`: conversations and messages of another system become events of the log.
//!
//! The file is read twice: all of it is checked before anything is written, so that a bad line is
//! found before history has a hole there. What is there already is known by its id, so an import
//! that was broken off, or is done again, adds what is missing.

mod check;
mod entry;
mod known;
mod lines;
mod store;
mod write;

use std::fmt::Display;
use std::io;
use std::path::Path;

use anyhow::{Context, anyhow};
use verbatim_domain::Time;
use verbatim_gateway::settings::Limits;
use verbatim_protocol::Timestamp;

use crate::admin::runtime;
use crate::cli::ImportArgs;
use crate::progress::Progress;
use crate::refusal::bad_input;
use check::Check;
use entry::Rules;
use lines::{Lines, Spool};
use store::Store;
use write::{Tally, Writer};

/// Problems that are shown; more are counted.
const MAX_SHOWN: u64 = 1_000;

/// How far another system's clock may be ahead.
const SKEW_MS: i64 = 60_000;

pub fn run(args: &ImportArgs) -> anyhow::Result<()> {
    let limits = Limits {
        content_bytes: args.max_content_bytes.get(),
        attachments: args.max_attachments,
        ..Limits::default()
    };
    let latest = Time(Timestamp::now().0 + SKEW_MS);
    let rules = Rules { limits, latest, unread: args.unread };
    let file = Spool::open(&args.file)
        .with_context(|| format!("{}", args.file.display()))
        .map_err(bad_input)?;
    runtime()?.block_on(async {
        let mut store = Store::open(args).await?;
        let outcome = import(args, &rules, &file, &mut store).await;
        let closed = store.close().await;
        outcome?;
        closed
    })
}

async fn import(
    args: &ImportArgs,
    rules: &Rules,
    file: &Spool,
    store: &mut Store,
) -> anyhow::Result<()> {
    let lines = check(rules, file, store).await?;
    if args.check {
        println!("all {lines} lines can be imported");
        return Ok(());
    }
    store.take().await?;
    let (tally, refused) = write(rules, file, store).await?;
    println!("{tally}");
    match refused {
        0 => Ok(()),
        n => Err(anyhow!("{n} lines differ from what is there, and were left out")),
    }
}

/// Goes through all lines without writing anything; gives how many there are.
async fn check(rules: &Rules, file: &Spool, store: &Store) -> anyhow::Result<u64> {
    let mut check = Check::new(store.filled().await?);
    let mut lines = Lines::of(file, rules.longest_line())?;
    let mut problems = Problems::new("checking");
    let mut count = 0;
    while let Some(line) = lines.next()? {
        count += 1;
        let read = line.text.map_err(str::to_owned).and_then(|text| rules.read(text));
        let judged = match read {
            Ok(entry) => check.judge(&entry).await?,
            Err(problem) => Err(problem),
        };
        if let Err(problem) = judged {
            problems.tell(line.number, problem);
        }
        problems.progress(lines.read(), file.len());
    }
    match problems.end() {
        0 => Ok(count),
        n => Err(bad_input(anyhow!("{n} of {count} lines can't be imported; nothing was"))),
    }
}

/// Writes what isn't there; gives what became of the lines, and how many were refused.
async fn write(rules: &Rules, file: &Spool, store: &Store) -> anyhow::Result<(Tally, u64)> {
    let mut writer = Writer::new(store);
    let mut lines = Lines::of(file, rules.longest_line())?;
    let mut problems = Problems::new("importing");
    loop {
        let line = lines.next()?;
        let at_end = line.is_none();
        if let Some(line) = line {
            let text = line.text.map_err(|problem| changed(line.number, problem))?;
            let entry = rules.read(text).map_err(|problem| changed(line.number, problem))?;
            writer.add(line.number, entry, text.len());
        }
        if at_end || writer.is_full() {
            writer.settle(|number, problem| problems.tell(number, problem)).await?;
            problems.progress(lines.read(), file.len());
        }
        if at_end {
            return Ok((writer.finish(), problems.end()));
        }
    }
}

/// What was checked a moment ago is another file by now.
fn changed(number: u64, problem: impl Display) -> anyhow::Error {
    anyhow!("the file was changed meanwhile: line {number}: {problem}")
}

/// What is told of lines, above a bar on a terminal.
struct Problems {
    bar: Progress,
    count: u64,
}

impl Problems {
    fn new(doing: &'static str) -> Self {
        Self { bar: Progress::bytes(doing), count: 0 }
    }

    fn progress(&self, done: u64, of: u64) {
        self.bar.show(done, of);
    }

    fn tell(&mut self, line: u64, problem: impl Display) {
        self.count += 1;
        if self.count <= MAX_SHOWN {
            self.bar.pause(|| eprintln!("line {line}: {problem}"));
        }
    }

    fn end(self) -> u64 {
        drop(self.bar);
        if self.count > MAX_SHOWN {
            eprintln!("and {} more", self.count - MAX_SHOWN);
        }
        self.count
    }
}

/// Whether a path means standard input.
fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// An error of the file's, with what it was about.
fn read_failed(error: io::Error) -> anyhow::Error {
    anyhow::Error::new(error).context("reading the file")
}
