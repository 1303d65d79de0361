//! What the calls of the API are given: parsed no further than the framework must, since the rules
//! are [`crate::requests`]' alone.

use std::borrow::Cow;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use poem::error::ReadBodyError;
use poem::{Request, RequestBody};
use poem_openapi::error::ContentTypeError;
use poem_openapi::registry::{
    MetaMediaType, MetaParamIn, MetaRequest, MetaSchemaRef, MetaSecurityScheme, Registry,
};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};
use verbatim_analytics::By;
use verbatim_audit::EventType;
use verbatim_domain::{ConversationId, UserId};
use verbatim_protocol::{ErrorCode, Failure};

use super::Shared;
use super::failure::Refused;
use super::schema::{self, Side};
use crate::auth::Rejection;
use crate::requests::{Answer, AuditLines, Caller, Kind};

/// How long a body may take to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(15);

/// Whoever's token was good, and the way inwards.
pub(super) struct Authorized {
    caller: Arc<Caller>,
    shared: Arc<Shared>,
}

impl Authorized {
    /// Asks what the event of this name asks.
    pub async fn ask(&self, event: &str, payload: Map<String, Value>) -> Result<Answer, Failure> {
        let payload = Value::Object(payload).to_string();
        self.shared.requests.start(&self.caller, event, Some(&payload)).await
    }

    /// Asks for events of the log.
    pub async fn ask_for_events(&self, payload: Map<String, Value>) -> Result<Answer, Failure> {
        let payload = Value::Object(payload).to_string();
        self.shared.requests.audit_events(&self.caller, &payload).await
    }

    /// Asks for all events of a part of the log, as lines.
    pub async fn ask_for_lines(&self, payload: Map<String, Value>) -> Result<AuditLines, Failure> {
        let payload = Value::Object(payload).to_string();
        self.shared.requests.audit_lines(&self.caller, &payload).await
    }

    /// Asks how a conversation stood.
    pub async fn ask_how_it_stood(&self, payload: Map<String, Value>) -> Result<Answer, Failure> {
        let payload = Value::Object(payload).to_string();
        self.shared.requests.audit_conversation(&self.caller, &payload).await
    }

    /// Asks that what a user said be erased.
    pub async fn ask_to_erase(&self, payload: Map<String, Value>) -> Result<Answer, Failure> {
        let payload = Value::Object(payload).to_string();
        self.shared.requests.erase(&self.caller, &payload).await
    }

    /// Asks for what proves that the log is what it was.
    pub async fn ask_of_the_seal(
        &self,
        kind: Kind,
        payload: Map<String, Value>,
    ) -> Result<Answer, Failure> {
        let payload = Value::Object(payload).to_string();
        self.shared.requests.audit_seal(&self.caller, kind, &payload).await
    }

    /// Asks what the log amounts to.
    pub async fn ask_for_figures(
        &self,
        list: Kind,
        payload: Map<String, Value>,
    ) -> Result<Answer, Failure> {
        let payload = Value::Object(payload).to_string();
        self.shared.requests.analytics(&self.caller, list, &payload).await
    }

    /// Asks what became of a message.
    pub async fn ask_for_deliveries(&self, message_id: &str) -> Result<Answer, Failure> {
        self.shared.requests.deliveries(&self.caller, message_id).await
    }
}

impl<'a> ApiExtractor<'a> for Authorized {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        registry.create_security_scheme(
            SCHEME,
            MetaSecurityScheme {
                ty: "http",
                description: Some("A JWT, as Socket.IO clients give it in `auth.token`."),
                name: None,
                key_in: None,
                scheme: Some("bearer"),
                bearer_format: Some("JWT"),
                flows: None,
                openid_connect_url: None,
            },
        );
    }

    fn security_schemes() -> Vec<&'static str> {
        vec![SCHEME]
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        // The token was looked at before routing.
        let caller = request.extensions().get::<Arc<Caller>>().cloned();
        let caller = caller.ok_or_else(|| Refused(Rejection::NoToken.into()))?;
        Ok(Self { caller, shared: shared(request) })
    }
}

const SCHEME: &str = "token";

pub(super) fn shared(request: &Request) -> Arc<Shared> {
    let shared = request.extensions().get::<Arc<Shared>>();
    Arc::clone(shared.expect("every request is given it before routing"))
}

/// A part of the path, as text. The framework's macro knows such parameters by this name alone.
pub(super) struct Path<T>(pub String, PhantomData<fn() -> T>);

impl<'a, T: JsonSchema> ApiExtractor<'a> for Path<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];
    const PARAM_IS_REQUIRED: bool = true;
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        schema::register::<T>(registry, Side::Received);
    }

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Path)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(schema::reference::<T>())
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        // What isn't UTF-8 once it is decoded is left out by the framework.
        let text = request.raw_path_param(options.name).unwrap_or_default().to_owned();
        Ok(Self(text, PhantomData))
    }
}

/// A parameter in the query, if it is given, as the JSON value that a payload would have.
pub(super) struct InQuery<T>(pub Option<Value>, PhantomData<fn() -> T>);

/// How a parameter's text is read.
pub(super) trait Parameter: JsonSchema {
    /// What is said of a text that isn't one.
    const RULE: &'static str;
    fn read(text: &str) -> Option<Value>;
}

impl<'a, T: Parameter> ApiExtractor<'a> for InQuery<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        schema::register::<T>(registry, Side::Received);
    }

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Query)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(schema::reference::<T>())
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let query: Vec<(Cow<'_, str>, Cow<'_, str>)> = request
            .params()
            .map_err(|_| Refused(Failure::bad_request("The query can't be read")))?;
        let mut given = query.iter().filter(|(name, _)| name == options.name);
        let Some((_, text)) = given.next() else { return Ok(Self(None, PhantomData)) };
        let refused = |rule: &str| {
            let failure = Failure::bad_request(format!("{} {rule}", options.name));
            Refused(failure.detail("field", options.name))
        };
        if given.next().is_some() {
            return Err(refused("is given twice").into());
        }
        let value = T::read(text).ok_or_else(|| refused(T::RULE))?;
        Ok(Self(Some(value), PhantomData))
    }
}

/// A list's `nextCursor`, or a message's `cursor`.
pub(super) struct Cursor;
/// How many entries a page has.
pub(super) struct Limit;
/// A message's `sequence`.
pub(super) struct Sequence;
/// True or false.
pub(super) struct Flag;
/// How many events a checkpoint speaks of.
pub(super) struct LogSize;
/// A place in the log.
pub(super) struct LogPlace;
/// A time.
pub(super) struct Time;
/// How connections are told apart.
pub(super) struct TimeAlone;

macro_rules! parameter {
    ($name:ident, $rule:literal, $read:expr, $schema:tt) => {
        impl Parameter for $name {
            const RULE: &'static str = $rule;

            fn read(text: &str) -> Option<Value> {
                let read: fn(&str) -> Option<Value> = $read;
                read(text)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

fn whole_number(text: &str) -> Option<Value> {
    text.parse::<u64>().ok().map(Value::from)
}

parameter!(Cursor, "must be text", |text| Some(Value::from(text)), { "type": "string" });
parameter!(Limit, "must be a whole number", whole_number,
    { "type": "integer", "minimum": 1, "maximum": 200 });
parameter!(Sequence, "must be a whole number", whole_number,
    { "type": "integer", "format": "int64", "minimum": 0, "maximum": 9_007_199_254_740_991_u64 });
parameter!(LogSize, "must be a whole number", whole_number, {
    "description": "How many events a checkpoint speaks of",
    "type": "integer", "format": "int64", "minimum": 1, "maximum": 9_007_199_254_740_991_u64,
});
parameter!(LogPlace, "must be text", |text| Some(Value::from(text)), {
    "description": "A position, 1, 2, 3 …, or an RFC 3339 time with its offset",
    "type": "string",
    "pattern": "^([1-9][0-9]{0,17}|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}.*)$",
    "example": "2024-01-01T10:00:00Z",
});
parameter!(Time, "must be text", |text| Some(Value::from(text)), {
    "type": "string",
    "format": "date-time",
    "example": "2024-01-01T00:00:00Z",
});
parameter!(TimeAlone, "must be text", |text| Some(Value::from(text)),
    { "type": "string", "enum": ["hour", "day"], "default": "day" });
parameter!(Flag, "must be true or false", |text| text.parse::<bool>().ok().map(Value::from),
    { "type": "boolean" });

macro_rules! text_parameter {
    ($($name:ident)+) => {
        $(impl Parameter for $name {
            const RULE: &'static str = "must be text";

            fn read(text: &str) -> Option<Value> {
                Some(Value::from(text))
            }
        })+
    };
}

text_parameter! { By ConversationId UserId EventType }

/// A JSON object in the body. Without `REQUIRED`, no body counts as `{}`.
pub(super) struct InBody<T, const REQUIRED: bool = true>(
    pub Map<String, Value>,
    PhantomData<fn() -> T>,
);

impl<'a, T: JsonSchema, const REQUIRED: bool> ApiExtractor<'a> for InBody<T, REQUIRED> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        schema::register::<T>(registry, Side::Received);
    }

    fn request_meta() -> Option<MetaRequest> {
        let schema = schema::reference::<T>();
        Some(MetaRequest {
            description: None,
            content: vec![MetaMediaType { content_type: "application/json", schema }],
            required: REQUIRED,
        })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let limit = shared(request).settings.limits.packet_bytes;
        let length = request.header("content-length").and_then(|length| length.parse().ok());
        if length.is_some_and(|length: usize| length > limit) {
            return Err(too_large(limit).into());
        }
        let read = body.take()?.into_bytes_limit(limit);
        let bytes = match tokio::time::timeout(BODY_TIMEOUT, read).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(ReadBodyError::PayloadTooLarge)) => return Err(too_large(limit).into()),
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => {
                return Err(Refused(Failure::bad_request("The body didn't come in time")).into());
            }
        };
        if bytes.is_empty() && !REQUIRED {
            return Ok(Self(Map::new(), PhantomData));
        }
        let content_type = request.content_type().ok_or(ContentTypeError::ExpectContentType)?;
        if !is_json(content_type) {
            let content_type = content_type.to_owned();
            return Err(ContentTypeError::NotSupported { content_type }.into());
        }
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(payload)) => Ok(Self(payload, PhantomData)),
            Ok(_) => Err(Refused(Failure::bad_request("The body must be a JSON object")).into()),
            Err(_) => Err(Refused(Failure::bad_request("The body is not valid JSON")).into()),
        }
    }
}

fn too_large(limit: usize) -> Refused {
    let message = format!("The body is longer than {limit} bytes");
    Refused(Failure::new(ErrorCode::PayloadTooLarge, message))
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}
