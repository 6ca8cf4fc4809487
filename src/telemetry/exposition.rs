//! Numbers in the text form that Prometheus and its kin read: OpenMetrics 1.0.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// What the text is sent as.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How every name begins.
const PREFIX: &str = "rowmill";

/// A registry that knows of the process: since when it runs, and its version.
pub fn registry() -> Registry {
    let mut registry = Registry::with_prefix(PREFIX);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    registry.register_with_unit(
        "process_start_time",
        "When the process started, since 1970 (UTC)",
        Unit::Seconds,
        ConstGauge::new(now.as_secs_f64()),
    );
    let version = prometheus_client::metrics::info::Info::new([("version", VERSION)]);
    registry.register("build", "What runs here", version);
    registry
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A registry for numbers that are looked up at a scrape.
pub fn scratch() -> Registry {
    Registry::with_prefix(PREFIX)
}

/// The text of these registries.
///
/// # Errors
/// None but a defect: a metric that cannot be written.
pub fn text(registries: &[&Registry]) -> Result<String, fmt::Error> {
    let mut text = String::new();
    for registry in registries {
        encode_registry(&mut text, registry)?;
    }
    encode_eof(&mut text)?;
    Ok(text)
}

/// Durations of requests: from a millisecond to a long poll.
pub fn request_seconds() -> Histogram {
    Histogram::new([
        0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    ])
}

/// Durations of handlers: from a millisecond to the time that one usually has at most.
pub fn handler_seconds() -> Histogram {
    Histogram::new([0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0])
}
