//! TLS, and credentials that an operator signed.

use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

/// A certificate for this machine that nobody else signed.
fn certificate(folder: &Path) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=nats"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(folder.join("tls.key"))
        .arg("-out")
        .arg(folder.join("tls.crt"))
        .stderr(Stdio::null())
        .status();
    assert!(made.expect("openssl runs").success());
}

async fn with_tls() -> (Server, TempDir) {
    let folder = TempDir::new().expect("a folder");
    certificate(folder.path());
    let [key, crt] = ["tls.key", "tls.crt"].map(|name| folder.path().join(name));
    let config = format!("tls {{ cert_file: {crt:?}, key_file: {key:?} }}");
    (Server::start_with(&config).await, folder)
}

#[tokio::test]
async fn a_server_with_a_certificate_of_its_own_is_reached_if_that_is_trusted() {
    let (server, folder) = with_tls().await;
    for url in [server.url(), server.url().replace("nats://", "tls://")] {
        let mut options = NatsOptions::new(url);
        let refused = Nats::connect(options.clone()).await;
        assert!(refused.is_err(), "nobody trusts it");
        options.tls.ca_file = Some(folder.path().join("tls.crt"));
        let nats = open(options).await;
        let mut source = nats.commands();
        source.follow(lane(), None);
        fill(&nats, 1..=3).await;
        assert_eq!(numbers(&take(&mut *source, 3).await), [1, 2, 3]);
    }
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_required() {
    let server = Server::start().await;
    for (url, required) in
        [(server.url(), true), (server.url().replace("nats://", "tls://"), false)]
    {
        let mut options = NatsOptions::new(url);
        options.tls.required = required;
        assert!(Nats::connect(options).await.is_err());
    }
}

/// A signed JWT, as NATS wants them.
fn signed(signer: &KeyPair, subject: &KeyPair, nats: &Value) -> String {
    let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let header = encode(&json!({ "typ": "JWT", "alg": "ed25519-nkey" }));
    let claims = encode(&json!({
        "jti": Uuid::now_v7().to_string(),
        "iat": Timestamp::now().0 / 1_000,
        "iss": signer.public_key(),
        "name": "test",
        "sub": subject.public_key(),
        "nats": nats,
    }));
    let text = format!("{header}.{claims}");
    let signature = signer.sign(text.as_bytes()).expect("it can sign");
    format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

#[tokio::test]
async fn credentials_from_a_file_are_good_for_their_account() {
    let operator = KeyPair::new_operator();
    let [system, account] = [KeyPair::new_account(), KeyPair::new_account()];
    let [user, stranger] = [KeyPair::new_user(), KeyPair::new_user()];
    let operator_jwt = signed(&operator, &operator, &json!({ "type": "operator", "version": 2 }));
    let mut limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
        "conn": -1, "leaf": -1,
    });
    let claims = json!({ "limits": limits, "type": "account", "version": 2 });
    let system_jwt = signed(&operator, &system, &claims);
    for stored in ["mem_storage", "disk_storage", "streams", "consumer"] {
        limits[stored] = json!(-1);
    }
    let claims = json!({ "limits": limits, "type": "account", "version": 2 });
    let account_jwt = signed(&operator, &account, &claims);
    let claims = json!({
        "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1, "type": "user", "version": 2,
    });
    let user_jwt = signed(&account, &user, &claims);
    let (system, account) = (system.public_key(), account.public_key());
    let server = Server::start_with(&format!(
        "operator: {operator_jwt}\nsystem_account: {system}\nresolver: MEMORY\n\
         resolver_preload: {{ {system}: {system_jwt}, {account}: {account_jwt} }}"
    ))
    .await;

    let folder = TempDir::new().expect("a folder");
    let write = |name: &str, seed: String| {
        let path = folder.path().join(name);
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{user_jwt}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        std::fs::write(&path, text).expect("it can be written");
        path
    };
    let mut options = options_for(&server);
    assert!(Nats::connect(options.clone()).await.is_err(), "without any");
    options.credentials = Some(write("stranger", stranger.seed().expect("a seed")));
    assert!(Nats::connect(options.clone()).await.is_err(), "another's seed");
    options.credentials = Some(folder.path().join("none"));
    assert!(Nats::connect(options.clone()).await.is_err(), "no file");
    options.credentials = Some(write("user", user.seed().expect("a seed")));
    let nats = open(options).await;
    let mut source = nats.commands();
    source.follow(lane(), None);
    fill(&nats, 1..=3).await;
    assert_eq!(numbers(&take(&mut *source, 3).await), [1, 2, 3]);
}
