//! How messages are carried over another broker, out of the configuration.

use super::Config;
use crate::broker::Carrying;
use crate::broker::carrier::limits::DriverLimits;

impl Config {
    /// How a broker at `url` is opened; without one the database carries the messages.
    pub fn carrying(&self, url: Option<String>) -> Carrying {
        let drivers = DriverLimits {
            rabbitmq: self.rabbitmq.clone(),
            redis: self.redis.clone(),
            sqs: self.sqs.clone(),
        };
        Carrying { url, limits: self.relay.clone(), drivers }
    }
}
