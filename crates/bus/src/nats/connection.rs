//! The one connection of a process, and what becomes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, Event, RequestErrorKind};
use bytes::Bytes;
use secrecy::ExposeSecret;
use tokio::sync::{Notify, watch};

use super::throttle::Throttle;
use super::{Error, NatsOptions, subjects::Subjects};

/// Two that go unanswered end the connection, when the third is due: a server that hangs is noticed
/// in twelve seconds.
const PING_EVERY: Duration = Duration::from_secs(4);
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// For all of a start.
const START_WITHIN: Duration = Duration::from_secs(8);
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
const RECONNECT_AT_MOST_MS: u64 = 2_000;
/// Messages handed to the client and not written yet. Few, because what is in there when the
/// connection ends is sent when it returns, however old it is by then.
const CLIENT_QUEUE: usize = 64;
/// Messages of one subscription that wait for its task; it does nothing that takes long.
const SUBSCRIPTION_QUEUE: usize = 65_536;
/// How soon a change of the connection is seen whose event was lost.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What the client tells of itself.
#[derive(Debug, Default)]
pub(super) struct Events {
    changed: Notify,
    slow_consumers: AtomicU64,
    slow: Throttle,
    refused: Throttle,
}

impl Events {
    fn hear(&self, event: &Event) {
        match event {
            Event::SlowConsumer(_) => {
                let total = self.slow_consumers.fetch_add(1, Ordering::Relaxed) + 1;
                if self.slow.allows() {
                    tracing::warn!(total, "messages of NATS were dropped: a reader lags");
                }
            }
            // Among them what the server does not permit.
            Event::ServerError(error) if self.refused.allows() => {
                tracing::warn!(%error, "NATS refuses something");
            }
            _ => {}
        }
        self.changed.notify_one();
    }

    pub(super) fn slow_consumers(&self) -> u64 {
        self.slow_consumers.load(Ordering::Relaxed)
    }
}

/// Connects, or fails within some seconds; from then on it reconnects for ever.
pub(super) async fn connect(
    options: &NatsOptions,
    subjects: &Subjects,
) -> Result<(Client, Arc<Events>), Error> {
    let events = Arc::new(Events::default());
    let mut connect = ConnectOptions::new()
        .name(format!("verbatim {}", options.role))
        .ping_interval(PING_EVERY)
        .connection_timeout(CONNECT_WITHIN)
        .request_timeout(Some(ANSWER_WITHIN))
        .max_reconnects(None)
        .reconnect_delay_callback(reconnect_delay)
        .client_capacity(CLIENT_QUEUE)
        .subscription_capacity(SUBSCRIPTION_QUEUE)
        .custom_inbox_prefix(subjects.inbox())
        .require_tls(options.tls.required)
        .event_callback({
            let events = Arc::clone(&events);
            move |event| {
                events.hear(&event);
                std::future::ready(())
            }
        });
    if let Some(login) = options.login() {
        let password = login.password.expose_secret().to_owned();
        connect = connect.user_and_password(login.user, password);
    }
    if let Some(file) = &options.credentials {
        connect = connect.credentials_file(file).await.map_err(Error::Credentials)?;
    }
    if let Some(file) = &options.tls.ca_file {
        connect = connect.add_root_certificates(file.clone());
    }
    let addresses = options.addresses();
    let failed = |source| Error::Connect { addresses: addresses.join(","), source };
    let connecting = connect.connect(addresses.as_slice());
    match tokio::time::timeout(START_WITHIN, connecting).await {
        Ok(Ok(client)) => Ok((client, events)),
        Ok(Err(error)) => Err(failed(error.into())),
        Err(elapsed) => Err(failed(elapsed.into())),
    }
}

/// Full jitter, up to a bound; nothing before the first attempt.
fn reconnect_delay(attempts: usize) -> Duration {
    if attempts <= 1 {
        return Duration::ZERO;
    }
    let bound = 50 << attempts.min(10);
    Duration::from_millis(rand::random_range(0..=RECONNECT_AT_MOST_MS.min(bound)))
}

/// Waits until the server has processed what was subscribed to before. (A flush waits for the
/// socket only.)
pub(super) async fn round_trip(
    client: &Client,
    options: &NatsOptions,
    subjects: &Subjects,
) -> Result<(), Error> {
    let subject = subjects.round_trip();
    match client.request(subject.clone(), Bytes::new()).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == RequestErrorKind::NoResponders => Ok(()),
        Err(error) => Err(Error::Silent {
            addresses: options.addresses().join(","),
            subject,
            source: error.into(),
        }),
    }
}

/// Whether the connection is there, and how often it was made.
#[derive(Debug, Clone)]
pub(super) struct Link {
    client: Client,
    changes: watch::Receiver<(bool, u64)>,
}

impl Link {
    /// And the task that watches the connection.
    pub(super) fn new(
        client: Client,
        events: Arc<Events>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (tell, changes) = watch::channel(state(&client));
        let link = Self { client: client.clone(), changes };
        let watching = async move {
            loop {
                tokio::select! {
                    () = events.changed.notified() => {}
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
                let now = state(&client);
                let has_changed = tell.send_if_modified(|state| {
                    let before = std::mem::replace(state, now);
                    before != now
                });
                match now {
                    _ if !has_changed => {}
                    (true, times) => tracing::info!(times, "connected to NATS"),
                    (false, _) => tracing::warn!("the connection to NATS is lost"),
                }
            }
        };
        (link, watching)
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Another number is another connection, whose server may have forgotten what it was told.
    pub(super) fn number(&self) -> u64 {
        state(&self.client).1
    }

    /// Waits for a connection.
    pub(super) async fn connected(&mut self) {
        while !self.is_connected() {
            self.changed().await;
        }
    }

    /// Waits until the connection was lost or made.
    pub(super) async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            // The adapter is ending, and whoever waits here with it.
            std::future::pending::<()>().await;
        }
    }
}

fn state(client: &Client) -> (bool, u64) {
    let connects = client.statistics().connects.load(Ordering::Relaxed);
    (client.connection_state() == State::Connected, connects)
}
