//! Identifiers and bounded text, made by parsing.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

/// The longest id, in characters.
pub const MAX_ID_LENGTH: usize = 128;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    #[error("must not be empty")]
    Empty,
    #[error("must not be longer than {MAX_ID_LENGTH} characters")]
    TooLong,
    #[error("may only hold ASCII letters, digits and - _ . : @ | + = ~")]
    Character,
}

fn check_id(text: &str) -> Result<(), InvalidId> {
    if text.is_empty() {
        return Err(InvalidId::Empty);
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.:@|+=~".contains(&b);
    if !text.bytes().all(allowed) {
        return Err(InvalidId::Character);
    }
    if text.len() > MAX_ID_LENGTH {
        return Err(InvalidId::TooLong);
    }
    Ok(())
}

fn check_client_message_id(text: &str) -> Result<(), InvalidId> {
    match text.chars().count() {
        0 => Err(InvalidId::Empty),
        1..=MAX_ID_LENGTH => Ok(()),
        _ => Err(InvalidId::TooLong),
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $check:path, $schema:tt) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                $check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn schema_id() -> Cow<'static, str> {
                concat!(module_path!(), "::", stringify!($name)).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

text_id!(
    /// A user, as the token names them.
    UserId, check_id,
    { "type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[A-Za-z0-9_.:@|+=~-]+$" }
);

text_id!(
    /// A conversation, named by whoever started it.
    ConversationId, check_id,
    { "type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[A-Za-z0-9_.:@|+=~-]+$" }
);

text_id!(
    /// A sender's own name for a message: any text of 1 to 128 characters, unique for the sender.
    ClientMessageId, check_client_message_id,
    { "type": "string", "minLength": 1, "maxLength": 128 }
);

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                text.parse().map(Self)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": "uuid" })
            }
        }
    };
}

uuid_id!(
    /// A message (`UUIDv7`, given by the gateway that took it).
    MessageId
);

uuid_id!(
    /// A notification (`UUIDv7`).
    NotificationId
);

uuid_id!(
    /// A key that a user's personal content is sealed with.
    KeyId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_refuse_what_could_be_a_wildcard_or_a_line_break() {
        for bad in ["a b", "a*", "a>", "a\n", "a\0", "é", "a/b", "a,b", "{a}"] {
            assert_eq!(bad.parse::<UserId>(), Err(InvalidId::Character), "{bad:?}");
        }
        assert_eq!("".parse::<UserId>(), Err(InvalidId::Empty));
        assert_eq!("a".repeat(129).parse::<UserId>(), Err(InvalidId::TooLong));
    }

    #[test]
    fn ids_take_an_email_address_and_an_auth_provider_prefix() {
        for good in ["alice@example.com", "auth0|5f7c", "a+b=c~d", &"a".repeat(128)] {
            assert!(good.parse::<ConversationId>().is_ok(), "{good}");
        }
    }

    #[test]
    fn client_message_ids_are_counted_in_characters() {
        assert!("é".repeat(128).parse::<ClientMessageId>().is_ok());
        assert!("é".repeat(129).parse::<ClientMessageId>().is_err());
        assert!("any text\nat all".parse::<ClientMessageId>().is_ok());
    }
}
