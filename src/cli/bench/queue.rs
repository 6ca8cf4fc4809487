//! `rowmill bench queue`: what the engine publishes, fetches and settles in a second, for comparing
//! with any other system under the same number of consumers, batch and payload.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::error::BenchError;
use super::load::{Load, SMALLEST_PAYLOAD};
use super::print;
use super::scene::Scene;
use crate::broker::{SqlBroker, SqlBrokerLimits};
use crate::worker::Stop;

/// Measure publish, fetch and settle alone: messages a second, durably.
///
/// Messages are published in batches of 500, four at a time; each settle acks what one receive
/// brought, with an output for each message. It uses a topic and a queue of its own, and takes its
/// messages back at the end.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub(super) struct Args {
    /// How many messages
    #[arg(long, value_name = "N", env = "ROWMILL_MESSAGES", default_value_t = 100_000, value_parser = count(1, 10_000_000))]
    messages: u32,

    /// How many consumers at once
    #[arg(long, value_name = "N", env = "ROWMILL_CONSUMERS", default_value_t = 8, value_parser = count(1, 1_000))]
    consumers: u32,

    /// Messages of one receive, at most
    #[arg(long, value_name = "N", env = "ROWMILL_BATCH", default_value_t = 50, value_parser = count(1, 1_000))]
    batch: u32,

    /// Bytes of a message
    #[arg(long, value_name = "BYTES", env = "ROWMILL_PAYLOAD", default_value_t = 200, value_parser = count(SMALLEST_PAYLOAD, 1_000_000))]
    payload: u32,

    /// The database: postgres://… or sqlite:PATH, brought up to this version's tables. A temporary
    /// SQLite file unless told
    #[arg(long, value_name = "URL", env = "ROWMILL_DATABASE_URL")]
    database_url: Option<String>,

    /// Print the figures as JSON
    #[arg(long, env = "ROWMILL_JSON")]
    json: bool,
}

fn count(least: i64, most: i64) -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(least..=most)
}

/// What came out. Rates are messages a second.
#[derive(Debug, Serialize)]
struct Figures {
    database: &'static str,
    messages: u32,
    consumers: u32,
    batch: u32,
    payload_bytes: u32,
    publish_per_second: u64,
    fetch_per_second: u64,
    settle_per_second: u64,
    fetch_and_settle_per_second: u64,
}

impl Args {
    pub(super) async fn run(self, stop: &Stop) -> Result<(), BenchError> {
        let mut scene = Scene::open(self.database_url.as_deref()).await?;
        let measured = tokio::select! {
            measured = self.measure(&mut scene) => measured,
            () = stop.drain.cancelled() => Err(BenchError::Stopped),
        };
        scene.close().await;
        let figures = measured?;
        let text = if self.json { serde_json::to_string(&figures)? } else { figures.table() };
        print(&text);
        Ok(())
    }

    async fn measure(&self, scene: &mut Scene) -> Result<Figures, BenchError> {
        let load = Load {
            messages: self.messages as usize,
            payload: self.payload as usize,
            consumers: self.consumers as usize,
            batch: self.batch as usize,
        };
        let broker = SqlBroker::new(scene.store.clone(), SqlBrokerLimits::default()).await?;
        // The same messages twice, each time in a queue that is new: fetched and settled as a worker
        // does it, and each alone.
        let place = scene.place().await?;
        let published = load.publish(scene, &broker, &place).await?;
        let (both, _) = load.fetch(&broker, &place, true).await?;
        let place = scene.place().await?;
        let again = load.publish(scene, &broker, &place).await?;
        let (fetched, leases) = load.fetch(&broker, &place, false).await?;
        let settled = load.settle(&broker, leases).await?;

        let rate = |took: Duration| (f64::from(self.messages) / took.as_secs_f64()).round() as u64;
        Ok(Figures {
            database: scene.database,
            messages: self.messages,
            consumers: self.consumers,
            batch: self.batch,
            payload_bytes: self.payload,
            publish_per_second: rate((published + again) / 2),
            fetch_per_second: rate(fetched),
            settle_per_second: rate(settled),
            fetch_and_settle_per_second: rate(both),
        })
    }
}

impl Figures {
    fn table(&self) -> String {
        let Self { database, messages, consumers, batch, payload_bytes, .. } = self;
        let mut text = format!(
            "{database}: {messages} messages of {payload_bytes} bytes, {consumers} consumers, \
             batches of {batch}; messages/s:\n"
        );
        for (what, rate) in [
            ("publish", self.publish_per_second),
            ("fetch", self.fetch_per_second),
            ("settle", self.settle_per_second),
            ("fetch + settle", self.fetch_and_settle_per_second),
        ] {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {what:<14} {rate:>9}");
        }
        text.truncate(text.trim_end().len());
        text
    }
}
