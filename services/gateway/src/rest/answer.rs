//! Answers on their way out, and how they are documented.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use http::StatusCode;
use http::header::{ACCEPT, VARY};
use poem::{Body, IntoResponse, Response};
use poem_openapi::ApiResponse;
use poem_openapi::registry::{
    MetaHeader, MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry,
};
use verbatim_protocol::error::Failed;
use verbatim_protocol::{Envelope, ErrorCode, Failure};

use super::contract::{ALWAYS, AuditEventsGet, Contract, GUARDED};
use super::failure::{self, JSON};
use super::schema::{self, Side};
use crate::requests::{Answer, AuditLines};

/// What a call answers, as its contract says.
pub(super) struct Reply<C>(pub Result<Answer, Failure>, pub PhantomData<fn() -> C>);

impl<C> From<Result<Answer, Failure>> for Reply<C> {
    fn from(outcome: Result<Answer, Failure>) -> Self {
        Self(outcome, PhantomData)
    }
}

impl<C> IntoResponse for Reply<C> {
    fn into_response(self) -> Response {
        match self.0 {
            Ok(answer) => {
                let status = if answer.created { StatusCode::CREATED } else { StatusCode::OK };
                let body = answer.body.get().to_owned();
                Response::builder().status(status).content_type(JSON).body(body)
            }
            Err(failed) => failure::response(&failed),
        }
    }
}

impl<C: Contract> ApiResponse for Reply<C> {
    fn meta() -> MetaResponses {
        let successes = C::SUCCESSES
            .iter()
            .map(|(status, meaning)| response(*status, meaning, schema::reference::<C::Answer>()));
        let guarded = if C::GUARDED { GUARDED } else { &[] };
        // Several codes may share a status.
        let mut failures = BTreeMap::<u16, Vec<ErrorCode>>::new();
        for code in ALWAYS.iter().chain(guarded).chain(C::FAILURES) {
            failures.entry(code.status()).or_default().push(*code);
        }
        if C::BODY {
            failures.insert(ErrorCode::PayloadTooLarge.status(), vec![ErrorCode::PayloadTooLarge]);
            failures.insert(UNSUPPORTED_MEDIA_TYPE, vec![ErrorCode::BadRequest]);
        }
        let failures = failures.into_iter().map(|(status, codes)| {
            response(status, meaning(&codes), schema::reference::<Failed>())
        });
        MetaResponses { responses: successes.chain(failures).collect() }
    }

    fn register(registry: &mut Registry) {
        schema::register::<C::Answer>(registry, Side::Sent);
        schema::register::<Failed>(registry, Side::Sent);
    }
}

/// Events of the log: a page of them, or lines of all.
pub(super) enum Events {
    Page(Reply<AuditEventsGet>),
    Lines(AuditLines),
}

impl IntoResponse for Events {
    fn into_response(self) -> Response {
        match self {
            Self::Page(reply) => reply.into_response(),
            Self::Lines(lines) => Response::builder()
                .content_type(NDJSON)
                .header(VARY, ACCEPT)
                .body(Body::from_bytes_stream(lines)),
        }
    }
}

impl ApiResponse for Events {
    fn meta() -> MetaResponses {
        let mut meta = Reply::<AuditEventsGet>::meta();
        for response in meta.responses.iter_mut().filter(|response| response.status == Some(200)) {
            response.content.push(MetaMediaType {
                content_type: NDJSON,
                schema: schema::reference::<Envelope<'static>>(),
            });
        }
        meta
    }

    fn register(registry: &mut Registry) {
        Reply::<AuditEventsGet>::register(registry);
        schema::register::<Envelope<'static>>(registry, Side::Sent);
    }
}

/// Values of JSON, one a line.
pub(super) const NDJSON: &str = "application/x-ndjson";

const UNSUPPORTED_MEDIA_TYPE: u16 = StatusCode::UNSUPPORTED_MEDIA_TYPE.as_u16();

fn response(status: u16, description: &'static str, schema: MetaSchemaRef) -> MetaResponse {
    let text = || MetaSchemaRef::Inline(Box::new(MetaSchema::new("string")));
    let number = || MetaSchemaRef::Inline(Box::new(MetaSchema::new("integer")));
    let headers = match status {
        401 => vec![header("WWW-Authenticate", "`Bearer`", true, text())],
        429 => vec![header("Retry-After", "Seconds to wait", true, number())],
        503 => vec![header("Retry-After", "Seconds to wait, where it is known", false, number())],
        _ => Vec::new(),
    };
    MetaResponse {
        description,
        status: Some(status),
        status_range: None,
        content: vec![MetaMediaType { content_type: "application/json", schema }],
        headers,
    }
}

fn header(name: &str, description: &str, required: bool, schema: MetaSchemaRef) -> MetaHeader {
    MetaHeader {
        name: name.to_owned(),
        description: Some(description.to_owned()),
        required,
        deprecated: false,
        schema,
    }
}

/// What the failures of one status have in common.
fn meaning(codes: &[ErrorCode]) -> &'static str {
    match codes[0] {
        ErrorCode::BadRequest => "`bad_request`: `details.field` names what was refused",
        ErrorCode::Unauthenticated | ErrorCode::TokenExpired => {
            "`unauthenticated` or `token_expired`"
        }
        ErrorCode::Forbidden => "`forbidden`: not the caller's to see or do, or not from this page",
        ErrorCode::NotFound => "`not_found`",
        ErrorCode::IdempotencyConflict | ErrorCode::VersionConflict => {
            "`idempotency_conflict`: something else was stored under this id"
        }
        ErrorCode::CursorExpired => "`cursor_expired`: the cursor isn't one of this log's",
        ErrorCode::PayloadTooLarge => "`payload_too_large`",
        ErrorCode::RateLimited => "`rate_limited`: wait as told",
        ErrorCode::Internal => "`internal`",
        ErrorCode::Unavailable => {
            "`unavailable`: the outcome is unknown, ask again, with the same `clientMessageId`"
        }
    }
}
