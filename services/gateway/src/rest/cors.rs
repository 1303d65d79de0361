//! Which web pages may call, and how their browsers learn it.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    HeaderMap, HeaderValue, ORIGIN, VARY,
};
use http::request::Parts;
use http::{Method, StatusCode};
use poem::Response;
use verbatim_protocol::{ErrorCode, Failure};

use super::{Address, failure};
use crate::Settings;
use crate::http::origins;

/// A request's origin, and whether it may call.
pub(super) enum Origin {
    /// No web page's request.
    None,
    Allowed(HeaderValue),
    Refused,
}

impl Origin {
    pub fn of(settings: &Settings, headers: &HeaderMap, address: &Address) -> Self {
        let Some(origin) = headers.get(ORIGIN) else { return Self::None };
        let allowed = origin.to_str().is_ok_and(|origin| {
            origins::allowed(settings, origin, address.authority.as_deref(), address.secure)
        });
        if allowed { Self::Allowed(origin.clone()) } else { Self::Refused }
    }

    /// The response where the request itself is not to be answered: from a page that may not call,
    /// or a browser's question whether it may.
    pub fn refusal(&self, parts: &Parts) -> Option<Response> {
        match self {
            Self::Refused => {
                let message = "Pages of this origin may not call this server";
                Some(failure::response(&Failure::new(ErrorCode::Forbidden, message)))
            }
            Self::Allowed(_)
                if parts.method == Method::OPTIONS
                    && parts.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) =>
            {
                Some(preflight())
            }
            Self::Allowed(_) | Self::None => None,
        }
    }

    pub fn mark(self, headers: &mut HeaderMap) {
        headers.append(VARY, HeaderValue::from_static("Origin"));
        if let Self::Allowed(origin) = self {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Retry-After"));
        }
    }
}

fn preflight() -> Response {
    let mut response = Response::builder().status(StatusCode::NO_CONTENT).finish();
    let headers = response.headers_mut();
    headers
        .insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST, OPTIONS"));
    headers.insert(
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("Authorization, Content-Type"),
    );
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}
