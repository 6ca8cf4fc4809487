//! Redis: the cases, under a prefix of their own on the shared server each, or on a server of their
//! own.

mod alone;
mod foreign;

use std::net::SocketAddr;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use rowmill::broker::carrier::CarrierError;
use rowmill::broker::carrier::redis::{RedisCarrier, RedisLimits};
use rowmill::domain::QueueName;

use crate::engine::Engine;
use crate::scene::PATIENCE;
use crate::server::{OwnServer, address_of, shared, url_at};

crate::cases::conformance!(crate::redis::Redis);

/// Keys under a prefix of their own, on the shared server or on one of this test's own.
pub(crate) struct Redis {
    url: String,
    prefix: String,
    own: Option<OwnServer>,
}

impl Redis {
    fn on(url: String, own: Option<OwnServer>) -> Self {
        Self { url, prefix: format!("test-{}:", uuid::Uuid::new_v4().simple()), own }
    }

    fn limits(&self) -> RedisLimits {
        RedisLimits {
            prefix: self.prefix.clone(),
            patience: Duration::from_secs(5),
            full_wait: Duration::from_millis(300),
            ..RedisLimits::default()
        }
    }

    /// The stream that a queue is.
    fn stream(&self, queue: &QueueName) -> String {
        format!("{}{{{queue}}}", self.prefix)
    }

    /// How many entries that has.
    async fn length(&self, queue: &QueueName) -> usize {
        let mut length = redis::cmd("XLEN");
        length.arg(self.stream(queue)).query_async(&mut self.raw().await).await.unwrap()
    }

    /// The server as it is, without the driver.
    async fn raw(&self) -> MultiplexedConnection {
        let config = redis::AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(None);
        let client = redis::Client::open(self.url.as_str()).unwrap();
        client.get_multiplexed_async_connection_with_config(&config).await.unwrap()
    }

    fn own_server(&self) -> &OwnServer {
        self.own.as_ref().expect("a server of its own")
    }
}

impl Engine for Redis {
    type Carrier = RedisCarrier;

    async fn shared() -> Self {
        Self::on(shared("redis", "ROWMILL_TEST_REDIS_URL"), None)
    }

    async fn own() -> Self {
        let (server, url) = OwnServer::start("redis");
        Self::on(url, Some(server))
    }

    fn address(&self) -> SocketAddr {
        address_of(&self.url)
    }

    async fn connect(&self, at: SocketAddr) -> Result<RedisCarrier, CarrierError> {
        RedisCarrier::connect(&url_at(&self.url, at), self.limits()).await
    }

    async fn crash(&self) {
        self.own_server().run("crash");
    }

    async fn start(&self) {
        assert_eq!(self.own_server().run("start"), self.url, "it came back elsewhere");
    }
}
