use super::*;

#[tokio::test]
async fn a_good_token_is_let_in_wherever_it_stands() {
    let running = Running::start(settings()).await;
    let token = token_for("ann", 600);
    let _bare = running.connect_with(json!({ "token": token })).await;
    let _named = running.connect_with(json!({ "token": format!("Bearer {token}") })).await;
    let header = format!("Bearer {token}");
    let mut client =
        Client::open_with(running.address, &[("authorization", &header)]).await.expect("open");
    client.join(&json!({})).await;
    until("three sockets are counted", async || running.metric("verbatim_sockets 3").await).await;
}

#[tokio::test]
async fn each_refusal_has_its_own_words() {
    let running = Running::start(settings()).await;
    let refused = async |auth: serde_json::Value| {
        let mut client = Client::open(running.address).await;
        client.try_join(&auth).await.expect_err("refused")
    };
    assert_eq!(refused(json!({})).await, "Authentication failed: No token provided");
    let expired = token_for("ann", -60);
    assert_eq!(refused(json!({ "token": expired })).await, "Authentication failed: Token expired");
    for bad in [json!("x"), json!(7), json!("x".repeat(20_000)), json!(token_for("a b", 600))] {
        let message = refused(json!({ "token": bad })).await;
        assert_eq!(message, "Authentication failed: Invalid token");
    }
}

#[tokio::test]
async fn a_session_that_does_not_authenticate_is_closed() {
    let mut settings = settings();
    settings.limits.auth_timeout = Duration::from_millis(200);
    let running = Running::start(settings).await;
    let mut silent = Client::open(running.address).await;
    let mut refused = Client::open(running.address).await;
    refused.try_join(&json!({})).await.expect_err("refused");
    silent.rest().await;
    refused.rest().await;
    let mut good = running.live("ann").await;
    running.world.say("bo", "still there");
    assert_eq!(good.contents(1).await, ["still there"]);
}

#[tokio::test]
async fn a_user_has_so_many_sockets_and_no_more() {
    let mut settings = settings();
    settings.limits.sockets_per_user = 2;
    let running = Running::start(settings).await;
    let _first = running.connect("ann").await;
    let mut second = running.connect("ann").await;
    let auth = json!({ "token": token_for("ann", 600) });
    let mut third = Client::open(running.address).await;
    assert_eq!(third.try_join(&auth).await, Err("Too many connections".to_owned()));
    let _other = running.connect("bo").await;
    second.send("41").await;
    until("the place is free", async || {
        let mut next = Client::open(running.address).await;
        next.try_join(&auth).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn pages_of_other_origins_are_refused_on_every_way() {
    let running = Running::start(settings()).await;
    let evil = [("origin", "https://evil.example.com")];
    assert!(Client::open_with(running.address, &evil).await.is_none());
    let polled = "/socket.io/?EIO=4&transport=polling";
    let response = client::get(running.address, polled, &evil).await;
    assert_eq!(response.status, 403);
    assert!(response.body.contains(r#""code":"forbidden""#), "{}", response.body);
    let good = [("origin", "http://localhost:5173")];
    assert!(Client::open_with(running.address, &good).await.is_some());
    let response = client::get(running.address, polled, &good).await;
    assert_eq!(response.status, 200);
    let head = response.head.to_ascii_lowercase();
    assert!(head.contains("access-control-allow-origin: http://localhost:5173"), "{head}");
    let asked = [good[0], ("access-control-request-headers", "authorization")];
    let response = client::http(running.address, "OPTIONS", polled, &asked, "").await;
    assert_eq!(response.status, 204);
    assert!(
        response.head.to_ascii_lowercase().contains("access-control-allow-headers: authorization")
    );
}

#[tokio::test]
async fn a_token_that_expires_takes_its_sockets_with_it() {
    let running = Running::start(settings()).await;
    let auth = json!({ "token": token_for("ann", 1) });
    let mut client = running.connect_with(auth).await;
    client.event("stream:ready").await;
    let closing = client.event("connection:closing").await;
    assert_eq!(closing["error"]["code"], "token_expired");
    assert_eq!(client.text().await.as_deref(), Some("41"), "a goodbye: there is no coming back");
}

#[tokio::test]
async fn a_session_whose_socket_left_does_not_stay() {
    let mut settings = settings();
    settings.limits.auth_timeout = Duration::from_millis(200);
    let running = Running::start(settings).await;
    let mut client = running.live("ann").await;
    client.send("41").await;
    client.rest().await;
    assert!(running.metric("verbatim_sockets 0").await);
}
