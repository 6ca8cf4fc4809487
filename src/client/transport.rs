//! Requests as bytes: how connections are made and kept, how a request is tried, and how an answer is
//! read within its bounds. The worker's `http` handler makes its connections here, too.

use std::error::Error;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Method, Response, Url};
use tokio::time::sleep;

use super::{Client, ClientError};
use crate::api::Problem;

/// How long a connection to a rowmill server is kept for the next request. Shorter than a server
/// keeps it (30 s): a request sent at the moment at which the other side closes fails.
pub(super) const OWN_IDLE: Duration = Duration::from_secs(20);
/// Connections kept for the next request, at most.
const IDLE_CONNECTIONS: usize = 256;
/// How often a silent connection is asked whether it lives; after a few times it is given up.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Bytes of an answer that is no problem document that are shown.
const SHOWN_BYTES: usize = 300;
/// Bytes of a problem document.
const PROBLEM_BYTES: usize = 1 << 20;

/// A publish that is made once, however often it is asked for.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// How connections are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wire {
    /// How long making one may take.
    pub(crate) connect_timeout: Duration,
    /// How long one is kept without use.
    pub(crate) idle: Duration,
    /// Whether a plain address may lead to an encrypted one.
    pub(crate) follows_to_https: bool,
}

impl Wire {
    /// A client for `url`: HTTP/1.1, kept connections, no redirects followed.
    pub(crate) fn client(self, url: &Url) -> Result<reqwest::Client, reqwest::Error> {
        // An error means that one is installed already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let plain = url.scheme() == "http";
        if plain && !self.follows_to_https {
            return self.builder(url).tls_certs_only([]).build();
        }
        match self.builder(url).build() {
            // A machine without certificates can still speak to a server that shows none.
            Err(error) if plain => {
                tracing::warn!(error = root(&error), "no redirect to https can be followed");
                self.builder(url).tls_certs_only([]).build()
            }
            built => built,
        }
    }

    fn builder(self, url: &Url) -> reqwest::ClientBuilder {
        let builder = reqwest::Client::builder()
            .user_agent(concat!("rowmill/", env!("CARGO_PKG_VERSION")))
            .http1_only()
            .tcp_nodelay(true)
            .tcp_keepalive(KEEPALIVE)
            .connect_timeout(self.connect_timeout)
            .pool_idle_timeout(self.idle)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .referer(false)
            .redirect(Policy::none());
        // A proxy of the environment cannot reach this machine's own servers.
        if is_loopback(url) { builder.no_proxy() } else { builder }
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// An http or https address, or what is wrong with it (in words that do not repeat it: it may hold a
/// password).
pub(crate) fn parse(text: &str) -> Result<Url, String> {
    let url = Url::parse(text.trim()).map_err(|error| format!("it is no URL: {error}"))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        scheme => Err(format!("`{scheme}` is not spoken here: it begins with http:// or https://")),
    }
}

/// An address as it may be shown: without user, password and query.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // They fail on addresses that can have none, where nothing is to be hidden.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.as_str().trim_end_matches('/').to_owned()
}

/// The innermost cause: the layers above it say no more than that a request failed.
pub(crate) fn root(error: &dyn Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// When a server wants to be asked again: Retry-After in seconds, or as a date. One that has passed
/// asks for nothing.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).ok()?,
    };
    (!asked.is_zero()).then_some(asked)
}

/// An answer's body, or as much of it as may be.
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    /// Whether that is all of it.
    pub(crate) whole: bool,
}

/// Reads a body of `most` bytes at most; of a longer one the rest is not fetched.
pub(crate) async fn read_body(
    response: &mut Response,
    most: usize,
) -> Result<Body, reqwest::Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = most - bytes.len();
        if chunk.len() > room {
            bytes.extend_from_slice(&chunk[..room]);
            return Ok(Body { bytes, whole: false });
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Body { bytes, whole: true })
}

/// One request of the API.
pub(super) struct Request<'a> {
    pub(super) method: Method,
    /// Its path's segments, as they are: not yet encoded.
    pub(super) path: &'a [&'a str],
    pub(super) query: Vec<(&'static str, String)>,
    /// JSON.
    pub(super) body: Option<Bytes>,
    pub(super) key: Option<&'a str>,
    pub(super) timeout: Duration,
    /// Whether it may be made again when it failed in passing.
    pub(super) repeats: bool,
}

impl Client {
    /// A path's address.
    pub(super) fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        // An http address always has segments.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    pub(super) fn shown(&self, path: &[&str]) -> String {
        shown(&self.url(path))
    }

    /// Sends a request, again if it may be, and answers the body of a success.
    pub(super) async fn send(&self, request: &Request<'_>) -> Result<Vec<u8>, ClientError> {
        let mut failures = 0;
        loop {
            match self.send_once(request).await {
                Err(error) if request.repeats && error.may_pass() => {
                    failures += 1;
                    self.pause(failures, error).await?;
                }
                answer => return answer,
            }
        }
    }

    /// Waits before the next try, unless `error` was the last one allowed.
    pub(super) async fn pause(&self, failures: u16, error: ClientError) -> Result<(), ClientError> {
        if failures > self.limits.retries {
            return Err(error);
        }
        let own = self.limits.retry.wait(failures, fastrand::f64());
        let asked = error.retry_after().unwrap_or_default().min(self.limits.retry_after);
        tracing::debug!(%error, failures, "a request is tried again");
        sleep(own.max(asked)).await;
        Ok(())
    }

    async fn send_once(&self, request: &Request<'_>) -> Result<Vec<u8>, ClientError> {
        let mut builder = self
            .http
            .request(request.method.clone(), self.url(request.path))
            .query(&request.query)
            .headers(self.auth.clone())
            .timeout(request.timeout);
        if let Some(body) = &request.body {
            builder = builder.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        if let Some(key) = request.key {
            builder = builder.header(IDEMPOTENCY_KEY, key);
        }
        let failed = |error| self.failed(request.path, &error, request.timeout);
        let response = builder.send().await.map_err(failed)?;
        self.body_of(request.path, response, request.timeout).await
    }

    /// The body of a success; a problem otherwise.
    pub(super) async fn body_of(
        &self,
        path: &[&str],
        mut response: Response,
        timeout: Duration,
    ) -> Result<Vec<u8>, ClientError> {
        let status = response.status();
        let failed = |error| self.failed(path, &error, timeout);
        if status.is_success() {
            let most = self.limits.answer_bytes;
            let body = read_body(&mut response, most).await.map_err(failed)?;
            return if body.whole {
                Ok(body.bytes)
            } else {
                let detail = format!("it has more than {most} bytes");
                Err(ClientError::BadAnswer { url: self.shown(path), detail })
            };
        }
        let retry_after = retry_after(response.headers());
        let body = read_body(&mut response, PROBLEM_BYTES).await.map_err(failed)?;
        let mut problem = serde_json::from_slice(&body.bytes).unwrap_or_else(|_| Problem {
            kind: "about:blank".into(),
            title: status.to_string(),
            detail: beginning(&body.bytes, SHOWN_BYTES),
            ..Problem::default()
        });
        problem.status = status.as_u16();
        Err(ClientError::Problem { url: self.shown(path), problem: Box::new(problem), retry_after })
    }

    pub(super) fn failed(
        &self,
        path: &[&str],
        error: &reqwest::Error,
        after: Duration,
    ) -> ClientError {
        let url = self.shown(path);
        if error.is_timeout() && !error.is_connect() {
            return ClientError::Timeout { url, after };
        }
        ClientError::Transport { url, reason: root(error), connecting: error.is_connect() }
    }
}

/// The beginning of an answer, for a person.
pub(crate) fn beginning(bytes: &[u8], most: usize) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(most)]);
    // Cut within a character, its part would show as one that is no character.
    text.trim_end_matches('\u{FFFD}').trim().to_owned()
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;
    use crate::client::ClientLimits;

    #[test]
    fn addresses_are_built_and_shown_without_secrets() {
        let client = |base: &str| Client::new(base, ClientLimits::default());
        let plain = client("http://127.0.0.1:8000").unwrap();
        assert_eq!(
            plain.shown(&["queues", "a b", "settle"]),
            "http://127.0.0.1:8000/queues/a%20b/settle"
        );
        let deep = client("http://user:s3cret@host.example/mill/").unwrap();
        assert_eq!(deep.shown(&["health"]), "http://host.example/mill/health");
        assert_eq!(deep.url(&["health"]).password(), Some("s3cret"));
        assert!(!format!("{deep:?}").contains("s3cret"));
        for bad in ["host.example", "ftp://x:s3cret@h", "http://", "http://h/?a=1", "sqlite:s3cret"]
        {
            let error = client(bad).unwrap_err().to_string();
            assert!(error.starts_with("the server's address"), "{bad}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn a_key_is_sent_and_not_shown() {
        let client =
            Client::new("http://user:s3cret@host.example", ClientLimits::default()).unwrap();
        for bad in ["", "two words", "line\nend", "schlüssel"] {
            let error = client.clone().with_key(bad).unwrap_err().to_string();
            assert!(bad.is_empty() || !error.contains(bad), "{error}");
        }
        let client = client.with_key("rmk_s3cret").unwrap();
        assert_eq!(client.auth["authorization"], "Bearer rmk_s3cret");
        assert!(!format!("{client:?}{:?}", client.auth).contains("s3cret"));
        // One header, although the address brings a password.
        let request = client.http.get(client.url(&["health"])).headers(client.auth.clone());
        let request = request.build().unwrap();
        let sent: Vec<_> = request.headers().get_all("authorization").iter().collect();
        assert_eq!(sent, ["Bearer rmk_s3cret"]);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let asked = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_str(text).unwrap());
            retry_after(&headers)
        };
        assert_eq!(asked("17"), Some(Duration::from_secs(17)));
        assert_eq!(asked("0"), None);
        assert_eq!(asked("soon"), None);
        assert_eq!(asked("Wed, 21 Oct 2015 07:28:00 GMT"), None);
        let later = SystemTime::now() + Duration::from_secs(60);
        let wait = asked(&httpdate::fmt_http_date(later)).unwrap();
        assert!((55..=60).contains(&wait.as_secs()), "{wait:?}");
    }

    #[test]
    fn the_beginning_of_an_answer_ends_with_a_whole_character() {
        assert_eq!(beginning(" hello ".as_bytes(), 99), "hello");
        assert_eq!(beginning("aä".as_bytes(), 2), "a");
    }
}
