//! Connections that only read: work on one is a closure, which runs from beginning
//! to end on a thread for such work, and hands over what it has made of the rows, not row by row.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, Error, OpenFlags, Params, Row};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use crate::{BUSY_TIMEOUT, Closed, OpenError, PREPARED, VERSION, YIELDS, same_version};

/// How long one waits for a connection.
const PATIENCE: Duration = Duration::from_secs(30);

/// A few connections that only read, to a file that this or another process may be writing. Clones
/// share them.
#[derive(Debug, Clone)]
pub struct Readers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    /// On whose threads they read, whoever asks: one who yields to others would hold them up with what all
    /// share.
    runtime: Option<Handle>,
    connections: usize,
    state: Mutex<State>,
    /// Told when the last of those that read has nothing to do any more.
    rest: Notify,
}

#[derive(Default)]
struct State {
    /// Work that waits for one of those that read, the first first. Empty unless all do.
    waiting: VecDeque<Work>,
    /// How many read. Each goes on as long as work waits: under load nobody has to be woken up for it.
    reading: usize,
    /// Connections that nobody uses.
    idle: Vec<Connection>,
    closed: bool,
}

/// Is handed a connection, or why there is none.
type Work = Box<dyn FnOnce(Result<&Connection, Error>) -> Done + Send>;

struct Done {
    /// Whether the connection is to be used again.
    is_well: bool,
    /// Tells whoever asked; when the connection is theirs no more, so that they may close the file.
    tell: Box<dyn FnOnce() + Send>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let State { waiting, reading, closed, .. } = self;
        write!(formatter, "{reading} read, {} wait, closed: {closed}", waiting.len())
    }
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Sqlite(#[from] Error),
    #[error(transparent)]
    Closed(#[from] Closed),
}

impl Readers {
    /// Opens the first of up to so many connections. They neither fold in the write-ahead log nor
    /// remove it; a file that isn't there is not made.
    ///
    /// # Errors
    /// `SQLite`'s.
    pub fn open(path: &Path, connections: u32) -> Result<Self, Error> {
        let first = connect(path)?;
        Ok(Self(Arc::new(Shared {
            path: path.to_owned(),
            runtime: Handle::try_current().ok(),
            connections: connections as usize,
            state: Mutex::new(State { idle: vec![first], ..State::default() }),
            rest: Notify::new(),
        })))
    }

    /// As [`open`](Self::open), of a file whose schema must be of this version.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn of_version(
        path: &Path,
        connections: u32,
        migrations: &[(&str, &str)],
    ) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Reader { path: path.to_owned(), source };
        let readers = Self::open(path, connections).map_err(failed)?;
        let first = readers.0.connection().map_err(failed)?;
        let found = first.query_row(VERSION, [], |row| row.get(0)).map_err(failed)?;
        readers.0.state().idle.push(first);
        same_version(path, found, migrations)?;
        Ok(readers)
    }

    /// Has this done with a connection, as soon as one is free; once it has begun, to its end even if the
    /// caller goes away. Each statement sees what is committed when it begins.
    ///
    /// # Errors
    /// What it gives; [`Closed`]; `SQLite`'s if no connection can be opened.
    pub async fn read<T, E>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + From<Closed> + Send + 'static,
    {
        let (reply, mut result) = oneshot::channel();
        let is_taken = Arc::new(AtomicBool::new(false));
        let taken = Arc::clone(&is_taken);
        let work = Box::new(move |connection: Result<&Connection, Error>| {
            if reply.is_closed() || taken.swap(true, Ordering::AcqRel) {
                // Whoever asked has gone away, or given up waiting.
                return Done { is_well: true, tell: Box::new(|| ()) };
            }
            let read = catch_unwind(AssertUnwindSafe(|| work(connection?)));
            // Whoever asked may have gone away.
            Done { is_well: read.is_ok(), tell: Box::new(move || drop(reply.send(read))) }
        });
        self.0.take(work)?;
        let read = match timeout(PATIENCE, &mut result).await {
            Err(_) if !is_taken.swap(true, Ordering::AcqRel) => {
                let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
                let why = "all connections that read are in use".to_owned();
                return Err(Error::SqliteFailure(busy, Some(why)).into());
            }
            Err(_) => result.await,
            Ok(read) => read,
        };
        // Without a result the runtime has ended.
        read.map_err(|_| Closed)?.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// All rows that a statement gives, each as `read` makes it.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn rows<T: Send + 'static>(
        &self,
        sql: impl AsRef<str> + Send + 'static,
        params: impl Params + Send + 'static,
        read: impl Fn(&Row<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<Vec<T>, ReadError> {
        let reading = self.read(move |connection| {
            Ok::<_, ReadError>(select(connection, sql.as_ref(), params, read)?)
        });
        reading.await
    }

    /// Closes them, once all who have come before are done. Who comes later finds them
    /// [closed](Closed).
    pub async fn close(&self) {
        loop {
            // Before it is looked, so that no end is missed.
            let rest = self.0.rest.notified();
            let idle = {
                let mut state = self.0.state();
                state.closed = true;
                (state.reading == 0).then(|| std::mem::take(&mut state.idle))
            };
            match idle {
                Some(idle) => return drop(idle),
                None => rest.await,
            }
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connection(&self) -> Result<Connection, Error> {
        let idle = self.state().idle.pop();
        idle.map_or_else(|| connect(&self.path), Ok)
    }

    /// Has this done by whoever has time for it first.
    fn take(self: &Arc<Self>, work: Work) -> Result<(), Closed> {
        let mut state = self.state();
        if state.closed {
            return Err(Closed);
        }
        if state.reading == self.connections {
            state.waiting.push_back(work);
            return Ok(());
        }
        state.reading += 1;
        drop(state);
        let place = Place(Some(Arc::clone(self)));
        let runtime = self.runtime.clone().unwrap_or_else(Handle::current);
        let reading = move || read_from(place, work);
        if YIELDS.get() {
            // A thread that is made by this one would yield as well, whoever it reads for later.
            let own = runtime.clone();
            runtime.spawn(async move { drop(own.spawn_blocking(reading)) });
        } else {
            runtime.spawn_blocking(reading);
        }
        Ok(())
    }
}

/// The place of one who reads; given back if it never comes to that, as when the runtime has ended.
struct Place(Option<Arc<Shared>>);

impl Drop for Place {
    fn drop(&mut self) {
        let Some(shared) = self.0.take() else { return };
        let mut state = shared.state();
        state.reading -= 1;
        if state.reading == 0 {
            // Nobody will come to it.
            let given_up = std::mem::take(&mut state.waiting);
            shared.rest.notify_waiters();
            drop(state);
            drop(given_up);
        }
    }
}

/// Does this, and then what waits.
fn read_from(mut place: Place, mut work: Work) {
    let mut connection = None;
    while let Some(shared) = &place.0 {
        let done = match connection.map_or_else(|| shared.connection(), Ok) {
            Ok(lent) => {
                let done = work(Ok(&lent));
                connection = done.is_well.then_some(lent);
                done
            }
            Err(error) => {
                connection = None;
                work(Err(error))
            }
        };
        let mut state = shared.state();
        let next = state.waiting.pop_front();
        if next.is_none() {
            state.idle.extend(connection.take());
            state.reading -= 1;
            if state.reading == 0 {
                shared.rest.notify_waiters();
            }
        }
        drop(state);
        let Some(next) = next else {
            drop(place.0.take());
            return (done.tell)();
        };
        (done.tell)();
        work = next;
    }
}

/// All that a statement finds, each row as `read` makes it.
///
/// # Errors
/// `SQLite`'s; what `read` gives.
pub fn select<T, E: From<Error>>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    mut read: impl FnMut(&Row<'_>) -> Result<T, E>,
) -> Result<Vec<T>, E> {
    let mut select = connection.prepare_cached(sql)?;
    let mut rows = select.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

pub(crate) fn connect(path: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(PREPARED);
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::{Database, Durability};

    fn file() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("test.sqlite");
        let writer = Connection::open(&path).expect("a file");
        let filled =
            "pragma journal_mode = wal; create table t (n integer); insert into t values (7)";
        writer.execute_batch(filled).expect("filled");
        (folder, path)
    }

    async fn ask(readers: &Readers, sql: &'static str) -> Result<i64, ReadError> {
        readers.read(move |reader| Ok(reader.query_row(sql, [], |row| row.get(0))?)).await
    }

    #[tokio::test]
    async fn they_read_and_never_write() {
        let (_folder, path) = file();
        let readers = Readers::open(&path, 2).expect("opened");
        assert_eq!(ask(&readers, "select n from t").await.expect("a row"), 7);
        let refused = ask(&readers, "insert into t values (1) returning n").await;
        assert!(refused.expect_err("refused").to_string().contains("readonly"));
        assert_eq!(ask(&readers, "select count(*) from t").await.expect("a row"), 1);
    }

    #[tokio::test]
    async fn a_file_that_is_not_there_is_not_made() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("none.sqlite");
        assert!(Readers::open(&path, 1).is_err());
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_file_of_another_version_is_refused() {
        let (_folder, path) = file();
        assert!(matches!(Readers::of_version(&path, 1, &[]), Err(OpenError::Reader { .. })));
        std::fs::write(&path, "no database, but long enough to be looked at").expect("written");
        assert!(matches!(Readers::of_version(&path, 1, &[]), Err(OpenError::Reader { .. })));
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("test.sqlite");
        let migrations =
            [("one", "create table t (n integer)"), ("two", "insert into t values (7)")];
        Database::open(&path, Durability::Full, 1, &migrations).await.expect("the file opens");
        let refused = Readers::of_version(&path, 1, &migrations[..1]);
        assert!(matches!(refused, Err(OpenError::OtherVersion { found: 2, known: 1, .. })));
        let readers = Readers::of_version(&path, 1, &migrations).expect("of this version");
        assert_eq!(ask(&readers, "select n from t").await.expect("a row"), 7);
    }

    #[tokio::test]
    async fn who_finds_no_place_waits_and_a_caller_that_goes_away_leaves_it() {
        let (_folder, path) = file();
        let readers = Readers::open(&path, 1).expect("opened");
        let (go_on, held_up) = mpsc::channel::<()>();
        let (begun, begins) = tokio::sync::oneshot::channel();
        let others = readers.clone();
        let held = tokio::spawn(async move {
            let work = move |_: &Connection| {
                begun.send(()).expect("the test waits");
                held_up.recv().expect("let go");
                Ok::<_, ReadError>(())
            };
            others.read(work).await
        });
        begins.await.expect("it has begun");
        held.abort();
        let mut waiting = std::pin::pin!(ask(&readers, "select n from t"));
        assert!(futures_poll(waiting.as_mut()).is_none());
        go_on.send(()).expect("it is there");
        assert_eq!(waiting.await.expect("a row"), 7);
    }

    #[tokio::test]
    async fn what_a_caller_has_asked_who_went_away_while_waiting_is_not_read() {
        let (_folder, path) = file();
        let readers = Readers::open(&path, 1).expect("opened");
        let (go_on, held_up) = mpsc::channel::<()>();
        let mut held = std::pin::pin!(readers.read(move |_| {
            held_up.recv().expect("let go");
            Ok::<_, ReadError>(())
        }));
        assert!(futures_poll(held.as_mut()).is_none());
        let read = Arc::new(AtomicBool::new(false));
        {
            let read = Arc::clone(&read);
            let mut gone = std::pin::pin!(readers.read(move |_| {
                read.store(true, Ordering::SeqCst);
                Ok::<_, ReadError>(())
            }));
            assert!(futures_poll(gone.as_mut()).is_none());
        }
        go_on.send(()).expect("it is there");
        held.await.expect("read");
        assert_eq!(ask(&readers, "select n from t").await.expect("a row"), 7);
        assert!(!read.load(Ordering::SeqCst), "nobody waits for it");
    }

    #[test]
    fn where_the_runtime_has_ended_they_are_closed_to_all_and_can_be_closed() {
        let (_folder, path) = file();
        let ended = tokio::runtime::Runtime::new().expect("a runtime");
        let readers = ended.block_on(async { Readers::open(&path, 1).expect("opened") });
        drop(ended);
        let other = tokio::runtime::Runtime::new().expect("a runtime");
        other.block_on(async {
            for _ in 0..3 {
                let refused = ask(&readers, "select n from t").await.expect_err("no thread");
                assert!(matches!(refused, ReadError::Closed(_)), "{refused}");
            }
            timeout(Duration::from_secs(5), readers.close()).await.expect("closed");
        });
    }

    fn futures_poll<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match future.poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_has_read_may_close_the_file() {
        let (_folder, path) = file();
        for _ in 0..200 {
            let readers = Readers::open(&path, 2).expect("opened");
            ask(&readers, "select n from t").await.expect("a row");
            assert_eq!(Arc::strong_count(&readers.0), 1, "nobody else holds a connection");
        }
    }

    #[tokio::test]
    async fn a_panic_is_the_callers_and_takes_no_place() {
        let (_folder, path) = file();
        let readers = Readers::open(&path, 1).expect("opened");
        let ours = readers.clone();
        let panicked = tokio::spawn(async move {
            ours.read(|_| -> Result<(), ReadError> { panic!("as it should") }).await
        });
        assert!(panicked.await.is_err_and(|error| error.is_panic()));
        assert_eq!(ask(&readers, "select n from t").await.expect("a row"), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_place_for_long_is_told() {
        let (_folder, path) = file();
        let readers = Readers::open(&path, 1).expect("opened");
        let (go_on, held_up) = mpsc::channel::<()>();
        let (begun, begins) = oneshot::channel();
        let held = readers.read(move |_| {
            begun.send(()).expect("the test waits");
            held_up.recv().expect("let go");
            Ok::<_, ReadError>(())
        });
        let mut held = std::pin::pin!(held);
        assert!(futures_poll(held.as_mut()).is_none());
        begins.await.expect("it has begun");
        let read = Arc::new(AtomicBool::new(false));
        let late = Arc::clone(&read);
        let refused = readers.read(move |_| {
            late.store(true, Ordering::SeqCst);
            Ok::<_, ReadError>(())
        });
        let mut refused = std::pin::pin!(refused);
        assert!(futures_poll(refused.as_mut()).is_none());
        tokio::time::advance(PATIENCE).await;
        let refused = refused.await.expect_err("there is no place");
        assert!(refused.to_string().contains("in use"), "{refused}");
        go_on.send(()).expect("it is there");
        held.await.expect("however long it takes");
        assert_eq!(ask(&readers, "select n from t").await.expect("a row"), 7);
        assert!(!read.load(Ordering::SeqCst), "nobody waited for it any more");
    }

    #[tokio::test]
    async fn once_closed_nobody_is_let_in() {
        let (_folder, path) = file();
        let readers = Readers::open(&path, 1).expect("opened");
        let (go_on, held_up) = mpsc::channel::<()>();
        let held = readers.read(move |connection| {
            held_up.recv().expect("let go");
            Ok::<_, ReadError>(
                connection.query_row("select n from t", [], |row| row.get::<_, i64>(0))?,
            )
        });
        let others = async {
            let mut closing = std::pin::pin!(readers.close());
            assert!(futures_poll(closing.as_mut()).is_none(), "one is in use");
            go_on.send(()).expect("it is there");
            closing.await;
        };
        let (held, ()) = tokio::join!(held, others);
        assert_eq!(held.expect("it was let in before"), 7);
        assert!(readers.0.state().idle.is_empty());
        assert!(matches!(ask(&readers, "select n from t").await, Err(ReadError::Closed(_))));
        readers.close().await;
    }
}
