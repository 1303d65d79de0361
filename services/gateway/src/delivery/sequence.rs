//! The order of frames.

use verbatim_protocol::Frame;

/// Where the frames have come, and whose they are.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    epoch: u64,
    position: Option<u64>,
}

/// What to do with a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// An older reactor's.
    Refuse,
    /// Push what lies above `above`, after what lies in `gap` (after, through).
    Take { gap: Option<(u64, u64)>, above: u64 },
}

impl Sequence {
    /// Takes a frame in. The first one says where to begin.
    pub fn next(&mut self, frame: &Frame) -> Step {
        if frame.epoch < self.epoch {
            return Step::Refuse;
        }
        self.epoch = frame.epoch;
        let before = frame.from.saturating_sub(1);
        let position = self.position.unwrap_or(before);
        self.position = Some(position.max(frame.to));
        let gap = (before > position).then_some((position, before));
        Step::Take { gap, above: position.max(before) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(epoch: u64, from: u64, to: u64) -> Frame {
        Frame { epoch, from, to, pushes: Vec::new() }
    }

    fn take(gap: Option<(u64, u64)>, above: u64) -> Step {
        Step::Take { gap, above }
    }

    #[test]
    fn frames_follow_each_other() {
        let mut sequence = Sequence::default();
        assert_eq!(sequence.next(&frame(1, 8, 9)), take(None, 7), "the first begins");
        assert_eq!(sequence.next(&frame(1, 10, 12)), take(None, 9));
        assert_eq!(sequence.next(&frame(1, 13, 12)), take(None, 12), "a heartbeat");
        assert_eq!(sequence.next(&frame(1, 13, 13)), take(None, 12));
    }

    #[test]
    fn a_missing_frame_is_noticed_by_the_next_or_by_a_heartbeat() {
        let mut sequence = Sequence::default();
        sequence.next(&frame(1, 1, 5));
        assert_eq!(sequence.next(&frame(1, 8, 9)), take(Some((5, 7)), 7));
        assert_eq!(sequence.next(&frame(1, 13, 12)), take(Some((9, 12)), 12));
        assert_eq!(sequence.next(&frame(1, 13, 13)), take(None, 12));
    }

    #[test]
    fn what_came_before_is_skipped() {
        let mut sequence = Sequence::default();
        sequence.next(&frame(1, 1, 5));
        assert_eq!(sequence.next(&frame(2, 3, 8)), take(None, 5));
        assert_eq!(sequence.next(&frame(2, 2, 4)), take(None, 8));
        assert_eq!(sequence.next(&frame(2, 9, 9)), take(None, 8));
    }

    #[test]
    fn an_older_reactors_frames_are_refused() {
        let mut sequence = Sequence::default();
        sequence.next(&frame(2, 1, 5));
        assert_eq!(sequence.next(&frame(1, 6, 9)), Step::Refuse);
        assert_eq!(sequence.next(&frame(3, 6, 6)), take(None, 5));
    }
}
