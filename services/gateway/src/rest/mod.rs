//! REST, and everything else that is plain HTTP: the API's documents, health, metrics.
//!
//! Each call under `/app` becomes the same request as the event of the same meaning
//! ([`crate::requests`]), and carries the same answer. What is documented at `/openapi.json` is made
//! from the very types that are served.
//!
//! Invariants kept here:
//! - everything under `/app` but `get-connection-id` is 401 without a valid token, whatever it is;
//! - whatever goes wrong, a framework's refusal included, the body has the contract's one shape.

mod address;
mod answer;
mod api;
mod asyncapi;
mod contract;
mod cors;
mod document;
mod extract;
mod failure;
mod readiness;
mod schema;
mod site;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use http::header::{AUTHORIZATION, CACHE_CONTROL, HeaderMap, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::uri::Scheme;
use http_body::Body;
use http_body_util::BodyExt;
use poem::endpoint::BoxEndpoint;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Endpoint, Request, RequestParts, Response};
use prometheus_client::registry::Registry;
use verbatim_protocol::{ErrorCode, Failure};

use crate::Settings;
use crate::auth::{Rejection, Verifier};
use crate::http::{Peer, ResponseBody, body};
use crate::requests::{Caller, Requests};
use readiness::Readiness;

pub use address::{Address, address};
pub use asyncapi::asyncapi;
pub use document::openapi;

/// What the calls of the API need; an extension of each request.
struct Shared {
    requests: Arc<Requests>,
    verifier: Arc<Verifier>,
    settings: Arc<Settings>,
    registry: Arc<Registry>,
    readiness: Readiness,
}

/// Serves every request that isn't Socket.IO's.
pub struct Rest {
    endpoint: BoxEndpoint<'static>,
    shared: Arc<Shared>,
}

impl Rest {
    /// `registry` is shown at `/metrics`. `frames_fresh` tells whether this gateway hears of new
    /// messages; without that it isn't ready.
    pub fn new(
        requests: Arc<Requests>,
        verifier: Arc<Verifier>,
        settings: Arc<Settings>,
        registry: Arc<Registry>,
        frames_fresh: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        let readiness = Readiness::new(Arc::clone(&requests), frames_fresh);
        let shared = Shared { requests, verifier, settings, registry, readiness };
        Self { endpoint: site::routes(), shared: Arc::new(shared) }
    }

    /// Answers a request. Its [`Peer`] extension, where there is one, tells who is asking.
    pub async fn call<B>(&self, request: http::Request<B>) -> http::Response<ResponseBody>
    where
        B: Body<Data = Bytes> + Send + Sync + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (mut parts, body) = request.into_parts();
        let address = address(&self.shared.settings, &parts);
        let origin = cors::Origin::of(&self.shared.settings, &parts.headers, &address);
        parts.extensions.insert(address);
        let mut response = match origin.refusal(&parts) {
            Some(response) => response,
            None => self.answer(parts, body).await,
        };
        origin.mark(response.headers_mut());
        response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        http::Response::from(response).map(body::boxed)
    }

    async fn answer<B>(&self, mut parts: http::request::Parts, body: B) -> Response
    where
        B: Body<Data = Bytes> + Send + Sync + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let guarded = is_guarded(parts.uri.path());
        if guarded {
            match self.caller(&parts.headers) {
                Ok(caller) if is_for_admins(parts.uri.path()) && !caller.is_admin() => {
                    let message = "Audit and analytics are for the role admin";
                    return failure::response(&Failure::new(ErrorCode::Forbidden, message));
                }
                Ok(caller) => parts.extensions.insert(Arc::new(caller)),
                Err(rejection) => return failure::response(&rejection.into()),
            };
        }
        parts.extensions.insert(Arc::clone(&self.shared));
        let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
        let body = body.map_err(std::io::Error::other).boxed();
        let peer = parts.extensions.get::<Peer>().map(|peer| peer.addr);
        let address = peer.map_or_else(Default::default, Into::into);
        let parts: RequestParts =
            (parts, LocalAddr::default(), RemoteAddr(address), Scheme::HTTP).into();
        let request = Request::from_parts(parts, body.into());
        // A panic in a call must not take the connection's other requests with it.
        let mut response = match AssertUnwindSafe(self.endpoint.call(request)).catch_unwind().await
        {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => failure::of_framework(&error, &path),
            Err(_) => {
                tracing::error!(%method, "a call panicked");
                failure::response(&Failure::internal())
            }
        };
        if guarded {
            let headers = response.headers_mut();
            headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        }
        response
    }

    fn caller(&self, headers: &HeaderMap) -> Result<Caller, Rejection> {
        let token = headers.get(AUTHORIZATION).ok_or(Rejection::NoToken)?;
        let token = token.to_str().map_err(|_| Rejection::Invalid)?;
        self.shared.verifier.verify(token)
    }
}

/// Whether a path is kept for admins, also while nothing is built there.
fn is_for_admins(path: &str) -> bool {
    ["/app/audit", "/app/analytics"].iter().any(|kept| {
        path.strip_prefix(kept).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// Whether a path needs a token.
fn is_guarded(path: &str) -> bool {
    let under_app =
        path.strip_prefix("/app").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    under_app && path != "/app/get-connection-id"
}
