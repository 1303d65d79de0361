//! Holding a log against everything that was said of it.

mod finding;
mod stored;

use std::fmt::Display;

use hashlink::LruCache;
use verbatim_journal::{Row, Rows, StoredEvent};
use verbatim_proof::{Checkpoint, Frontier, Hash, Subtree, Verifier, leaf_hash};
use xxhash_rust::xxh3::Xxh3;

use crate::sealing::known_keys;
use crate::{Error, Store, line};

pub use finding::Finding;
use stored::{Own, Tiles};

/// Rows that are read at once.
/// Few in tests, so that they come by the ends of pages.
const PAGE: usize = if cfg!(test) { 16 } else { 2_000 };

/// Streams whose last sequence is remembered. Of those that are forgotten, a wrong sequence shows in
/// the leaf alone.
const STREAMS: usize = 200_000;

/// How many events that were removed or inserted at one place are told from changed ones.
const SHIFT: u64 = 16;

/// What a log is held against.
pub struct Evidence<'s> {
    /// The sealer's store, where there is one.
    pub store: Option<&'s dyn Store>,
    /// The public keys that are believed. Without any, those that the store names.
    pub verifiers: Vec<Verifier>,
    /// Checkpoints that were kept elsewhere, already found to be signed.
    pub outside: Vec<Outside>,
}

/// A checkpoint that was kept elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Outside {
    pub size: u64,
    pub root: Hash,
}

impl From<Checkpoint> for Outside {
    fn from(Checkpoint { size, root, .. }: Checkpoint) -> Self {
        Self { size, root }
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Sound(Sound),
    Tampered(Finding),
}

/// Everything is as it was sealed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sound {
    /// Events of the log.
    pub events: u64,
    /// How many of them a checkpoint vouches for.
    pub sealed: u64,
    /// The sealer's own checkpoints.
    pub checkpoints: u64,
    /// Those that were kept elsewhere.
    pub outside: u64,
    /// The root over all events, whether or not it was signed.
    pub root: String,
}

/// Reads the whole log and recomputes everything; stops at the first thing that isn't as it was sealed.
/// `progress` hears how far it has come, and how far it goes.
///
/// # Errors
/// Log or store can't be read.
pub async fn verify(
    rows: &dyn Rows,
    evidence: Evidence<'_>,
    progress: impl FnMut(u64, u64),
) -> Result<Verdict, Error> {
    let verification = Verification::begin(rows, evidence).await;
    let outcome = match verification {
        Ok(verification) => verification.run(progress).await,
        Err(failed) => Err(failed),
    };
    match outcome {
        Ok(sound) => Ok(Verdict::Sound(sound)),
        Err(Failed::Found(finding)) => Ok(Verdict::Tampered(finding)),
        Err(Failed::Error(error)) => Err(error),
    }
}

/// Why it ended early.
enum Failed {
    Found(Finding),
    Error(Error),
}

impl From<Finding> for Failed {
    fn from(finding: Finding) -> Self {
        Self::Found(finding)
    }
}

impl<E: Into<Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

struct Verification<'s> {
    rows: &'s dyn Rows,
    /// The last position to be looked at.
    end: u64,
    /// Over the log's events.
    tree: Frontier,
    own: Own<'s>,
    tiles: Tiles<'s>,
    /// Ascending.
    outside: std::vec::IntoIter<Outside>,
    next_outside: Option<Outside>,
    /// Sizes of the last checkpoints that fitted.
    own_fitted: u64,
    outside_fitted: u64,
    streams: LruCache<u128, i64>,
    forgot: bool,
    line: Vec<u8>,
    sound: Sound,
}

impl<'s> Verification<'s> {
    async fn begin(rows: &'s dyn Rows, evidence: Evidence<'s>) -> Result<Self, Failed> {
        let Evidence { store, mut verifiers, mut outside } = evidence;
        let log = rows.id();
        // Asked first: what is sealed is in the log.
        let last = match store {
            Some(store) => store.latest(log).await?,
            None => None,
        };
        if verifiers.is_empty()
            && let Some(store) = store
        {
            verifiers = known_keys(store, log).await.map_err(|error| match error {
                Error::Tampered(why) => Failed::Found(Finding::seal(why)),
                error => Failed::Error(error),
            })?;
        }
        let sealed = last.as_ref().map_or(0, |last| last.size);
        let own = Own::new(store, log, verifiers, last.map_or(0, |last| last.number)).await?;
        outside.sort_unstable();
        let mut outside = outside.into_iter();
        let head = rows.head().await?;
        Ok(Self {
            rows,
            end: head.max(sealed),
            tree: Frontier::default(),
            own,
            tiles: Tiles::new(store, log, sealed),
            next_outside: outside.next(),
            outside,
            own_fitted: 0,
            outside_fitted: 0,
            streams: LruCache::new(STREAMS),
            forgot: false,
            line: Vec::new(),
            sound: Sound::default(),
        })
    }

    async fn run(mut self, mut progress: impl FnMut(u64, u64)) -> Result<Sound, Failed> {
        let rows = self.rows;
        // Where a row could be put that readers of the log never come by.
        let mut page = rows.rows_after(i64::MIN, PAGE).await?;
        while self.tree.size() < self.end {
            // The last row once more: of two at one position, the other one follows it.
            let Some(last) = page.last().map(|last| last.position) else { break };
            let next = rows.rows_after(last - 1, PAGE);
            // Read while this one is worked on.
            let (next, taken) = tokio::join!(next, self.take_all(&page));
            taken?;
            page = next?;
            if page.first().is_some_and(|row| row.position == last) {
                page.remove(0);
            }
            progress(self.tree.size(), self.end);
        }
        // What stands at the last position as well, if that was a page's last.
        self.take_all(&page).await?;
        self.end_of_log()?;
        self.sound.events = self.tree.size();
        self.sound.sealed = self.own_fitted.max(self.outside_fitted);
        self.sound.root = self.tree.root().to_string();
        Ok(self.sound)
    }

    /// Takes in the rows of a page, as far as they are to be looked at.
    async fn take_all(&mut self, page: &[Row]) -> Result<(), Failed> {
        for row in page {
            // Those beyond have come since.
            if self.tree.size() == self.end && row.position > self.end as i64 {
                break;
            }
            self.take(row).await?;
        }
        Ok(())
    }

    /// Takes in the next row.
    async fn take(&mut self, row: &Row) -> Result<(), Failed> {
        let position = self.tree.size() + 1;
        if row.position < position as i64 {
            return Err(Finding::one_too_many(row.position).into());
        }
        if row.position > position as i64 {
            return Err(Finding::removed(position, row.position as u64 - 1).into());
        }
        let (event, leaf) = match self.leaf(row, position) {
            Ok(read) => read,
            Err(why) => return Err(Finding::unreadable(position, why).into()),
        };
        if let Some(sealed) = self.tiles.leaf(position - 1).await?
            && sealed != leaf
        {
            return Err(self.diagnose(event, leaf).await?.into());
        }
        self.follow(position, event)?;
        let mut completed = Vec::new();
        self.tree.push(leaf, |subtree, hash| completed.push((subtree, hash)));
        for (subtree, hash) in completed {
            if subtree.height > 0 && self.tiles.differs(subtree, hash).await? {
                return Err(Finding::seal(tile(subtree)).into());
            }
        }
        self.compare().await
    }

    fn leaf<'r>(&mut self, row: &'r Row, position: u64) -> Result<(&'r StoredEvent, Hash), String> {
        let event = row.stored.as_ref().map_err(Clone::clone)?;
        let leaf = hash(&mut self.line, event, position, event.sequence);
        Ok((event, leaf.map_err(|why| why.to_string())?))
    }

    /// Whether the event follows on the last one of its stream.
    fn follow(&mut self, position: u64, event: &StoredEvent) -> Result<(), Finding> {
        let mut stream = Xxh3::new();
        stream.update(event.aggregate_type.as_bytes());
        stream.update(&[0]);
        stream.update(event.aggregate_id.as_bytes());
        let before = self.streams.insert(stream.digest128(), event.sequence);
        self.forgot |= self.streams.len() == STREAMS;
        let due = match before {
            Some(before) => before + 1,
            None if self.forgot => return Ok(()),
            None => 1,
        };
        if event.sequence == due {
            return Ok(());
        }
        Err(Finding::out_of_sequence(position, event, due))
    }

    /// Compares the root with those of the checkpoints of this size.
    async fn compare(&mut self) -> Result<(), Failed> {
        let size = self.tree.size();
        if self.own.next().is_some_and(|own| own.size == size) {
            let root = self.tree.root();
            if self.own.next().is_some_and(|own| own.root != root) {
                return Err(Finding::between(self.own_fitted, size, "a checkpoint").into());
            }
            self.own.advance().await?;
            self.own_fitted = size;
            self.sound.checkpoints += 1;
        }
        while let Some(outside) = self.next_outside.filter(|outside| outside.size <= size) {
            if outside.size == size && outside.root != self.tree.root() {
                let what = "a checkpoint that was kept elsewhere";
                return Err(Finding::between(self.outside_fitted, size, what).into());
            }
            self.outside_fitted = outside.size;
            self.sound.outside += 1;
            self.next_outside = self.outside.next();
        }
        Ok(())
    }

    /// Whether anything that was sealed is missing at the end.
    fn end_of_log(&mut self) -> Result<(), Finding> {
        let size = self.tree.size();
        if size < self.end {
            return Err(Finding::cut_off(size, self.end, "were recorded"));
        }
        if let Some(own) = self.own.next() {
            // It is within what was looked at, so it was passed over.
            return Err(Finding::seal(format!(
                "a checkpoint of {} events is out of order",
                own.size
            )));
        }
        if let Some(outside) = self.outside.next_back().or(self.next_outside)
            && outside.size > size
        {
            let what = "were sealed, a checkpoint that was kept elsewhere says";
            return Err(Finding::cut_off(size, outside.size, what));
        }
        Ok(())
    }

    /// What is wrong where an event isn't the one that was sealed: the event, the seal, or both.
    async fn diagnose(&mut self, event: &StoredEvent, leaf: Hash) -> Result<Finding, Failed> {
        let index = self.tree.size();
        let Some(checkpoint) = self.own.next().cloned() else {
            return Ok(Finding::seal("what is sealed has no checkpoint".to_owned()));
        };
        // Up to here both are the same.
        let mut sealed = self.tree.clone();
        for index in index..checkpoint.size {
            match self.tiles.leaf(index).await? {
                Some(leaf) => sealed.push(leaf, |_, _| {}),
                None => return Ok(Finding::seal("leaves are missing".to_owned())),
            }
        }
        if sealed.root() == checkpoint.root {
            return self.classify(event).await;
        }
        let mut recorded = self.tree.clone();
        recorded.push(leaf, |_, _| {});
        while recorded.size() < checkpoint.size {
            let limit = PAGE.min((checkpoint.size - recorded.size()) as usize);
            let rows = self.rows.rows_after(recorded.size() as i64, limit).await?;
            if rows.is_empty() {
                break;
            }
            for row in &rows {
                let position = recorded.size() + 1;
                let read = self.leaf(row, position).ok();
                match read.filter(|_| row.position == position as i64) {
                    Some((_, leaf)) => recorded.push(leaf, |_, _| {}),
                    None => {
                        return Ok(Finding::between(
                            self.own_fitted,
                            checkpoint.size,
                            "a checkpoint",
                        ));
                    }
                }
            }
        }
        Ok(if recorded.root() == checkpoint.root {
            Finding::seal(format!("the leaf of position {} was changed", index + 1))
        } else {
            Finding::between(self.own_fitted, checkpoint.size, "a checkpoint")
        })
    }

    /// Whether an event was changed, or others were removed or put in and the rest moved.
    async fn classify(&mut self, event: &StoredEvent) -> Result<Finding, Failed> {
        let index = self.tree.size();
        let position = index + 1;
        for shift in 1..=SHIFT {
            let Some(sealed) = self.tiles.leaf(index + shift).await? else { break };
            if self.is_sealed_as(event, position + shift, 0..=shift as i64, sealed) {
                return Ok(Finding::moved_up(position, shift));
            }
        }
        if let Some(sealed) = self.tiles.leaf(index).await? {
            let further = self.rows.rows_after(position as i64, SHIFT as usize).await?;
            for (row, shift) in further.iter().zip(1..=SHIFT) {
                let Ok(event) = &row.stored else { break };
                if self.is_sealed_as(event, position, -(shift as i64)..=0, sealed) {
                    return Ok(Finding::inserted(position, shift));
                }
            }
        }
        Ok(Finding::changed(position))
    }

    /// Whether an event with another position, and a sequence that moved along, has this leaf.
    fn is_sealed_as(
        &mut self,
        event: &StoredEvent,
        position: u64,
        moved: std::ops::RangeInclusive<i64>,
        sealed: Hash,
    ) -> bool {
        moved.into_iter().any(|by| {
            let sequence = event.sequence.saturating_add(by);
            hash(&mut self.line, event, position, sequence).is_ok_and(|leaf| leaf == sealed)
        })
    }
}

fn hash(
    buffer: &mut Vec<u8>,
    event: &StoredEvent,
    position: u64,
    sequence: i64,
) -> Result<Hash, crate::Unreadable> {
    buffer.clear();
    line(event, position, sequence, buffer)?;
    Ok(leaf_hash(buffer))
}

fn tile(subtree: Subtree) -> impl Display {
    let (id, _) = subtree.place();
    format!("a node of tile {} of level {} was changed", id.index, id.level)
}
