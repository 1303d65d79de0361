//! The calls of the API.

use http::header::ACCEPT;
use poem::Request;
use poem_openapi::{OpenApi, Tags};
use serde_json::{Map, Value};
use verbatim_analytics::By;
use verbatim_audit::EventType;
use verbatim_domain::{ConversationId, MessageId, UserId};
use verbatim_protocol::client::NoExtra;
use verbatim_protocol::{Failure, Timestamp};

use super::address::{Address, split};
use super::answer::{Events, NDJSON, Reply};
use super::contract::{
    self, ConnectionId, ConnectionInfo, Health, Instructions, MessageBody, Protocol, ReadBody,
    Status,
};
use super::extract::{
    Authorized, Cursor, Flag, InBody, InQuery, Limit, LogPlace, LogSize, Path, Sequence, Time,
    TimeAlone, shared,
};
use crate::requests::{Answer, Kind, payload};
use crate::settings::PublicUrl;

/// The API. It has no state of its own, so that it can be documented without a server.
pub(super) struct Api;

#[derive(Tags)]
enum Tag {
    /// Where to connect to, and who is connected.
    Connections,
    /// Who talks with whom.
    Conversations,
    /// What they say.
    Messages,
    /// What was said while one was away.
    Notifications,
    /// Every message of every conversation of the caller's, in order.
    Stream,
    /// What was recorded, and what stood when. For admins.
    Audit,
    /// What the log amounts to. For admins.
    Analytics,
    /// For those who keep the server running.
    Operations,
}

#[OpenApi]
#[allow(clippy::unused_async, reason = "the framework wants every call to be async")]
impl Api {
    /// Where to connect to
    ///
    /// The URL for the Socket.IO client, as this request's client can reach it. Needs no token.
    #[oai(
        path = "/app/get-connection-id",
        method = "get",
        tag = "Tag::Connections",
        operation_id = "getConnectionId"
    )]
    async fn connection_id(&self, request: &Request) -> Reply<contract::ConnectionIdGet> {
        connection_id(request).into()
    }

    /// Who is connected
    ///
    /// Every socket on every gateway, one entry each. The server may be set up to tell only admins.
    #[oai(
        path = "/app/connections",
        method = "get",
        tag = "Tag::Connections",
        operation_id = "getConnections"
    )]
    async fn connections(&self, caller: Authorized) -> Reply<contract::ConnectionsGet> {
        caller.ask("connection:get", Map::new()).await.into()
    }

    /// The caller's notifications
    ///
    /// Newest first. A notification is made for each message that found its recipient without a
    /// socket.
    #[oai(
        path = "/app/notifications",
        method = "get",
        tag = "Tag::Notifications",
        operation_id = "getNotifications"
    )]
    async fn notifications(
        &self,
        caller: Authorized,
        /// The `nextCursor` of the page before.
        cursor: InQuery<Cursor>,
        /// Entries of a page. 50 where other parameters are given, else 200.
        limit: InQuery<Limit>,
        /// Only those that are unread.
        #[oai(name = "unreadOnly")]
        unread_only: InQuery<Flag>,
    ) -> Reply<contract::NotificationsGet> {
        let payload =
            object([("cursor", cursor.0), ("limit", limit.0), ("unreadOnly", unread_only.0)]);
        caller.ask("notification:get", payload).await.into()
    }

    /// Mark notifications as read
    ///
    /// Either some, by their ids, or all. Answers how many are unread now.
    #[oai(
        path = "/app/notifications/read",
        method = "post",
        tag = "Tag::Notifications",
        operation_id = "readNotifications"
    )]
    async fn read_notifications(
        &self,
        caller: Authorized,
        body: InBody<payload::NotificationRead>,
    ) -> Reply<contract::NotificationsRead> {
        caller.ask("notification:read", body.0).await.into()
    }

    /// The caller's conversations
    ///
    /// Latest activity first.
    #[oai(
        path = "/app/conversations",
        method = "get",
        tag = "Tag::Conversations",
        operation_id = "getConversations"
    )]
    async fn conversations(
        &self,
        caller: Authorized,
        /// The `nextCursor` of the page before.
        cursor: InQuery<Cursor>,
        /// Entries of a page. 50 where a cursor is given, else 200.
        limit: InQuery<Limit>,
    ) -> Reply<contract::ConversationsGet> {
        let payload = object([("cursor", cursor.0), ("limit", limit.0)]);
        caller.ask("conversation:get", payload).await.into()
    }

    /// Make a group
    ///
    /// Of the caller and others. Repeated alike under the same id, it is the same group.
    #[oai(
        path = "/app/conversations",
        method = "post",
        tag = "Tag::Conversations",
        operation_id = "createConversation"
    )]
    async fn create_conversation(
        &self,
        caller: Authorized,
        body: InBody<payload::ConversationCreate>,
    ) -> Reply<contract::ConversationCreate> {
        caller.ask("conversation:create", body.0).await.into()
    }

    /// Mark a conversation as read
    ///
    /// Up to a message's `sequence`, or to the newest. Answers how many messages are unread now.
    #[oai(
        path = "/app/conversations/:id/read",
        method = "post",
        tag = "Tag::Conversations",
        operation_id = "readConversation"
    )]
    async fn read_conversation(
        &self,
        caller: Authorized,
        /// The conversation.
        id: Path<ConversationId>,
        body: InBody<ReadBody, false>,
    ) -> Reply<contract::ConversationRead> {
        caller.ask("conversation:read", in_conversation(body.0, id.0)).await.into()
    }

    /// A conversation's messages
    ///
    /// Ascending by `sequence`: without bounds the newest. `nextCursor` leads to older messages,
    /// with `after` to newer ones.
    #[oai(
        path = "/app/conversations/:id/messages",
        method = "get",
        tag = "Tag::Messages",
        operation_id = "getMessages"
    )]
    #[allow(clippy::too_many_arguments, reason = "they are the call's parameters")]
    async fn messages(
        &self,
        caller: Authorized,
        /// The conversation.
        id: Path<ConversationId>,
        /// Messages below this `sequence`.
        before: InQuery<Sequence>,
        /// Messages above this `sequence`.
        after: InQuery<Sequence>,
        /// The message of this `sequence` and its neighbours.
        around: InQuery<Sequence>,
        /// The `nextCursor` of the page before.
        cursor: InQuery<Cursor>,
        /// Entries of a page, 50 unless given.
        limit: InQuery<Limit>,
    ) -> Reply<contract::MessagesGet> {
        let range = object([
            ("before", before.0),
            ("after", after.0),
            ("around", around.0),
            ("cursor", cursor.0),
            ("limit", limit.0),
        ]);
        caller.ask("message:get", in_conversation(range, id.0)).await.into()
    }

    /// Send a message
    ///
    /// To an existing conversation of the caller's, or, with a `targetUserId`, to a new one of the
    /// two. Sent again with the same `clientMessageId`, it is the same message.
    #[oai(
        path = "/app/conversations/:id/messages",
        method = "post",
        tag = "Tag::Messages",
        operation_id = "sendMessage"
    )]
    async fn send_message(
        &self,
        caller: Authorized,
        /// The conversation.
        id: Path<ConversationId>,
        body: InBody<MessageBody>,
    ) -> Reply<contract::MessageSend> {
        caller.ask("message:send", in_conversation(body.0, id.0)).await.into()
    }

    /// What became of a message
    ///
    /// For each of its recipients: not known to have arrived, notified, or delivered.
    #[oai(
        path = "/app/messages/:messageId/deliveries",
        method = "get",
        tag = "Tag::Messages",
        operation_id = "getDeliveries"
    )]
    async fn deliveries(
        &self,
        caller: Authorized,
        /// The message.
        #[oai(name = "messageId")]
        message_id: Path<MessageId>,
    ) -> Reply<contract::DeliveriesGet> {
        caller.ask_for_deliveries(&message_id.0).await.into()
    }

    /// The caller's stream
    ///
    /// Every message of every conversation of the caller's, in the order in which a socket would
    /// get them.
    #[oai(path = "/app/stream", method = "get", tag = "Tag::Stream", operation_id = "getStream")]
    async fn stream(
        &self,
        caller: Authorized,
        /// A message's `cursor`, or the `nextCursor` of the page before; from the beginning when
        /// left out.
        cursor: InQuery<Cursor>,
        /// Entries of a page, 50 unless given.
        limit: InQuery<Limit>,
    ) -> Reply<contract::StreamGet> {
        let payload = object([("cursor", cursor.0), ("limit", limit.0)]);
        caller.ask("stream:get", payload).await.into()
    }

    /// Say how far the stream was applied
    ///
    /// A socket that connects without a cursor goes on from there.
    #[oai(
        path = "/app/stream/ack",
        method = "post",
        tag = "Tag::Stream",
        operation_id = "ackStream"
    )]
    async fn ack_stream(
        &self,
        caller: Authorized,
        body: InBody<payload::StreamAck>,
    ) -> Reply<contract::StreamAck> {
        caller.ask("stream:ack", body.0).await.into()
    }

    /// Events of the log
    ///
    /// In the order in which they were recorded. The end of the log as of the first page is the end
    /// of the list, whatever comes meanwhile. Where few events are chosen, a page may have fewer than
    /// its limit, or none, though there are more: only a `nextCursor` of `null` is the end. With
    /// `Accept: application/x-ndjson` all of them come at once, a line each.
    ///
    /// For admins. Each call is recorded in the log before it is answered.
    #[oai(
        path = "/app/audit/events",
        method = "get",
        tag = "Tag::Audit",
        operation_id = "getAuditEvents"
    )]
    #[allow(clippy::too_many_arguments, reason = "they are the call's parameters")]
    async fn audit_events(
        &self,
        request: &Request,
        caller: Authorized,
        /// The first position, or the time from which on; included.
        from: InQuery<LogPlace>,
        /// The last position, or the time until which; included. The end of the log when left out.
        to: InQuery<LogPlace>,
        /// Only events of this type.
        #[oai(name = "type")]
        event_type: InQuery<EventType>,
        /// Only of this conversation, notifications and audits included.
        conversation: InQuery<ConversationId>,
        /// Only what this user brought about.
        actor: InQuery<UserId>,
        /// The `nextCursor` of the page before; `from` and `to` are ignored then.
        cursor: InQuery<Cursor>,
        /// Entries of a page, 50 unless given. Lines are not limited.
        limit: InQuery<Limit>,
    ) -> Events {
        let payload = object([
            ("from", from.0),
            ("to", to.0),
            ("type", event_type.0),
            ("conversation", conversation.0),
            ("actor", actor.0),
            ("cursor", cursor.0),
            ("limit", limit.0),
        ]);
        if !wants_lines(request) {
            return Events::Page(caller.ask_for_events(payload).await.into());
        }
        match caller.ask_for_lines(payload).await {
            Ok(lines) => Events::Lines(lines),
            Err(failure) => Events::Page(Err(failure).into()),
        }
    }

    /// A conversation as it stood
    ///
    /// With its members, how far each had read, and its messages from the first, page by page.
    ///
    /// For admins. Each call is recorded in the log before it is answered.
    #[oai(
        path = "/app/audit/conversations/:id",
        method = "get",
        tag = "Tag::Audit",
        operation_id = "getAuditConversation"
    )]
    async fn audit_conversation(
        &self,
        caller: Authorized,
        /// The conversation.
        id: Path<ConversationId>,
        /// After the event of this position, or after all that was recorded until this time; now when
        /// left out.
        #[oai(name = "asOf")]
        as_of: InQuery<LogPlace>,
        /// The `nextCursor` of the page before; `asOf` is ignored then.
        cursor: InQuery<Cursor>,
        /// Messages of a page, 50 unless given.
        limit: InQuery<Limit>,
    ) -> Reply<contract::AuditConversationGet> {
        let payload = object([("asOf", as_of.0), ("cursor", cursor.0), ("limit", limit.0)]);
        caller.ask_how_it_stood(in_conversation(payload, id.0)).await.into()
    }

    /// Erase what a user has said
    ///
    /// Content, attachments and e-mail address of every message that the user has sent so far can't
    /// be read any more, by anybody: the key that they are sealed with is destroyed. That the messages
    /// were sent, when and to whom, stays in the log. There is no way back.
    ///
    /// For admins. It is recorded in the log.
    #[oai(
        path = "/app/erasures",
        method = "post",
        tag = "Tag::Audit",
        operation_id = "eraseSubject"
    )]
    async fn erase(
        &self,
        caller: Authorized,
        body: InBody<payload::SubjectErase>,
    ) -> Reply<contract::SubjectErase> {
        caller.ask_to_erase(body.0).await.into()
    }

    /// The proof that a message is in the log
    ///
    /// The event as it was recorded, its content encrypted, and what leads from it to the root that was signed last. Save the
    /// answer; `verbatim verify-proof` checks it with nothing but the public key. A message that was
    /// sent just now may have no checkpoint yet: `unavailable`, ask again.
    ///
    /// For admins. Each proof is recorded in the log before it is shown.
    #[oai(
        path = "/app/audit/proofs/:messageId",
        method = "get",
        tag = "Tag::Audit",
        operation_id = "getAuditProof"
    )]
    async fn audit_proof(
        &self,
        caller: Authorized,
        /// The message.
        #[oai(name = "messageId")]
        message_id: Path<MessageId>,
    ) -> Reply<contract::AuditProofGet> {
        let payload = object([("messageId", Some(Value::String(message_id.0)))]);
        caller.ask_of_the_seal(Kind::AuditProofGet, payload).await.into()
    }

    /// The proof that nothing changed between two checkpoints
    ///
    /// That the later one's log begins with the earlier one's. It can be checked as that of a message.
    ///
    /// For admins. Each proof is recorded in the log before it is shown.
    #[oai(
        path = "/app/audit/consistency",
        method = "get",
        tag = "Tag::Audit",
        operation_id = "getAuditConsistency"
    )]
    async fn audit_consistency(
        &self,
        caller: Authorized,
        /// The earlier checkpoint's size; the first checkpoint when left out.
        from: InQuery<LogSize>,
        /// The later one's size; the last checkpoint when left out.
        to: InQuery<LogSize>,
    ) -> Reply<contract::AuditConsistencyGet> {
        let payload = object([("from", from.0), ("to", to.0)]);
        caller.ask_of_the_seal(Kind::AuditConsistencyGet, payload).await.into()
    }

    /// The checkpoints that were signed
    ///
    /// Newest first; those of logs that this one was restored from or replaced are among them.
    ///
    /// For admins. Each call is recorded in the log before it is answered.
    #[oai(
        path = "/app/audit/checkpoints",
        method = "get",
        tag = "Tag::Audit",
        operation_id = "getAuditCheckpoints"
    )]
    async fn audit_checkpoints(
        &self,
        caller: Authorized,
        /// The `nextCursor` of the page before.
        cursor: InQuery<Cursor>,
        /// Entries of a page, 50 unless given.
        limit: InQuery<Limit>,
    ) -> Reply<contract::AuditCheckpointsGet> {
        let payload = object([("cursor", cursor.0), ("limit", limit.0)]);
        caller.ask_of_the_seal(Kind::AuditCheckpointsGet, payload).await.into()
    }

    /// The public keys that checkpoints are signed with
    ///
    /// As the server has them. Whoever is to rely on a key should have it from elsewhere, too.
    ///
    /// For admins. Each call is recorded in the log before it is answered.
    #[oai(
        path = "/app/audit/keys",
        method = "get",
        tag = "Tag::Audit",
        operation_id = "getAuditKeys"
    )]
    async fn audit_keys(&self, caller: Authorized) -> Reply<contract::AuditKeysGet> {
        caller.ask_of_the_seal(Kind::AuditKeysGet, Map::new()).await.into()
    }

    /// Messages that were sent
    ///
    /// How many in each hour or day (of UTC). Buckets in which nothing happened are left out, here and in
    /// the lists below; what each figure means is said at length in the project's docs/analytics.md.
    ///
    /// For admins.
    #[oai(
        path = "/app/analytics/messages",
        method = "get",
        tag = "Tag::Analytics",
        operation_id = "getAnalyticsMessages"
    )]
    async fn analytics_messages(
        &self,
        caller: Authorized,
        /// From the hour or day that this is in; from the beginning when left out.
        from: InQuery<Time>,
        /// To the hour or day that this is in, which is included.
        to: InQuery<Time>,
        /// How figures are told apart; by day when left out.
        by: InQuery<By>,
        /// The `nextCursor` of the page before; `from`, `to` and `by` are ignored then.
        cursor: InQuery<Cursor>,
        /// Entries of a page, 50 unless given.
        limit: InQuery<Limit>,
    ) -> Reply<contract::MessagesFigures> {
        let payload = figures(from, to, by, cursor, limit);
        caller.ask_for_figures(Kind::AnalyticsMessagesGet, payload).await.into()
    }

    /// Users who sent a message
    ///
    /// How many different ones in each hour or day. A day's are not the sum of its hours'.
    ///
    /// For admins.
    #[oai(
        path = "/app/analytics/users",
        method = "get",
        tag = "Tag::Analytics",
        operation_id = "getAnalyticsUsers"
    )]
    async fn analytics_users(
        &self,
        caller: Authorized,
        /// From the hour or day that this is in; from the beginning when left out.
        from: InQuery<Time>,
        /// To the hour or day that this is in, which is included.
        to: InQuery<Time>,
        /// How figures are told apart; by day when left out.
        by: InQuery<By>,
        /// The `nextCursor` of the page before; `from`, `to` and `by` are ignored then.
        cursor: InQuery<Cursor>,
        /// Entries of a page, 50 unless given.
        limit: InQuery<Limit>,
    ) -> Reply<contract::UsersFigures> {
        let payload = figures(from, to, by, cursor, limit);
        caller.ask_for_figures(Kind::AnalyticsUsersGet, payload).await.into()
    }

    /// What became of messages
    ///
    /// Of those that were sent in each hour or day, once for each recipient: whether they have arrived by
    /// now, and how long that took.
    ///
    /// For admins.
    #[oai(
        path = "/app/analytics/deliveries",
        method = "get",
        tag = "Tag::Analytics",
        operation_id = "getAnalyticsDeliveries"
    )]
    async fn analytics_deliveries(
        &self,
        caller: Authorized,
        /// From the hour or day that this is in; from the beginning when left out.
        from: InQuery<Time>,
        /// To the hour or day that this is in, which is included.
        to: InQuery<Time>,
        /// How figures are told apart; by day when left out.
        by: InQuery<By>,
        /// The `nextCursor` of the page before; `from`, `to` and `by` are ignored then.
        cursor: InQuery<Cursor>,
        /// Entries of a page, 50 unless given.
        limit: InQuery<Limit>,
    ) -> Reply<contract::DeliveriesFigures> {
        let payload = figures(from, to, by, cursor, limit);
        caller.ask_for_figures(Kind::AnalyticsDeliveriesGet, payload).await.into()
    }

    /// How long agents took to answer
    ///
    /// Of what users asked in each hour or day: from a user's first message that waits for an answer to
    /// the next message of an agent in the conversation.
    ///
    /// For admins.
    #[oai(
        path = "/app/analytics/responses",
        method = "get",
        tag = "Tag::Analytics",
        operation_id = "getAnalyticsResponses"
    )]
    async fn analytics_responses(
        &self,
        caller: Authorized,
        /// From the hour or day that this is in; from the beginning when left out.
        from: InQuery<Time>,
        /// To the hour or day that this is in, which is included.
        to: InQuery<Time>,
        /// How figures are told apart; by day when left out.
        by: InQuery<By>,
        /// The `nextCursor` of the page before; `from`, `to` and `by` are ignored then.
        cursor: InQuery<Cursor>,
        /// Entries of a page, 50 unless given.
        limit: InQuery<Limit>,
    ) -> Reply<contract::ResponsesFigures> {
        let payload = figures(from, to, by, cursor, limit);
        caller.ask_for_figures(Kind::AnalyticsResponsesGet, payload).await.into()
    }

    /// How many were connected
    ///
    /// In each hour or day. They are told apart by time alone.
    ///
    /// For admins.
    #[oai(
        path = "/app/analytics/connections",
        method = "get",
        tag = "Tag::Analytics",
        operation_id = "getAnalyticsConnections"
    )]
    async fn analytics_connections(
        &self,
        caller: Authorized,
        /// From the hour or day that this is in; from the beginning when left out.
        from: InQuery<Time>,
        /// To the hour or day that this is in, which is included.
        to: InQuery<Time>,
        /// How figures are told apart; by day when left out.
        by: InQuery<TimeAlone>,
        /// The `nextCursor` of the page before; `from`, `to` and `by` are ignored then.
        cursor: InQuery<Cursor>,
        /// Entries of a page, 50 unless given.
        limit: InQuery<Limit>,
    ) -> Reply<contract::ConnectionsFigures> {
        let payload = figures(from, to, by, cursor, limit);
        caller.ask_for_figures(Kind::AnalyticsConnectionsGet, payload).await.into()
    }

    /// Whether the server runs
    #[oai(path = "/healthz", method = "get", tag = "Tag::Operations", operation_id = "getHealth")]
    async fn healthz(&self) -> Reply<contract::Healthy> {
        Ok(healthy()).into()
    }

    /// Whether a message that came now would be stored and delivered
    #[oai(path = "/readyz", method = "get", tag = "Tag::Operations", operation_id = "getReadiness")]
    async fn readyz(&self, request: &Request) -> Reply<contract::Ready> {
        let ready = shared(request).readiness.check().await;
        ready.map(|()| healthy()).map_err(Failure::unavailable).into()
    }
}

fn healthy() -> Answer {
    Answer::new(Health { status: Status::Ok }, NoExtra {})
}

/// Whether the client names lines of JSON among what it accepts.
fn wants_lines(request: &Request) -> bool {
    let accepted = request.headers().get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut ranges = accepted.flat_map(|value| value.split(','));
    ranges.any(|range| {
        let essence = range.split(';').next().unwrap_or_default();
        essence.trim().eq_ignore_ascii_case(NDJSON)
    })
}

/// The parameters that were given, as a payload.
fn object<const N: usize>(entries: [(&str, Option<Value>); N]) -> Map<String, Value> {
    entries.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// What the lists of analytics are asked by.
fn figures<B>(
    from: InQuery<Time>,
    to: InQuery<Time>,
    by: InQuery<B>,
    cursor: InQuery<Cursor>,
    limit: InQuery<Limit>,
) -> Map<String, Value> {
    object([("from", from.0), ("to", to.0), ("by", by.0), ("cursor", cursor.0), ("limit", limit.0)])
}

/// A payload whose conversation is the path's, whatever the body says.
fn in_conversation(mut payload: Map<String, Value>, id: String) -> Map<String, Value> {
    payload.insert("conversationId".to_owned(), Value::String(id));
    payload
}

fn connection_id(request: &Request) -> Result<Answer, Failure> {
    let settings = &shared(request).settings;
    let (secure, authority) = if let Some(PublicUrl { secure, authority }) = &settings.public_url {
        (*secure, Some(authority.as_str()))
    } else {
        let address = request.extensions().get::<Address>();
        let address = address.expect("every request is given it before routing");
        (address.secure, address.authority.as_deref())
    };
    let parts = authority.and_then(|authority| Some((authority, split(authority)?)));
    let Some((authority, (_, port))) = parts else {
        return Err(Failure::bad_request("The Host header is missing or malformed"));
    };
    let (protocol, scheme, default_port) =
        if secure { (Protocol::Wss, "wss", 443) } else { (Protocol::Ws, "ws", 80) };
    let connection_info = ConnectionInfo {
        protocol,
        host: authority.to_owned(),
        port: port.unwrap_or(default_port).to_string(),
        timestamp: Timestamp::now(),
    };
    let data = ConnectionId {
        websocket_url: format!("{scheme}://{authority}"),
        connection_info,
        instructions: INSTRUCTIONS,
    };
    Ok(Answer::new(data, NoExtra {}))
}

const INSTRUCTIONS: Instructions = Instructions {
    authentication: "Include JWT token in auth.token or Authorization header",
    events: &[
        "notification:get → notification:receive",
        "connection:get → connection:receive",
        "conversation:get → conversation:receive",
        "message:send → message:receive",
    ],
};
