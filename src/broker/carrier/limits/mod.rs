//! Waits and sizes of the drivers, a file each. They are settings of every build, whatever it carries
//! messages over: one configuration is good for all, and that a driver is missing is said when an
//! address names it.

mod rabbitmq;
mod redis;
mod sqs;

pub use rabbitmq::RabbitLimits;
pub use redis::RedisLimits;
pub use sqs::SqsLimits;

/// Those of every driver.
#[derive(Debug, Clone, Default)]
pub struct DriverLimits {
    /// RabbitMQ's.
    pub rabbitmq: RabbitLimits,
    /// Redis's.
    pub redis: RedisLimits,
    /// SQS's.
    pub sqs: SqsLimits,
}
