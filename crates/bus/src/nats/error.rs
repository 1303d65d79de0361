//! Why the adapter can't be made, or its stream.

/// By what the caller does about it: mend the configuration, or try again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the NATS options are invalid: {0}")]
    Options(&'static str),
    #[error("the NATS credentials can't be read")]
    Credentials(#[source] std::io::Error),
    /// The addresses hold no password.
    #[error("no connection to NATS at {addresses}")]
    Connect { addresses: String, source: Cause },
    /// Connected, but what was asked of the server has no answer: it hangs, or forbids it.
    #[error("NATS at {addresses} does not answer on {subject}; is it permitted?")]
    Silent { addresses: String, subject: String, source: Cause },
    #[error("nothing can be published to {subject}")]
    Publish { subject: String, source: Cause },
    #[error("the connection to NATS was lost, and what was on its way with it")]
    Lost,
    #[error("the command stream {stream} can't be had")]
    Stream { stream: String, source: Cause },
}

pub(super) type Cause = Box<dyn std::error::Error + Send + Sync>;
