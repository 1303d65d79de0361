use std::sync::atomic::Ordering;

use http::header::HOST;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use verbatim_gateway::settings::{PublicUrl, Settings};
use verbatim_journal::Log;

use super::world::{World, request, settings};

async fn connection_id(world: &World, headers: &[(&str, &str)]) -> Value {
    let mut request = Request::builder().uri("/app/get-connection-id");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    world.call(request, "").await.data()
}

#[tokio::test]
async fn clients_learn_where_to_connect_to() {
    let world = World::new().await;
    let data = connection_id(&world, &[("host", "localhost:3000")]).await;
    let timestamp = data["connectionInfo"]["timestamp"].clone();
    assert!(timestamp.is_string());
    assert_eq!(
        data,
        json!({
            "websocketUrl": "ws://localhost:3000",
            "connectionInfo": {
                "protocol": "ws", "host": "localhost:3000", "port": "3000", "timestamp": timestamp,
            },
            "instructions": {
                "authentication": "Include JWT token in auth.token or Authorization header",
                "events": [
                    "notification:get → notification:receive",
                    "connection:get → connection:receive",
                    "conversation:get → conversation:receive",
                    "message:send → message:receive",
                ],
            },
        })
    );
    for (host, url, port) in [
        ("chat.example.com", "ws://chat.example.com", "80"),
        ("[::1]:8080", "ws://[::1]:8080", "8080"),
    ] {
        let data = connection_id(&world, &[("host", host)]).await;
        assert_eq!(data["websocketUrl"], url);
        assert_eq!(data["connectionInfo"]["host"], host);
        assert_eq!(data["connectionInfo"]["port"], port);
    }
    for bad in ["", "a b", "a/b", "x:y", "evil@host", "\"><script>"] {
        let request = Request::builder().uri("/app/get-connection-id").header(HOST, bad);
        let refused = world.call(request, "").await;
        assert_eq!(
            (refused.status, refused.code()),
            (StatusCode::BAD_REQUEST, "bad_request".into())
        );
    }
}

#[tokio::test]
async fn a_public_url_goes_before_whatever_the_request_says() {
    let public_url = Some(PublicUrl { secure: true, authority: "chat.example.com".to_owned() });
    let world = World::with(Settings { public_url, ..settings() }).await;
    let data = connection_id(&world, &[("host", "10.0.0.1:3000")]).await;
    assert_eq!(data["websocketUrl"], "wss://chat.example.com");
    assert_eq!(data["connectionInfo"]["protocol"], "wss");
    assert_eq!(data["connectionInfo"]["port"], "443");
    let data = connection_id(&world, &[]).await;
    assert_eq!(data["websocketUrl"], "wss://chat.example.com", "not even a Host is needed");
}

#[tokio::test]
async fn forwarded_headers_are_believed_from_trusted_proxies_only() {
    let forwarded = [
        ("host", "10.0.0.1:3000"),
        ("x-forwarded-host", "chat.example.com, inner.example.com"),
        ("x-forwarded-proto", "https"),
    ];
    let world = World::new().await;
    let data = connection_id(&world, &forwarded).await;
    assert_eq!(data["websocketUrl"], "ws://10.0.0.1:3000");
    let trusted_proxies = vec!["192.0.2.0/24".parse().expect("a network")];
    let world = World::with(Settings { trusted_proxies, ..settings() }).await;
    let data = connection_id(&world, &forwarded).await;
    assert_eq!(data["websocketUrl"], "wss://chat.example.com");
    let data = connection_id(&world, &[("host", "a"), ("x-forwarded-proto", "http")]).await;
    assert_eq!(data["websocketUrl"], "ws://a");
}

#[tokio::test]
async fn documents_need_no_token() {
    let world = World::new().await;
    for (path, content_type, holds) in [
        ("/openapi.json", "application/json; charset=utf-8", r#""openapi": "3.0"#),
        ("/asyncapi.json", "application/json; charset=utf-8", r#""asyncapi": "3.0.0""#),
        ("/docs", "text/html; charset=utf-8", "SwaggerUIBundle"),
        (
            "/metrics",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            "# HELP verbatim_sockets",
        ),
    ] {
        let got = world.get("", path).await;
        assert_eq!(got.status, StatusCode::OK, "{path}");
        assert_eq!(got.header("content-type"), content_type);
        assert!(got.text.contains(holds), "{path}");
        let head = world.call(request(Method::HEAD, path, ""), "").await;
        assert_eq!((head.status, head.text.as_str()), (StatusCode::OK, ""));
    }
}

#[tokio::test]
async fn the_server_is_ready_only_while_a_message_would_be_stored_and_delivered() {
    let world = World::new().await;
    assert_eq!(world.get("", "/healthz").await.data(), json!({ "status": "ok" }));
    assert_eq!(world.get("", "/readyz").await.data(), json!({ "status": "ok" }));
    let head = world.journal.head().await.expect("a head");
    assert_eq!(head, 0, "asking leaves no trace");

    world.frames_fresh.store(false, Ordering::Relaxed);
    let unready = world.get("", "/readyz").await;
    assert_eq!(unready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(unready.code(), "unavailable");
    world.frames_fresh.store(true, Ordering::Relaxed);
    assert_eq!(world.get("", "/readyz").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_server_without_an_aggregate_service_is_alive_but_not_ready() {
    let mut world = World::new().await;
    world.stop_commands().await;
    assert_eq!(world.get("", "/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(world.get("", "/healthz").await.status, StatusCode::OK);
}

#[tokio::test]
async fn every_answer_of_the_walk_through_is_documented() {
    let world = World::new().await;
    let document: Value = world.get("", "/openapi.json").await.json();
    let paths = document["paths"].as_object().expect("paths");
    for (path, calls) in paths {
        for (method, call) in calls.as_object().expect("calls") {
            let responses = call["responses"].as_object().expect("responses");
            let guarded = path.starts_with("/app") && path != "/app/get-connection-id";
            assert_eq!(guarded, responses.contains_key("401"), "{method} {path}");
            assert_eq!(guarded, call.get("security").is_some(), "{method} {path}");
            assert_eq!(method == "post", call.get("requestBody").is_some(), "{method} {path}");
            let name = path
                .replace("{id}", "conv_1")
                .replace("{messageId}", &uuid::Uuid::nil().to_string());
            let method: Method = method.to_uppercase().parse().expect("a method");
            for user in ["", "ann"] {
                let called = world.call(request(method.clone(), &name, user), "").await;
                let status = called.status.as_str();
                assert!(responses.contains_key(status), "{method} {path} answers {status}");
            }
        }
    }
}
