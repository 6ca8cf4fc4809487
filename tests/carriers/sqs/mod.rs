//! SQS: the cases, on moto's server.
//!
//! The server keeps everything in memory: after a crash its queues are gone. What is shown of a restart is
//! that the driver goes on by itself when its queues are made again.

mod alone;
mod faults;
mod foreign;
mod listener;

use std::net::SocketAddr;
use std::time::Duration;

use rowmill::broker::carrier::CarrierError;
use rowmill::broker::carrier::sqs::{SqsCarrier, SqsLimits};

use crate::engine::Engine;
use crate::server::{OwnServer, shared};

crate::cases::conformance!(crate::sqs::Sqs);

/// A corner of a server: all its queues' names begin alike.
pub(crate) struct Sqs {
    url: String,
    corner: String,
    address: SocketAddr,
    server: Option<OwnServer>,
}

impl Sqs {
    fn at(url: String, server: Option<OwnServer>) -> Self {
        let (_, address) = url.split_once("endpoint=http://").unwrap();
        let address = address.parse().unwrap();
        let corner = format!("{}-", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        Self { url: format!("{url}&prefix={corner}"), corner, address, server }
    }

    /// A driver that reaches the server at another address, with limits of its own.
    async fn with(&self, at: SocketAddr, limits: SqsLimits) -> Result<SqsCarrier, CarrierError> {
        let url = self.url.replacen(&self.address.to_string(), &at.to_string(), 1);
        SqsCarrier::connect(&url, limits).await
    }
}

impl Engine for Sqs {
    type Carrier = SqsCarrier;

    const RETENTION_LEAST: Duration = Duration::from_secs(60);
    const CAPACITY: bool = false;
    const DURABLE: bool = false;

    async fn shared() -> Self {
        Self::at(shared("sqs", "ROWMILL_TEST_SQS_URL"), None)
    }

    async fn own() -> Self {
        let (server, url) = OwnServer::start("sqs");
        Self::at(url, Some(server))
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    async fn connect(&self, at: SocketAddr) -> Result<SqsCarrier, CarrierError> {
        let patience = Duration::from_secs(5);
        // On a busy machine moto takes its time. An answer that is not waited for is a parcel sent
        // twice, or one delivered to nobody.
        let answer = Duration::from_secs(120);
        self.with(at, SqsLimits { patience, answer, ..SqsLimits::default() }).await
    }

    async fn crash(&self) {
        self.server.as_ref().unwrap().run("crash");
    }

    async fn start(&self) {
        self.server.as_ref().unwrap().run("start");
    }
}
