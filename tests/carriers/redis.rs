//! Redis, as `tests/redis` starts it.

use std::net::SocketAddr;
use std::time::Duration;

use rowmill::broker::carrier::CarrierError;
use rowmill::broker::carrier::redis::{RedisCarrier, RedisLimits};

use crate::engine::Engine;
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
        let limits = RedisLimits {
            prefix: self.prefix.clone(),
            patience: Duration::from_secs(5),
            full_wait: Duration::from_millis(300),
            ..RedisLimits::default()
        };
        RedisCarrier::connect(&url_at(&self.url, at), limits).await
    }

    async fn crash(&self) {
        self.own_server().run("crash");
    }

    async fn start(&self) {
        assert_eq!(self.own_server().run("start"), self.url, "it came back elsewhere");
    }
}
