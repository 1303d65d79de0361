//! The handshake: who it is, whether they may, and what happens to the socket from then on.

use std::fmt::Display;
use std::pin::Pin;
use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderMap};
use serde::Deserialize;
use serde_json::value::RawValue;
use socketioxide::adapter::LocalAdapter;
use socketioxide::handler::{ConnectHandler, DisconnectHandler, MessageHandler, Value};
use socketioxide::socket::DisconnectReason;

use super::session::{Session, reason};
use super::{Sockets, WireSocket, inbound, log};
use crate::auth::Rejection;
use crate::delivery::Start;
use crate::http::Link;
use crate::requests::Caller;

/// Tells these handlers apart from functions.
pub(super) enum Handler {}

type Refusal = Box<dyn Display + Send>;

/// What the client gives in the handshake. Anything else in it is ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Auth<'a> {
    #[serde(borrow)]
    token: Option<&'a RawValue>,
    #[serde(borrow)]
    cursor: Option<&'a RawValue>,
}

impl<'a> Auth<'a> {
    /// What is no object gives nothing.
    fn parse(auth: Option<&'a Value>) -> Self {
        let text = auth.and_then(Value::as_str).map_or("", |text| text.as_str());
        // A list would be read as the fields in their order.
        if text.starts_with('[') {
            Self::default()
        } else {
            serde_json::from_str(text).unwrap_or_default()
        }
    }

    /// The token, from here or from the headers.
    fn token(&self, headers: &HeaderMap) -> Result<String, Rejection> {
        if let Some(token) = self.token {
            return serde_json::from_str(token.get()).map_err(|_| Rejection::Invalid);
        }
        match headers.get(AUTHORIZATION) {
            Some(header) => header.to_str().map(str::to_owned).map_err(|_| Rejection::Invalid),
            None => Err(Rejection::NoToken),
        }
    }

    fn start(&self) -> Start {
        match self.cursor {
            Some(cursor) => match serde_json::from_str(cursor.get()) {
                Ok(cursor) => Start::Cursor(cursor),
                Err(_) => Start::Malformed,
            },
            None => Start::Mark,
        }
    }
}

/// Handles connects.
#[derive(Clone)]
pub(super) struct Connect(pub Arc<Sockets>);

impl Connect {
    fn admit(&self, socket: &WireSocket, auth: Option<&Value>) -> Result<(), Refusal> {
        let id: Arc<str> = socket.id.as_str().into();
        let sockets = &self.0;
        let auth = Auth::parse(auth);
        let caller =
            self.authenticate(&auth, &socket.req_parts().headers).map_err(|rejection| {
                log::authentication_failed(&id, rejection);
                sockets.metrics.authentication_failed(rejection);
                Box::new(format!("Authentication failed: {rejection}")) as Refusal
            })?;
        let refuse = |why: &'static str| Err(Box::new(why) as Refusal);
        if sockets.is_closing() {
            return refuse("The server is shutting down");
        }
        let most = sockets.settings.limits.sockets_per_user;
        let Some(place) = sockets.registry.reserve(&caller.user_id, most) else {
            log::too_many_connections(&id, &caller);
            sockets.metrics.refusal("too_many_connections");
            return refuse("Too many connections");
        };
        let Some(link) = socket.req_parts().extensions.get::<Arc<Link>>().cloned() else {
            tracing::error!("a session came past the guard");
            return refuse("The server made a mistake");
        };
        let session =
            Arc::new(Session::new(Arc::clone(sockets), id, Arc::new(caller), link, place));
        // Before the client hears that it is connected: nothing that it sends then gets lost.
        socket.on_fallback(Receive(Arc::clone(&session)));
        socket.on_disconnect(Disconnected(Arc::clone(&session)));
        socket.extensions.insert(session);
        Ok(())
    }

    fn authenticate(&self, auth: &Auth<'_>, headers: &HeaderMap) -> Result<Caller, Rejection> {
        self.0.verifier.verify(&auth.token(headers)?)
    }
}

impl ConnectHandler<LocalAdapter, Handler> for Connect {
    fn call(&self, socket: WireSocket, auth: Option<Value>) {
        let Some(session) = socket.extensions.remove::<Arc<Session>>() else { return };
        if session.begin(socket) {
            let start = Auth::parse(auth.as_ref()).start();
            let delivery = Arc::clone(&self.0.delivery);
            self.0.tasks.spawn(async move { delivery.join(session, start).await });
        }
    }

    fn call_middleware<'a>(
        &'a self,
        socket: WireSocket,
        auth: &'a Option<Value>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send + 'a>> {
        Box::pin(std::future::ready(self.admit(&socket, auth.as_ref())))
    }
}

/// Handles whatever the client sends. One handler for all events, so that they keep their order.
struct Receive(Arc<Session>);

impl MessageHandler<LocalAdapter, Handler> for Receive {
    fn call(&self, _: WireSocket, packet: Value, ack: Option<i64>) {
        inbound::receive(&self.0, packet, ack);
    }
}

struct Disconnected(Arc<Session>);

impl DisconnectHandler<LocalAdapter, Handler> for Disconnected {
    fn call_with_defer(&self, socket: WireSocket, why: DisconnectReason, defer: fn(WireSocket)) {
        let Self(session) = self;
        let named = match why {
            DisconnectReason::TransportClose => reason::TRANSPORT_CLOSE,
            DisconnectReason::TransportError | DisconnectReason::MultipleHttpPollingError => {
                reason::TRANSPORT_ERROR
            }
            DisconnectReason::PacketParsingError => reason::PARSE_ERROR,
            DisconnectReason::HeartbeatTimeout => reason::PING_TIMEOUT,
            DisconnectReason::ClientNSDisconnect => reason::CLIENT_DISCONNECT,
            DisconnectReason::ServerNSDisconnect => reason::SERVER_DISCONNECT,
            DisconnectReason::ClosingServer => reason::SHUTTING_DOWN,
        };
        session.end(session.link.close_reason().unwrap_or(named));
        if matches!(
            why,
            DisconnectReason::ClientNSDisconnect | DisconnectReason::ServerNSDisconnect
        ) {
            // Its session would go on without anybody in it.
            session.sockets.left(session);
        }
        defer(socket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(auth: &str, header: Option<&str>) -> Result<String, Rejection> {
        let auth = Value::Str(auth.to_owned().into(), None);
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert(AUTHORIZATION, header.parse().expect("a header"));
        }
        Auth::parse(Some(&auth)).token(&headers)
    }

    #[test]
    fn a_token_comes_in_auth_or_in_the_header() {
        assert_eq!(token(r#"{"token":"a","more":[1]}"#, Some("Bearer b")), Ok("a".to_owned()));
        assert_eq!(token("{}", Some("Bearer b")), Ok("Bearer b".to_owned()));
        assert_eq!(token(r#"{"token":null}"#, Some("b")), Ok("b".to_owned()));
        assert_eq!(token("{}", None), Err(Rejection::NoToken));
        assert_eq!(token(r#"["a"]"#, None), Err(Rejection::NoToken));
        assert_eq!(token(r#"{"token":7}"#, Some("b")), Err(Rejection::Invalid));
    }

    #[test]
    fn a_cursor_is_a_text_or_no_cursor() {
        let start =
            |auth: &str| Auth::parse(Some(&Value::Str(auth.to_owned().into(), None))).start();
        assert_eq!(start(r#"{"cursor":"x"}"#), Start::Cursor("x".to_owned()));
        assert_eq!(start(r#"{"cursor":7}"#), Start::Malformed);
        assert_eq!(start(r#"{"cursor":null}"#), Start::Mark);
        assert_eq!(start("{}"), Start::Mark);
    }
}
