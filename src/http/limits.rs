//! What bounds queues and messages, each bound with a name and a default. The description of the API
//! tells the defaults.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::units;

/// The least and the most that a number may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// The least.
    pub least: u32,
    /// The most.
    pub most: u32,
}

impl Bounds {
    const fn new(least: u32, most: u32) -> Self {
        Self { least, most }
    }

    /// Whether a number is within.
    pub fn hold(self, n: u32) -> bool {
        (self.least..=self.most).contains(&n)
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.least, self.most)
    }
}

/// What may be said of a queue, and what holds unless it is said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueLimits {
    /// `ack_deadline_seconds`. 1 to 600.
    pub ack_deadline_seconds: Bounds,
    /// Unless told. 60.
    pub ack_deadline_default: u32,
    /// `message_retention_seconds`. 600 to 1,209,600 (14 days).
    pub retention_seconds: Bounds,
    /// Unless told. 1,209,600.
    pub retention_default: u32,
    /// `message_max_deliveries`, with a dead queue. 1 to 1,000.
    pub max_deliveries: Bounds,
    /// Unless told, with a dead queue. 5.
    pub max_deliveries_default: u32,
    /// `delivery_delay_seconds`. 1 to 900.
    pub delivery_delay_seconds: Bounds,
    /// The longest first wait of a back-off, in seconds. 3,600.
    pub backoff_first_seconds: u32,
    /// The highest factor of a back-off. 100.
    pub backoff_factor: u32,
    /// The longest wait of a back-off, in seconds. 86,400.
    pub backoff_most_seconds: u32,
    /// Attributes that a queue filters by, at most. 32.
    pub filters: usize,
    /// Values of one of them, at most. 100.
    pub filter_values: usize,
    /// Messages that a peek shows unless told. 10.
    pub peek_default: usize,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self {
            ack_deadline_seconds: Bounds::new(1, 600),
            ack_deadline_default: 60,
            retention_seconds: Bounds::new(600, 1_209_600),
            retention_default: 1_209_600,
            max_deliveries: Bounds::new(1, 1_000),
            max_deliveries_default: 5,
            delivery_delay_seconds: Bounds::new(1, 900),
            backoff_first_seconds: 3_600,
            backoff_factor: 100,
            backoff_most_seconds: 86_400,
            filters: 32,
            filter_values: 100,
            peek_default: 10,
        }
    }
}

/// What may be in a message, and said when its delivery ends or goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MessageLimits {
    /// Bytes of `data`, as JSON. 1 MiB.
    #[serde(with = "units::size")]
    pub data_bytes: usize,
    /// Attributes. 64.
    pub attributes: usize,
    /// Characters of an attribute's name. 1 to 128.
    pub attribute_name: Bounds,
    /// Characters of an attribute's value at most. 1,024.
    pub attribute_value: usize,
    /// How long an extend may ask for, in seconds. 1 to 43,200 (12 hours).
    pub extend_seconds: Bounds,
    /// The longest delay that a nack may ask for, in seconds. 31,622,400 (366 days).
    pub nack_delay_seconds: u32,
}

impl Default for MessageLimits {
    fn default() -> Self {
        Self {
            data_bytes: 1 << 20,
            attributes: 64,
            attribute_name: Bounds::new(1, 128),
            attribute_value: 1_024,
            extend_seconds: Bounds::new(1, 43_200),
            nack_delay_seconds: 31_622_400,
        }
    }
}

impl MessageLimits {
    /// How long an extend asks for.
    ///
    /// # Errors
    /// What is wrong with it, for who asked.
    pub(super) fn lasting(&self, seconds: f64) -> Result<Duration, String> {
        let bounds = self.extend_seconds;
        let wrong = || format!("`seconds` is {bounds}, not {seconds}");
        let lasting = Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
        let (least, most) = (bounds.least, bounds.most);
        let held = Duration::from_secs(least.into())..=Duration::from_secs(most.into());
        if held.contains(&lasting) { Ok(lasting) } else { Err(wrong()) }
    }

    /// The delay that a nack asks for.
    ///
    /// # Errors
    /// What is wrong with it, for who asked.
    pub(super) fn delay(&self, seconds: f64) -> Result<Duration, String> {
        let most = self.nack_delay_seconds;
        let delay = Duration::try_from_secs_f64(seconds).ok();
        delay
            .filter(|delay| *delay <= Duration::from_secs(most.into()))
            .ok_or_else(|| format!("`delay_seconds` is 0 to {most}, not {seconds}"))
    }

    /// What is wrong with the name of an attribute, if anything is.
    pub(super) fn name_fault(&self, name: &str) -> Option<String> {
        let length = u32::try_from(name.chars().count()).unwrap_or(u32::MAX);
        let bounds = self.attribute_name;
        let shown: String = name.chars().take(40).collect();
        (!bounds.hold(length)).then(|| {
            format!("the name of an attribute has {bounds} characters, not {length} (`{shown}`)")
        })
    }

    /// What is wrong with a value of an attribute, if anything is.
    pub(super) fn value_fault(&self, name: &str, value: &str) -> Option<String> {
        let (most, length) = (self.attribute_value, value.chars().count());
        (length > most)
            .then(|| format!("the attribute `{name}` has {most} characters at most, not {length}"))
    }
}
