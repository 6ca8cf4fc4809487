//! One try to tell: signed, to an address that was looked at, without following where that leads.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use uuid::Uuid;

use super::address::{Address, is_public};
use super::{WebhookLimits, WebhookSecret};
use crate::client::transport::root;

/// What is told.
pub(super) struct Word {
    /// What tells it from others, the same for each try.
    pub(super) id: String,
    /// Whose end it is.
    pub(super) upload: Uuid,
    /// JSON.
    pub(super) body: Bytes,
}

/// Why a try failed.
#[derive(Debug)]
pub(super) struct Failed {
    /// What the other side answered.
    pub(super) status: Option<u16>,
    /// In words.
    pub(super) why: String,
    /// Whether no further try will do better.
    pub(super) for_good: bool,
}

impl Failed {
    /// It may not be told there.
    pub(super) fn refused(why: String) -> Self {
        Self { status: None, why, for_good: true }
    }
}

/// Sends webhooks.
pub(super) struct Sender {
    http: reqwest::Client,
    secret: WebhookSecret,
    hosts: String,
    timeout: Duration,
}

impl Sender {
    pub(super) fn new(
        limits: &WebhookLimits,
        secret: WebhookSecret,
    ) -> Result<Self, reqwest::Error> {
        // An error means that one is installed already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
            let builder = reqwest::Client::builder()
                .user_agent(concat!("rowmill/", env!("CARGO_PKG_VERSION")))
                .http1_only()
                .connect_timeout(limits.connect_timeout)
                .timeout(limits.timeout)
                .pool_max_idle_per_host(0)
                .referer(false)
                .redirect(Policy::none())
                // A proxy would look names up by itself, and be told in the place of its clients.
                .no_proxy();
            // Hosts that are named may be anywhere.
            if limits.hosts.trim().is_empty() { builder.dns_resolver(PublicOnly) } else { builder }
        };
        // A machine without certificates can still tell those who show none.
        let http = builder().build().or_else(|error| {
            tracing::warn!(error = root(&error), "no webhook can be sent over https");
            builder().tls_certs_only([]).build()
        })?;
        Ok(Self { http, secret, hosts: limits.hosts.clone(), timeout: limits.timeout })
    }

    /// Answers the status, a 2xx.
    pub(super) async fn send(&self, to: &Address, word: &Word) -> Result<u16, Failed> {
        // The configuration may have changed since it was asked for.
        to.check(&self.hosts).map_err(|error| Failed::refused(error.to_string()))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let request = self
            .http
            .post(to.url().clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &word.id)
            .header("webhook-timestamp", now.to_string())
            .header("webhook-signature", self.secret.sign(&word.id, now, &word.body))
            .body(word.body.clone());
        // What is answered beside the status is not read.
        match request.send().await {
            Ok(answer) => judge(answer.status()),
            Err(error) if error.is_timeout() => {
                let why = format!("no answer within {:?}", self.timeout);
                Err(Failed { status: None, why, for_good: false })
            }
            Err(error) => Err(Failed { status: None, why: root(&error), for_good: false }),
        }
    }
}

fn judge(status: StatusCode) -> Result<u16, Failed> {
    let number = status.as_u16();
    if status.is_success() {
        return Ok(number);
    }
    // By the specification, who answers 410 wants to hear no more.
    let for_good = status == StatusCode::GONE;
    Err(Failed { status: Some(number), why: format!("answered {status}"), for_good })
}

/// Looks names up, and leaves out the addresses that are not public.
#[derive(Debug)]
struct PublicOnly;

/// Why a name is not spoken to.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` has no public address: name it in http.webhook.hosts if it shall be told")]
struct NotPublic(String);

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|found| is_public(found.ip())).collect();
            if public.is_empty() {
                return Err(NotPublic(name.as_str().to_owned()).into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_success_is_one() {
        assert_eq!(judge(StatusCode::NO_CONTENT).unwrap(), 204);
        for status in [StatusCode::FOUND, StatusCode::NOT_FOUND, StatusCode::BAD_GATEWAY] {
            let failed = judge(status).unwrap_err();
            assert_eq!((failed.status, failed.for_good), (Some(status.as_u16()), false));
        }
        assert!(judge(StatusCode::GONE).unwrap_err().for_good);
    }

    #[tokio::test]
    async fn a_name_for_this_machine_is_not_spoken_to() {
        let name: Name = "localhost".parse().unwrap();
        let refused = PublicOnly.resolve(name).await.map(|_| ()).unwrap_err();
        assert!(refused.to_string().contains("no public address"), "{refused}");
    }
}
