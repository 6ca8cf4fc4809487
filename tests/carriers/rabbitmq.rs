//! RabbitMQ: the cases, on a virtual host of the shared server each, or on a server of their own.

mod alone;
mod delays;
mod foreign;

use std::net::SocketAddr;
use std::time::Duration;

use rowmill::broker::carrier::CarrierError;
use rowmill::broker::carrier::rabbitmq::{RabbitCarrier, RabbitLimits};

use crate::engine::Engine;
use crate::server::{OwnServer, address_of, shared, url_at};

crate::cases::conformance!(crate::rabbitmq::Rabbit);

/// A virtual host of the shared server, or a server.
pub(crate) struct Rabbit {
    url: String,
    own: Option<OwnServer>,
    /// Where its HTTP API has the virtual host.
    api: String,
}

impl Engine for Rabbit {
    type Carrier = RabbitCarrier;

    async fn shared() -> Self {
        let server = shared("rabbitmq", "ROWMILL_TEST_RABBITMQ_URL");
        let (place, _) = server.rsplit_once('/').unwrap();
        let host = uuid::Uuid::new_v4().simple().to_string();
        let at = address_of(&server);
        // Its HTTP API is on the port after.
        let api = url_at(place, SocketAddr::new(at.ip(), at.port() + 1));
        let api = format!("{}/api/vhosts/{host}", api.replacen("amqp:", "http:", 1));
        let made = http().put(&api).send().await.unwrap();
        assert!(made.status().is_success(), "no virtual host: {made:?}");
        Self { url: format!("{place}/{host}"), own: None, api }
    }

    async fn own() -> Self {
        let (own, url) = OwnServer::start("rabbitmq");
        Self { url, own: Some(own), api: String::new() }
    }

    fn address(&self) -> SocketAddr {
        address_of(&self.url)
    }

    async fn connect(&self, at: SocketAddr) -> Result<RabbitCarrier, CarrierError> {
        // The shared server's power does not fail; those that are killed show what waiting is for.
        let new_queue = if self.own.is_some() { limits().new_queue } else { Duration::ZERO };
        let limits = RabbitLimits { new_queue, ..limits() };
        RabbitCarrier::connect(&url_at(&self.url, at), limits).await
    }

    async fn crash(&self) {
        self.own.as_ref().unwrap().run("crash");
    }

    async fn start(&self) {
        self.own.as_ref().unwrap().run("start");
    }

    async fn tidy(&self) {
        if self.own.is_none() {
            let gone = http().delete(&self.api).send().await.unwrap();
            assert!(gone.status().is_success(), "the virtual host stays: {gone:?}");
        }
    }
}

fn http() -> reqwest::Client {
    // Of several tests in a process, the first installs it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

fn limits() -> RabbitLimits {
    RabbitLimits {
        patience: Duration::from_secs(5),
        full_wait: Duration::from_secs(1),
        ..RabbitLimits::default()
    }
}
