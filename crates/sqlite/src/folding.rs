//! Folds the write-ahead log into the file without holding commits up.
//!
//! `SQLite`'s own way does it all on the connection that commits: it writes the pages into the file,
//! waits until the disk has them, and lets the log start over. The wait is most of it: tens of
//! milliseconds. Here it is taken apart. The pages are written while a reader still needs the log's
//! last ones, so that `SQLite` neither waits for the disk to have the file nor lets the log start
//! over; a thread of its own waits for that; and what has been committed meanwhile, which is little
//! unless very much is written, is folded in `SQLite`'s way.
//!
//! Invariant: the log doesn't start over before the disk has all that it holds. If the disk refuses,
//! the system may forget what it couldn't write, so that to try again would succeed and be worth
//! nothing: from then on the log is kept whole. It is folded in from its beginning by whoever opens
//! the file once all processes that had it open have ended.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Error, ErrorCode};

/// How far the write-ahead log grows until it is made to start over, in pages of 4 KiB. The more, the
/// fewer writes that wait for the disk; the less, the shorter the start after a crash.
const LARGE: i64 = 2_500;

pub(crate) struct Folding {
    /// Reads alone. In a transaction it keeps what is committed after its beginning out of the file.
    reader: Connection,
    sync: Sync,
    state: State,
    /// How often the log is looked at.
    every: Duration,
    looked_at: Instant,
}

/// Waits for the disk.
pub(crate) type Sync = Arc<dyn Fn() -> io::Result<()> + Send + std::marker::Sync>;

enum State {
    Resting,
    /// The reader is in a transaction, and nothing has been folded in since.
    Holding,
    /// The reader still is; the disk is waited for.
    Syncing(JoinHandle<io::Result<()>>),
    /// The rest is folded in as soon as no other reader needs it.
    Finishing,
    /// The disk has refused. The reader is in a transaction for good.
    Refused,
}

impl Folding {
    /// Takes charge of the log of a file that `writer` writes.
    ///
    /// # Errors
    /// `SQLite`'s.
    pub fn new(
        writer: &Connection,
        reader: Connection,
        sync: Sync,
        every: Duration,
    ) -> Result<Self, Error> {
        writer.pragma_update(None, "wal_autocheckpoint", 0)?;
        Ok(Self { reader, sync, state: State::Resting, every, looked_at: Instant::now() })
    }

    /// Does a next step, if one is due: after each piece of the writer's work.
    pub fn go_on(&mut self, writer: &Connection) {
        if let Err(error) = self.step(writer) {
            self.failed(writer, &error);
        }
    }

    fn step(&mut self, writer: &Connection) -> Result<(), Error> {
        match std::mem::replace(&mut self.state, State::Resting) {
            State::Resting if self.looked_at.elapsed() >= self.every => {
                self.looked_at = Instant::now();
                self.hold()?;
                self.state = State::Holding;
            }
            State::Resting => {}
            State::Holding => {
                let (pages, folded) = fold(writer)?;
                // What is folded in whole, SQLite has waited for.
                if pages >= LARGE && folded < pages {
                    let sync = Arc::clone(&self.sync);
                    // Without a thread, at another time.
                    if let Ok(sync) = thread::Builder::new().spawn(move || sync()) {
                        self.state = State::Syncing(sync);
                        return Ok(());
                    }
                }
                self.let_go();
            }
            State::Syncing(sync) if sync.is_finished() => {
                if is_synced(sync) {
                    self.let_go();
                    self.finish(writer)?;
                } else {
                    self.refused(writer);
                }
            }
            State::Finishing => self.finish(writer)?,
            state @ State::Syncing(_) => self.state = state,
            State::Refused => {
                self.state = State::Refused;
                self.hold()?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, writer: &Connection) -> Result<(), Error> {
        let (pages, folded) = fold(writer)?;
        self.state = if folded < pages { State::Finishing } else { State::Resting };
        Ok(())
    }

    /// Folds in the whole log and empties it; false if a reader needs it, or the disk has refused.
    ///
    /// # Errors
    /// `SQLite`'s.
    pub fn empty(&mut self, writer: &Connection) -> Result<bool, Error> {
        let has_refused = match std::mem::replace(&mut self.state, State::Resting) {
            State::Syncing(sync) => !is_synced(sync),
            State::Refused => true,
            State::Resting | State::Holding | State::Finishing => false,
        };
        if has_refused {
            self.refused(writer);
            return Ok(false);
        }
        self.let_go();
        let is_busy = |row: &rusqlite::Row<'_>| row.get::<_, bool>(0);
        match writer.query_row("pragma wal_checkpoint(truncate)", [], is_busy) {
            Ok(is_busy) => Ok(!is_busy),
            Err(error) => {
                self.failed(writer, &error);
                Err(error)
            }
        }
    }

    /// Ends it, before the writer's connection is closed. What it gives holds the file open, and is to be
    /// kept until then.
    pub fn end(self, writer: &Connection) -> Sync {
        if let State::Syncing(sync) = self.state
            && !is_synced(sync)
        {
            keep_log(writer);
        }
        self.sync
    }

    fn failed(&mut self, writer: &Connection, error: &Error) {
        let is_io = error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure);
        if is_io || matches!(self.state, State::Refused) {
            tracing::error!(%error, "the disk has refused a write");
            self.refused(writer);
        } else {
            // A full disk, say. It is tried again.
            tracing::debug!(%error, "the write-ahead log is not folded in");
            self.state = State::Resting;
            self.let_go();
        }
    }

    fn refused(&mut self, writer: &Connection) {
        keep_log(writer);
        self.state = State::Refused;
        if let Err(error) = self.hold() {
            tracing::debug!(%error, "the log is not held yet");
        }
    }

    /// Begins the reader's transaction, unless it is in one.
    fn hold(&self) -> Result<(), Error> {
        if !self.reader.is_autocommit() {
            return Ok(());
        }
        self.reader.execute_batch("begin")?;
        // What it sees is settled by its first read. Without one it holds nothing.
        let read = self.reader.query_row("select count(*) from sqlite_schema", [], |_| Ok(()));
        if read.is_err() {
            self.let_go();
        }
        read
    }

    fn let_go(&self) {
        if !self.reader.is_autocommit() {
            // It has nothing to commit, so it can't fail.
            drop(self.reader.execute_batch("commit"));
        }
    }
}

fn is_synced(sync: JoinHandle<io::Result<()>>) -> bool {
    match sync.join() {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::error!(%error, "the disk has refused a write");
            false
        }
        Err(_) => false,
    }
}

/// Leaves the log as it is when the connection is closed.
fn keep_log(writer: &Connection) {
    tracing::error!(
        "the write-ahead log is kept, and grows: end all processes that have the file open"
    );
    if let Err(error) = writer.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true) {
        tracing::error!(%error, "the log may be folded in when the file is closed");
    }
}

/// Waits until the disk has what was written into the file.
pub(crate) fn syncing(file: File) -> Sync {
    Arc::new(move || file.sync_data())
}

/// Folds in what no reader needs as it was: how many pages the log has, and how many of these are in
/// the file.
fn fold(writer: &Connection) -> Result<(i64, i64), Error> {
    let mut fold = writer.prepare_cached("pragma wal_checkpoint(passive)")?;
    fold.query_row([], |row| Ok((row.get(1)?, row.get(2)?)))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    struct Files {
        _folder: tempfile::TempDir,
        path: PathBuf,
        writer: Connection,
    }

    impl Files {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("test.sqlite");
            let writer = open(&path);
            writer
                .execute_batch("create table t (n integer primary key, bytes blob)")
                .expect("made");
            Self { _folder: folder, path, writer }
        }

        fn folding(
            &self,
            sync: impl Fn() -> io::Result<()> + Send + std::marker::Sync + 'static,
        ) -> Folding {
            let reader = crate::readers::connect(&self.path).expect("a reader");
            Folding::new(&self.writer, reader, Arc::new(sync), Duration::ZERO).expect("its log")
        }

        /// So many pages, about.
        fn write(&self, pages: i64) {
            let sql = "insert into t (bytes) values (zeroblob(?))";
            self.writer.execute(sql, [pages * 4_096]).expect("written");
        }

        /// The pages that the log has, of which these are in the file.
        fn log(&self) -> (i64, i64) {
            fold(&self.writer).expect("asked")
        }

        /// What another finds who opens what is there now.
        fn copy(&self) -> (tempfile::TempDir, Connection) {
            let folder = tempfile::tempdir().expect("a folder");
            for ending in ["", "-wal"] {
                let name = format!("test.sqlite{ending}");
                let from = self.path.with_file_name(&name);
                std::fs::copy(from, folder.path().join(name)).expect("copied");
            }
            let copy = open(&folder.path().join("test.sqlite"));
            (folder, copy)
        }
    }

    fn open(path: &Path) -> Connection {
        let connection = Connection::open(path).expect("a file");
        connection.busy_timeout(Duration::ZERO).expect("set");
        let set = "pragma journal_mode = wal; pragma synchronous = full";
        connection.execute_batch(set).expect("set");
        connection
    }

    fn log_bytes(path: &Path) -> u64 {
        let log = path.with_file_name("test.sqlite-wal");
        std::fs::metadata(log).expect("the log").len()
    }

    fn rows(connection: &Connection) -> i64 {
        connection.query_row("select count(*) from t", [], |row| row.get(0)).expect("a count")
    }

    #[test]
    fn the_log_starts_over_once_the_disk_has_it_and_not_before() {
        let files = Files::new();
        let (go_on, held_up) = mpsc::channel();
        let held_up = std::sync::Mutex::new(held_up);
        let mut folding =
            files.folding(move || held_up.lock().expect("alone").recv().map_err(io::Error::other));
        let mut rows_written = 0;
        let mut write = |pages, folding: &mut Folding| {
            files.write(pages);
            rows_written += 1;
            folding.go_on(&files.writer);
            rows_written
        };
        write(LARGE, &mut folding);
        assert!(matches!(folding.state, State::Holding));
        write(10, &mut folding);
        assert!(matches!(folding.state, State::Syncing(_)));
        // As long as the disk isn't done, the log only grows.
        let before = log_bytes(&files.path);
        for _ in 0..20 {
            write(10, &mut folding);
        }
        let after = log_bytes(&files.path);
        assert!(after >= before + 200 * 4_096, "{before}, {after}");
        go_on.send(()).expect("it waits");
        while matches!(folding.state, State::Syncing(_)) {
            write(1, &mut folding);
        }
        let written = write(1, &mut folding);
        let (pages, _) = files.log();
        assert!(pages < 100, "{pages} pages in a log that has started over");
        assert_eq!(rows(&files.copy().1), written);
    }

    #[test]
    fn a_small_log_is_not_waited_for() {
        let files = Files::new();
        let syncs = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&syncs);
        let mut folding = files.folding(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(())
        });
        for _ in 0..100 {
            files.write(1);
            folding.go_on(&files.writer);
        }
        assert_eq!(syncs.load(Ordering::Relaxed), 0);
        drop(folding.end(&files.writer));
    }

    #[test]
    fn what_it_holds_it_lets_go_at_the_next_work() {
        let files = Files::new();
        let mut folding = files.folding(|| Ok(()));
        files.write(1);
        folding.go_on(&files.writer);
        assert!(matches!(folding.state, State::Holding) && !folding.reader.is_autocommit());
        folding.go_on(&files.writer);
        assert!(matches!(folding.state, State::Resting) && folding.reader.is_autocommit());
    }

    #[test]
    fn it_waits_for_other_readers_before_the_log_starts_over() {
        let files = Files::new();
        let mut folding = files.folding(|| Ok(()));
        files.write(LARGE);
        folding.go_on(&files.writer);
        files.write(1);
        let others = crate::readers::connect(&files.path).expect("a reader");
        others.execute_batch("begin; select count(*) from t").expect("it reads");
        while !matches!(folding.state, State::Finishing) {
            files.write(1);
            folding.go_on(&files.writer);
        }
        files.write(1);
        folding.go_on(&files.writer);
        assert!(matches!(folding.state, State::Finishing), "another reads");
        others.execute_batch("commit").expect("it has read");
        folding.go_on(&files.writer);
        assert!(matches!(folding.state, State::Resting));
        files.write(1);
        assert!(files.log().0 < 100, "it has started over");
    }

    #[test]
    fn it_is_emptied_whatever_its_own_reader_holds() {
        let files = Files::new();
        let mut folding = files.folding(|| Ok(()));
        files.write(10);
        folding.go_on(&files.writer);
        assert!(matches!(folding.state, State::Holding));
        assert!(folding.empty(&files.writer).expect("emptied"));
        assert_eq!(log_bytes(&files.path), 0);
        files.write(10);
        let others = crate::readers::connect(&files.path).expect("a reader");
        let begin = "begin; select count(*) from t";
        others.execute_batch(begin).expect("it reads");
        files.write(10);
        assert!(!folding.empty(&files.writer).expect("asked"), "another reads");
    }

    #[test]
    fn what_the_disk_refuses_stays_in_the_log() {
        let files = Files::new();
        let mut folding = files.folding(|| Err(io::Error::other("as it should")));
        files.write(LARGE);
        folding.go_on(&files.writer);
        let mut written = 1;
        while !matches!(folding.state, State::Refused) {
            files.write(1);
            written += 1;
            folding.go_on(&files.writer);
        }
        let refused = log_bytes(&files.path);
        for _ in 0..10 {
            files.write(300);
            written += 1;
            folding.go_on(&files.writer);
        }
        // Whoever asks for more doesn't get it either.
        assert!(!folding.empty(&files.writer).expect("asked"));
        let busy = |row: &rusqlite::Row<'_>| row.get::<_, bool>(0);
        let truncate = "pragma wal_checkpoint(truncate)";
        assert!(files.writer.query_row(truncate, [], busy).expect("asked"));
        let kept = log_bytes(&files.path);
        assert!(kept >= refused + 3_000 * 4_096, "{refused}, {kept}");
        drop(folding.end(&files.writer));
        let Files { _folder, path, writer } = files;
        writer.close().expect("closed");
        assert_eq!(log_bytes(&path), kept);
        // As if the disk had forgotten what it refused: the log has it all.
        let file = File::options().write(true).open(&path).expect("the file");
        file.set_len(2 * 4_096).expect("cut off");
        assert_eq!(rows(&open(&path)), written);
    }
}
