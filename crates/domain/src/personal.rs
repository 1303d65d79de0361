//! What a person wrote or is known by: as it is, or sealed with a key of its subject's.
//!
//! Nothing here seals or opens anything: whoever has the keys does. Decisions never look inside.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::conversation::{Attachment, PersonalMessage};
use crate::id::KeyId;

/// The personal part of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, try_from = "Fields")]
#[schemars(!try_from)]
pub enum Personal {
    /// As it was stored before there were keys, and as it is shown.
    Plain(PersonalMessage),
    Sealed(Sealed),
}

impl Personal {
    /// What was said, unless it is sealed.
    #[must_use]
    pub fn plain(&self) -> Option<&PersonalMessage> {
        match self {
            Self::Plain(said) => Some(said),
            Self::Sealed(_) => None,
        }
    }
}

/// Something that can be read with one key alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sealed {
    pub key: KeyId,
    pub sealed: Ciphertext,
}

/// Encrypted bytes; in JSON they are base64 without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ciphertext(pub Vec<u8>);

/// The fields of either: read without a detour, as serde's untagged enums are not.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Fields {
    content: Option<String>,
    #[serde(default)]
    attachments: Vec<Attachment>,
    email: Option<String>,
    key: Option<KeyId>,
    sealed: Option<Ciphertext>,
}

impl TryFrom<Fields> for Personal {
    type Error = &'static str;

    fn try_from(fields: Fields) -> Result<Self, Self::Error> {
        match fields {
            Fields { content: None, key: Some(key), sealed: Some(sealed), .. } => {
                Ok(Self::Sealed(Sealed { key, sealed }))
            }
            Fields { content: Some(content), attachments, email, key: None, sealed: None } => {
                Ok(Self::Plain(PersonalMessage { content, attachments, email }))
            }
            _ => Err("neither plain content nor a key and what is sealed with it"),
        }
    }
}

impl From<PersonalMessage> for Personal {
    fn from(plain: PersonalMessage) -> Self {
        Self::Plain(plain)
    }
}

impl Serialize for Ciphertext {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD_NO_PAD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Ciphertext {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Base64)
    }
}

/// Decodes a text where it lies.
struct Base64;

impl de::Visitor<'_> for Base64 {
    type Value = Ciphertext;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("base64 without padding")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Ciphertext, E> {
        STANDARD_NO_PAD.decode(text).map(Ciphertext).map_err(E::custom)
    }
}

impl JsonSchema for Ciphertext {
    fn schema_name() -> Cow<'static, str> {
        "Ciphertext".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "contentEncoding": "base64" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_read_back_as_what_it_was() {
        let plain = PersonalMessage {
            content: "Hello!".to_owned(),
            attachments: Vec::new(),
            email: Some("ann@example.com".to_owned()),
        };
        let sealed = Sealed { key: KeyId(uuid::Uuid::nil()), sealed: Ciphertext(vec![1, 2, 255]) };
        for personal in [Personal::Plain(plain), Personal::Sealed(sealed)] {
            let json = serde_json::to_string(&personal).expect("JSON");
            assert_eq!(serde_json::from_str::<Personal>(&json).expect(&json), personal);
        }
    }

    #[test]
    fn half_of_each_is_neither() {
        for bad in [
            "{}",
            r#"{"key":"00000000-0000-0000-0000-000000000000"}"#,
            r#"{"sealed":"AQI"}"#,
            r#"{"content":"a","sealed":"AQI"}"#,
            r#"{"content":"a","key":"00000000-0000-0000-0000-000000000000","sealed":"AQI"}"#,
            r#"{"key":"00000000-0000-0000-0000-000000000000","sealed":"?"}"#,
        ] {
            assert!(serde_json::from_str::<Personal>(bad).is_err(), "{bad}");
        }
    }
}
