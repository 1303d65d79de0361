//! Rows and errors, as the port has them.

use std::str::FromStr;

use sqlx::postgres::PgRow;
use sqlx::{Decode, Postgres, Row, Type};
use uuid::Uuid;
use verbatim_domain::MessageId;
use verbatim_domain::conversation::Attachment;
use verbatim_protocol::Timestamp;
use verbatim_protocol::client::{Message, SenderInfo, SenderKind};

use crate::{Error, StreamMessage};

/// A broken constraint or an unreadable value is an event or a row that can't be; everything else may
/// pass.
impl From<verbatim_postgres::Error> for Error {
    fn from(error: verbatim_postgres::Error) -> Self {
        match error {
            verbatim_postgres::Error::Refused(error) if damaged(&error) => {
                Self::Corrupt(error.to_string())
            }
            other => Self::Unavailable(Box::new(other)),
        }
    }
}

/// Class 23 of `PostgreSQL`'s codes are broken constraints.
fn damaged(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_))
        || error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code)
            .is_some_and(|code| code.starts_with("23"))
}

pub(super) fn column<'r, T>(row: &'r PgRow, index: usize) -> Result<T, Error>
where
    T: Decode<'r, Postgres> + Type<Postgres>,
{
    row.try_get(index).map_err(|error| Error::Corrupt(error.to_string()))
}

/// A column that is never negative.
pub(super) fn number(row: &PgRow, index: usize) -> Result<u64, Error> {
    let value: i64 = column(row, index)?;
    u64::try_from(value).map_err(|_| Error::Corrupt(format!("column {index} holds {value}")))
}

pub(super) fn parsed<T>(row: &PgRow, index: usize) -> Result<T, Error>
where
    T: FromStr<Err: std::fmt::Display>,
{
    let text: &str = column(row, index)?;
    text.parse().map_err(|error| Error::Corrupt(format!("column {index}: {error}")))
}

pub(super) fn uuid(row: &PgRow, index: usize) -> Result<Uuid, Error> {
    let bytes: &[u8] = column(row, index)?;
    Uuid::from_slice(bytes).map_err(|error| Error::Corrupt(format!("column {index}: {error}")))
}

pub(super) fn time(row: &PgRow, index: usize) -> Result<Timestamp, Error> {
    column(row, index).map(Timestamp)
}

/// Text that is kept as bytes.
pub(super) fn written(row: &PgRow, index: usize) -> Result<Option<String>, Error> {
    let bytes: Option<&[u8]> = column(row, index)?;
    bytes
        .map(|bytes| String::from_utf8(bytes.to_vec()))
        .transpose()
        .map_err(|error| Error::Corrupt(format!("column {index}: {error}")))
}

/// The same, where there always is some.
pub(super) fn text(row: &PgRow, index: usize) -> Result<String, Error> {
    written(row, index)?.ok_or_else(|| Error::Corrupt(format!("column {index} is null")))
}

/// Reads a message from the eleven columns that every statement gives alike, from `first` on.
pub(super) fn message(row: &PgRow, first: usize) -> Result<StreamMessage, Error> {
    let attachments: Option<&str> = column(row, first + 8)?;
    let client_message_id = written(row, first + 10)?;
    let sender_id: verbatim_domain::UserId = parsed(row, first + 4)?;
    let role = text(row, first + 5)?;
    let unreadable = |what: &dyn std::fmt::Display| Error::Corrupt(format!("a message: {what}"));
    Ok(StreamMessage {
        position: number(row, first)?,
        message: Message {
            id: MessageId(uuid(row, first + 1)?),
            conversation_id: parsed(row, first + 2)?,
            sender: SenderKind::of_role(&role),
            sender_id: sender_id.clone(),
            content: text(row, first + 7)?,
            attachments: attachments
                .map_or(Ok(Vec::new()), serde_json::from_str::<Vec<Attachment>>)
                .map_err(|error| unreadable(&error))?,
            sender_info: SenderInfo { user_id: sender_id, email: written(row, first + 9)?, role },
            created_at: time(row, first + 6)?,
            sequence: number(row, first + 3)?,
            cursor: None,
            client_message_id: client_message_id
                .map(|id| id.parse())
                .transpose()
                .map_err(|error| unreadable(&error))?,
        },
    })
}
