//! The reactor's one loop: it alone holds presence, watches and ledger, and never waits for
//! anything but the next thing to happen.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use verbatim_bus::{PresenceMessage, Subscription};
use verbatim_domain::UserId;
use verbatim_protocol::Timestamp;
use verbatim_protocol::presence::Announcement;
use verbatim_state::{State, Watch};
use verbatim_views::Views;

use super::departures::Departures;
use super::ledger::Ledger;
use super::notify::{Notifier, Subject, depart};
use super::presence::Presence;
use super::sampler::Sampler;
use super::watches::Watches;
use super::{Batch, Matter, NAME, Start};
use crate::metrics::OfflineMetrics;
use crate::retry::until_available;
use crate::{Ports, Settings};

/// How often graces and silences are looked at.
const TICK: Duration = Duration::from_millis(50);

/// How long the last save may take at shutdown. Without it a little is decided again.
const LAST_SAVE: Duration = Duration::from_secs(2);

pub(super) struct Reactor {
    settings: Arc<Settings>,
    metrics: OfflineMetrics,
    views: Arc<dyn Views>,
    state: Arc<dyn State>,
    announcements: Subscription<PresenceMessage>,
    presence: Presence,
    sampler: Sampler,
    notifier: Notifier,
    started: Instant,
    /// What is at or below was pushed in a former life, to sockets of then.
    backlog: u64,
    /// Gateways have had time to tell their sockets.
    settled: bool,
    /// Clients have had time to reconnect.
    reconnected: bool,
    matters: VecDeque<(u64, Matter)>,
    /// The last position of the batch that `matters` is left of.
    batch_to: u64,
    head: u64,
    waiting: VecDeque<(UserId, Subject)>,
    /// Each gives the position that its command was for.
    in_flight: FuturesUnordered<BoxFuture<'static, u64>>,
    ledger: Ledger,
    watches: Watches,
    departures: Departures,
    /// Each gives the user and the position up to which they were notified.
    departing: FuturesUnordered<BoxFuture<'static, anyhow::Result<(UserId, u64)>>>,
    saving: Option<BoxFuture<'static, ()>>,
    saved: u64,
    save_due: Instant,
}

impl Reactor {
    pub fn new(
        ports: Ports,
        settings: Arc<Settings>,
        metrics: OfflineMetrics,
        start: Start,
    ) -> Self {
        let now = Instant::now();
        Self {
            announcements: ports.bus.subscribe_presence(),
            presence: Presence::new(ports.bus.clone(), settings.gateway_silence),
            sampler: Sampler::new(ports.bus.clone(), settings.sample_seconds),
            notifier: Notifier::new(ports.bus, metrics.clone()),
            departures: Departures::new(settings.departure_grace),
            settings,
            metrics,
            views: ports.views,
            state: ports.state,
            started: now,
            backlog: start.head,
            settled: false,
            reconnected: false,
            matters: VecDeque::new(),
            batch_to: start.checkpoint,
            head: start.head,
            waiting: VecDeque::new(),
            in_flight: FuturesUnordered::new(),
            ledger: Ledger::new(start.checkpoint),
            watches: Watches::restore(start.watches, start.checkpoint),
            departing: FuturesUnordered::new(),
            saving: None,
            saved: start.checkpoint,
            save_due: now,
        }
    }

    pub async fn run(
        mut self,
        mut batches: mpsc::Receiver<Batch>,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<()> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.advance();
            // Presence goes before events, so that who connected before a message counts as such.
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                _ = tick.tick() => self.tick(),
                Some(message) = self.announcements.recv() => {
                    // A snapshot that somebody else wants is no news.
                    if let PresenceMessage::Announcement(announcement) = message {
                        self.hear(&announcement);
                    }
                }
                () = async { match &mut self.saving {
                    Some(saving) => saving.await,
                    None => pending().await,
                } } => self.saving = None,
                Some(departed) = self.departing.next() => {
                    let (user, through) = departed?;
                    self.departed(&user, through);
                }
                Some(position) = self.in_flight.next() => self.ledger.settle(position),
                () = self.sampler.record() => {}
                Some(batch) = batches.recv(), if self.matters.is_empty() => {
                    self.matters.extend(batch.matters);
                    self.batch_to = batch.to;
                    self.head = self.head.max(batch.head);
                }
            }
        }
        self.finish().await;
        Ok(())
    }

    /// Does what can be done without waiting.
    fn advance(&mut self) {
        self.decide_all();
        let now = Instant::now();
        while let Some(user) = self.departures.begin(self.settings.departures_at_once, now) {
            self.depart(user);
        }
        if self.saving.is_none() && now >= self.save_due {
            self.save_due = now + self.settings.save_interval;
            self.begin_save();
        }
        self.metrics.lag_events.set(self.head.saturating_sub(self.ledger.checkpoint()) as i64);
        self.metrics.watches.set(self.watches.len() as i64);
        self.metrics.commands_in_flight.set(self.in_flight.len() as i64);
    }

    fn decide_all(&mut self) {
        loop {
            while self.in_flight.len() < self.settings.commands_in_flight {
                let Some((user, subject)) = self.waiting.pop_front() else { break };
                let position = subject.position;
                let notified = self.notifier.clone().notify(user, subject);
                self.in_flight.push(Box::pin(async move {
                    notified.await;
                    position
                }));
            }
            if !self.waiting.is_empty() {
                return;
            }
            match self.matters.front() {
                None => {
                    self.ledger.decide(self.batch_to, 0);
                    return;
                }
                // Until the gateways have told their sockets, everybody would seem offline.
                Some((position, _)) if *position > self.backlog && !self.settled => return,
                Some(_) => {}
            }
            if let Some((position, matter)) = self.matters.pop_front() {
                let commands = self.decide(position, matter);
                self.ledger.decide(position, commands);
            }
        }
    }

    /// Decides on one event, and gives the number of commands that follow from it.
    fn decide(&mut self, position: u64, matter: Matter) -> usize {
        let (subject, members) = match matter {
            Matter::Message { subject, members } => (subject, members),
            Matter::Delivered { user, through } => {
                self.watches.settled(&user, through);
                return 0;
            }
        };
        // Whoever had a socket in the former life is not known any more: they get time to come back.
        let unknown = position <= self.backlog && !self.reconnected;
        for user in members.iter().filter(|user| **user != subject.sender_id) {
            if unknown || self.presence.is_connected(user) {
                self.watches.pushed(user, position);
            } else {
                self.waiting.push_back((user.clone(), subject.clone()));
            }
        }
        self.waiting.len()
    }

    fn hear(&mut self, announcement: &Announcement) {
        let Self { presence, watches, departures, .. } = self;
        let now = Instant::now();
        presence.hear(announcement, |user| {
            if watches.get(user).is_some() {
                departures.leave(user.clone(), now);
            }
        });
        self.sampler.see(self.presence.totals().0);
    }

    fn tick(&mut self) {
        let Self { presence, watches, departures, .. } = self;
        let now = Instant::now();
        let age = now.duration_since(self.started);
        self.settled = self.settled || age >= self.settings.presence_settle;
        if !self.reconnected && age >= self.settings.startup_grace {
            self.reconnected = true;
            for user in watches.users().filter(|user| !presence.is_connected(user)) {
                departures.leave_now(user.clone(), now);
            }
        }
        presence.expire(|user| {
            if watches.get(user).is_some() {
                departures.leave(user.clone(), now);
            }
        });
        departures.expire(now);
        // Until then it is not known who is connected.
        if self.settled {
            let (sockets, users) = self.presence.totals();
            self.sampler.tick(Timestamp::now(), sockets, users);
        }
    }

    /// Looks after a user whose grace is over, unless they came back.
    fn depart(&mut self, user: UserId) {
        let watched = self.watches.get(&user).filter(|_| !self.presence.is_connected(&user));
        let Some(watched) = watched else {
            self.departures.end(&user);
            return;
        };
        debug!(%user, from = watched.from, through = watched.last, "gone");
        self.metrics.departures.inc();
        let (views, notifier) = (self.views.clone(), self.notifier.clone());
        let page = self.settings.departure_page;
        self.departing.push(Box::pin(async move {
            depart(views, notifier, user.clone(), watched, page).await?;
            Ok((user, watched.last))
        }));
    }

    fn departed(&mut self, user: &UserId, through: u64) {
        self.departures.end(user);
        self.watches.settled(user, through);
    }

    fn begin_save(&mut self) {
        let checkpoint = self.ledger.checkpoint();
        let changes = self.watches.take_changes();
        if checkpoint != self.saved || !changes.is_empty() {
            self.saved = checkpoint;
            self.saving = Some(Box::pin(save(self.state.clone(), checkpoint, changes)));
        }
    }

    /// Saves where it has come to, so that little is decided again.
    async fn finish(mut self) {
        let last = async {
            if let Some(saving) = self.saving.take() {
                saving.await;
            }
            self.begin_save();
            if let Some(saving) = self.saving.take() {
                saving.await;
            }
        };
        if timeout(LAST_SAVE, last).await.is_ok() {
            info!(checkpoint = self.saved, "saved");
        } else {
            warn!("the checkpoint could not be saved: some events are decided again");
        }
    }
}

async fn save(state: Arc<dyn State>, checkpoint: u64, watches: Vec<Watch>) {
    let saved = until_available("state.save", || state.save(NAME, checkpoint, &watches));
    // It ends when it is saved, or when another has taken over and decides on what follows.
    if let Err(error) = saved.await {
        warn!(%error, checkpoint, "the checkpoint was not saved");
    }
}
