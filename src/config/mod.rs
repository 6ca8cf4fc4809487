//! The configuration: every limit of every layer, by section, with its default.
//!
//! A limit is a field of its layer's own struct; a section here is that struct. So a new limit is a
//! field, its default, and its line in `resources/default.toml`, which is the documentation; a test
//! names the line that is missing. What is told wins in this order: command line, environment
//! (`ROWMILL__SECTION__NAME`), file, default. Passwords have no place here: the database's address
//! and keys are told in the environment or on the command line.

mod carrying;
mod check;
mod load;
mod print;
mod server;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use load::{ConfigFault, load};
pub use print::print;

use crate::broker::carrier::limits::{RabbitLimits, RedisLimits, SqsLimits};
use crate::broker::{RelayLimits, SqlBrokerLimits};
use crate::client::ClientLimits;
use crate::domain::units;
use crate::http::HttpLimits;
use crate::ingest::IngestLimits;
use crate::ingest::spool::{Place, S3Limits};
use crate::store::StoreOptions;
use crate::workbook::{PreviewLimits, ReadLimits};
use crate::worker::{ExecLimits, HttpCallLimits, WorkerLimits};

/// The whole configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The process that serves.
    pub server: ServerSection,
    /// Requests.
    pub http: HttpLimits,
    /// How a server takes files in.
    pub intake: IntakeSection,
    /// From a reader's rows to published batches.
    pub ingest: IngestLimits,
    /// Reading one file.
    pub read: ReadLimits,
    /// A look at a file that is not sent yet.
    pub look: PreviewLimits,
    /// The broker that is the database.
    pub broker: SqlBrokerLimits,
    /// Carrying messages over another broker.
    pub relay: RelayLimits,
    /// The driver of RabbitMQ. These three are read by every build, whichever drivers it has.
    pub rabbitmq: RabbitLimits,
    /// The driver of Redis.
    pub redis: RedisLimits,
    /// The driver of SQS.
    pub sqs: SqsLimits,
    /// Connections to the database.
    pub store: StoreOptions,
    /// A worker, whichever command runs it.
    pub worker: WorkerLimits,
    /// What `rowmill run` does otherwise than a worker of a queue.
    pub run: RunSection,
    /// The handler `--exec`.
    pub exec: ExecLimits,
    /// The handler `--http`.
    pub call: HttpCallLimits,
    /// A worker's client of a server.
    pub client: ClientLimits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: ServerSection::default(),
            http: HttpLimits::default(),
            intake: IntakeSection::default(),
            ingest: IngestLimits::default(),
            read: ReadLimits::default(),
            look: PreviewLimits::default(),
            broker: SqlBrokerLimits::default(),
            relay: RelayLimits::default(),
            rabbitmq: RabbitLimits::default(),
            redis: RedisLimits::default(),
            sqs: SqsLimits::default(),
            store: StoreOptions::default(),
            worker: WorkerLimits {
                concurrency: 50,
                batch_size: 50,
                timeout: Some(Duration::from_secs(600)),
                ..WorkerLimits::default()
            },
            run: RunSection::default(),
            exec: ExecLimits::default(),
            call: HttpCallLimits::default(),
            client: ClientLimits::default(),
        }
    }
}

/// The process that serves.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerSection {
    /// Where it listens: an address and a port. `127.0.0.1:8000`.
    pub listen: String,
    /// How long what is under way may take to end after the first signal. 30 s.
    #[serde(with = "units::time")]
    pub grace: Duration,
    /// How long a request waits for a connection to PostgreSQL. 5 s: a pool that waits long for a
    /// server that is away tries it rarely, and would notice late that it is back.
    #[serde(with = "units::time")]
    pub connection_wait: Duration,
}

impl Default for ServerSection {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8000".into(),
            grace: Duration::from_secs(30),
            connection_wait: Duration::from_secs(5),
        }
    }
}

/// How a server takes files in.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IntakeSection {
    /// Where uploaded files lie until their upload is deleted: a directory, or `s3://bucket/prefix`.
    /// `rowmill-spool`.
    pub spool: Place,
    /// How long an ingestion stays a server's without a sign of life. 15 s.
    #[serde(with = "units::time")]
    pub lease: Duration,
    /// How often to look for uploads whose server died; a third of the lease at most. 5 s.
    #[serde(with = "units::time")]
    pub claim_every: Duration,
    /// How long a file waits for a free reader before it is told to come again. 10 s.
    #[serde(with = "units::time")]
    pub reader_wait: Duration,
    /// Waits and sizes of a spool in S3.
    pub s3: S3Limits,
}

impl Default for IntakeSection {
    fn default() -> Self {
        Self {
            spool: Place::Directory("rowmill-spool".into()),
            lease: Duration::from_secs(15),
            claim_every: Duration::from_secs(5),
            reader_wait: Duration::from_secs(10),
            s3: S3Limits::default(),
        }
    }
}

/// What `rowmill run` does otherwise than a worker of a queue.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunSection {
    /// Rows processed at the same time. 16.
    pub concurrency: usize,
    /// Messages fetched at once, at most. 100.
    pub batch_size: usize,
    /// How often a failed row is tried again before it is dead. 4.
    pub retries: u16,
    /// The wait before the first retry; it doubles with each further one. 1 s.
    #[serde(with = "units::time")]
    pub retry_delay: Duration,
}

impl Default for RunSection {
    fn default() -> Self {
        Self { concurrency: 16, batch_size: 100, retries: 4, retry_delay: Duration::from_secs(1) }
    }
}
