//! What was gathered, and what this process has counted, as metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::gather::{Queues, Snapshot, Transactions};
use crate::broker::Broker;
use crate::http::App;
use crate::store::control::UploadState;
use crate::store::watch::{Hold, HoldKind};
use crate::telemetry::exposition;

type Number = Gauge<u64, AtomicU64>;
type Float = Gauge<f64, AtomicU64>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InQueue {
    queue: String,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfQueue {
    queue: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InState {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Part {
    part: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Holder {
    kind: &'static str,
    pid: String,
    application_name: String,
    state: String,
}

/// A registry of what was found and counted, for one scrape.
pub(super) fn registry<B: Broker + Clone>(found: &Snapshot, app: &App<B>) -> Registry {
    let mut to = exposition::scratch();
    if let Some(found) = &found.queues {
        queues(&mut to, found);
    }
    if let Some(found) = &found.uploads {
        uploads(&mut to, found);
    }
    if let Some(found) = &found.transactions {
        transactions(&mut to, found);
    }
    let ok = Family::<Part, Number>::default();
    for (part, is_ok) in [
        ("queues", found.queues.as_ref().is_some_and(|queues| queues.complete)),
        ("uploads", found.uploads.is_some()),
        ("transactions", found.transactions.is_some()),
    ] {
        ok.get_or_create(&Part { part }).set(u64::from(is_ok));
    }
    to.register("gather_ok", "Whether the database told this part in time", ok);
    connections(&mut to, app);
    ingestion(&mut to, app);
    to
}

fn queues(to: &mut Registry, found: &Queues) {
    let messages = Family::<InQueue, Number>::default();
    let [oldest, published, ended] = [(); 3].map(|()| Family::<OfQueue, Float>::default());
    for (name, stats) in &found.stats {
        let queue = name.to_string();
        let depth = &stats.depth;
        for (state, n) in [
            ("ready", depth.ready),
            ("delayed", depth.delayed),
            ("held", depth.held),
            ("in_flight", depth.in_flight),
            ("dead", stats.dead),
        ] {
            messages.get_or_create(&InQueue { queue: queue.clone(), state }).set(n);
        }
        let age = stats.oldest.unwrap_or_default().as_secs_f64();
        let of = OfQueue { queue };
        oldest.get_or_create(&of).set(age);
        published.get_or_create(&of).set(stats.published_per_second);
        ended.get_or_create(&of).set(stats.ended_per_second);
    }
    let all: Number = Gauge::default();
    all.set(found.all as u64);
    to.register("queues", "Queues that there are; not all need be told of", all);
    to.register("messages", "Messages by queue and state; dead: in its dead queue", messages);
    to.register_with_unit(
        "oldest_message_age",
        "Since when the oldest message of a queue was published that has not ended",
        Unit::Seconds,
        oldest,
    );
    let lately = |what: &str| format!("Messages {what} a second, over the last minute");
    to.register("queue_published_per_second", lately("published to a queue"), published);
    to.register("queue_ended_per_second", lately("of a queue that ended"), ended);
}

fn uploads(to: &mut Registry, found: &[(UploadState, u64)]) {
    let uploads = Family::<InState, Number>::default();
    for (state, word) in [
        (UploadState::Ingesting, "ingesting"),
        (UploadState::Published, "published"),
        (UploadState::Ended, "ended"),
        (UploadState::Failed, "failed"),
        (UploadState::Cancelled, "cancelled"),
    ] {
        let n = found.iter().find(|(of, _)| *of == state).map_or(0, |(_, n)| *n);
        uploads.get_or_create(&InState { state: word }).set(n);
    }
    to.register("uploads", "Uploads by state", uploads);
}

fn transactions(to: &mut Registry, found: &Transactions) {
    let Some(oldest) = found.oldest else { return };
    let age: Float = Gauge::default();
    age.set(oldest.as_secs_f64());
    to.register_with_unit(
        "database_oldest_transaction_age",
        "How long the oldest transaction has been open that keeps the database from forgetting rows",
        Unit::Seconds,
        age,
    );
    let (ages, slots) = (Family::<Holder, Float>::default(), Family::<Holder, Number>::default());
    for hold in &found.holds {
        let holder = holder(hold);
        match (hold.age_seconds, hold.age_transactions) {
            (Some(seconds), _) => {
                ages.get_or_create(&holder).set(seconds);
            }
            (None, transactions) => {
                let behind = u64::try_from(transactions.unwrap_or(0)).unwrap_or(0);
                slots.get_or_create(&holder).set(behind);
            }
        }
    }
    to.register_with_unit(
        "database_old_transaction_age",
        "Transactions that have been open for too long, each by name",
        Unit::Seconds,
        ages,
    );
    to.register(
        "database_old_slot_transactions",
        "Replication slots that are behind by too many transactions, each by name",
        slots,
    );
}

fn holder(hold: &Hold) -> Holder {
    Holder {
        kind: match hold.kind {
            HoldKind::Transaction => "transaction",
            HoldKind::Prepared => "prepared",
            HoldKind::Slot => "slot",
        },
        pid: hold.pid.map(|pid| pid.to_string()).unwrap_or_default(),
        application_name: hold.application_name.clone(),
        state: hold.state.clone().unwrap_or_default(),
    }
}

fn connections<B: Broker + Clone>(to: &mut Registry, app: &App<B>) {
    let now = app.store.connections();
    let connections = Family::<InState, Number>::default();
    for (state, n) in [("idle", now.idle), ("used", now.open.saturating_sub(now.idle))] {
        connections.get_or_create(&InState { state }).set(u64::from(n));
    }
    to.register("database_connections", "Connections of this process's pool", connections);
    let most: Number = Gauge::default();
    most.set(u64::from(now.most));
    to.register("database_connections_max", "How many there may be", most);
}

fn ingestion<B: Broker + Clone>(to: &mut Registry, app: &App<B>) {
    let counts = app.intake.counts();
    let rows = Family::<InState, Counter>::default();
    for (state, n) in
        [("read", &counts.read), ("published", &counts.published), ("rejected", &counts.rejected)]
    {
        rows.get_or_create(&InState { state }).inc_by(n.load(Ordering::Relaxed));
    }
    to.register("ingest_rows", "Rows read, published and rejected by this process", rows);
    let (busy, most) = app.intake.readers();
    let readers = Family::<InState, Number>::default();
    for (state, n) in [("busy", busy), ("idle", most.saturating_sub(busy))] {
        readers.get_or_create(&InState { state }).set(n as u64);
    }
    to.register("readers", "Files that can be read at the same time by this process", readers);
}
