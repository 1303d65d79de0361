use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() as i64
}

fn by_secret(secret: &str) -> TokenSettings {
    TokenSettings { key: TokenKey::Secret(secret.to_owned().into()), issuer: None, audience: None }
}

fn by_public_key(pem: &str) -> TokenSettings {
    TokenSettings { key: TokenKey::PublicKeyPem(pem.to_owned()), issuer: None, audience: None }
}

fn signed(algorithm: Algorithm, key: &EncodingKey, claims: &Value) -> String {
    encode(&Header::new(algorithm), claims, key).expect("the token is signed")
}

fn hs256(claims: &Value) -> String {
    signed(Algorithm::HS256, &EncodingKey::from_secret(SECRET.as_bytes()), claims)
}

fn verify(token: &str) -> Result<Caller, Rejection> {
    Verifier::new(&by_secret(SECRET)).expect("the key is good").verify(token)
}

fn good_claims() -> Value {
    json!({ "userId": "ann", "exp": now() + 600 })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = good_claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = good_claims();
    claims.as_object_mut().expect("an object").remove(name);
    claims
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).expect("base64 is ASCII"))
        .collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

struct Pair {
    algorithm: Algorithm,
    private: EncodingKey,
    public_pem: String,
}

fn rsa() -> Pair {
    let pair = aws_lc_rs::rsa::KeyPair::generate(KeySize::Rsa2048).expect("a key");
    let private = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair).expect("DER");
    let public =
        AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(pair.public_key()).expect("DER");
    Pair {
        algorithm: Algorithm::RS256,
        private: EncodingKey::from_rsa_pem(pem("PRIVATE KEY", private.as_ref()).as_bytes())
            .expect("the crate reads it"),
        public_pem: pem("PUBLIC KEY", public.as_ref()),
    }
}

fn ec() -> Pair {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let private = pair.to_pkcs8v1().expect("DER");
    let public =
        AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(pair.public_key()).expect("DER");
    Pair {
        algorithm: Algorithm::ES256,
        private: EncodingKey::from_ec_der(private.as_ref()),
        public_pem: pem("PUBLIC KEY", public.as_ref()),
    }
}

fn ed() -> Pair {
    let pair = Ed25519KeyPair::generate().expect("a key");
    let private = pair.to_pkcs8v1().expect("DER");
    let public =
        AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(pair.public_key()).expect("DER");
    Pair {
        algorithm: Algorithm::EdDSA,
        private: EncodingKey::from_ed_der(private.as_ref()),
        public_pem: pem("PUBLIC KEY", public.as_ref()),
    }
}

#[test]
fn a_good_token_tells_who_calls() {
    let claims = json!({
        "userId": "alice@example.com", "sub": "other", "email": "a@example.com", "role": "agent",
        "exp": now() + 600, "aud": "anything goes where none is configured",
    });
    let expected = Caller {
        user_id: "alice@example.com".parse().expect("an id"),
        email: Some("a@example.com".to_owned()),
        role: "agent".to_owned(),
        expires_at: Timestamp(claims["exp"].as_i64().expect("a number") * 1_000),
    };
    assert_eq!(verify(&hs256(&claims)), Ok(expected.clone()));
    assert_eq!(verify(&format!("Bearer {}", hs256(&claims))), Ok(expected.clone()));
    assert_eq!(verify(&format!(" bearer  {} ", hs256(&claims))), Ok(expected));
}

#[test]
fn the_user_is_user_id_else_sub_else_id() {
    let named = |claims: Value| {
        let mut claims = claims;
        claims["exp"] = json!(now() + 600);
        verify(&hs256(&claims)).map(|caller| caller.user_id.as_str().to_owned())
    };
    assert_eq!(named(json!({ "userId": "a", "sub": "b", "id": "c" })).as_deref(), Ok("a"));
    assert_eq!(named(json!({ "sub": "b", "id": "c" })).as_deref(), Ok("b"));
    assert_eq!(named(json!({ "userId": null, "id": "c" })).as_deref(), Ok("c"));
    assert_eq!(named(json!({})), Err(Rejection::Invalid));
    assert_eq!(named(json!({ "userId": 7, "sub": "b" })), Err(Rejection::Invalid), "a number");
    assert_eq!(named(json!({ "userId": "a b" })), Err(Rejection::Invalid), "no user id");
    assert_eq!(named(json!({ "userId": "", "sub": "b" })), Err(Rejection::Invalid), "empty");
}

#[test]
fn a_token_without_a_role_is_a_users() {
    assert_eq!(verify(&hs256(&good_claims())).expect("a caller").role, "user");
}

#[test]
fn no_token_is_told_apart() {
    for nothing in ["", "  ", "Bearer", "bearer  "] {
        assert_eq!(verify(nothing), Err(Rejection::NoToken), "{nothing:?}");
    }
}

#[test]
fn an_expired_token_is_told_apart_beyond_the_leeway() {
    assert_eq!(verify(&hs256(&with("exp", json!(now() - 40)))), Err(Rejection::Expired));
    assert!(verify(&hs256(&with("exp", json!(now() - 20)))).is_ok());
}

#[test]
fn every_other_bad_token_is_invalid() {
    let none_header = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let body = URL_SAFE_NO_PAD.encode(good_claims().to_string());
    let good = hs256(&good_claims());
    let (signed_part, signature) = good.rsplit_once('.').expect("three parts");
    let forged_body = URL_SAFE_NO_PAD.encode(with("userId", json!("root")).to_string());
    let head = signed_part.split('.').next().expect("a header");
    let other_key = EncodingKey::from_secret(b"another secret, just as long as it");
    let own_key = EncodingKey::from_secret(SECRET.as_bytes());
    for (why, token) in [
        ("unsigned", format!("{none_header}.{body}.")),
        ("unsigned, with a signature", format!("{none_header}.{body}.{signature}")),
        ("without its signature", format!("{signed_part}.")),
        ("other algorithm", signed(Algorithm::HS384, &own_key, &good_claims())),
        ("other algorithm", signed(Algorithm::HS512, &own_key, &good_claims())),
        ("other key", signed(Algorithm::HS256, &other_key, &good_claims())),
        ("forged", format!("{head}.{forged_body}.{signature}")),
        ("expired and forged", {
            signed(Algorithm::HS256, &other_key, &with("exp", json!(now() - 600)))
        }),
        ("without exp", hs256(&without("exp"))),
        ("exp as text", hs256(&with("exp", json!("tomorrow")))),
        ("not yet valid", hs256(&with("nbf", json!(now() + 600)))),
        ("nbf as text", hs256(&with("nbf", json!("yesterday")))),
        ("20 kB long", hs256(&with("padding", json!("x".repeat(20_000))))),
        ("email is a number", hs256(&with("email", json!(7)))),
        ("email too long", hs256(&with("email", json!("x".repeat(321))))),
        ("role empty", hs256(&with("role", json!("")))),
        ("role too long", hs256(&with("role", json!("x".repeat(65))))),
        ("role with a line break", hs256(&with("role", json!("user\nadmin")))),
        ("no JWT", "nonsense".to_owned()),
        ("no JWT", "a.b.c".to_owned()),
        ("no JWT", "🦀🦀🦀".to_owned()),
        ("a body that is no object", {
            signed(Algorithm::HS256, &own_key, &json!(["userId", "ann"]))
        }),
    ] {
        assert_eq!(verify(&token), Err(Rejection::Invalid), "{why}");
    }
}

#[test]
fn a_token_with_an_extension_that_must_be_understood_is_refused() {
    for crit in [vec!["b64".to_owned()], vec!["exp".to_owned()], Vec::new()] {
        let header = Header { crit: Some(crit), ..Header::default() };
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        let token = encode(&header, &good_claims(), &key).expect("signed");
        assert_eq!(verify(&token).err(), Some(Rejection::Invalid));
    }
}

#[test]
fn a_configured_audience_and_issuer_are_required() {
    let settings = TokenSettings {
        audience: Some("chat".to_owned()),
        issuer: Some("us".to_owned()),
        ..by_secret(SECRET)
    };
    let verifier = Verifier::new(&settings).expect("the key is good");
    let token = |audience: Value, issuer: Value| {
        let mut claims = with("aud", audience);
        claims["iss"] = issuer;
        hs256(&claims)
    };
    assert!(verifier.verify(&token(json!("chat"), json!("us"))).is_ok());
    assert!(verifier.verify(&token(json!(["mail", "chat"]), json!("us"))).is_ok());
    for (audience, issuer) in [
        (json!("mail"), json!("us")),
        (json!(["mail"]), json!("us")),
        (json!(null), json!("us")),
        (json!("chat"), json!("them")),
        (json!("chat"), json!(null)),
        (json!(7), json!("us")),
    ] {
        let refused = verifier.verify(&token(audience.clone(), issuer.clone()));
        assert_eq!(refused, Err(Rejection::Invalid), "{audience} {issuer}");
    }
    assert_eq!(verifier.verify(&hs256(&good_claims())), Err(Rejection::Invalid), "neither");
}

#[test]
fn each_kind_of_public_key_takes_its_own_algorithm_only() {
    let pairs = [rsa(), ec(), ed()];
    for ours in &pairs {
        let verifier = Verifier::new(&by_public_key(&ours.public_pem)).expect("the key is good");
        for theirs in &pairs {
            let token = signed(theirs.algorithm, &theirs.private, &good_claims());
            let accepted = verifier.verify(&token).is_ok();
            assert_eq!(accepted, ours.algorithm == theirs.algorithm, "{:?}", theirs.algorithm);
        }
        // Whoever knows the public key must not be able to use it as a secret.
        let confused = EncodingKey::from_secret(ours.public_pem.as_bytes());
        let token = signed(Algorithm::HS256, &confused, &good_claims());
        assert_eq!(verifier.verify(&token), Err(Rejection::Invalid));
    }
    let rs512 = signed(Algorithm::RS512, &pairs[0].private, &good_claims());
    let verifier = Verifier::new(&by_public_key(&pairs[0].public_pem)).expect("the key is good");
    assert_eq!(verifier.verify(&rs512), Err(Rejection::Invalid));
}

#[test]
fn another_key_of_the_same_kind_signs_nothing() {
    let verifier = Verifier::new(&by_public_key(&ec().public_pem)).expect("the key is good");
    let token = signed(Algorithm::ES256, &ec().private, &good_claims());
    assert_eq!(verifier.verify(&token), Err(Rejection::Invalid));
}

#[test]
fn unusable_keys_are_refused_at_the_start() {
    let refused = |settings: &TokenSettings| Verifier::new(settings).expect_err("refused");
    assert!(matches!(refused(&by_secret("")), KeyError::EmptySecret));
    assert!(matches!(refused(&by_public_key("nonsense")), KeyError::NotAPublicKey));
    let private = Ed25519KeyPair::generate().expect("a key").to_pkcs8v1().expect("DER");
    let private = pem("PRIVATE KEY", private.as_ref());
    assert!(matches!(refused(&by_public_key(&private)), KeyError::NotAPublicKey));
    let empty = pem("PUBLIC KEY", b"");
    assert!(matches!(refused(&by_public_key(&empty)), KeyError::Unsupported));
    let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("a key");
    let p384 =
        AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(p384.public_key()).expect("DER");
    let p384 = pem("PUBLIC KEY", p384.as_ref());
    assert!(matches!(refused(&by_public_key(&p384)), KeyError::Unsupported));
}
