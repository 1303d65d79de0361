//! The events of a range, in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use verbatim_domain::{ConversationEvent, Event, Personal};
use verbatim_journal::{Error, Log};
use verbatim_protocol::Recorded;

use crate::Range;

/// Pages that are being read, or wait to be taken, while one is worked on.
const AHEAD: usize = 2;

/// What a page may hold of what people wrote, about; and the events of one, at least.
const PAGE_BYTES: usize = 4 << 20;
const FEWEST: usize = 50;
/// The events of the first page, at most: nobody knows how large they are.
const FIRST: usize = 250;

type Events = Vec<Arc<Recorded>>;

/// Pages of a range, each a statement of its own, while those before are being worked on.
pub struct Pages<T = Events>(mpsc::Receiver<JoinHandle<Result<T, Error>>>);

/// Begins to read a range in pages of `size` events, or of fewer where these are large. Positions are
/// dense, so that where the next page begins is known before the last one is read.
pub fn pages(log: Arc<dyn Log>, range: Range, size: usize) -> Pages {
    pages_with(log, range, size, |events| events)
}

/// As [`pages`], with work that is done on each page where it was read: on several at once.
pub fn pages_with<T: Send + 'static>(
    log: Arc<dyn Log>,
    range: Range,
    size: usize,
    work: impl Fn(Events) -> T + Send + Sync + 'static,
) -> Pages<T> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let work = Arc::new(work);
    let fitting = Arc::new(AtomicUsize::new(size.min(FIRST)));
    tokio::spawn(async move {
        let mut after = range.first - 1;
        while after < range.last {
            let Ok(place) = sender.reserve().await else { return };
            let last = range.last.min(after + fitting.load(Ordering::Relaxed) as u64);
            let (log, work, fitting) = (Arc::clone(&log), Arc::clone(&work), Arc::clone(&fitting));
            place.send(tokio::spawn(async move {
                let events = read(&*log, after, last).await?;
                fitting.store(fit(&events, size), Ordering::Relaxed);
                Ok(work(events))
            }));
            after = last;
        }
    });
    Pages(receiver)
}

/// How many events make a page, if the next ones are as large as these.
fn fit(events: &Events, most: usize) -> usize {
    let bytes: usize = events.iter().map(|recorded| written(&recorded.event)).sum();
    (events.len() * PAGE_BYTES / bytes.max(1)).max(FEWEST).min(most)
}

/// The bytes of what somebody wrote, about.
fn written(event: &Event) -> usize {
    let Event::Conversation(ConversationEvent::MessageSent(sent)) = event else { return 0 };
    match &sent.personal {
        Personal::Plain(said) => {
            let attachments = said.attachments.iter();
            said.content.len() + attachments.map(|it| it.name.len() + it.url.len()).sum::<usize>()
        }
        Personal::Sealed(sealed) => sealed.sealed.0.len(),
    }
}

async fn read(log: &dyn Log, after: u64, last: u64) -> Result<Events, Error> {
    let page = log.read_after(after, (last - after) as usize).await?;
    let reached = page.last().map_or(after, |last| last.position);
    if reached < last {
        return Err(Error::Corrupt(format!(
            "the log ends after position {reached}, before its head"
        )));
    }
    Ok(page)
}

impl<T> Pages<T> {
    /// The next page, of at least one event; `None` at the end of the range.
    ///
    /// # Errors
    /// The journal's. No page follows.
    pub async fn next(&mut self) -> Option<Result<T, Error>> {
        let page = self.0.recv().await?.await;
        let page = page.unwrap_or_else(|ended| Err(Error::Unavailable(Box::new(ended))));
        if page.is_err() {
            self.0.close();
            while self.0.recv().await.is_some() {}
        }
        Some(page)
    }
}

#[cfg(test)]
mod tests {
    use verbatim_domain::conversation::PersonalMessage;

    use super::*;
    use crate::testing::{Fixed, log_at, of, said};

    async fn positions(range: Range, size: usize) -> Vec<Vec<u64>> {
        let log = log_at(&[1; 10]);
        let mut pages = pages(Arc::new(log), range, size);
        let mut read = Vec::new();
        while let Some(page) = pages.next().await {
            read.push(page.expect("a page").iter().map(|event| event.position).collect());
        }
        read
    }

    #[tokio::test]
    async fn pages_cover_the_range_and_nothing_else() {
        let all = positions(Range { first: 1, last: 10 }, 4).await;
        assert_eq!(all, [vec![1, 2, 3, 4], vec![5, 6, 7, 8], vec![9, 10]]);
        assert_eq!(positions(Range { first: 3, last: 5 }, 2).await, [vec![3, 4], vec![5]]);
        assert!(positions(Range { first: 11, last: 10 }, 4).await.is_empty());
        assert!(positions(Range { first: 4, last: 3 }, 4).await.is_empty());
    }

    #[tokio::test]
    async fn pages_of_large_events_have_few_and_cover_the_range() {
        let mut log = Fixed::default();
        for _ in 0..2_000 {
            let ConversationEvent::MessageSent(mut sent) = said(1, "ann") else {
                panic!("something was said")
            };
            sent.personal = PersonalMessage::text(&"x".repeat(32 * 1_024)).into();
            log.add(of("c"), ConversationEvent::MessageSent(sent));
        }
        let range = Range { first: 1, last: 2_000 };
        let mut pages =
            pages_with(Arc::new(log), range, 2_000, |events| (events[0].position, events.len()));
        let (mut next, mut sizes) = (1, Vec::new());
        while let Some(page) = pages.next().await {
            let (first, size) = page.expect("a page");
            assert_eq!(first, next);
            next += size as u64;
            sizes.push(size);
        }
        assert_eq!(next, 2_001);
        assert!(sizes.iter().all(|size| *size <= FIRST), "{sizes:?}");
        assert!(sizes.iter().skip(AHEAD + 2).all(|size| *size <= 128), "{sizes:?}");
    }

    #[tokio::test]
    async fn work_is_done_on_each_page_and_given_in_order() {
        let work = |events: Events| events.iter().map(|event| event.position).sum::<u64>();
        let range = Range { first: 1, last: 10 };
        let mut pages = pages_with(Arc::new(log_at(&[1; 10])), range, 4, work);
        let mut sums = Vec::new();
        while let Some(sum) = pages.next().await {
            sums.push(sum.expect("a page"));
        }
        assert_eq!(sums, [10, 26, 19]);
    }

    #[tokio::test]
    async fn a_log_that_ends_before_its_head_is_corrupt() {
        let mut pages = pages(Arc::new(log_at(&[1])), Range { first: 1, last: 2 }, 5);
        assert!(matches!(pages.next().await, Some(Err(Error::Corrupt(_)))));
        assert!(pages.next().await.is_none());
    }
}
