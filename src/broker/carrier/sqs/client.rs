//! The engine's client, as it is set up here: TLS by ring, retries and times as the limits say.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::Credentials;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

use super::SqsLimits;
use super::address::Address;

/// A region is needed even where the endpoint is known: requests are signed for one.
#[derive(Debug, thiserror::Error)]
#[error("no region is known: say sqs://REGION, or set AWS_REGION or the profile's region")]
pub(super) struct NoRegion;

/// Sets a client up. Nothing is asked of the engine yet.
///
/// # Errors
/// [`NoRegion`].
pub(super) async fn open(address: Address, limits: &SqsLimits) -> Result<Client, NoRegion> {
    let tls = Provider::Rustls(CryptoMode::Ring);
    let http = aws_smithy_http_client::Builder::new().tls_provider(tls).build_https();
    let retries = RetryConfig::standard()
        .with_max_attempts(limits.attempts)
        .with_initial_backoff(limits.backoff.first)
        .with_max_backoff(limits.backoff.most);
    let mut config = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .retry_config(retries)
        .timeout_config(times(limits, Duration::ZERO));
    if let Some(region) = address.region {
        config = config.region(Region::new(region));
    }
    if let Some(endpoint) = address.endpoint {
        config = config.endpoint_url(endpoint);
    }
    if let Some(keys) = address.keys {
        let keys = Credentials::new(keys.id, keys.secret, None, None, "the carrier's URL");
        config = config.credentials_provider(keys);
    }
    let config = config.load().await;
    config.region().ok_or(NoRegion)?;
    Ok(Client::new(&config))
}

/// The times of a request that the engine may answer after `wait`.
pub(super) fn times(limits: &SqsLimits, wait: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(limits.connect)
        .operation_attempt_timeout(limits.answer + wait)
        // With the client's own retries it takes no longer than the patience with it.
        .operation_timeout(limits.patience.max(limits.answer) + wait)
        .build()
}
