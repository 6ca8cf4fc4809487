//! Where a webhook may go.
//!
//! A webhook makes the server send something to where a user says, and so past whatever keeps users from
//! the server's own network. Unless the configuration names hosts, it goes to public addresses alone.
//! A name is looked up when it is sent, and only the good addresses of it are spoken to: what a name
//! means may change between a look and a connection. Redirects are not followed.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use reqwest::Url;

/// Characters of an address.
const LONGEST: usize = 2_000;

/// An address that can be told of an end.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(Url);

/// Why something is no such address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAddress {
    /// It is none.
    #[error("it is no http or https address: {0}")]
    NoUrl(String),
    /// It is too long.
    #[error("it has more than {LONGEST} characters")]
    TooLong,
    /// It holds a user or a password.
    #[error("it holds a user or a password: they are not sent; a secret can stand in the path")]
    Credentials,
    /// The configuration names the hosts that may be told, and this is none.
    #[error("`{0}` is not among the hosts that webhooks may go to (http.webhook.hosts)")]
    OtherHost(String),
    /// It is not out in the world.
    #[error("`{0}` is no public address: name it in http.webhook.hosts if it shall be told")]
    Private(String),
}

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        if text.len() > LONGEST {
            return Err(BadAddress::TooLong);
        }
        let url = crate::client::transport::parse(text).map_err(BadAddress::NoUrl)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadAddress::Credentials);
        }
        Ok(Self(url))
    }
}

/// Without its path and query, which may be a secret.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.origin().ascii_serialization())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Address {
    /// It whole, to be sent to and recorded.
    pub fn url(&self) -> &Url {
        &self.0
    }

    fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default().trim_matches(['[', ']'])
    }

    /// Whether it may be told, as far as can be said without looking its name up; `hosts` as configured.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, hosts: &str) -> Result<(), BadAddress> {
        let host = self.host();
        if !hosts.trim().is_empty() {
            let known = hosts.split(',').any(|known| known.trim().eq_ignore_ascii_case(host));
            return if known { Ok(()) } else { Err(BadAddress::OtherHost(host.to_owned())) };
        }
        match host.parse::<IpAddr>() {
            Ok(address) if !is_public(address) => Err(BadAddress::Private(host.to_owned())),
            _ if host == "localhost" || host.ends_with(".localhost") => {
                Err(BadAddress::Private(host.to_owned()))
            }
            _ => Ok(()),
        }
    }
}

/// Whether an address is out in the world: none of this machine, its network, or of special use.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast()
        || matches!((a, b, c), (0, ..) | (100, 64..=127, _) | (192, 0, 0) | (192, 88, 99))
        || matches!((a, b), (198, 18..=19))
        || a >= 240;
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(v4) = address.to_ipv4_mapped() {
        return is_public_v4(v4);
    }
    let parts = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match parts {
        // Ways to an address of version 4: NAT64 and 6to4.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        [0x2001, 0xdb8, ..] | [0x2001, 0..=0x1ff, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // What is given out: all else is local, of special use, or nobody's.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, hosts: &str) -> Result<(), BadAddress> {
        text.parse::<Address>()?.check(hosts)
    }

    #[test]
    fn it_goes_out_into_the_world() {
        for good in [
            "https://example.com/hook?x=1",
            "http://93.184.216.34:8080/",
            "https://[2606:2800:220:1::1]/",
            "https://[64:ff9b::5db8:d822]/",
        ] {
            assert_eq!(check(good, ""), Ok(()), "{good}");
        }
    }

    #[test]
    fn it_does_not_come_home() {
        for bad in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://10.1.2.3/",
            "http://172.16.0.1/",
            "http://192.168.1.1/",
            "http://169.254.169.254/latest/meta-data",
            "http://100.64.0.1/",
            "http://0.0.0.0/",
            "http://255.255.255.255/",
            "http://224.0.0.1/",
            "http://localhost:8000/",
            "http://a.localhost/",
            "http://[::1]/",
            "http://[::]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::127.0.0.1]/",
            "http://[fe80::1]/",
            "http://[fd00::1]/",
            "http://[64:ff9b::a00:1]/",
            "http://[2002:7f00:1::]/",
        ] {
            assert!(matches!(check(bad, ""), Err(BadAddress::Private(_))), "{bad}");
        }
    }

    #[test]
    fn it_goes_where_it_is_told_to() {
        assert_eq!(check("http://127.0.0.1:9/x", "hooks.internal, 127.0.0.1"), Ok(()));
        assert_eq!(check("http://[::1]/x", "::1"), Ok(()));
        assert_eq!(check("http://Hooks.Internal/x", "hooks.internal"), Ok(()));
        let other = check("https://example.com/", "hooks.internal");
        assert_eq!(other, Err(BadAddress::OtherHost("example.com".into())));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in ["", "example.com", "ftp://example.com/", "file:///etc/passwd", "http://"] {
            assert!(matches!(check(bad, ""), Err(BadAddress::NoUrl(_))), "{bad}");
        }
        assert_eq!(check("https://a:b@example.com/", ""), Err(BadAddress::Credentials));
        let long = format!("https://example.com/{}", "x".repeat(LONGEST));
        assert_eq!(check(&long, ""), Err(BadAddress::TooLong));
        let shown: Address = "https://example.com/s3cret?t=1".parse().unwrap();
        assert_eq!(format!("{shown} {shown:?}"), "https://example.com https://example.com");
    }
}
