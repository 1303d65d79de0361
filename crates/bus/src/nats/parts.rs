//! Messages that are larger than the server takes, in numbered parts.
//!
//! Parts of one message follow each other on one connection, so they come in order or not at all. A
//! lost part loses the message; its reader notices that by the message's own number.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

/// The header of a part.
pub(super) const PART: &str = "Verbatim-Part";
/// No message is larger.
pub(super) const MAX_MESSAGE: usize = 64 << 20;
/// What headers take of the server's limit, generously.
pub(super) const HEADER_ROOM: usize = 512;
/// The smallest limit that a server may have; one below it could not hold the headers.
const MIN_PART: usize = 512;
const MAX_PARTS: u32 = (MAX_MESSAGE / MIN_PART) as u32;
/// Messages whose parts are waited for at a time; the oldest gives way.
const MAX_PARTIAL: usize = 64;
/// Of all messages whose parts are waited for.
const MAX_PARTIAL_BYTES: usize = 2 * MAX_MESSAGE;
/// What has not come by then is lost.
const MAX_WAIT: Duration = Duration::from_secs(10);
const MAX_ID: usize = 64;

/// One part's place: `<message>:<index>:<count>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    message: String,
    index: u32,
    count: u32,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.message, self.index, self.count)
    }
}

impl FromStr for Part {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let mut fields = text.split(':');
        let (Some(message), Some(index), Some(count), None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(Malformed);
        };
        let index = index.parse().map_err(|_| Malformed)?;
        let count = count.parse().map_err(|_| Malformed)?;
        let fits = (1..=MAX_ID).contains(&message.len())
            && (2..=MAX_PARTS).contains(&count)
            && index < count;
        if fits { Ok(Self { message: message.to_owned(), index, count }) } else { Err(Malformed) }
    }
}

/// No message of ours, or one of which a part was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Cuts a message, named `message`, into what a server takes whose limit is `max_payload`. One part
/// has no name. `None` if it is too large for anybody.
pub(super) fn cut(
    message: &str,
    payload: Bytes,
    max_payload: usize,
) -> Option<Vec<(Option<Part>, Bytes)>> {
    if payload.len() > MAX_MESSAGE {
        return None;
    }
    let size = max_payload.saturating_sub(HEADER_ROOM).max(MIN_PART);
    if payload.len() <= size {
        return Some(vec![(None, payload)]);
    }
    let count = payload.len().div_ceil(size) as u32;
    let parts = (0..count).map(|index| {
        let start = index as usize * size;
        let end = payload.len().min(start + size);
        let part = Part { message: message.to_owned(), index, count };
        (Some(part), payload.slice(start..end))
    });
    Some(parts.collect())
}

/// Puts messages together again.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    partial: HashMap<String, Partial>,
    bytes: usize,
    /// Counts messages, to tell which is the oldest.
    begun: u64,
}

#[derive(Debug)]
struct Partial {
    count: u32,
    parts: Vec<Bytes>,
    bytes: usize,
    number: u64,
    since: Instant,
}

impl Assembly {
    /// Takes a part in; gives the message when it was the last.
    pub(super) fn take(
        &mut self,
        part: &Part,
        payload: Bytes,
        now: Instant,
    ) -> Result<Option<Bytes>, Malformed> {
        self.forget_late(now);
        if part.index == 0 {
            self.forget(&part.message);
            self.make_room(payload.len());
            self.begun += 1;
            let partial = Partial {
                count: part.count,
                parts: Vec::new(),
                bytes: 0,
                number: self.begun,
                since: now,
            };
            self.partial.insert(part.message.clone(), partial);
        }
        let Some(partial) = self.partial.get_mut(&part.message) else {
            return Err(Malformed);
        };
        let is_next = partial.count == part.count && partial.parts.len() == part.index as usize;
        if !is_next || partial.bytes + payload.len() > MAX_MESSAGE {
            self.forget(&part.message);
            return Err(Malformed);
        }
        partial.bytes += payload.len();
        self.bytes += payload.len();
        partial.parts.push(payload);
        if part.index + 1 < part.count {
            self.make_room(0);
            return Ok(None);
        }
        let Some(partial) = self.forget(&part.message) else {
            return Err(Malformed);
        };
        let mut whole = BytesMut::with_capacity(partial.bytes);
        for part in &partial.parts {
            whole.extend_from_slice(part);
        }
        Ok(Some(whole.freeze()))
    }

    fn forget(&mut self, message: &str) -> Option<Partial> {
        let partial = self.partial.remove(message)?;
        self.bytes -= partial.bytes;
        Some(partial)
    }

    fn forget_late(&mut self, now: Instant) {
        let mut freed = 0;
        self.partial.retain(|_, partial| {
            let stays = now.duration_since(partial.since) < MAX_WAIT;
            freed += if stays { 0 } else { partial.bytes };
            stays
        });
        self.bytes -= freed;
    }

    fn make_room(&mut self, bytes: usize) {
        while self.partial.len() > MAX_PARTIAL || self.bytes + bytes > MAX_PARTIAL_BYTES {
            let oldest = self.partial.iter().min_by_key(|(_, partial)| partial.number);
            let Some(oldest) = oldest.map(|(message, _)| message.clone()) else { return };
            self.forget(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(len: usize) -> Bytes {
        (0..len).map(|n| n as u8).collect::<Vec<_>>().into()
    }

    fn parts(name: &str, payload: &Bytes) -> Vec<(Part, Bytes)> {
        let parts = cut(name, payload.clone(), 1_024).expect("it is not too large");
        parts.into_iter().map(|(part, bytes)| (part.expect("it is cut"), bytes)).collect()
    }

    fn take(assembly: &mut Assembly, part: (Part, Bytes)) -> Result<Option<Bytes>, Malformed> {
        let (named, payload) = part;
        let named: Part = named.to_string().parse().expect("it reads back");
        assembly.take(&named, payload, Instant::now())
    }

    #[test]
    fn what_fits_stays_whole_and_what_does_not_comes_together_again() {
        let small = message(100);
        assert_eq!(cut("m", small.clone(), 1_024), Some(vec![(None, small)]));
        let large = message(10_000);
        let mut assembly = Assembly::default();
        let cut = parts("m", &large);
        assert!(cut.iter().all(|(_, bytes)| bytes.len() + HEADER_ROOM <= 1_024));
        let last = cut.len() - 1;
        for (index, part) in cut.into_iter().enumerate() {
            let whole = take(&mut assembly, part).expect("in order");
            assert_eq!(whole, (index == last).then(|| large.clone()));
        }
        assert_eq!((assembly.bytes, assembly.partial.len()), (0, 0));
    }

    #[test]
    fn messages_of_many_senders_come_together_side_by_side() {
        let (one, two) = (message(2_000), message(1_999));
        let mut assembly = Assembly::default();
        let mut whole = Vec::new();
        for (one, two) in parts("one", &one).into_iter().zip(parts("two", &two)) {
            whole.extend(take(&mut assembly, one).expect("in order"));
            whole.extend(take(&mut assembly, two).expect("in order"));
        }
        assert_eq!(whole, [one, two]);
    }

    #[test]
    fn a_lost_part_loses_its_message_only() {
        let mut assembly = Assembly::default();
        let large = message(3_000);
        let mut cut = parts("m", &large);
        cut.remove(1);
        let results: Vec<_> = cut.into_iter().map(|part| take(&mut assembly, part)).collect();
        assert_eq!(results[0], Ok(None));
        assert!(results[1..].iter().all(|result| *result == Err(Malformed)), "{results:?}");
        let mut whole = None;
        for part in parts("n", &large) {
            whole = take(&mut assembly, part).expect("in order");
        }
        assert_eq!(whole, Some(large));
    }

    #[test]
    fn what_never_comes_to_an_end_is_bounded() {
        let mut assembly = Assembly::default();
        for n in 0..1_000 {
            let part = Part { message: n.to_string(), index: 0, count: 2 };
            let taken = assembly.take(&part, Bytes::from(vec![0; 1 << 20]), Instant::now());
            assert_eq!(taken, Ok(None));
            assert!(assembly.partial.len() <= MAX_PARTIAL + 1);
            assert!(assembly.bytes <= MAX_PARTIAL_BYTES);
        }
        let later = Instant::now() + MAX_WAIT;
        let part = Part { message: "late".to_owned(), index: 1, count: 2 };
        assert_eq!(assembly.take(&part, Bytes::new(), later), Err(Malformed));
        assert_eq!((assembly.bytes, assembly.partial.len()), (0, 0));
    }

    #[test]
    fn forged_headers_are_no_parts() {
        for bad in [
            "",
            ":",
            "::",
            "a:0:1",
            "a:2:2",
            ":0:2",
            "a:-1:2",
            "a:0:99999999",
            "a:0:2:3",
            "a:0",
            "a:x:2",
            "a:0:0",
            "🦀",
        ] {
            assert_eq!(bad.parse::<Part>(), Err(Malformed), "{bad}");
        }
        assert_eq!(format!("{}:0:2", "a".repeat(65)).parse::<Part>(), Err(Malformed));
    }
}
