use std::sync::Arc;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use verbatim_gateway::settings::{ConnectionList, Limits, Origins, Settings};

use super::world::{World, request, settings, token, user};

#[tokio::test]
async fn everything_under_app_needs_a_token_even_where_nothing_is() {
    let world = World::new().await;
    for path in [
        "/app",
        "/app/",
        "/app/conversations",
        "/app/nothing/here",
        "/app/audit/x",
        "/app/get-connection-id/",
        "/app//get-connection-id",
        "/app/get-connection-idx",
        "/app/conversations/%00/messages",
        "/app?get-connection-id",
    ] {
        for method in [Method::GET, Method::POST, Method::DELETE, Method::HEAD] {
            let refused = world.call(request(method.clone(), path, ""), "").await;
            assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{method} {path}");
            assert_eq!(refused.header("www-authenticate"), "Bearer");
            if method != Method::HEAD {
                assert_eq!(refused.code(), "unauthenticated");
                assert_eq!(refused.json()["error"]["message"], "No token provided");
            }
        }
    }
}

#[tokio::test]
async fn bad_tokens_are_told_apart_as_for_sockets() {
    let world = World::new().await;
    let with = |value: &str| {
        Request::builder().uri("/app/conversations").header(HOST, "x").header(AUTHORIZATION, value)
    };
    let good = token("ann", "user");
    let (head, signature) = good.rsplit_once('.').expect("a token");
    for (value, code, message) in [
        ("Bearer ".to_owned(), "unauthenticated", "No token provided"),
        ("Bearer nonsense".to_owned(), "unauthenticated", "Invalid token"),
        ("Basic YW5uOng=".to_owned(), "unauthenticated", "Invalid token"),
        (format!("Bearer {head}.x{signature}"), "unauthenticated", "Invalid token"),
    ] {
        let refused = world.call(with(&value), "").await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
        assert_eq!(refused.code(), code, "{value}");
        assert_eq!(refused.json()["error"]["message"], message, "{value}");
    }
    assert_eq!(world.call(with(&format!("bearer {good}")), "").await.status, StatusCode::OK);
}

#[tokio::test]
async fn whatever_the_framework_refuses_has_the_one_shape() {
    let world = World::new().await;
    let missing = world.get("ann", "/app/nothing").await;
    assert_eq!((missing.status, missing.code().as_str()), (StatusCode::NOT_FOUND, "not_found"));
    let missing = world.get("", "/nothing").await;
    assert_eq!((missing.status, missing.code().as_str()), (StatusCode::NOT_FOUND, "not_found"));
    for (method, path, allow) in [
        (Method::DELETE, "/app/conversations", "GET, HEAD, POST"),
        (Method::GET, "/app/stream/ack", "POST"),
        (Method::PATCH, "/app/conversations/c1/messages", "GET, HEAD, POST"),
        (Method::POST, "/app/get-connection-id", "GET, HEAD"),
        (Method::TRACE, "/healthz", "GET, HEAD"),
        (Method::OPTIONS, "/app/connections", "GET, HEAD"),
        (Method::PUT, "/docs", "GET, HEAD"),
    ] {
        let refused = world.call(request(method.clone(), path, "ann"), "").await;
        assert_eq!(refused.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        assert_eq!((refused.code().as_str(), refused.header("allow")), ("bad_request", allow));
        assert_eq!(refused.header("content-type"), "application/json; charset=utf-8");
    }
}

#[tokio::test]
async fn bodies_are_json_objects_of_bounded_length() {
    let world = World::new().await;
    let path = "/app/conversations";
    let post = async |content_type: &str, body: &str| {
        let mut request = request(Method::POST, path, "ann");
        if !content_type.is_empty() {
            request = request.header(CONTENT_TYPE, content_type);
        }
        let called = world.call(request, body).await;
        (called.status.as_u16(), called.code())
    };
    let refused = |status: u16, code: &str| (status, code.to_owned());
    for bad in ["{", "", "[]", "7", "null", "\"x\"", "{} {}", "{\"a\":1,}", "\u{feff}{}"] {
        assert_eq!(post("application/json", bad).await, refused(400, "bad_request"), "{bad:?}");
    }
    let deep = "[".repeat(30_000);
    assert_eq!(post("application/json", &deep).await, refused(400, "bad_request"));
    for bad in ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"] {
        assert_eq!(post(bad, "{}").await, refused(415, "bad_request"), "{bad:?}");
    }
    assert_eq!(post("Application/JSON; charset=utf-8", "{}").await, refused(400, "bad_request"));
    let large = json!({ "memberIds": ["bob"], "padding": "x".repeat(64 * 1024) }).to_string();
    assert_eq!(post("application/json", &large).await, refused(413, "payload_too_large"));
    let fits = json!({ "memberIds": ["bob"], "padding": "x".repeat(64 * 1024 - 40) }).to_string();
    assert!(fits.len() <= 64 * 1024 && fits.len() > 64 * 1024 - 20);
    let request = request(Method::POST, path, "ann").header(CONTENT_TYPE, "application/json");
    assert_eq!(world.call(request, &fits).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn floods_are_refused_with_the_time_to_wait() {
    let limits = Limits {
        messages_per_second: 1,
        message_burst: 3,
        requests_per_second: 2,
        ..Limits::default()
    };
    let world = World::with(Settings { limits, ..settings() }).await;
    world.direct("conv_1", "ann", "bob").await;
    let send = async || {
        let body = json!({ "content": "x" });
        world.post("ann", "/app/conversations/conv_1/messages", &body).await
    };
    assert_eq!(send().await.status, StatusCode::CREATED);
    assert_eq!(send().await.status, StatusCode::CREATED);
    let refused = send().await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!((refused.code().as_str(), refused.header("retry-after")), ("rate_limited", "1"));
    let wait = refused.json()["error"]["retryAfterMs"].as_u64().expect("a time");
    assert!((1..=1_000).contains(&wait), "{wait}");
    // Reads are counted apart from sends, and users from each other.
    let mut reads = Vec::new();
    for _ in 0..3 {
        reads.push(world.get("ann", "/app/connections").await.status.as_u16());
    }
    assert_eq!(reads, [200, 200, 429]);
    assert_eq!(world.get("bob", "/app/connections").await.status, StatusCode::OK);
    let metrics = world.get("", "/metrics").await.text;
    assert!(
        metrics
            .contains(r#"verbatim_requests_total{kind="message:send",outcome="rate_limited"} 1"#),
        "{metrics}"
    );
}

#[tokio::test]
async fn connections_are_everybodys_or_only_admins_to_see() {
    let world = World::new().await;
    let socket: Arc<str> = "socket-1".into();
    world.presence.connected(&user("bob"), &socket);
    let seen = world.get("ann", "/app/connections").await;
    assert_eq!(seen.data(), json!([{ "userId": "bob", "socketId": "socket-1" }]));
    assert_eq!(seen.json()["totalConnections"], 1);
    assert_eq!(seen.json()["nextCursor"], Value::Null);

    let settings = Settings { connection_list: ConnectionList::Admins, ..settings() };
    let world = World::with(settings).await;
    let refused = world.get("ann", "/app/connections").await;
    assert_eq!((refused.status, refused.code().as_str()), (StatusCode::FORBIDDEN, "forbidden"));
    let admin = Request::builder()
        .uri("/app/connections")
        .header(HOST, "x")
        .header(AUTHORIZATION, format!("Bearer {}", token("root", "admin")));
    assert_eq!(world.call(admin, "").await.status, StatusCode::OK);
}

#[tokio::test]
async fn pages_of_other_origins_may_not_call() {
    let world = World::new().await;
    let from = |method: Method, path: &str, origin: &str| {
        request(method, path, "ann").header("origin", origin)
    };
    let good = "http://localhost:5173";
    let called = world.call(from(Method::GET, "/app/conversations", good), "").await;
    assert_eq!(called.status, StatusCode::OK);
    assert_eq!(called.header("access-control-allow-origin"), good);
    assert_eq!(called.header("access-control-expose-headers"), "Retry-After");
    assert_eq!(called.header("vary"), "Origin");
    let failed = world.call(from(Method::GET, "/app/nothing", good), "").await;
    assert_eq!(failed.header("access-control-allow-origin"), good, "failures can be read too");

    let bad = "https://evil.example.com";
    for path in ["/app/conversations", "/app/get-connection-id", "/healthz", "/openapi.json"] {
        let refused = world.call(from(Method::GET, path, bad), "").await;
        assert_eq!((refused.status, refused.code().as_str()), (StatusCode::FORBIDDEN, "forbidden"));
        assert_eq!(refused.header("access-control-allow-origin"), "");
        assert_eq!(refused.header("vary"), "Origin");
    }
    let no_page = world.get("ann", "/app/conversations").await;
    assert_eq!(no_page.status, StatusCode::OK);
    assert_eq!(no_page.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn browsers_may_ask_first() {
    let world = World::new().await;
    let ask = |origin: &str| {
        request(Method::OPTIONS, "/app/conversations/c1/messages", "")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,content-type")
    };
    let allowed = world.call(ask("http://127.0.0.1:8080"), "").await;
    assert_eq!((allowed.status, allowed.text.as_str()), (StatusCode::NO_CONTENT, ""));
    assert_eq!(allowed.header("access-control-allow-origin"), "http://127.0.0.1:8080");
    assert!(allowed.header("access-control-allow-methods").contains("POST"));
    for header in ["Authorization", "Content-Type"] {
        assert!(allowed.header("access-control-allow-headers").contains(header));
    }
    assert_eq!(world.call(ask("https://evil.example.com"), "").await.status, StatusCode::FORBIDDEN);
    let open = World::with(Settings { origins: Origins::Any, ..settings() }).await;
    let allowed = open.call(ask("https://any.example.com"), "").await;
    assert_eq!(allowed.header("access-control-allow-origin"), "https://any.example.com");
}
