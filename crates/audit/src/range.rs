//! Which part of the log.

use std::str::FromStr;
use std::time::Duration;

use verbatim_journal::Log;
use verbatim_protocol::Timestamp;

/// Within this an event is on the disk, once its time has been given.
const ON_ITS_WAY: Duration = Duration::from_secs(2);

/// A place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    Position(u64),
    Time(Timestamp),
}

/// Why a range, or one end of it, is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRange {
    #[error("neither a position (1, 2, 3 …) nor a time such as 2024-01-01T10:00:00Z")]
    Malformed,
    #[error("the range ends before it begins")]
    Reversed,
    #[error("position {position} is beyond the end of the log, which is {head}")]
    BeyondTheEnd { position: u64, head: u64 },
    #[error("{0} is yet to come")]
    YetToCome(Timestamp),
}

/// Why a range can't be settled.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Bad(#[from] BadRange),
    #[error(transparent)]
    Journal(#[from] verbatim_journal::Error),
}

impl FromStr for Bound {
    type Err = BadRange;

    fn from_str(text: &str) -> Result<Self, BadRange> {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            let position = text.parse().ok().filter(|position| *position > 0);
            return position.map(Self::Position).ok_or(BadRange::Malformed);
        }
        text.parse().map(Self::Time).map_err(|_| BadRange::Malformed)
    }
}

/// The positions `first` to `last`, both included; none if `last` stands before `first`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub first: u64,
    pub last: u64,
}

impl Range {
    /// Settles a range on the log as it is now. Both ends are included; without them it is the whole
    /// log. A time stands for the events recorded then: `from` for the first of them or of what came
    /// later, `to` for the last of them or of what came before. A range may begin right after the end
    /// of the log: it has no events yet.
    ///
    /// # Errors
    /// [`BadRange`]; or the journal's.
    pub async fn settle(
        log: &dyn Log,
        from: Option<Bound>,
        to: Option<Bound>,
    ) -> Result<Self, Error> {
        let reversed = match (from, to) {
            (Some(Bound::Position(from)), Some(Bound::Position(to))) => from > to,
            (Some(Bound::Time(from)), Some(Bound::Time(to))) => from > to,
            _ => false,
        };
        if reversed {
            return Err(BadRange::Reversed.into());
        }
        if let Some(to) = to {
            to.pass().await;
        }
        let head = log.head().await?;
        let first = match from {
            None => 1,
            Some(Bound::Position(position)) if position > head + 1 => {
                return Err(BadRange::BeyondTheEnd { position, head }.into());
            }
            Some(Bound::Position(position)) => position,
            Some(Bound::Time(time)) => {
                has_come(log, head, time).await?;
                first_since(log, head, time).await?
            }
        };
        let last = match to {
            None => head,
            Some(bound) => through(log, head, bound).await?,
        };
        if first > last + 1 {
            return Err(BadRange::Reversed.into());
        }
        Ok(Self { first, last })
    }

    /// How many positions.
    #[must_use]
    pub fn len(self) -> u64 {
        (self.last + 1).saturating_sub(self.first)
    }

    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// The last position that had been given at a bound: 0 before the first.
///
/// # Errors
/// [`BadRange`] if the bound lies beyond the end of the log or in the future, as not all of it may
/// have come; or the journal's.
pub async fn position_at(log: &dyn Log, bound: Bound) -> Result<u64, Error> {
    bound.pass().await;
    let head = log.head().await?;
    through(log, head, bound).await
}

async fn through(log: &dyn Log, head: u64, bound: Bound) -> Result<u64, Error> {
    match bound {
        Bound::Position(position) if position > head => {
            Err(BadRange::BeyondTheEnd { position, head }.into())
        }
        Bound::Position(position) => Ok(position),
        Bound::Time(time) => {
            has_come(log, head, time).await?;
            Ok(first_since(log, head, Timestamp(time.0 + 1)).await? - 1)
        }
    }
}

impl Bound {
    /// Waits until every event of that time is in the log.
    async fn pass(self) {
        let Self::Time(time) = self else { return };
        let now = Timestamp::now().0;
        let left = time.0 + ON_ITS_WAY.as_millis() as i64 - now;
        if time.0 <= now && left > 0 {
            tokio::time::sleep(Duration::from_millis(left as u64)).await;
        }
    }
}

async fn has_come(log: &dyn Log, head: u64, time: Timestamp) -> Result<(), Error> {
    if time > Timestamp::now() && time > recorded_at(log, head).await?.unwrap_or_default() {
        return Err(BadRange::YetToCome(time).into());
    }
    Ok(())
}

/// The position of the first event recorded at `time` or later; the one after the head if there is
/// none.
async fn first_since(log: &dyn Log, head: u64, time: Timestamp) -> Result<u64, Error> {
    // What stands at `earlier` or below was recorded before, what stands at `found` or above was not.
    let (mut earlier, mut found) = (0, head + 1);
    while found - earlier > 1 {
        let middle = earlier + (found - earlier) / 2;
        match recorded_at(log, middle).await? {
            Some(at) if at < time => earlier = middle,
            _ => found = middle,
        }
    }
    Ok(found)
}

async fn recorded_at(log: &dyn Log, position: u64) -> Result<Option<Timestamp>, Error> {
    let Some(before) = position.checked_sub(1) else { return Ok(None) };
    Ok(log.read_after(before, 1).await?.first().map(|event| event.recorded_at))
}

#[cfg(test)]
mod tests;
