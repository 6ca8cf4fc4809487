//! The HTTP client of rowmill's own API: what workers, the command line and other programs speak to
//! a server with.
//!
//! [`Client`] has a method a request, in the words of [`crate::api`]. A request that may be made
//! twice without harm (whatever only asks, and a publish with an idempotency key) is tried again by
//! itself while the server is away or busy; the others answer their first failure, for the caller to
//! judge. [`RemoteSource`] is a queue behind a server as a worker sees it.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use rowmill::api::{Ack, NewMessage, Settle};
//! use rowmill::client::{Client, ClientError, ClientLimits};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new("http://127.0.0.1:8000", ClientLimits::default())?;
//! let data = serde_json::value::to_raw_value(&serde_json::json!({"order": 17}))?;
//! let message = NewMessage { data, attributes: [("country".into(), "DE".into())].into() };
//! // With a key it is published once, however often it is sent.
//! client.publish("rows", message, Some("order-17")).await?;
//! for message in client.receive("rows", 10, Duration::from_secs(20)).await? {
//!     println!("{} for the {}th time", message.data, message.delivery_attempts);
//!     let acks = vec![Ack { receipt: message.receipt, output: None }];
//!     client.settle("rows", &Settle { acks, ..Settle::default() }).await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! `examples/consumer.rs` is a whole program that works off a queue.
//!
//! Nothing here shows credentials: an address given with a password is told without it, and a key
//! not at all.

mod download;
mod error;
mod message;
mod queue;
mod source;
pub(crate) mod transport;
mod upload;

use std::fmt;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::api::{Page, Upload, WORKER_HEADER};
use crate::domain::{RetryPolicy, units};

pub use download::{Download, DownloadForm};
pub use error::ClientError;
pub use message::ResultsOf;
pub use source::RemoteSource;
pub use upload::UploadOptions;

use transport::Request;

/// What can be done with an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadAct {
    /// Hand out nothing of it.
    Pause,
    /// Go on with it.
    Resume,
    /// Withdraw what has not been delivered.
    Cancel,
    /// Work on its dead rows again.
    Retry,
}

impl UploadAct {
    fn word(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cancel => "cancel",
            Self::Retry => "retry",
        }
    }
}

/// What bounds a client's requests.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientLimits {
    /// How long making a connection may take. 5 s.
    #[serde(with = "units::time")]
    pub connect_timeout: Duration,
    /// How long a request may take from its first byte to its answer's last; a receive has its wait
    /// on top. 30 s.
    #[serde(with = "units::time")]
    pub request_timeout: Duration,
    /// How often a request that may be repeated is tried again. 5.
    pub retries: u16,
    /// The waits between tries. From 100 ms, doubling, up to 5 s.
    pub retry: RetryPolicy,
    /// The longest wait that a server may ask for by Retry-After. 1 min.
    #[serde(with = "units::time")]
    pub retry_after: Duration,
    /// The longest that a receive waits at the server. 20 s.
    #[serde(with = "units::time")]
    pub receive_wait: Duration,
    /// Messages in one receive or settle. 1,000.
    pub messages: usize,
    /// Bytes of JSON in one settle, unless a single output has more. 8 MiB.
    #[serde(with = "units::size")]
    pub settle_bytes: usize,
    /// Bytes of an answer. 256 MiB: a receive of many long rows.
    #[serde(with = "units::size")]
    pub answer_bytes: usize,
    /// Bytes read from a file at a time while it is uploaded. 256 KiB.
    #[serde(with = "units::size")]
    pub upload_chunk: usize,
    /// How long an upload may go without the server taking a byte. 30 s.
    #[serde(with = "units::time")]
    pub upload_silence: Duration,
    /// How long the answer may take once a file has been sent whole, unless it is to be waited for
    /// until all is published. 10 min: the server checks the file first.
    #[serde(with = "units::time")]
    pub upload_answer: Duration,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            retries: 5,
            retry: RetryPolicy {
                first: Duration::from_millis(100),
                factor: 2.0,
                most: Duration::from_secs(5),
            },
            retry_after: Duration::from_secs(60),
            receive_wait: Duration::from_secs(20),
            messages: 1_000,
            settle_bytes: 8 << 20,
            answer_bytes: 256 << 20,
            upload_chunk: 256 << 10,
            upload_silence: Duration::from_secs(30),
            upload_answer: Duration::from_secs(600),
        }
    }
}

/// A server's API. Cheap to clone; clones share the connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    limits: ClientLimits,
    /// The headers that say who asks.
    auth: HeaderMap,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base", &transport::shown(&self.base)).finish()
    }
}

impl Client {
    /// A client of the server at `base_url` (`http://HOST:PORT`, perhaps with a path before the
    /// API's own). Connects when the first request is made.
    ///
    /// # Errors
    /// [`ClientError::BadUrl`], [`ClientError::Setup`].
    pub fn new(base_url: &str, limits: ClientLimits) -> Result<Self, ClientError> {
        let base = transport::parse(base_url).map_err(ClientError::BadUrl)?;
        if base.query().is_some() || base.fragment().is_some() {
            return Err(ClientError::BadUrl("it has more than a path".into()));
        }
        let http = transport::Wire {
            connect_timeout: limits.connect_timeout,
            idle: transport::OWN_IDLE,
            follows_to_https: false,
        }
        .client(&base)
        .map_err(|error| ClientError::Setup(transport::root(&error)))?;
        Ok(Self { http, base, limits, auth: HeaderMap::new() })
    }

    /// The same client with an API key, which goes along with every request to this server and is
    /// shown nowhere.
    ///
    /// # Errors
    /// [`ClientError::BadKey`].
    pub fn with_key(mut self, key: &str) -> Result<Self, ClientError> {
        let mut value =
            HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| ClientError::BadKey)?;
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ClientError::BadKey);
        }
        value.set_sensitive(true);
        self.auth.insert(AUTHORIZATION, value);
        Ok(self)
    }

    /// The same under a name, by which `GET /workers` tells it from others. What cannot stand in a
    /// header is left out.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        let name: String = name.chars().filter(char::is_ascii_graphic).collect();
        if let Ok(value) = HeaderValue::try_from(name) {
            self.auth.insert(HeaderName::from_static(WORKER_HEADER), value);
        }
        self
    }

    /// The server's address, without credentials.
    pub fn address(&self) -> String {
        transport::shown(&self.base)
    }

    /// Its limits.
    pub fn limits(&self) -> &ClientLimits {
        &self.limits
    }

    /// Whether the server is well: `GET /health`.
    ///
    /// # Errors
    /// [`ClientError`]: it is not, or not there.
    pub async fn health(&self) -> Result<(), ClientError> {
        self.send(&self.get(&["health"], vec![])).await.map(drop)
    }

    /// An upload as it stands: `GET /uploads/{id}`.
    ///
    /// # Errors
    /// [`ClientError`]; 404 when there is none.
    pub async fn upload_status(&self, id: Uuid) -> Result<Upload, ClientError> {
        self.ask(&self.get(&["uploads", &id.to_string()], vec![])).await
    }

    /// A page of uploads, newest first: `GET /uploads`. `after` is the `next` of the page before.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn uploads(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Upload>, ClientError> {
        let mut query = vec![("limit", limit.to_string())];
        query.extend(after.map(|after| ("after", after.to_owned())));
        self.ask(&self.get(&["uploads"], query)).await
    }

    /// Does something with an upload: `POST /uploads/{id}/pause` and its like. Answers the upload as it
    /// is then.
    ///
    /// # Errors
    /// [`ClientError`]; 404 when there is none, 409 when that cannot be done with it any more, 501
    /// where what carries its messages cannot. After a failure in passing it may have been done.
    pub async fn steer(&self, id: Uuid, act: UploadAct) -> Result<Upload, ClientError> {
        let id = id.to_string();
        let path = ["uploads", &id, act.word()];
        let request = Request { method: Method::POST, repeats: false, ..self.get(&path, vec![]) };
        self.ask(&request).await
    }

    /// A request that only asks.
    fn get<'a>(&self, path: &'a [&'a str], query: Vec<(&'static str, String)>) -> Request<'a> {
        Request {
            method: Method::GET,
            path,
            query,
            body: None,
            key: None,
            timeout: self.limits.request_timeout,
            repeats: true,
        }
    }

    /// Sends a request and reads the answer as JSON.
    async fn ask<T: DeserializeOwned>(&self, request: &Request<'_>) -> Result<T, ClientError> {
        let answer = self.send(request).await?;
        self.read(request.path, &answer)
    }

    fn read<T: DeserializeOwned>(&self, path: &[&str], answer: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(answer).map_err(|error| ClientError::BadAnswer {
            url: self.shown(path),
            detail: error.to_string(),
        })
    }
}
