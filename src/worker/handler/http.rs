//! `--http URL`: sends each message to a web server, which does the work.
//!
//! The message is the same JSON that `exec` gives its program, as the body of a POST; the answer's
//! status is the verdict. 2xx is done, and the body is the output; 429, 5xx and whatever keeps an
//! answer from coming are tried again, when the server says if it says (Retry-After); any other
//! answer rejects the row, because sending it again would be answered the same.
//!
//! A message may be sent more than once (a crash after the work and before the settling). The server
//! can tell by `Idempotency-Key`, which is the message's id.
//!
//! A redirect is followed to the same server alone: rows are not for others. The message goes along
//! with every kind but 303, which asks for its result to be fetched; a 301 or a 302 that turned the
//! POST into a GET, as in a browser, would do no work and be taken for done.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderName, LOCATION};
use reqwest::{Client, Response, StatusCode, Url};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::Handler;
use super::payload::payload;
use crate::client::transport::{self, Wire, beginning, read_body, retry_after, root};
use crate::domain::{Delivery, Verdict, units};

const MESSAGE_ID: HeaderName = HeaderName::from_static("rowmill-message-id");
const ATTEMPT: HeaderName = HeaderName::from_static("rowmill-attempt");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Limits on one call. How long it may take as a whole is the worker's `timeout`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpCallLimits {
    /// How long making a connection may take. 10 s.
    #[serde(with = "units::time")]
    pub connect_timeout: Duration,
    /// How long a connection is kept without use. 4 s: many servers end theirs after 5, and a message
    /// sent at that moment fails.
    #[serde(with = "units::time")]
    pub idle: Duration,
    /// Bytes of an answer that are read to be kept as the output; of a longer one a note is kept
    /// instead. 1 MiB.
    #[serde(with = "units::size")]
    pub output_bytes: usize,
    /// Bytes of an answer that is an error that are quoted. 2 KiB.
    #[serde(with = "units::size")]
    pub reason_bytes: usize,
    /// Redirects followed for one message. 5.
    pub redirects: usize,
    /// The longest wait that Retry-After may ask for. 1 h.
    #[serde(with = "units::time")]
    pub retry_after: Duration,
}

impl Default for HttpCallLimits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            idle: Duration::from_secs(4),
            output_bytes: 1024 * 1024,
            reason_bytes: 2 * 1024,
            redirects: 5,
            retry_after: Duration::from_secs(3600),
        }
    }
}

/// Why an address cannot be a handler. It is not repeated: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// Not an http or https address.
    #[error("the handler's address cannot be used: {0}")]
    BadUrl(String),
    /// No client can be made on this machine.
    #[error("the handler's HTTP client cannot be set up: {0}")]
    Setup(String),
}

/// A web server as a handler.
#[derive(Debug)]
pub struct Http {
    client: Client,
    url: Url,
    limits: HttpCallLimits,
}

impl Http {
    /// The handler that sends messages to `url`; a user and password in it are sent as basic
    /// authentication. Nothing is sent yet.
    ///
    /// # Errors
    /// [`HttpError`].
    pub fn new(url: &str, limits: HttpCallLimits) -> Result<Self, HttpError> {
        let url = transport::parse(url).map_err(HttpError::BadUrl)?;
        let wire = Wire {
            connect_timeout: limits.connect_timeout,
            idle: limits.idle,
            follows_to_https: true,
        };
        let client = wire.client(&url).map_err(|error| HttpError::Setup(root(&error)))?;
        Ok(Self { client, url, limits })
    }

    async fn call(&self, delivery: &Delivery, message: Bytes) -> Verdict {
        let id = delivery.id.to_string();
        let mut url = self.url.clone();
        let mut fetches = false;
        for _ in 0..=self.limits.redirects {
            let request = if fetches {
                self.client.get(url.clone())
            } else {
                let body = message.clone();
                self.client.post(url.clone()).header(CONTENT_TYPE, "application/json").body(body)
            };
            let request = request
                .header(MESSAGE_ID, &id)
                .header(ATTEMPT, delivery.attempt)
                .header(IDEMPOTENCY_KEY, &id);
            let response = match request.send().await {
                Ok(response) => response,
                Err(error) => return retry(format!("no answer: {}", root(&error))),
            };
            let status = response.status();
            if !is_followed(status) {
                return self.verdict(response).await;
            }
            fetches |= status == StatusCode::SEE_OTHER;
            match next(&url, &response) {
                Ok(next) => url = next,
                Err(reason) => return reject(format!("{}: {reason}", named(status))),
            }
        }
        reject(format!("more than {} redirects", self.limits.redirects))
    }

    async fn verdict(&self, mut response: Response) -> Verdict {
        let status = response.status();
        if status.is_success() {
            return match read_body(&mut response, self.limits.output_bytes).await {
                Ok(body) if body.whole => Verdict::Done { output: output(body.bytes) },
                Ok(_) => {
                    let most = self.limits.output_bytes;
                    let note = format!(r#"{{"output_dropped":"more than {most} bytes"}}"#);
                    Verdict::Done { output: Some(note.into()) }
                }
                Err(error) => {
                    retry(format!("{}, and the answer broke off: {}", named(status), root(&error)))
                }
            };
        }
        let asked = retry_after(response.headers()).map(|after| after.min(self.limits.retry_after));
        // The status says enough where the words that go with it do not come.
        let said = read_body(&mut response, self.limits.reason_bytes).await.map_or_else(
            |_| String::new(),
            |body| beginning(&body.bytes, self.limits.reason_bytes),
        );
        let reason =
            if said.is_empty() { named(status) } else { format!("{}: {said}", named(status)) };
        if may_pass(status) {
            Verdict::Retry { reason: reason.into(), after: asked }
        } else {
            reject(reason)
        }
    }
}

impl Handler for Http {
    async fn handle(&self, delivery: &Delivery, cancel: CancellationToken) -> Verdict {
        let message = match payload(delivery) {
            Ok(json) => Bytes::from(json),
            Err(error) => return reject(format!("the message is not JSON: {error}")),
        };
        let called = cancel.run_until_cancelled(self.call(delivery, message)).await;
        called.unwrap_or(Verdict::Release)
    }
}

fn retry(reason: String) -> Verdict {
    Verdict::Retry { reason: reason.into(), after: None }
}

fn reject(reason: String) -> Verdict {
    Verdict::Reject { reason: reason.into() }
}

/// `HTTP 404 Not Found`.
fn named(status: StatusCode) -> String {
    format!("HTTP {status}").replace(" <unknown status code>", "")
}

/// Whether the same message may be answered differently in a while: the server is at fault or busy,
/// or was too slow in taking it (408), or wants it later (425).
fn may_pass(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429)
}

/// The redirects that say where to go.
fn is_followed(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Where a redirect leads, or why it is not followed.
fn next(from: &Url, response: &Response) -> Result<Url, String> {
    let location = response.headers().get(LOCATION).ok_or("it does not say where to")?;
    let to = location.to_str().map_err(|_| "where to cannot be read")?;
    let mut to = from.join(to).map_err(|error| format!("where to is no URL: {error}"))?;
    let upgraded = from.scheme() == "http"
        && to.scheme() == "https"
        && (from.port(), to.port()) == (None, None);
    if from.scheme() == "https" && to.scheme() == "http" {
        return Err("it leads from https to http, which is not followed".into());
    }
    let same = from.host_str() == to.host_str()
        && (from.port_or_known_default() == to.port_or_known_default() || upgraded);
    if !matches!(to.scheme(), "http" | "https") || !same {
        let to = transport::shown(&to);
        return Err(format!("it leads to another server, {to}, which is not followed"));
    }
    // They fail on addresses that can have none; http ones can.
    let _ = to.set_username(from.username());
    let _ = to.set_password(from.password());
    Ok(to)
}

/// A body as JSON: as it is if it is JSON, else its text as a string; none if there is none.
fn output(body: Vec<u8>) -> Option<Box<str>> {
    let text = String::from_utf8(body)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    match text.trim() {
        "" => None,
        json if serde_json::from_str::<IgnoredAny>(json).is_ok() => Some(json.into()),
        _ => serde_json::to_string(&text).ok().map(Into::into),
    }
}
