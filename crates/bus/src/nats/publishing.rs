//! Publishing to a subject of anyone's, apart from the bus.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::{Client, HeaderMap};
use tokio::time::timeout;

use super::connection;
use super::subjects::Subjects;
use super::{Error, NatsOptions};

/// How long the connection may take to accept a message.
const ACCEPT_WITHIN: Duration = Duration::from_secs(10);

/// A connection that publishes, in order. Once it was lost nothing more is published: what had been
/// on its way may be lost too.
pub struct NatsPublisher {
    client: Client,
    options: NatsOptions,
    subjects: Subjects,
}

impl NatsPublisher {
    /// Connects.
    ///
    /// # Errors
    /// As [`Nats::connect`](super::Nats::connect).
    pub async fn connect(options: NatsOptions) -> Result<Self, Error> {
        options.validate()?;
        let subjects = Subjects::new(&options.prefix, &options.role);
        let (client, _) = connection::connect(&options, &subjects).await?;
        Ok(Self { client, options, subjects })
    }

    /// Publishes a message under an id, by which a stream tells repetitions.
    ///
    /// # Errors
    /// [`Error::Lost`]; [`Error::Publish`], also when the subject is none.
    pub async fn publish(&self, subject: &str, id: &str, payload: Vec<u8>) -> Result<(), Error> {
        let failed = |source| Error::Publish { subject: subject.to_owned(), source };
        let mut headers = HeaderMap::new();
        headers.insert(async_nats::header::NATS_MESSAGE_ID, id);
        let publishing =
            self.client.publish_with_headers(subject.to_owned(), headers, payload.into());
        timeout(ACCEPT_WITHIN, publishing)
            .await
            .map_err(|elapsed| failed(elapsed.into()))?
            .map_err(|error| failed(error.into()))
    }

    /// Waits until the server has taken what was published before.
    ///
    /// # Errors
    /// [`Error::Lost`], [`Error::Silent`].
    pub async fn settle(&self) -> Result<(), Error> {
        connection::round_trip(&self.client, &self.options, &self.subjects).await?;
        match self.client.statistics().connects.load(Ordering::Relaxed) {
            0 | 1 => Ok(()),
            _ => Err(Error::Lost),
        }
    }
}
