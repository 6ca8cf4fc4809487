//! Where the servers are: one URL, with a host or with all hosts of a cluster.
//!
//! A URL names one host; other clients write several into its place, with commas between them, as in
//! `amqp://user:password@one:5672,two:5672,three:5672/vhost`. What stands around the hosts holds for
//! each.

use std::str::FromStr;

use lapin::uri::AMQPUri;

/// The addresses that a URL names, in its order; at least one.
///
/// # Errors
/// What is wrong with the URL. It has no part of the URL in it, which holds a password.
pub(super) fn addresses(url: &str) -> Result<Vec<AMQPUri>, String> {
    let (scheme, rest) = url.split_once("://").ok_or("it has no `://`")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, hosts)) => (format!("{user}@"), hosts),
        None => (String::new(), authority),
    };
    let several = hosts.contains(',');
    let address = |host: &str| {
        let host = host.trim();
        if several && (host.is_empty() || host.starts_with(':')) {
            return Err("a host is missing beside a comma".to_owned());
        }
        let mut address = AMQPUri::from_str(&format!("{scheme}://{user}{host}{path}"))?;
        // The client takes every host in brackets for this machine.
        if let Some((inner, _)) = host.strip_prefix('[').and_then(|host| host.split_once(']')) {
            inner.clone_into(&mut address.authority.host);
        }
        Ok(address)
    };
    hosts.split(',').map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(url: &str) -> Vec<String> {
        let place = |address: &AMQPUri| {
            let authority = &address.authority;
            let user = &authority.userinfo;
            format!(
                "{} {} {} {} {}",
                user.username, user.password, authority.host, authority.port, address.vhost
            )
        };
        addresses(url).unwrap().iter().map(place).collect()
    }

    #[test]
    fn each_host_has_what_stands_around_them_all() {
        assert_eq!(
            places("amqp://me:p%40ss,word@one:5673,127.0.0.1, [::1]:5674/%2f?heartbeat=7"),
            ["me p@ss,word one 5673 /", "me p@ss,word 127.0.0.1 5672 /", "me p@ss,word ::1 5674 /"]
        );
        let several = addresses("amqps://one,two?heartbeat=7").unwrap();
        assert!(several.iter().all(|address| address.query.heartbeat == Some(7)));
        assert!(several.iter().all(|address| address.authority.port == 5671));
    }

    #[test]
    fn one_host_is_what_it_was() {
        for url in
            ["amqp://localhost", "amqp://u:p@host:1234/v", "amqps://host/a%2fb?frame_max=8192"]
        {
            assert_eq!(addresses(url), Ok(vec![url.parse().unwrap()]), "{url}");
        }
        assert_eq!(places("amqp:///v"), ["guest guest localhost 5672 v"]);
    }

    #[test]
    fn what_is_no_address_is_refused_and_not_quoted() {
        for url in [
            "amqp://me:secret@one,,two/v",
            "amqp://me:secret@one,/v",
            "amqp://me:secret@:5672,two/v",
            "amqp://me:secret@one:x,two/v",
            "amqp://me:secret@one,two:99999/v",
            "http://me:secret@one,two/v",
            "amqp:me:secret",
        ] {
            let why = addresses(url).unwrap_err();
            assert!(!why.contains("secret"), "{url}: {why}");
        }
    }
}
