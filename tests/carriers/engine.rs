//! What the cases need of an engine beside its driver: a real server, reached as they say.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use rowmill::broker::carrier::{Carrier, CarrierError};

/// An engine under test, and a corner of a real server for one case alone.
pub(crate) trait Engine: Sized + Send + Sync + 'static {
    /// Its driver.
    type Carrier: Carrier;

    /// The shortest retention that the engine takes. A queue with less is refused as unsupported;
    /// if it is more than a test can wait for, the engine's own file shows that it works.
    const RETENTION_LEAST: Duration = Duration::from_secs(1);
    /// Whether a queue may have a capacity. Where not, a queue with one is refused as unsupported.
    const CAPACITY: bool = true;
    /// Whether the engine tells a delivery that was acked from one that never was: SQS says of the
    /// second ack what it said of the first.
    const TELLS_ACKED: bool = true;
    /// Whether what has no dead queue may die all the same: the database records that it did, and why.
    const DIES_IN_PLACE: bool = false;
    /// Whether a redrive moves all that waits, however many it was told: the database walks over it in
    /// steps of its own.
    const REDRIVES_ALL: bool = false;
    /// Whether its server keeps what it has on disk. A stand-in that does not can show only that its
    /// driver goes on by itself.
    const DURABLE: bool = true;

    /// A corner of the server that all tests share: no other test sees what is in it.
    async fn shared() -> Self;

    /// A server of this test's own, which is removed with the value.
    async fn own() -> Self;

    /// Where its server listens; the same after a restart.
    fn address(&self) -> SocketAddr;

    /// The view of a process of its own: connections shared with nobody. `at` is the server's address
    /// or one that leads there. A call whose server is away is patient for 5 s at most.
    fn connect(
        &self,
        at: SocketAddr,
    ) -> impl Future<Output = Result<Self::Carrier, CarrierError>> + Send;

    /// Kills an own server as a power cut would, as far as its programs let that be done.
    async fn crash(&self);

    /// Starts an own server again, and waits until it answers.
    async fn start(&self);

    /// Called when a case has passed: what would burden the shared server goes.
    async fn tidy(&self) {}
}
