//! In front of everything: what is Socket.IO's goes there, all else to REST.
//!
//! Requests to Socket.IO are checked for their origin, and each session gets its [`Link`](super::link::Link).

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, AUTHORIZATION, HeaderMap, HeaderName,
    HeaderValue, ORIGIN, SEC_WEBSOCKET_KEY, VARY,
};
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use socketioxide::service::SocketIoService;
use tower::Service;
use verbatim_protocol::{ErrorCode, Failure};

use super::body::{RequestBody, ResponseBody, boxed, failure, text};
use super::link::Links;
use super::origins;
use super::stream::Carrier;
use crate::Settings;
use crate::rest::{Address, Rest, address};

/// Where Socket.IO lives.
const SOCKET_PATH: &str = "/socket.io";
/// What Engine.IO answers about a session that there isn't (any more).
const UNKNOWN_SESSION: &str = r#"{"code":1,"message":"Session ID unknown"}"#;
/// What is read of the headers of a request that lasts as long as its session, here or by Engine.IO.
const KEPT_HEADERS: [HeaderName; 2] = [AUTHORIZATION, SEC_WEBSOCKET_KEY];
/// Engine.IO's packet that ends a session.
const CLOSE_PACKET: &str = "1";

pub(super) struct Guard {
    settings: Arc<Settings>,
    sockets: SocketIoService<Elsewhere>,
    rest: Arc<Rest>,
    links: Arc<Links>,
    closing: AtomicBool,
}

/// What the Socket.IO service answers to what isn't its own. It is only asked for what is.
#[derive(Debug, Clone)]
pub(crate) struct Elsewhere;

impl Service<Request<RequestBody>> for Elsewhere {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<RequestBody>) -> Self::Future {
        let mut response = Response::new(Empty::new());
        *response.status_mut() = StatusCode::NOT_FOUND;
        ready(Ok(response))
    }
}

/// The parts of a Socket.IO request's query that matter here.
#[derive(Default)]
struct Query<'a> {
    sid: Option<&'a str>,
    websocket: bool,
}

impl Guard {
    pub fn new(
        settings: Arc<Settings>,
        sockets: SocketIoService<Elsewhere>,
        rest: Arc<Rest>,
        links: Arc<Links>,
    ) -> Self {
        Self { settings, sockets, rest, links, closing: AtomicBool::new(false) }
    }

    /// Refuses new sessions from now on.
    pub fn refuse_new(&self) {
        self.closing.store(true, Ordering::Release);
    }

    pub async fn call(
        &self,
        request: Request<Incoming>,
        carrier: &Carrier,
    ) -> Response<ResponseBody> {
        let path = request.uri().path();
        let rest = path.strip_prefix(SOCKET_PATH);
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            self.socket(request, carrier).await
        } else {
            self.rest.call(request).await
        }
    }

    async fn socket(
        &self,
        request: Request<Incoming>,
        carrier: &Carrier,
    ) -> Response<ResponseBody> {
        let (parts, body) = request.into_parts();
        let origin = parts.headers.get(ORIGIN).cloned();
        if let Some(origin) = &origin {
            let Address { secure, authority } = address(&self.settings, &parts);
            // What isn't text is no page's.
            let named = origin.to_str().unwrap_or_default();
            if !origins::allowed(&self.settings, named, authority.as_deref(), secure) {
                let message = "Pages of this origin may not call this server";
                return failure(&Failure::new(ErrorCode::Forbidden, message));
            }
        }
        let request = Request::from_parts(parts, body);
        let mut response = if request.method() == Method::OPTIONS {
            preflight(request.headers())
        } else {
            let request = request.map(RequestBody::Client);
            let query = request.uri().query().map(|query| query.to_owned().into_boxed_str());
            match Query::parse(query.as_deref().unwrap_or_default()) {
                Query { sid: None, websocket } => self.open(request, carrier, websocket).await,
                Query { sid: Some(sid), websocket } => {
                    self.go_on(request, carrier, sid, websocket).await
                }
            }
        };
        if let Some(origin) = origin {
            let headers = response.headers_mut();
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
        response
    }

    /// A request that begins a session.
    async fn open(
        &self,
        mut request: Request<RequestBody>,
        carrier: &Carrier,
        websocket: bool,
    ) -> Response<ResponseBody> {
        if self.closing.load(Ordering::Acquire) {
            return failure(&Failure::unavailable("The server is shutting down"));
        }
        let link = self.links.open();
        detach(&mut request);
        request.extensions_mut().insert(Arc::clone(&link));
        if websocket {
            carrier.carry(link);
            return self.ask(request).await;
        }
        let (parts, body) = self.ask(request).await.into_parts();
        let Ok(body) = body.collect().await else {
            return failure(&Failure::internal());
        };
        let body = body.to_bytes();
        if let Some(sid) = opened(&body) {
            self.links.name(sid, &link);
        }
        Response::from_parts(parts, boxed(Full::new(body)))
    }

    /// A request of a session that has begun.
    async fn go_on(
        &self,
        mut request: Request<RequestBody>,
        carrier: &Carrier,
        sid: &str,
        websocket: bool,
    ) -> Response<ResponseBody> {
        // Of a WebSocket's own session, or of none: Engine.IO says which.
        let Some(link) = self.links.get(sid) else { return self.ask(request).await };
        if websocket {
            detach(&mut request);
            link.upgrading();
            carrier.carry(link);
            return self.ask(request).await;
        }
        let polled = request.method() == Method::GET;
        let response = link.closed().run_until_cancelled(self.ask(request)).await;
        let Some(response) = response else {
            return text(StatusCode::BAD_REQUEST, "application/json", UNKNOWN_SESSION);
        };
        if polled && let Some(bytes) = response.body().size_hint().exact() {
            link.wrote(bytes as usize);
        }
        response
    }

    async fn ask(&self, request: Request<RequestBody>) -> Response<ResponseBody> {
        match Service::call(&mut self.sockets.clone(), request).await {
            Ok(response) => response.map(boxed),
            Err(never) => match never {},
        }
    }

    /// Ends a polling session, as if its client had.
    pub async fn end(&self, sid: &str) {
        let uri = format!("{SOCKET_PATH}/?EIO=4&transport=polling&sid={sid}");
        let body = RequestBody::Own(Full::new(Bytes::from_static(CLOSE_PACKET.as_bytes())));
        match Request::post(uri).body(body) {
            Ok(request) => drop(self.ask(request).await),
            Err(error) => tracing::error!(%error, "a session can't be ended"),
        }
    }
}

impl<'a> Query<'a> {
    fn parse(query: &'a str) -> Self {
        let mut parsed = Self::default();
        for pair in query.split('&') {
            match pair.split_once('=') {
                Some(("sid", sid)) => parsed.sid = parsed.sid.or(Some(sid)),
                Some(("transport", transport)) => parsed.websocket = transport == "websocket",
                _ => {}
            }
        }
        parsed
    }
}

/// Leaves of a request's head what is asked for, in memory of its own: the head of one that begins a
/// session or becomes a WebSocket is kept as long as that, and would keep the whole buffer that it was
/// read into.
fn detach(request: &mut Request<RequestBody>) {
    let kept = KEPT_HEADERS.iter().filter_map(|name| {
        let value = request.headers().get(name)?.as_bytes();
        Some((name.clone(), HeaderValue::from_bytes(value).ok()?))
    });
    *request.headers_mut() = kept.collect();
    if let Ok(uri) = request.uri().to_string().parse() {
        *request.uri_mut() = uri;
    }
}

/// The session id in the answer to a polling handshake.
fn opened(body: &[u8]) -> Option<&str> {
    #[derive(serde::Deserialize)]
    struct Open<'a> {
        sid: &'a str,
    }
    let packet = body.strip_prefix(b"0")?;
    serde_json::from_slice::<Open<'_>>(packet).ok().map(|open| open.sid)
}

fn preflight(asked: &HeaderMap) -> Response<ResponseBody> {
    let mut response = text(StatusCode::NO_CONTENT, "text/plain", Bytes::new());
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    if let Some(wanted) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_tells_session_and_transport() {
        let query = Query::parse("EIO=4&transport=polling&sid=abc&t=1");
        assert_eq!((query.sid, query.websocket), (Some("abc"), false));
        let query = Query::parse("EIO=4&transport=websocket");
        assert_eq!((query.sid, query.websocket), (None, true));
    }

    #[test]
    fn a_detached_head_keeps_nothing_of_what_it_was_read_from() {
        let read = Bytes::from(b"/socket.io/?EIO=4Bearer abc".to_vec());
        let body = RequestBody::Own(Full::default());
        let mut request = Request::new(body);
        *request.uri_mut() = http::Uri::from_maybe_shared(read.slice(..17)).expect("a URI");
        let value = HeaderValue::from_maybe_shared(read.slice(17..)).expect("a value");
        request.headers_mut().insert(AUTHORIZATION, value.clone());
        request.headers_mut().insert(http::header::COOKIE, value);
        assert!(!read.is_unique());

        detach(&mut request);
        assert!(read.is_unique());
        assert_eq!(request.uri(), "/socket.io/?EIO=4");
        assert_eq!(request.headers().get(AUTHORIZATION).expect("kept"), "Bearer abc");
        assert_eq!(request.headers().len(), 1);
    }

    #[test]
    fn the_session_id_is_read_from_the_open_packet() {
        let body = br#"0{"sid":"AAAAAAAAAAAAAAHs","upgrades":["websocket"],"pingInterval":25000}"#;
        assert_eq!(opened(body), Some("AAAAAAAAAAAAAAHs"));
        assert_eq!(opened(b"6"), None);
    }
}
