//! Rows and errors, as the port has them.

use std::str::FromStr;

use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, Row, Sqlite, Type};
use uuid::Uuid;
use verbatim_domain::MessageId;
use verbatim_domain::conversation::Attachment;
use verbatim_protocol::Timestamp;
use verbatim_protocol::client::{Message, SenderInfo, SenderKind};

use crate::{Error, StreamMessage};

/// `SQLite`'s primary result codes of a damaged file, a broken constraint and a file that is none.
const DAMAGED: [i32; 3] = [11, 19, 26];

/// The one of a statement that doesn't fit the schema, among others.
pub(super) const GENERIC_ERROR: i32 = 1;

/// How an error of the database reads: a broken constraint or an unreadable value is an event or a
/// row that can't be; everything else may pass.
pub(super) fn failed(error: sqlx::Error) -> Error {
    if damaged(&error) {
        Error::Corrupt(error.to_string())
    } else {
        Error::Unavailable(Box::new(error))
    }
}

pub(super) fn damaged(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_))
        || primary_code(error).is_some_and(|code| DAMAGED.contains(&code))
}

/// `SQLite`'s result code, without what extends it.
pub(super) fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code = error.as_database_error()?.code()?;
    code.parse::<i32>().ok().map(|code| code & 0xff)
}

pub(super) fn column<'r, T>(row: &'r SqliteRow, index: usize) -> Result<T, Error>
where
    T: Decode<'r, Sqlite> + Type<Sqlite>,
{
    row.try_get(index).map_err(failed)
}

/// A column that is never negative.
pub(super) fn number(row: &SqliteRow, index: usize) -> Result<u64, Error> {
    let value: i64 = column(row, index)?;
    u64::try_from(value).map_err(|_| Error::Corrupt(format!("column {index} holds {value}")))
}

pub(super) fn parsed<T>(row: &SqliteRow, index: usize) -> Result<T, Error>
where
    T: FromStr<Err: std::fmt::Display>,
{
    let text: &str = column(row, index)?;
    text.parse().map_err(|error| Error::Corrupt(format!("column {index}: {error}")))
}

pub(super) fn uuid(row: &SqliteRow, index: usize) -> Result<Uuid, Error> {
    let bytes: &[u8] = column(row, index)?;
    Uuid::from_slice(bytes).map_err(|error| Error::Corrupt(format!("column {index}: {error}")))
}

pub(super) fn time(row: &SqliteRow, index: usize) -> Result<Timestamp, Error> {
    column(row, index).map(Timestamp)
}

/// Reads a message from the eleven columns that every statement gives alike, from `first` on.
pub(super) fn message(row: &SqliteRow, first: usize) -> Result<StreamMessage, Error> {
    let attachments: Option<&str> = column(row, first + 8)?;
    let client_message_id: Option<&str> = column(row, first + 10)?;
    let sender_id: verbatim_domain::UserId = parsed(row, first + 4)?;
    let role: String = column(row, first + 5)?;
    let unreadable = |what: &dyn std::fmt::Display| Error::Corrupt(format!("a message: {what}"));
    Ok(StreamMessage {
        position: number(row, first)?,
        message: Message {
            id: MessageId(uuid(row, first + 1)?),
            conversation_id: parsed(row, first + 2)?,
            sender: SenderKind::of_role(&role),
            sender_id: sender_id.clone(),
            content: column(row, first + 7)?,
            attachments: attachments
                .map_or(Ok(Vec::new()), serde_json::from_str::<Vec<Attachment>>)
                .map_err(|error| unreadable(&error))?,
            sender_info: SenderInfo { user_id: sender_id, email: column(row, first + 9)?, role },
            created_at: time(row, first + 6)?,
            sequence: number(row, first + 3)?,
            cursor: None,
            client_message_id: client_message_id
                .map(str::parse)
                .transpose()
                .map_err(|error| unreadable(&error))?,
        },
    })
}
