//! The one error shape (wire contract, section 2).

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use verbatim_domain::{conversation, inbox};

use crate::Timestamp;

/// What went wrong, by what the client does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    BadRequest,
    Unauthenticated,
    TokenExpired,
    Forbidden,
    NotFound,
    IdempotencyConflict,
    VersionConflict,
    CursorExpired,
    PayloadTooLarge,
    RateLimited,
    Internal,
    Unavailable,
}

impl ErrorCode {
    /// The code's name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::Unauthenticated => "unauthenticated",
            Self::TokenExpired => "token_expired",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::IdempotencyConflict => "idempotency_conflict",
            Self::VersionConflict => "version_conflict",
            Self::CursorExpired => "cursor_expired",
            Self::PayloadTooLarge => "payload_too_large",
            Self::RateLimited => "rate_limited",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
        }
    }

    /// The REST status that goes with the code.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthenticated | Self::TokenExpired => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::IdempotencyConflict | Self::VersionConflict => 409,
            Self::CursorExpired => 410,
            Self::PayloadTooLarge => 413,
            Self::RateLimited => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
        }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub const fn retryable(self) -> bool {
        matches!(self, Self::RateLimited | Self::Unavailable)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error as clients see it: `error` in `{success: false, error, timestamp}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "camelCase")]
#[error("{code}: {message}")]
pub struct Failure {
    pub code: ErrorCode,
    /// For people to read; it may change.
    pub message: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// How long to wait before that, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// What more there is to say, such as the `field` that was refused.
    #[serde(default)]
    pub details: Map<String, Value>,
}

impl Failure {
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retryable: code.retryable(),
            retry_after_ms: None,
            details: Map::new(),
        }
    }

    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::BadRequest, message)
    }

    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Unavailable, message)
    }

    /// An error whose cause stays in the log.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(ErrorCode::Internal, "Something went wrong on our side")
    }

    #[must_use]
    pub fn retry_after(mut self, milliseconds: u64) -> Self {
        self.retry_after_ms = Some(milliseconds);
        self
    }

    /// Adds one entry to `details`.
    #[must_use]
    pub fn detail(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.details.insert(key.to_owned(), value.into());
        self
    }
}

/// `{success: false, error, timestamp}` around every failure.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failed {
    pub success: bool,
    pub error: Failure,
    pub timestamp: Timestamp,
}

impl Failed {
    /// The envelope of now.
    #[must_use]
    pub fn new(error: Failure) -> Self {
        Self { success: false, error, timestamp: Timestamp::now() }
    }
}

impl JsonSchema for Failed {
    fn schema_name() -> Cow<'static, str> {
        "Failed".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "properties": {
                "success": { "type": "boolean", "const": false },
                "error": generator.subschema_for::<Failure>(),
                "timestamp": generator.subschema_for::<Timestamp>(),
            },
            "required": ["success", "error", "timestamp"],
        })
    }
}

impl From<conversation::Error> for Failure {
    fn from(error: conversation::Error) -> Self {
        use conversation::Error as E;
        let code = match error {
            E::NotFound => ErrorCode::NotFound,
            E::NotAMember | E::TargetNotAMember => ErrorCode::Forbidden,
            E::TargetIsSender | E::NoMembers | E::TooManyMembers | E::NotYetSent => {
                ErrorCode::BadRequest
            }
            E::AlreadyExists => ErrorCode::IdempotencyConflict,
        };
        Self::new(code, error.to_string())
    }
}

impl From<inbox::Error> for Failure {
    fn from(error: inbox::Error) -> Self {
        Self::bad_request(error.to_string())
    }
}
