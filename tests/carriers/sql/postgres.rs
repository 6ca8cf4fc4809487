//! PostgreSQL: a database of its own on the shared server, or a server of its own.

use std::net::SocketAddr;
use std::time::Duration;

use rowmill::broker::carrier::CarrierError;
use rowmill::store::{Store, StoreOptions};

use super::carrier::SqlCarrier;
use crate::engine::Engine;
use crate::server::{OwnServer, address_of, shared, url_at};
use crate::support::TestDatabase;

crate::cases::conformance!(crate::sql::postgres::Postgres);

/// How long a call is patient whose server is away.
const WAIT: Duration = Duration::from_secs(5);

/// A database with rowmill's tables.
pub(crate) struct Postgres {
    url: String,
    own: Option<OwnServer>,
    _database: Option<TestDatabase>,
}

impl Postgres {
    async fn at(url: String, own: Option<OwnServer>, database: Option<TestDatabase>) -> Self {
        let store = Store::open(&url, &StoreOptions::default()).await.unwrap();
        store.migrate().await.unwrap();
        store.close().await;
        Self { url, own, _database: database }
    }
}

impl Engine for Postgres {
    type Carrier = SqlCarrier;

    const CAPACITY: bool = false;
    const DIES_IN_PLACE: bool = true;
    const REDRIVES_ALL: bool = true;

    async fn shared() -> Self {
        let server = shared("postgres", "ROWMILL_TEST_POSTGRES_URL");
        let database = TestDatabase::on_server(&server).await;
        Self::at(database.url().to_owned(), None, Some(database)).await
    }

    async fn own() -> Self {
        let (server, url) = OwnServer::start("postgres");
        Self::at(url, Some(server), None).await
    }

    fn address(&self) -> SocketAddr {
        address_of(&self.url)
    }

    async fn connect(&self, at: SocketAddr) -> Result<SqlCarrier, CarrierError> {
        SqlCarrier::open(&url_at(&self.url, at), WAIT).await
    }

    async fn crash(&self) {
        self.own.as_ref().unwrap().run("crash");
    }

    async fn start(&self) {
        assert_eq!(self.own.as_ref().unwrap().run("start"), self.url, "it came back elsewhere");
    }
}
