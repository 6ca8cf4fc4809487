//! Whose page sent a request. A browser adds the cookie, and the loopback address is its own, to
//! whatever page asks; so what changes something, or opens a socket, has to come from a page of this
//! server, unless it shows a key, which no foreign page has.

use axum::http::header::{HOST, ORIGIN, UPGRADE};
use axum::http::{HeaderMap, Method, Uri};

/// Whose page it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// This server's, or a person's own doing, such as an address typed.
    Own,
    /// Another's.
    Foreign,
    /// Nobody says: no browser of these days.
    Untold,
}

/// Whose page sent a request with these headers.
pub(super) fn origin(headers: &HeaderMap) -> Origin {
    if let Some(site) = headers.get("sec-fetch-site") {
        return match site.as_bytes() {
            b"same-origin" | b"none" => Origin::Own,
            _ => Origin::Foreign,
        };
    }
    let Some(origin) = headers.get(ORIGIN) else { return Origin::Untold };
    let (origin, host) = (origin.to_str().ok(), headers.get(HOST).and_then(|h| h.to_str().ok()));
    match origin.zip(host).is_some_and(|(origin, host)| is_at(origin, host)) {
        true => Origin::Own,
        false => Origin::Foreign,
    }
}

/// Whether an origin, such as `https://mill.example`, is the host that was asked. The port may be
/// left out where it is the scheme's own.
fn is_at(origin: &str, host: &str) -> bool {
    let Ok(origin) = origin.parse::<Uri>() else { return false };
    let (Some(scheme), Some(from)) = (origin.scheme_str(), origin.authority()) else {
        return false;
    };
    let Ok(asked) = host.parse::<axum::http::uri::Authority>() else { return false };
    let own = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return false,
    };
    from.host().eq_ignore_ascii_case(asked.host())
        && from.port_u16().unwrap_or(own) == asked.port_u16().unwrap_or(own)
}

/// Whether a request does more than look: it may change something, or open a socket.
pub(super) fn does_something(method: &Method, headers: &HeaderMap) -> bool {
    !matches!(*method, Method::GET | Method::HEAD) || headers.contains_key(UPGRADE)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn of(headers: &[(&'static str, &'static str)]) -> Origin {
        let header = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        origin(&headers.iter().map(header).collect())
    }

    #[test]
    fn the_browser_says_whose_page_it_is() {
        assert_eq!(of(&[("sec-fetch-site", "same-origin")]), Origin::Own);
        assert_eq!(of(&[("sec-fetch-site", "none")]), Origin::Own);
        for foreign in ["same-site", "cross-site", "", "Same-Origin"] {
            let host = [("origin", "http://a"), ("host", "a"), ("sec-fetch-site", foreign)];
            assert_eq!(of(&host), Origin::Foreign, "{foreign}");
        }
        assert_eq!(of(&[("host", "a")]), Origin::Untold);
    }

    #[test]
    fn or_its_origin_is_the_host() {
        let at = |origin, host| of(&[("origin", origin), ("host", host)]);
        for (origin, host) in [
            ("http://127.0.0.1:8000", "127.0.0.1:8000"),
            ("https://mill.example", "mill.example"),
            ("https://mill.example", "Mill.example:443"),
            ("http://[::1]:8000", "[::1]:8000"),
        ] {
            assert_eq!(at(origin, host), Origin::Own, "{origin} {host}");
        }
        for (origin, host) in [
            ("http://127.0.0.1:8001", "127.0.0.1:8000"),
            ("http://mill.example.evil.example", "mill.example"),
            ("http://mill.example", "mill.example:443"),
            ("null", "mill.example"),
            ("null", "null"),
            ("", ""),
        ] {
            assert_eq!(at(origin, host), Origin::Foreign, "{origin} {host}");
        }
        assert_eq!(of(&[("origin", "http://a")]), Origin::Foreign);
    }
}
