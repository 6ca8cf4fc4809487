//! Works off a queue with nothing but the public client:
//!
//! `cargo run --example consumer -- http://127.0.0.1:8000 rows`
//!
//! A message that is not settled by its deadline comes again, so what is done for one must bear being
//! done twice: its id is the same each time.

use std::time::Duration;

use rowmill::api::{Ack, Nack, Settle};
use rowmill::client::{Client, ClientError, ClientLimits};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), ClientError> {
    let mut arguments = std::env::args().skip(1);
    let server = arguments.next().unwrap_or_else(|| "http://127.0.0.1:8000".into());
    let queue = arguments.next().unwrap_or_else(|| "rows".into());
    let client = Client::new(&server, ClientLimits::default())?;
    loop {
        let mut settle = Settle::default();
        for message in client.receive(&queue, 50, Duration::from_secs(20)).await? {
            let receipt = message.receipt;
            match work(message.data.get()) {
                Ok(output) => {
                    let output = serde_json::value::to_raw_value(&output).ok();
                    settle.acks.push(Ack { receipt, output });
                }
                // Try again, when the queue's back-off says.
                Err(reason) => settle.nacks.push(Nack { receipt, reason, delay_seconds: None }),
            }
        }
        client.settle(&queue, &settle).await?;
    }
}

/// What is done with a message: here, its columns are counted.
fn work(data: &str) -> Result<Value, String> {
    let row: Value = serde_json::from_str(data).map_err(|error| error.to_string())?;
    Ok(json!({"columns": row.as_object().map_or(0, |row| row.len())}))
}
