//! What clients call this server by.

use std::net::{IpAddr, Ipv6Addr};

use http::HeaderMap;
use http::header::HOST;
use http::request::Parts;

use crate::Settings;
use crate::http::Peer;

const FORWARDED_HOST: &str = "x-forwarded-host";
const FORWARDED_PROTO: &str = "x-forwarded-proto";

/// How a request came to this server, as its client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Whether by TLS.
    pub secure: bool,
    /// Host with port where one was named, as in a `Host` header. `None` where the request has none
    /// or a malformed one.
    pub authority: Option<String>,
}

/// By what address the request came, as far as it can be trusted: `X-Forwarded-Host` and `-Proto`
/// count only from the configured proxies.
pub fn address(settings: &Settings, parts: &Parts) -> Address {
    let peer = parts.extensions.get::<Peer>().map(|peer| peer.addr.ip().to_canonical());
    let trusted = peer.is_some_and(|peer| is_trusted(settings, peer));
    let forwarded = |name| if trusted { first(&parts.headers, name) } else { None };
    let authority = forwarded(FORWARDED_HOST)
        .or_else(|| parts.uri.authority().map(http::uri::Authority::as_str))
        .or_else(|| first(&parts.headers, HOST.as_str()))
        .filter(|authority| split(authority).is_some())
        .map(str::to_owned);
    let secure = forwarded(FORWARDED_PROTO).is_some_and(|scheme| {
        scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("wss")
    });
    Address { secure, authority }
}

fn is_trusted(settings: &Settings, peer: IpAddr) -> bool {
    settings.trusted_proxies.iter().any(|proxies| proxies.contains(&peer))
}

/// The first of a header's values: each proxy adds its own behind.
fn first<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let value = headers.get(name)?.to_str().ok()?;
    value.split(',').next().map(str::trim).filter(|value| !value.is_empty())
}

/// Host and port of an authority, if it is well formed. An IPv6 host keeps its brackets.
pub(super) fn split(authority: &str) -> Option<(&str, Option<u16>)> {
    let end = if let Some(rest) = authority.strip_prefix('[') {
        let (address, _) = rest.split_once(']')?;
        address.parse::<Ipv6Addr>().ok()?;
        address.len() + 2
    } else {
        let end = authority.find(':').unwrap_or(authority.len());
        let host = &authority[..end];
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        if host.is_empty() || host.len() > 253 || !host.bytes().all(fits) {
            return None;
        }
        end
    };
    let (host, rest) = authority.split_at(end);
    match rest.strip_prefix(':') {
        None if rest.is_empty() => Some((host, None)),
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => {
            Some((host, Some(port.parse().ok().filter(|port| *port != 0)?)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_split_or_refused() {
        assert_eq!(split("localhost:3000"), Some(("localhost", Some(3000))));
        assert_eq!(split("chat.example.com"), Some(("chat.example.com", None)));
        assert_eq!(split("[::1]:80"), Some(("[::1]", Some(80))));
        assert_eq!(split("[::1]"), Some(("[::1]", None)));
        for bad in [
            "", ":80", "a:", "a:0", "a:65536", "a:8o", "a:+80", "a b", "a/b", "a@b", "a:1:2",
            "::1", "[::1", "[x]", "[::1]x", "é", "a\"b", "<script>",
        ] {
            assert_eq!(split(bad), None, "{bad}");
        }
    }
}
