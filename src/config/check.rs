//! Values that can be read and still make no sense: a page of no items, a wait of no time that would
//! be a busy loop.

use std::time::Duration;

use super::{Config, ConfigFault};
use crate::http::webhook::Address;
use crate::ingest::spool::{PART_LEAST, PARTS_MOST};

/// Refuses them, by name. What bounds a worker is refused by the worker itself.
pub(super) fn check(config: &Config) -> Result<(), ConfigFault> {
    let Config { http, intake, ingest, read, broker, relay, store, run, client, .. } = config;
    let Config { rabbitmq, redis, sqs, .. } = config;
    for (name, value, least) in [
        ("http.files", http.files, 1),
        ("http.messages", http.messages, 1),
        ("http.page", http.page, 1),
        ("http.watched_uploads", http.watched_uploads, 1),
        ("http.webhook.at_once", http.webhook.at_once, 1),
        ("http.webhook.attempts", http.webhook.attempts as usize, 1),
        ("http.observe.queues", http.observe.queues, 1),
        ("ingest.queued_rows", ingest.queued_rows, 1),
        ("ingest.batch_rows", ingest.batch_rows, 1),
        ("ingest.producers", ingest.producers, 1),
        ("intake.s3.part_bytes", intake.s3.part_bytes, PART_LEAST),
        ("intake.s3.requests_at_once", intake.s3.requests_at_once, 1),
        ("relay.in_hands", relay.in_hands, 1),
        ("relay.step", relay.step, 1),
        ("rabbitmq.sends", rabbitmq.sends, 1),
        ("rabbitmq.window", rabbitmq.window, 1),
        ("rabbitmq.takes", rabbitmq.takes, 1),
        ("rabbitmq.redrive_step", rabbitmq.redrive_step, 1),
        ("redis.look_at", redis.look_at, 1),
        ("redis.step_parcels", redis.step_parcels, 1),
        ("redis.step_moves", redis.step_moves, 1),
        ("sqs.message_bytes", sqs.message_bytes, 1 << 10),
        ("sqs.requests_at_once", sqs.requests_at_once, 1),
        ("sqs.attempts", sqs.attempts as usize, 1),
        ("sqs.tries", sqs.tries.into(), 1),
        ("sqs.queues_known", sqs.queues_known, 1),
        ("sqs.in_hands", sqs.in_hands, 1),
        ("read.readers_at_once", read.readers_at_once, 1),
        ("store.connections", store.connections as usize, 2),
        ("run.concurrency", run.concurrency, 1),
        ("run.batch_size", run.batch_size, 1),
        ("client.messages", client.messages, 1),
    ] {
        if value < least {
            return Err(too_small(name, value.to_string(), format!("it must be {least} at least")));
        }
    }
    for (name, value, least) in [
        ("http.event_every", http.event_every, Duration::from_millis(1)),
        ("http.watch_idle", http.watch_idle, Duration::from_millis(1)),
        ("http.webhook.look_every", http.webhook.look_every, Duration::from_millis(1)),
        ("http.webhook.timeout", http.webhook.timeout, Duration::from_millis(1)),
        ("http.keep_alive", http.keep_alive, Duration::from_millis(1)),
        ("intake.lease", intake.lease, Duration::from_secs(1)),
        ("intake.claim_every", intake.claim_every, Duration::from_millis(1)),
        ("intake.s3.connect", intake.s3.connect, Duration::from_millis(1)),
        ("intake.s3.answer", intake.s3.answer, Duration::from_millis(1)),
        ("relay.look", relay.look, Duration::from_millis(1)),
        ("rabbitmq.pause_first", rabbitmq.pause_first, Duration::from_millis(1)),
        ("rabbitmq.channel_age", rabbitmq.channel_age, Duration::from_millis(1)),
        ("rabbitmq.heartbeat", rabbitmq.heartbeat, Duration::from_secs(1)),
        ("redis.pause_first", redis.pause_first, Duration::from_millis(1)),
        ("redis.look_every", redis.look_every, Duration::from_millis(1)),
        ("redis.full_look", redis.full_look, Duration::from_millis(1)),
        ("sqs.poll", sqs.poll, Duration::from_secs(1)),
        ("sqs.look", sqs.look, Duration::from_millis(1)),
        ("broker.poll", broker.poll, Duration::from_millis(1)),
    ] {
        if value < least {
            let [value, least] = [value, least].map(humantime::format_duration);
            return Err(too_small(name, value.to_string(), format!("it must be {least} at least")));
        }
    }
    let webhook = &http.webhook;
    let told = |address: Address| address.check(&webhook.hosts);
    if !webhook.url.is_empty()
        && let Err(error) = webhook.url.parse().and_then(told)
    {
        // What is wrong with it may be a secret.
        let why = error.to_string();
        return Err(too_small("http.webhook.url", "what it is".into(), why));
    }
    if ingest.batch_rows > 1_000 {
        let why = "a block of ids has 1000".to_owned();
        return Err(too_small("ingest.batch_rows", ingest.batch_rows.to_string(), why));
    }
    if http.rules_bytes > 72 << 10 {
        let why = "a reader is told no more than 72K".to_owned();
        return Err(too_small("http.rules_bytes", http.rules_bytes.to_string(), why));
    }
    if sqs.message_bytes > 1 << 20 {
        let why = "SQS takes no more than 1M".to_owned();
        return Err(too_small("sqs.message_bytes", sqs.message_bytes.to_string(), why));
    }
    if intake.s3.part_bytes as u64 > u64::MAX / PARTS_MOST
        || intake.s3.part_bytes as u64 * PARTS_MOST < http.file_bytes
    {
        let why = format!("an object has {PARTS_MOST} parts at most, and http.file_bytes is more");
        let value = intake.s3.part_bytes.to_string();
        return Err(too_small("intake.s3.part_bytes", value, why));
    }
    if run.retries > 999 {
        return Err(too_small("run.retries", run.retries.to_string(), "999 at most".into()));
    }
    Ok(())
}

fn too_small(name: &str, value: String, why: String) -> ConfigFault {
    ConfigFault::Value { place: "the configuration".into(), name: name.into(), value, why }
}
