//! Where is measured: a database, topics and queues of the benchmark's own on it, and a directory
//! that goes when the benchmark ends.

use std::time::Duration;

use tempfile::TempDir;
use uuid::Uuid;

use super::error::BenchError;
use crate::cli::key;
use crate::client::Client;
use crate::domain::{QueueName, Scope, Scopes, TopicName};
use crate::store::control::NewQueue;
use crate::store::log::{QueueId, TopicId};
use crate::store::{Store, StoreError, StoreOptions};

/// No lease may run out while it is measured.
const DEADLINE: Duration = Duration::from_secs(3600);

/// A database to measure on.
pub(super) struct Scene {
    pub(super) store: Store,
    /// What kind it is, for the table.
    pub(super) database: &'static str,
    /// Temporary files; the database too, when none was named.
    pub(super) home: TempDir,
    queues: Vec<QueueId>,
    uploads: Vec<Uuid>,
    keys: Vec<i32>,
}

/// A topic with one queue.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) topic: TopicId,
    pub(super) topic_name: TopicName,
    pub(super) queue: QueueName,
}

impl Scene {
    /// Opens the database at `url`, or a SQLite file of its own, with the tables of today.
    pub(super) async fn open(url: Option<&str>) -> Result<Self, BenchError> {
        let home = tempfile::Builder::new()
            .prefix("rowmill-bench-")
            .tempdir()
            .map_err(|source| BenchError::Io { what: "a temporary directory", source })?;
        let own = || format!("sqlite:{}", home.path().join("bench.db").display());
        let url = url.map_or_else(own, str::to_owned);
        let database = if url.starts_with("sqlite:") { "SQLite" } else { "PostgreSQL" };
        let store = Store::open(&url, &StoreOptions::default()).await?;
        store.migrate().await?;
        Ok(Self { store, database, home, queues: vec![], uploads: vec![], keys: vec![] })
    }

    /// Makes a topic with a queue, whose names nobody else has.
    pub(super) async fn place(&mut self) -> Result<Place, BenchError> {
        let name = format!("bench-{}", Uuid::new_v4().simple());
        let bad = |error: crate::domain::name::BadName| StoreError::Damaged(error.to_string());
        let (topic_name, queue) = (name.parse().map_err(bad)?, name.parse().map_err(bad)?);
        let topic = self.store.control.ensure_topic(&topic_name).await?;
        let new = NewQueue {
            topic: Some(topic),
            deadline: DEADLINE,
            ..NewQueue::new(QueueName::clone(&queue))
        };
        self.queues.push(self.store.control.ensure_queue(&new).await?);
        Ok(Place { topic, topic_name, queue })
    }

    /// The client with a key, where the database's servers ask for one: made for the benchmark, and
    /// revoked at its end. Where there are none, none is made, or every server would ask from then on.
    pub(super) async fn admitted(&mut self, client: Client) -> Result<Client, BenchError> {
        let control = &self.store.control;
        if !control.any_key().await? {
            return Ok(client);
        }
        let secret = key::fresh().map_err(|error| BenchError::Wrong(error.to_string()))?;
        let scopes = Scopes::from_iter([Scope::Admin]);
        let key = control.add_key("rowmill bench", &secret.hash(), scopes).await?;
        self.keys.push(key.number);
        Ok(client.with_key(secret.as_str())?)
    }

    /// Notes an upload that was made, to be deleted at the end.
    pub(super) fn made(&mut self, upload: Uuid) {
        self.uploads.push(upload);
    }

    /// Takes back what was put there, and closes the database. What cannot be taken back is told in
    /// the log: the figures stand all the same.
    pub(super) async fn close(self) {
        if let Err(error) = self.clean().await {
            tracing::warn!(%error, "the benchmark could not take back all that it made");
        }
        self.store.close().await;
    }

    /// Topics, empty queues and messages that were no rows stay: the store deletes none of them.
    async fn clean(&self) -> Result<(), StoreError> {
        let Store { control, log, .. } = &self.store;
        for key in &self.keys {
            control.revoke_key(*key).await?;
        }
        for queue in &self.queues {
            log.reclaim(*queue).await?;
            log.purge(*queue).await?;
        }
        for upload in &self.uploads {
            if let Some(upload) = control.upload_by_public_id(*upload).await? {
                control.set_ended(upload.id, true).await?;
                log.delete_upload(upload.id).await?;
            }
        }
        Ok(())
    }
}
