//! How many are connected, sampled at full minutes, and recorded where that has changed.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;

use futures::future::BoxFuture;
use tracing::error;
use uuid::Uuid;
use verbatim_bus::Bus;
use verbatim_domain::ConnectionsCommand;
use verbatim_domain::connections::SampleConnections;
use verbatim_protocol::command::COMMAND_DEADLINE_MS;
use verbatim_protocol::{Command, CommandEnvelope, CommandKey, Timestamp};

use crate::retry::Backoff;

/// Who gives these commands.
const ISSUER: &str = "$connections";

/// Samples that wait to be recorded. Those that come when so many wait are left out.
const WAITING: usize = 64;

pub(super) struct Sampler {
    bus: Arc<dyn Bus>,
    /// Between two samples.
    seconds: u64,
    /// The number of the time that is being looked at, and the most sockets so far.
    current: Option<(u64, u64)>,
    last: Option<(u64, u64, u64)>,
    waiting: VecDeque<SampleConnections>,
    sending: Option<BoxFuture<'static, ()>>,
}

impl Sampler {
    pub fn new(bus: Arc<dyn Bus>, seconds: u64) -> Self {
        Self { bus, seconds, current: None, last: None, waiting: VecDeque::new(), sending: None }
    }

    /// So many sockets there are now.
    pub fn see(&mut self, sockets: u64) {
        if let Some((_, peak)) = &mut self.current {
            *peak = sockets.max(*peak);
        }
    }

    /// Takes a sample if it is time to.
    pub fn tick(&mut self, now: Timestamp, sockets: u64, users: u64) {
        let current = u64::try_from(now.0 / 1_000).unwrap_or_default() / self.seconds;
        match self.current {
            Some((known, _)) if known == current => return,
            // Once the clock has gone back, what is late is refused, until it is where it was.
            Some((known, peak)) if known < current => {
                let sample = (sockets, users, peak.max(sockets));
                if self.last != Some(sample) && self.waiting.len() < WAITING {
                    self.last = Some(sample);
                    let (sockets, users, peak_sockets) = sample;
                    let (at, seconds) = (current * self.seconds, self.seconds);
                    let sample = SampleConnections { at, seconds, sockets, users, peak_sockets };
                    self.waiting.push_back(sample);
                }
            }
            _ => {}
        }
        self.current = Some((current, sockets));
    }

    /// Has the samples recorded, in order, however long it takes. Safe to cancel.
    pub async fn record(&mut self) {
        if self.sending.is_none()
            && let Some(sample) = self.waiting.pop_front()
        {
            self.sending = Some(Box::pin(record(Arc::clone(&self.bus), sample)));
        }
        match &mut self.sending {
            Some(sending) => sending.await,
            None => pending().await,
        }
        self.sending = None;
    }
}

/// The key makes it once for ever, whichever process samples.
async fn record(bus: Arc<dyn Bus>, sample: SampleConnections) {
    let key = CommandKey { issuer: ISSUER.into(), key: sample.at.to_string().into() };
    let command = ConnectionsCommand::SampleConnections(sample);
    let command = Command::Connections { command };
    let mut backoff = Backoff::default();
    loop {
        let reply = bus.send(CommandEnvelope {
            command_id: Uuid::now_v7(),
            key: key.clone(),
            deadline: Timestamp(Timestamp::now().0 + COMMAND_DEADLINE_MS as i64),
            traceparent: None,
            command: command.clone(),
        });
        match reply.await {
            Ok(_) => return,
            Err(failure) if failure.retryable => backoff.wait().await,
            Err(failure) => {
                error!(key = &*key.key, %failure, "a sample of the connections was refused");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use verbatim_bus::in_process::InProcess;

    use super::*;

    fn sampled(sampler: &Sampler) -> Vec<(u64, u64, u64, u64)> {
        let of = |s: &SampleConnections| (s.at, s.sockets, s.users, s.peak_sockets);
        sampler.waiting.iter().map(of).collect()
    }

    fn sampler() -> Sampler {
        Sampler::new(Arc::new(InProcess::default()), 60)
    }

    #[tokio::test]
    async fn a_sample_is_taken_at_each_full_minute_and_kept_where_it_differs() {
        let mut sampler = sampler();
        sampler.tick(Timestamp(90_000), 1, 1);
        sampler.see(3);
        sampler.see(2);
        sampler.tick(Timestamp(119_999), 2, 1);
        assert!(sampled(&sampler).is_empty());
        sampler.tick(Timestamp(120_010), 2, 1);
        sampler.tick(Timestamp(120_060), 2, 1);
        assert_eq!(sampled(&sampler), [(120, 2, 1, 3)]);
        sampler.tick(Timestamp(180_000), 2, 1);
        sampler.tick(Timestamp(240_000), 2, 1);
        assert_eq!(sampled(&sampler), [(120, 2, 1, 3), (180, 2, 1, 2)]);
        sampler.see(0);
        sampler.tick(Timestamp(420_000), 0, 0);
        assert_eq!(sampled(&sampler)[2], (420, 0, 0, 2));
    }

    #[tokio::test]
    async fn a_clock_that_goes_back_takes_no_sample() {
        let mut sampler = sampler();
        sampler.tick(Timestamp(120_000), 1, 1);
        sampler.tick(Timestamp(60_000), 1, 1);
        assert!(sampled(&sampler).is_empty());
        sampler.tick(Timestamp(120_000), 1, 1);
        assert_eq!(sampled(&sampler), [(120, 1, 1, 1)]);
    }

    #[tokio::test]
    async fn no_more_wait_than_there_is_room_for() {
        let mut sampler = sampler();
        for minute in 0..1_000 {
            sampler.tick(Timestamp(minute * 60_000), minute as u64, 1);
        }
        assert_eq!(sampler.waiting.len(), WAITING);
    }
}
