//! What failures look like over HTTP, the framework's own included.

use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use poem::Response;
use poem::error::{MethodNotAllowedError, NotFoundError, ReadBodyError, ResponseError};
use poem_openapi::error::ContentTypeError;
use verbatim_protocol::{ErrorCode, Failure};

use super::document;
use crate::requests::failure_envelope;

/// JSON is UTF-8 anyway; it is said for those who read it as text.
pub(super) const JSON: &str = "application/json; charset=utf-8";

/// A failure on its way through the framework.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct Refused(#[from] pub Failure);

impl ResponseError for Refused {
    fn status(&self) -> StatusCode {
        status(self.0.code)
    }
}

fn status(code: ErrorCode) -> StatusCode {
    StatusCode::from_u16(code.status()).expect("each code's status is one of HTTP's")
}

/// A failure as a response, with its code's status.
pub(super) fn response(failure: &Failure) -> Response {
    with_status(status(failure.code), failure)
}

fn with_status(status: StatusCode, failure: &Failure) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    if let Some(milliseconds) = failure.retry_after_ms {
        headers.insert(RETRY_AFTER, HeaderValue::from(milliseconds.div_ceil(1_000)));
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    let mut response =
        Response::builder().status(status).body(failure_envelope(failure).get().to_owned());
    *response.headers_mut() = headers;
    response
}

/// What the framework refused, in the contract's shape.
pub(super) fn of_framework(error: &poem::Error, path: &str) -> Response {
    if let Some(Refused(failure)) = error.downcast_ref() {
        return response(failure);
    }
    if error.is::<NotFoundError>() {
        return response(&Failure::new(ErrorCode::NotFound, "There is nothing here"));
    }
    if error.is::<MethodNotAllowedError>() {
        let failure = Failure::bad_request("The method isn't allowed here");
        let mut response = with_status(StatusCode::METHOD_NOT_ALLOWED, &failure);
        let allowed = document::allowed_methods(path);
        let allowed = HeaderValue::from_str(&allowed).expect("methods are ASCII");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    if error.is::<ContentTypeError>() {
        let failure = Failure::bad_request("The Content-Type must be application/json");
        return with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE, &failure);
    }
    if error.is::<ReadBodyError>() {
        return response(&Failure::bad_request("The body can't be read"));
    }
    if error.status().is_client_error() {
        tracing::debug!(%error, "the framework refused a request");
        return with_status(error.status(), &Failure::bad_request("The request can't be read"));
    }
    tracing::error!(%error, "the framework failed");
    response(&Failure::internal())
}
