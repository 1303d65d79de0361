//! How fast events are handed out.

use std::str::FromStr;
use std::time::Duration;

use tokio::time::Instant;
use verbatim_protocol::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speed {
    Max,
    /// So many times the pace at which they were recorded.
    Times(f64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("neither max nor a multiple such as 1x, 10x or 0.5x")]
pub struct BadSpeed;

impl FromStr for Speed {
    type Err = BadSpeed;

    fn from_str(text: &str) -> Result<Self, BadSpeed> {
        if text == "max" {
            return Ok(Self::Max);
        }
        let times: f64 =
            text.strip_suffix('x').and_then(|times| times.parse().ok()).ok_or(BadSpeed)?;
        if times.is_normal() && times > 0.0 { Ok(Self::Times(times)) } else { Err(BadSpeed) }
    }
}

/// Keeps the distances in time from the first event on.
pub struct Pace {
    speed: Speed,
    begun: Option<(Instant, Timestamp)>,
}

impl Pace {
    pub fn new(speed: Speed) -> Self {
        Self { speed, begun: None }
    }

    /// When an event is due that was recorded then; `None` if it is.
    pub fn due(&mut self, recorded_at: Timestamp) -> Option<Instant> {
        let Speed::Times(times) = self.speed else { return None };
        let now = Instant::now();
        let (begun, first) = *self.begun.get_or_insert((now, recorded_at));
        let distance = (recorded_at.0 - first.0).max(0) as f64 / 1_000.0 / times;
        // One that is never due for its distance is due after a very long time.
        let distance = Duration::try_from_secs_f64(distance).unwrap_or(Duration::MAX);
        let due =
            begun.checked_add(distance).unwrap_or(now + Duration::from_secs(u64::from(u32::MAX)));
        (due > now).then_some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_max_or_a_multiple() {
        assert_eq!("max".parse(), Ok(Speed::Max));
        assert_eq!("1x".parse(), Ok(Speed::Times(1.0)));
        assert_eq!("0.5x".parse(), Ok(Speed::Times(0.5)));
        for bad in ["", "x", "1", "0x", "-1x", "NaNx", "infx", "1e-320x", "fast", "MAX", "1 x"] {
            assert_eq!(bad.parse::<Speed>(), Err(BadSpeed), "{bad:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn distances_are_kept_whatever_the_events_take() {
        let begun = Instant::now();
        let mut pace = Pace::new(Speed::Times(2.0));
        let mut due = |milliseconds| pace.due(Timestamp(milliseconds)).map(|due| due - begun);
        assert_eq!(due(10_000), None, "the first is due at once");
        assert_eq!(due(12_000), Some(Duration::from_secs(1)));
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(due(14_000), None, "it is late");
        assert_eq!(due(20_000), Some(Duration::from_secs(5)));
        assert!(due(i64::MAX).is_some());
        assert_eq!(Pace::new(Speed::Max).due(Timestamp(1)), None);
    }
}
