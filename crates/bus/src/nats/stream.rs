//! The stream that keeps commands, and whether it is still the one that a cursor is of.

use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, Info, LastRawMessageErrorKind, RetentionPolicy, StorageType, Stream,
};
use async_nats::jetstream::{self, Context, ErrorCode};
use tokio::sync::Mutex;
use verbatim_protocol::LaneCursor;

use super::error::{Cause, Error};
use super::options::StreamOptions;
use super::subjects::Subjects;

/// Three times a command's deadline: after this nobody wants it. What is handled stays until then too, so
/// this and the stream's limits bound how many commands a second there may be.
const MAX_AGE: Duration = Duration::from_secs(15);
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct CommandStream {
    pub(super) context: Context,
    pub(super) name: String,
    config: Config,
    /// So that one makes it, when all lanes miss it at once.
    making: Mutex<()>,
}

/// The stream as it was when it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Life {
    /// When it was made, in nanoseconds since the Unix epoch.
    pub(super) created: i64,
    pub(super) last_sequence: u64,
}

impl CommandStream {
    pub(super) fn new(client: Client, subjects: &Subjects, options: &StreamOptions) -> Self {
        let mut context = jetstream::new(client);
        context.set_timeout(ANSWER_WITHIN);
        let name = subjects.stream();
        let config = Config {
            name: name.clone(),
            description: Some("Commands on their way to the lanes' owners".to_owned()),
            subjects: vec![subjects.all_commands()],
            retention: RetentionPolicy::Limits,
            storage: StorageType::File,
            discard: DiscardPolicy::New,
            max_age: MAX_AGE,
            max_bytes: options.max_bytes,
            max_messages: options.max_messages,
            num_replicas: options.replicas,
            ..Config::default()
        };
        Self { context, name, config, making: Mutex::default() }
    }

    fn failed(&self, source: impl Into<Cause>) -> Error {
        Error::Stream { stream: self.name.clone(), source: source.into() }
    }

    /// `None` if there is none.
    async fn find(&self) -> Result<Option<Stream>, Error> {
        match self.context.get_stream(&self.name).await {
            Ok(stream) => Ok(Some(stream)),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(error)
                    if error.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                {
                    Ok(None)
                }
                _ => Err(self.failed(error)),
            },
        }
    }

    /// Makes the stream if it is missing. One that is there is made to be as configured; where that
    /// can't be, what differs is logged and stays.
    ///
    /// # Errors
    /// [`Error::Stream`]: the server doesn't answer, or there is no stream and none may be made.
    pub(super) async fn ensure(&self) -> Result<Stream, Error> {
        let _making = self.making.lock().await;
        if let Some(stream) = self.find().await? {
            self.mend(&stream.cached_info().config).await;
            return Ok(stream);
        }
        tracing::info!(stream = self.name, "making the command stream");
        let made = self.context.create_stream(self.config.clone()).await;
        let made = made.map_err(|error| self.failed(error))?;
        // What makes it anew is often not the first to need it.
        self.context
            .get_stream(made.cached_info().config.name.as_str())
            .await
            .map_err(|error| self.failed(error))
    }

    async fn mend(&self, found: &Config) {
        let wanted = Config {
            description: self.config.description.clone(),
            subjects: self.config.subjects.clone(),
            retention: self.config.retention,
            storage: self.config.storage,
            discard: self.config.discard,
            max_age: self.config.max_age,
            max_bytes: self.config.max_bytes,
            max_messages: self.config.max_messages,
            num_replicas: self.config.num_replicas,
            // The server chose it by the age, and refuses one that is longer.
            duplicate_window: found.duplicate_window.min(self.config.max_age),
            ..found.clone()
        };
        if wanted == *found {
            return;
        }
        match self.context.update_stream(wanted).await {
            Ok(_) => tracing::info!(stream = self.name, "changed the command stream's settings"),
            Err(error) => tracing::warn!(
                stream = self.name,
                %error,
                "the command stream has other settings than configured, and keeps them"
            ),
        }
    }

    /// Looks at the stream (makes it, if it is missing), and whether it still reaches `after`, if
    /// that is given.
    pub(super) async fn look(&self, after: Option<LaneCursor>) -> Result<(Life, bool), Error> {
        let stream = match self.find().await? {
            Some(stream) => stream,
            None => self.ensure().await?,
        };
        let life = life(stream.cached_info());
        let reaches = match after {
            Some(after) => self.reaches(stream, after).await?,
            None => true,
        };
        Ok((life, reaches))
    }

    /// Whether the stream is the one that the cursor is of, and was not set back behind it.
    async fn reaches(&self, stream: Stream, after: LaneCursor) -> Result<bool, Error> {
        let mut info = stream.cached_info().clone();
        for _ in 0..2 {
            let life = life(&info);
            if life.created != after.stream || life.last_sequence < after.sequence {
                return Ok(false);
            }
            if info.state.first_sequence > after.sequence {
                return Ok(true);
            }
            match stream.get_raw_message(after.sequence).await {
                Ok(message) => return Ok(message.time.unix_timestamp_nanos() as i64 == after.at),
                Err(error) => match error.kind() {
                    LastRawMessageErrorKind::NoMessageFound => {}
                    LastRawMessageErrorKind::JetStream(error)
                        if error.error_code() == ErrorCode::NO_MESSAGE_FOUND => {}
                    _ => return Err(self.failed(error)),
                },
            }
            // It may have grown too old since.
            info = stream.get_info().await.map_err(|error| self.failed(error))?;
        }
        Ok(false)
    }

    /// Whether the stream is the same as before, and has only grown.
    pub(super) async fn has_only_grown(&self, since: Life) -> Result<bool, Error> {
        let Some(stream) = self.find().await? else { return Ok(false) };
        let now = life(stream.cached_info());
        Ok(now.created == since.created && now.last_sequence >= since.last_sequence)
    }
}

fn life(info: &Info) -> Life {
    Life {
        created: info.created.unix_timestamp_nanos() as i64,
        last_sequence: info.state.last_sequence,
    }
}
