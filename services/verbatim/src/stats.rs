//! `verbatim stats`: what the log amounts to, as a table or as JSON.

mod table;

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use secrecy::ExposeSecret;
use serde::Serialize;
use verbatim_analytics::{
    Analytics, By, Connections, Deliveries, Messages, PostgresAnalytics, Report, Reports, Request,
    Responses, Row, SqliteAnalytics, SqliteReports, Users,
};
use verbatim_journal::Log;
use verbatim_postgres::Database;
use verbatim_protocol::Timestamp;

use crate::admin::runtime;
use crate::cli::{StatsArgs, StoreArgs};
use crate::data::{DataFolder, Lock};
use crate::progress::Progress;
use crate::refusal::{bad_input, bad_store, is_closed};
use crate::settings;
use crate::source;

/// Rows of one kind that are shown at most.
const MOST_ROWS: usize = 10_000;
const PAGE: u32 = 1_000;

/// How long a running server may take to have counted what had happened before the question. It gathers
/// for two seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is shown unless it is told: in hours, and in days.
const HOURS: u32 = 24;
const DAYS: u32 = 30;

/// Everything that is shown.
#[derive(Serialize)]
struct Stats {
    messages: Vec<Row<Messages>>,
    users: Vec<Row<Users>>,
    deliveries: Vec<Row<Deliveries>>,
    responses: Vec<Row<Responses>>,
    /// Not where they can't be told apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    connections: Option<Vec<Row<Connections>>>,
}

/// The whole buckets from `first` to `last`.
#[derive(Clone, Copy)]
struct Range {
    by: By,
    first: Timestamp,
    last: Timestamp,
}

pub fn run(args: &StatsArgs) -> anyhow::Result<()> {
    let range = range(args).map_err(bad_input)?;
    let stats = runtime()?.block_on(async {
        let counted = Counted::open(&args.store).await?;
        let stats = Stats::read(&counted.reports, range).await;
        counted.close().await?;
        stats
    })?;
    let mut out = io::stdout().lock();
    let written = if args.json {
        serde_json::to_writer(&mut out, &stats)
            .map_err(io::Error::from)
            .and_then(|()| writeln!(out))
    } else {
        out.write_all(table::show(&stats, range, out.is_terminal()).as_bytes())
    };
    match written.and_then(|()| out.flush()).map_err(anyhow::Error::from) {
        Err(error) if is_closed(&error) => Ok(()),
        written => written,
    }
}

fn range(args: &StatsArgs) -> anyhow::Result<Range> {
    let to = args.to.unwrap_or_else(Timestamp::now);
    let buckets = if args.by.length() < Duration::from_hours(24) { HOURS } else { DAYS };
    let back = (args.by.length() * (buckets - 1)).as_millis() as i64;
    let from = args.from.unwrap_or(Timestamp(to.0.saturating_sub(back)));
    if from > to {
        return Err(anyhow!("--from: is later than {to}, where the range ends"));
    }
    Ok(Range { by: args.by, first: args.by.start(from), last: args.by.start(to) })
}

/// Figures that are up to date, as far as can be.
struct Counted {
    reports: Reports,
    /// A stopped server's, and the lock on its folder.
    own: Option<(Arc<SqliteAnalytics>, Lock)>,
}

impl Counted {
    async fn open(args: &StoreArgs) -> anyhow::Result<Self> {
        let log = source::open_stored(args).await?;
        if let Some(url) = &args.database_url {
            return Self::of_cluster(url, &*log).await;
        }
        let folder = DataFolder::existing(&args.data.data_dir).map_err(bad_store)?;
        match folder.try_lock().map_err(bad_store)? {
            Some(lock) => Self::of_stopped(&folder, &*log, lock).await,
            None => Self::beside(&folder, &*log).await,
        }
    }

    /// Whoever counts there does so at the same time: each event counts once.
    async fn of_cluster(url: &str, log: &dyn Log) -> anyhow::Result<Self> {
        let url = settings::postgres_url(url).map_err(bad_input)?;
        let opened = async {
            let database = Database::connect(url.expose_secret(), 4).await?;
            PostgresAnalytics::migrate(&database).await?;
            anyhow::Ok(PostgresAnalytics::open(database, log.id()).await?)
        };
        let store = opened.await.context("DATABASE_URL").map_err(bad_store)?;
        let analytics = Analytics::new(Arc::new(store));
        catch_up(log, &analytics).await?;
        Ok(Self { reports: analytics.reports(log.id()), own: None })
    }

    async fn of_stopped(folder: &DataFolder, log: &dyn Log, lock: Lock) -> anyhow::Result<Self> {
        let opened = SqliteAnalytics::open(&folder.analytics(), log.id()).await;
        let store = Arc::new(opened.map_err(bad_store)?);
        let analytics = Analytics::new(store.clone());
        catch_up(log, &analytics).await?;
        Ok(Self { reports: analytics.reports(log.id()), own: Some((store, lock)) })
    }

    /// What the server that has the folder counts.
    async fn beside(folder: &DataFolder, log: &dyn Log) -> anyhow::Result<Self> {
        let head = log.head().await?;
        let store = SqliteReports::open(&folder.analytics(), log.id()).map_err(bad_store)?;
        let reports = Reports::beside(Arc::new(store), log.id());
        match reports.reached(head, PATIENCE).await {
            Err(verbatim_analytics::Error::Behind) => {
                let counted = reports.checkpoint().await?;
                eprintln!("the server has counted {counted} of {head} events so far");
            }
            reached => reached?,
        }
        Ok(Self { reports, own: None })
    }

    async fn close(self) -> anyhow::Result<()> {
        if let Some((store, lock)) = self.own {
            store.close().await?;
            drop(lock);
        }
        Ok(())
    }
}

/// Counts what no server has counted.
async fn catch_up(log: &dyn Log, analytics: &Analytics) -> anyhow::Result<()> {
    let progress = Progress::default();
    let show = |done, of| progress.show(done, of);
    let counted = verbatim_projection::catch_up(log, analytics, show).await?;
    drop(progress);
    if counted > 0 {
        eprintln!("{counted} events were not counted yet, and are now");
    }
    Ok(())
}

impl Stats {
    async fn read(reports: &Reports, range: Range) -> anyhow::Result<Self> {
        Ok(Self {
            messages: list(reports, range).await?,
            users: list(reports, range).await?,
            deliveries: list(reports, range).await?,
            responses: list(reports, range).await?,
            connections: if range.by.is_time_alone() {
                Some(list(reports, range).await?)
            } else {
                None
            },
        })
    }
}

async fn list<R: Report>(reports: &Reports, range: Range) -> anyhow::Result<Vec<Row<R>>> {
    let Range { by, first, last } = range;
    let mut request = Request { from: Some(first), to: Some(last), by, cursor: None, limit: PAGE };
    let mut rows = Vec::new();
    loop {
        let mut page = reports.page(&request).await?;
        rows.append(&mut page.data);
        if rows.len() > MOST_ROWS {
            return Err(bad_input(anyhow!(
                "there are more than {MOST_ROWS} rows: choose a shorter range by --from and --to"
            )));
        }
        match page.next_cursor {
            Some(cursor) => request.cursor = Some(cursor),
            None => return Ok(rows),
        }
    }
}
