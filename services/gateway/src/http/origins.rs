//! Which web pages may call.
//!
//! CORS doesn't protect `WebSocket`s, so the same rule is asked in their handshakes too.

use crate::Settings;
use crate::settings::Origins;

/// Whether a page of `origin` may call this server, which the request called `host` (the `Host`
/// header), over TLS if `secure`.
///
/// The server's own origin is one with the same host and port; a page that came without TLS is
/// none of a server's behind TLS.
pub fn allowed(settings: &Settings, origin: &str, host: Option<&str>, secure: bool) -> bool {
    match &settings.origins {
        Origins::Any => true,
        Origins::Listed(listed) => listed.iter().any(|listed| listed == origin),
        Origins::OwnAndLocal => {
            let Some((scheme, authority)) = origin.split_once("://") else { return false };
            let own = |own_host: &str, own_secure: bool| {
                same_authority(authority, own_host, scheme) && (scheme == "https" || !own_secure)
            };
            is_local(authority)
                || host.is_some_and(|host| own(host, secure))
                || settings.public_url.as_ref().is_some_and(|url| own(&url.authority, url.secure))
        }
    }
}

fn is_local(authority: &str) -> bool {
    let (host, port) = authority.split_once(':').unwrap_or((authority, "0"));
    (host.eq_ignore_ascii_case("localhost") || host == "127.0.0.1") && port.parse::<u16>().is_ok()
}

fn same_authority(one: &str, other: &str, scheme: &str) -> bool {
    let default_port = if scheme == "https" { ":443" } else { ":80" };
    let bare = |authority: &str| {
        authority.strip_suffix(default_port).unwrap_or(authority).to_ascii_lowercase()
    };
    bare(one) == bare(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::PublicUrl;
    use crate::tests::settings;

    fn allows(origins: Origins, origin: &str, host: Option<&str>) -> bool {
        allowed(&Settings { origins, ..settings() }, origin, host, false)
    }

    #[test]
    fn unless_told_otherwise_the_servers_own_pages_and_local_ones_may_call() {
        let host = Some("chat.example.com:8080");
        for good in [
            "http://localhost",
            "http://localhost:5173",
            "https://127.0.0.1:9",
            "http://chat.example.com:8080",
            "https://Chat.Example.Com:8080",
        ] {
            assert!(allows(Origins::OwnAndLocal, good, host), "{good}");
        }
        for bad in [
            "null",
            "",
            "http://evil.example.com",
            "http://chat.example.com",
            "http://chat.example.com:80800",
            "http://localhost.evil.example.com",
            "http://localhost:80.evil.example.com",
            "http://localhost:80@evil.example.com",
            "http://evil.example.com/localhost",
        ] {
            assert!(!allows(Origins::OwnAndLocal, bad, host), "{bad}");
        }
        assert!(allows(Origins::OwnAndLocal, "https://a.example.com", Some("a.example.com:443")));
    }

    #[test]
    fn the_public_url_is_the_servers_own_origin() {
        let public_url = Some(PublicUrl { secure: true, authority: "chat.example.com".to_owned() });
        let settings = Settings { public_url, origins: Origins::OwnAndLocal, ..settings() };
        assert!(allowed(&settings, "https://chat.example.com", Some("10.0.0.1:3000"), false));
        assert!(!allowed(&settings, "http://chat.example.com", Some("10.0.0.1:3000"), false));
    }

    #[test]
    fn a_list_is_exact_and_a_star_is_everyone() {
        let listed = || Origins::Listed(vec!["https://app.example.com".to_owned()]);
        assert!(allows(listed(), "https://app.example.com", None));
        assert!(!allows(listed(), "http://app.example.com", None));
        assert!(!allows(listed(), "http://localhost", Some("localhost")));
        assert!(allows(Origins::Any, "https://anything.example.org", None));
    }
}
