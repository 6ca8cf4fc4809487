//! The server as a queue for the worker, over HTTP: as much of it as measuring needs.

use std::time::Duration;

use reqwest::Client;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::error::BenchError;
use crate::api;
use crate::broker::{BrokerError, Source};
use crate::domain::{Delivery, Lease, QueueName, Receipt, Settled, Settlement, Verdict};

/// Characters of a refusal that are shown.
const SHOWN: usize = 300;

/// A queue of the server at `url`.
#[derive(Debug, Clone)]
pub(super) struct Remote {
    pub(super) client: Client,
    pub(super) url: String,
    pub(super) queue: QueueName,
}

/// The answer to a request, if it was one of success.
pub(super) async fn answer<T: DeserializeOwned>(
    what: &'static str,
    request: reqwest::RequestBuilder,
) -> Result<T, BenchError> {
    let response = request.send().await?;
    let status = response.status();
    if status.is_success() {
        return Ok(response.json().await?);
    }
    let answer = response.text().await?.chars().take(SHOWN).collect();
    Err(BenchError::Refused { what, status: status.as_u16(), answer })
}

fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> BrokerError {
    BrokerError::Store(error.into())
}

impl Source for Remote {
    async fn receive(
        &self,
        queue: &QueueName,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Lease>, BrokerError> {
        let query = [("limit", max.to_string()), ("wait", wait.as_secs().to_string())];
        let request =
            self.client.get(format!("{}/queues/{queue}/messages", self.url)).query(&query);
        let received: api::Data<api::Delivery> =
            answer("a receive", request).await.map_err(failed)?;
        let mut leases: Vec<Lease> = vec![];
        for one in received.data {
            let receipt = Receipt(one.receipt.lease);
            let delivery = Delivery {
                receipt,
                position: one.receipt.position,
                id: one.id.parse().map_err(failed)?,
                attempt: one.attempt,
                origin: None,
                data: Box::<str>::from(one.data),
                attributes: None,
            };
            match leases.iter_mut().find(|lease| lease.receipt == receipt) {
                Some(lease) => lease.deliveries.push(delivery),
                None => {
                    let deadline = Duration::try_from_secs_f64(one.deadline_seconds);
                    let deadline = deadline.map_err(failed)?;
                    leases.push(Lease { receipt, deadline, deliveries: vec![delivery] });
                }
            }
        }
        Ok(leases)
    }

    /// A request a lease: the worker that is measured holds one.
    async fn settle(
        &self,
        settlements: Vec<(Receipt, Vec<Settlement>)>,
    ) -> Result<Vec<Settled>, BrokerError> {
        let mut all = vec![];
        for (receipt, settlements) in settlements {
            let mut asked = api::Settle::default();
            for settlement in settlements {
                let receipt = api::Receipt { lease: receipt.0, position: settlement.position };
                match settlement.verdict {
                    Verdict::Done { output } => {
                        let output = output.map(|text| RawValue::from_string(text.into()));
                        let output = output.transpose().map_err(failed)?;
                        asked.acks.push(api::Ack { receipt, output });
                    }
                    // Sleeping neither fails nor refuses: it is done, or was interrupted.
                    Verdict::Retry { .. } | Verdict::Reject { .. } | Verdict::Release => {
                        asked.releases.push(receipt);
                    }
                }
            }
            let settled = self.post("a settle", "settle", &asked).await?;
            all.push(settled);
        }
        Ok(all)
    }

    async fn extend(&self, _: Vec<Receipt>) -> Result<Vec<Option<Duration>>, BrokerError> {
        Err(failed("the benchmark's leases last longer than it does"))
    }
}

impl Remote {
    async fn post(
        &self,
        what: &'static str,
        verb: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<Settled, BrokerError> {
        let url = format!("{}/queues/{}/{verb}", self.url, self.queue);
        let request = self.client.post(url).json(body);
        let settled: api::Settled = answer(what, request).await.map_err(failed)?;
        Ok(Settled {
            done: settled.done,
            dead: settled.dead,
            again: settled.again,
            stale: settled.stale.iter().map(|receipt| receipt.position).collect(),
        })
    }
}
