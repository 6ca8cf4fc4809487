//! The story on RabbitMQ.

use crate::story::Engine;

crate::story::played!(Engine { script: "rabbitmq", rows: 20_000, peeks: false });
